"""A libp2p peer made by hand that speaks mplex, and whatever bytes a test wants to send."""

from __future__ import annotations

from raw_peer import GONE, GREETING, PING_BODY, RawPeer, message, varint

from p2p.host.mplex_frames import Flag

NEW_STREAM, MESSAGE, CLOSE, RESET = Flag.NEW_STREAM, Flag.MESSAGE_INITIATOR, Flag.CLOSE_INITIATOR, Flag.RESET_INITIATOR
"""Flags of a sender that opened the stream."""


def frame(stream_id: int, flag: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    """``length``: what it claims, when that is not the truth."""
    return varint(stream_id << 3 | flag) + varint(len(body) if length is None else length) + body


class MplexPeer(RawPeer):
    """``async with MplexPeer(addr) as peer``: handshaken; ``send`` and ``receive_frame`` then move mplex frames."""

    muxer = b"/mplex/6.7.0"

    async def receive_frame(self) -> tuple[int, int, bytes]:
        """Next frame: (stream id, flag, body)."""
        head = await self._varint()
        return head >> 3, head & 7, await self._exactly(await self._varint())

    async def _varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = await self._exactly(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    async def open_raw(self, payload: bytes) -> int:
        """Open a stream and send ``payload``."""
        stream_id = self._next_id
        self._next_id += 1
        await self.send(frame(stream_id, NEW_STREAM), frame(stream_id, MESSAGE, payload))
        return stream_id

    async def settled(self) -> bool:
        """Return when the victim has taken in all that was sent: True when it answered a ping on a new stream, False
        when it has ended the connection."""
        try:
            await self.until_answered(await self.open("/ipfs/ping/1.0.0", PING_BODY))
        except GONE:
            return False
        return True

    async def until_answered(self, stream_id: int) -> None:
        """Read until the victim has echoed a ping on that stream."""
        expected = message(GREETING) + message(b"/ipfs/ping/1.0.0") + PING_BODY
        answer = b""
        while len(answer) < len(expected):
            about, flag, body = await self.receive_frame()
            if (about, flag) == (stream_id, Flag.MESSAGE_RECEIVER):
                answer += body
        assert answer == expected

    async def read_frames_until_closed(self) -> list[tuple[int, int, bytes]]:
        """All frames until the victim ends the connection."""
        frames = []
        try:
            while True:
                frames.append(await self.receive_frame())
        except GONE:
            return frames
