"""A libp2p peer made by hand: real TCP, real Noise, and after that whatever bytes a test wants to send."""

from __future__ import annotations

# First, because it makes libp2p importable the light way.
import p2p.host.fences  # noqa: F401

# isort: split

import struct
from types import TracebackType
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as NoiseTransport

from p2p.addresses import parse_address

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
HEADER = struct.Struct("!BBHII")
GREETING = b"/multistream/1.0.0"
PING_BODY = b"p" * 32


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(text: bytes) -> bytes:
    """One multistream-select message."""
    return varint(len(text) + 1) + text + b"\n"


def frame(kind: int, flags: int, stream_id: int, value: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream_id, value) + payload


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream_id, len(payload), payload)


class RawPeer:
    """``async with RawPeer(addr) as peer``: handshaken; ``send`` and ``receive`` then move Yamux frames."""

    def __init__(self, addr: str) -> None:
        self._target = parse_address(addr)
        self._keys = create_new_key_pair()
        self.peer_id = str(ID.from_pubkey(self._keys.public_key))
        self._next_id = 1
        self._buffer = b""

    async def __aenter__(self) -> RawPeer:
        self.socket = await trio.open_tcp_stream(self._target.host, self._target.port)
        raw = RawConnection(TrioTCPStream(self.socket), True)
        await self._negotiate(raw, b"/noise")
        noise = NoiseTransport(self._keys, noise_privkey=create_noise_key().private_key)
        self.session: Any = await noise.secure_outbound(raw, ID.from_base58(self._target.peer))
        await self._negotiate(self.session, b"/yamux/1.0.0")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.socket)

    async def _negotiate(self, pipe: Any, protocol: bytes) -> None:
        expected = message(GREETING) + message(protocol)
        await pipe.write(expected)
        answer = b""
        while len(answer) < len(expected):
            piece = await pipe.read(1)
            assert piece, "closed in negotiation"
            answer += piece
        assert answer == expected

    async def send(self, *frames: bytes) -> None:
        await self.session.write(b"".join(frames))

    async def receive(self) -> tuple[int, int, int, int, bytes]:
        """Next frame: (kind, flags, stream id, value, payload of a data frame)."""
        _, kind, flags, stream_id, value = HEADER.unpack(await self._exactly(HEADER.size))
        return kind, flags, stream_id, value, await self._exactly(value) if kind == DATA else b""

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = await self.session.read(None)
            assert piece
            self._buffer += piece
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def open(self, protocol: str | bytes, *more: bytes) -> int:
        """Open a stream, propose ``protocol`` and send ``more`` without waiting for the answer; return its id."""
        name = protocol.encode() if isinstance(protocol, str) else protocol
        return await self.open_raw(message(GREETING) + message(name) + b"".join(more))

    async def open_raw(self, payload: bytes) -> int:
        """Open a stream and send ``payload``."""
        stream_id = self._next_id
        self._next_id += 2
        await self.send(frame(WINDOW_UPDATE, SYN, stream_id, 0), data(stream_id, payload))
        return stream_id

    async def settled(self) -> None:
        """Return when the victim has answered a ping on a new stream, and so has taken in all that was sent before."""
        stream_id = await self.open("/ipfs/ping/1.0.0", PING_BODY)
        while (await self.receive())[::2] != (DATA, stream_id, PING_BODY):
            pass

    async def read_until_closed(self) -> list[tuple[int, int, int, int, bytes]]:
        """All frames until the victim ends the connection."""
        frames = []
        try:
            while True:
                frames.append(await self.receive())
        except Exception:  # noqa: BLE001 - each layer has its own way to say that the other side is gone
            return frames
