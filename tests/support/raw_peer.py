"""A libp2p peer made by hand: real TCP, real Noise, and after that whatever bytes a test wants to send."""

from __future__ import annotations

# First, because it makes libp2p importable the light way.
import p2p.host.fences  # noqa: F401

# isort: split

import struct
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.pb import crypto_pb2
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.io.exceptions import IOException
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.peer.peerstore import create_signed_peer_record
from libp2p.pubsub.pb import rpc_pb2
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from p2p.addresses import parse_address

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
HEADER = struct.Struct("!BBHII")
GREETING = b"/multistream/1.0.0"
PING_BODY = b"p" * 32
INITIAL_WINDOW = 256 * 1024
GONE = (IOException, EOFError)
"""What reading raises when the other side has ended the connection."""


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


def public_key(kind: str, body: bytes) -> bytes:
    """A libp2p PublicKey message of any content."""
    packed: bytes = crypto_pb2.PublicKey(key_type=crypto_pb2.KeyType.Value(kind), data=body).SerializeToString()
    return packed


def gossip(**fields: Any) -> bytes:
    """One gossip frame; ``publish`` is a list of dicts of message fields."""
    fields["publish"] = [rpc_pb2.Message(**message) for message in fields.get("publish", ())]
    packed = rpc_pb2.RPC(**fields).SerializeToString()
    return varint(len(packed)) + packed


def subscribe(topics: list[str]) -> bytes:
    """A gossip frame that says which topics we follow."""
    return gossip(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in topics])


def graft(topics: list[str]) -> bytes:
    """A gossip frame that asks for a place in the mesh of ``topics``."""
    return gossip(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in topics]))


def prune(topics: list[str]) -> bytes:
    """A gossip frame that prunes us from ``topics``."""
    return gossip(control=rpc_pb2.ControlMessage(prune=[rpc_pb2.ControlPrune(topicID=topic) for topic in topics]))


class RawPeer:
    """``async with RawPeer(addr) as peer``: handshaken; ``send`` and ``receive`` then move Yamux frames."""

    muxer = b"/yamux/1.0.0"

    def __init__(self, addr: str) -> None:
        self._target = parse_address(addr)
        self._keys = create_new_key_pair()
        self.peer_id = str(ID.from_pubkey(self._keys.public_key))
        self._next_id = 1
        self._buffer = b""

    async def __aenter__(self) -> Self:
        self.socket = await trio.open_tcp_stream(self._target.host, self._target.port)
        raw = RawConnection(TrioTCPStream(self.socket), True)
        await self._negotiate(raw, b"/noise")
        noise = NoiseTransport(self._keys, noise_privkey=create_noise_key().private_key)
        self.session: Any = await noise.secure_outbound(raw, ID.from_base58(self._target.peer))
        await self._negotiate(self.session, self.muxer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.socket)

    def signed_record(self) -> bytes:
        """A correct signed record of our addresses, such as gossip frames may carry."""
        envelope = create_signed_peer_record(
            ID.from_pubkey(self._keys.public_key), [Multiaddr("/ip4/127.0.0.1/tcp/9")], self._keys.private_key
        )
        packed: bytes = envelope.marshal_envelope()
        return packed

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
            if not piece:
                raise EOFError
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

    async def settled(self) -> bool:
        """Return when the victim has taken in all that was sent: True when it answered a ping on a new stream, False
        when it has ended the connection."""
        try:
            stream_id = await self.open("/ipfs/ping/1.0.0", PING_BODY)
            while (await self.receive())[::2] != (DATA, stream_id, PING_BODY):
                pass
        except GONE:
            return False
        return True

    async def pour(self, stream_id: int, count: int) -> int:
        """Write ``count`` zeros to a stream as far as its window allows; return how many before it was reset."""
        sent, window = 0, INITIAL_WINDOW - 1024  # less what opening the stream may have taken
        try:
            while sent < count:
                while not window:
                    kind, flags, about, value, _ = await self.receive()
                    if kind == WINDOW_UPDATE and about == stream_id:
                        if flags & RST:
                            return sent
                        window += value
                await self.send(data(stream_id, bytes(window)))
                sent, window = sent + window, 0
        except GONE:
            pass
        return sent

    async def read_until_closed(self) -> list[tuple[int, int, int, int, bytes]]:
        """All frames until the victim ends the connection."""
        frames = []
        try:
            while True:
                frames.append(await self.receive())
        except GONE:
            return frames
