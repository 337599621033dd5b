"""Frames over one stream, under limits of size and progress. What the remote does wrong comes back as a
fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from p2p.faults import FaultReason, Malformed, RemoteFault
from p2p.mesh.codec import (
    PREFIX_SIZE,
    Error,
    Hello,
    Message,
    Prefix,
    decode_payload,
    decode_prefix,
    encode,
)
from p2p.port import Stream, StreamClosed

FRAME_GRACE_S: Final = 5.0
"""Seconds that any frame may take, however small: round trips and a busy machine, not throughput."""

MIN_RATE: Final = 32_768
"""Bytes a second that a frame must move at beyond the grace, in and out. A full HEADERS frame may so take
25 s: a 2G link passes, one byte a second does not. Without it a peer could hold a reply slot and its buffer
for ever."""

HELLO_DEADLINE_S: Final = 10.0
"""Seconds for the other side's hello, from when the stream is open."""


@dataclass(frozen=True, slots=True)
class Frame:
    request_id: int
    message: Message


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream ended between two frames."""

    clean: bool


Received: TypeAlias = Frame | Ended | RemoteFault


def allowance(size: int) -> float:
    """Seconds that a frame of ``size`` bytes may take."""
    return FRAME_GRACE_S + size / MIN_RATE


class Wire:
    """One stream as frames. One task receives; any number may send, one frame at a time.

    After a fault, or when a receive was cancelled, the stream is no longer between two frames: reset it.
    """

    __slots__ = ("_stream", "_write_lock", "network", "receiving")

    def __init__(self, stream: Stream, network: str) -> None:
        self._stream = stream
        self._write_lock = trio.Lock()
        self.network = network
        self.receiving = False
        """True while a frame has begun to arrive and has not ended."""

    @property
    def peer(self) -> str:
        return self._stream.peer

    def fault(self, reason: FaultReason, evidence: str) -> RemoteFault:
        return RemoteFault(reason, self.peer, evidence, self.network)

    async def receive(self) -> Received:
        """Wait, for as long as it takes, for a frame to begin; then take it within its allowance."""
        try:
            first = await self._stream.read_exactly(1)
        except StreamClosed as closed:
            return Ended(closed.clean)
        self.receiving = True
        try:
            return await self._rest(first)
        except StreamClosed as closed:
            return self.fault(FaultReason.DISCONNECTED, f"stream ended in mid-frame: {closed}")
        finally:
            self.receiving = False

    async def _rest(self, first: bytes) -> Received:
        payload = None
        with trio.move_on_after(FRAME_GRACE_S) as scope:
            prefix = decode_prefix(first + await self._stream.read_exactly(PREFIX_SIZE - 1))
            if isinstance(prefix, Malformed):
                return self.fault(prefix.reason, prefix.evidence)
            scope.deadline += prefix.payload_size / MIN_RATE
            payload = await self._stream.read_exactly(prefix.payload_size)
        if payload is None:
            return self.fault(FaultReason.DRIP, f"a frame took more than {FRAME_GRACE_S:g} s + {MIN_RATE} B/s")
        return self._decoded(prefix, payload)

    def _decoded(self, prefix: Prefix, payload: bytes) -> Received:
        message = decode_payload(prefix.type, payload)
        if isinstance(message, Malformed):
            return self.fault(message.reason, message.evidence)
        return Frame(prefix.request_id, message)

    async def receive_within(self, seconds: float) -> Received:
        """``receive``, with a limit on the wait for the frame to begin as well; STALLED when that passes."""
        received: Received | None = None
        with trio.move_on_after(seconds):
            received = await self.receive()
        if received is None:
            return self.fault(FaultReason.STALLED, f"no frame within {seconds:g} s")
        return received

    async def expect_hello(self, genesis: bytes) -> Hello | RemoteFault:
        """The first frame, which must be the hello of a node on the same network."""
        received = await self.receive_within(HELLO_DEADLINE_S)
        if isinstance(received, RemoteFault):
            return received
        if isinstance(received, Ended):
            return self.fault(FaultReason.DISCONNECTED, "left before its hello")
        match received.message:
            case Hello() as hello if hello.genesis == genesis:
                return hello
            case Hello() as hello:
                return self.fault(FaultReason.WRONG_NETWORK, f"its genesis is {hello.genesis[::-1].hex()}")
            case Error() as error:
                return self.fault(FaultReason.REFUSED, f"{error.code.name}: {error.text}")
            case message:
                return self.fault(FaultReason.PROTOCOL, f"began with {type(message).__name__}")

    async def send(self, request_id: int, message: Message) -> RemoteFault | None:
        """Write one frame; STALLED when the remote does not take it within its allowance."""
        async with self._write_lock:
            return await self.send_locked(request_id, message)

    @property
    def write_lock(self) -> trio.Lock:
        """For a caller who must decide what to say and say it without another frame in between."""
        return self._write_lock

    async def send_locked(self, request_id: int, message: Message) -> RemoteFault | None:
        """``send`` for the holder of ``write_lock``."""
        frame = encode(request_id, message)
        try:
            with trio.move_on_after(allowance(len(frame))) as scope:
                await self._stream.write(frame)
        except StreamClosed as closed:
            return self.fault(FaultReason.DISCONNECTED, f"stream ended while we wrote: {closed}")
        if scope.cancelled_caught:
            return self.fault(FaultReason.STALLED, f"did not take {len(frame)} bytes in {allowance(len(frame)):g} s")
        return None

    async def close(self) -> None:
        await self._stream.close()

    async def reset(self) -> None:
        await self._stream.reset()
