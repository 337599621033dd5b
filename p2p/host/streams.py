"""What the host keeps of a connected peer, and its streams as the port has them."""

from __future__ import annotations

# First, because it makes libp2p importable the light way, whoever imports this module.
import p2p.host.fences  # noqa: F401

# isort: split

from dataclasses import dataclass
from typing import Any

from libp2p.io.exceptions import IOException
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError

from p2p.bucket import TokenBucket
from p2p.host.fences import identify
from p2p.host.fences.swarm import MeshConn
from p2p.port import ConnectionInfo, StreamClosed


@dataclass(slots=True)
class Peer:
    """What we know of a connected peer, from its connection to its end."""

    conn: MeshConn
    addr: str
    pushes: TokenBucket
    """What it may still tell of itself unasked."""
    said: identify.Identity = identify.NOTHING
    bytes_in: int = 0
    bytes_out: int = 0

    def info(self) -> ConnectionInfo:
        """As the port has it."""
        return ConnectionInfo(
            peer=self.conn.peer,
            addr=self.addr,
            inbound=self.conn.inbound,
            opened_at=self.conn.opened_at,
            agent=self.said.agent,
            listen_addrs=self.said.listen_addrs,
            protocols=self.said.protocols,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
        )


class LibP2PStream:
    """``p2p.port.Stream``. Reads and writes go to the multiplexer directly, past libp2p's bookkeeping of states, which
    would not let one read after closing."""

    def __init__(self, stream: Any, peer: Peer) -> None:
        self._stream = stream
        self._muxed = stream.muxed_stream
        self._peer = peer

    @property
    def peer(self) -> str:
        """See ``Stream``."""
        return self._peer.conn.peer

    @property
    def protocol(self) -> str:
        """See ``Stream``."""
        return str(self._stream.get_protocol())

    async def read_exactly(self, count: int) -> bytes:
        """See ``Stream``."""
        parts: list[bytes] = []
        left = count
        while left:
            try:
                part = await self._muxed.read(left)
            except (MuxedStreamError, IOException) as error:
                clean = isinstance(error, MuxedStreamEOF) and left == count
                raise StreamClosed(str(error), clean=clean) from error
            parts.append(part)
            left -= len(part)
        self._peer.bytes_in += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def write(self, data: bytes) -> None:
        """See ``Stream``."""
        try:
            await self._muxed.write(data)
        except (MuxedStreamError, IOException) as error:
            raise StreamClosed(str(error)) from error
        self._peer.bytes_out += len(data)

    async def close(self) -> None:
        """See ``Stream``."""
        await self._stream.close()

    async def reset(self) -> None:
        """See ``Stream``."""
        await self._stream.reset()
