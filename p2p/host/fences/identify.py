"""The two protocols that every libp2p node serves: identify and ping.

Upstream's identify client stores up to 1,000 addresses of every peer it ever met (identity/update.py:66) in a peerstore
that forgets nobody, and its answer names py-libp2p as the agent. Its ping fails when used twice at once
(host/ping.py:231) and echoes as fast as a remote asks. Here what a peer says is kept with its connection, in bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
import trio
from google.protobuf.message import DecodeError
from libp2p.host.exceptions import StreamFailure
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.io.exceptions import IOException
from libp2p.network.exceptions import SwarmException
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from p2p.host.limits import Limits

log = structlog.get_logger(__name__)

IDENTIFY = "/ipfs/id/1.0.0"
PUSH = "/ipfs/id/push/1.0.0"
PING = "/ipfs/ping/1.0.0"
PROTOCOL_VERSION = "ipfs/0.1.0"
PING_SIZE = 32
MAX_TEXT = 128
"""Characters kept of an agent string, an address or a protocol that a peer chose."""


class IdentifyError(Exception):
    """The remote's answer is too long, cut, or not an identify message."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a peer says about itself: untrusted, bounded, printable."""

    agent: str
    listen_addrs: tuple[str, ...]
    protocols: tuple[str, ...] = ()

    def updated(self, news: Identity) -> Identity:
        """After a push, which leaves out what has not changed (libp2p specs, identify/README.md, "identify/push")."""
        return Identity(
            news.agent or self.agent, news.listen_addrs or self.listen_addrs, news.protocols or self.protocols
        )


NOTHING = Identity("", ())
"""Of a peer that has not said anything yet."""
FAILURES = (IdentifyError, StreamFailure, SwarmException, IOException, MuxedStreamError)
"""What asking may raise, whatever the remote does."""


def answer(node: Any, agent: str, remote: tuple[str, int] | None) -> bytes:
    """Our own identify message, with its length in front."""
    observed = b""
    if remote is not None:
        observed = Multiaddr(f"/ip{6 if ':' in remote[0] else 4}/{remote[0]}/tcp/{remote[1]}").to_bytes()
    message = Identify(
        protocol_version=PROTOCOL_VERSION,
        agent_version=agent,
        public_key=node.get_public_key().serialize(),
        listen_addrs=[addr.to_bytes() for addr in node.get_transport_addrs()],
        observed_addr=observed,
        protocols=sorted(node.get_mux().handlers),
    )
    return bytes(encode_varint_prefixed(message.SerializeToString()))


async def ask(stream: Any, peer: str, limits: Limits) -> Identity:
    """Read the remote's identify message; raise IdentifyError or what reading the stream raises."""
    data = b""
    size = width = 0
    while not width or len(data) < width + size:
        if len(data) > limits.identify_message:
            raise IdentifyError(f"longer than {limits.identify_message} bytes")
        data += await stream.read(limits.identify_message)
        size, width = _varint(data)
    message = Identify()
    try:
        message.ParseFromString(data[width : width + size])
    except DecodeError as error:
        raise IdentifyError("not an identify message") from error
    return Identity(
        agent=_printable(message.agent_version),
        listen_addrs=tuple(_addresses(message.listen_addrs, peer, limits)),
        protocols=tuple(_protocols(message.protocols, limits)),
    )


def _varint(data: bytes) -> tuple[int, int]:
    """(value, bytes used) of a length of at most two bytes; (0, 0) while it is incomplete."""
    if data and data[0] < 128:
        return data[0], 1
    if len(data) >= 2:
        if data[1] >= 128:
            raise IdentifyError("longer than 16 KiB")
        return data[0] & 127 | data[1] << 7, 2
    return 0, 0


def _addresses(raw: Any, peer: str, limits: Limits) -> list[str]:
    found = []
    for packed in raw[: limits.identify_addrs]:
        try:
            text = str(Multiaddr(bytes(packed)))
        except Exception as error:  # noqa: BLE001
            # Firewall: the library raises many kinds for bytes that are no multiaddr; others of the list may be one.
            log.debug("peer listens on no multiaddr", peer=peer, error=repr(error))
            continue
        if 0 < len(text) <= MAX_TEXT:
            found.append(text if "/p2p/" in text else f"{text}/p2p/{peer}")
    return found


def _protocols(names: Any, limits: Limits) -> list[str]:
    return [_printable(name) for name in names[: limits.identify_protocols] if 0 < len(name) <= MAX_TEXT]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_TEXT])


async def serve_ping(stream: Any, limits: Limits) -> None:
    """Echo 32 bytes at a time until the remote closes."""
    while True:
        data = b""
        while len(data) < PING_SIZE:
            data += await stream.read(PING_SIZE - len(data))
        await stream.write(data)
        await trio.sleep(limits.ping_pause)
