"""The names between a plugin and the node, and what a plugin may ask: functions of the import module ``spvnode``, each
behind a capability.

They run inside the plugin's call, in the worker thread, and read what was made ready before it: no view of a chain is
touched there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from spvnode.logs import get_logger
from spvnode.plugins.faults import Reason

if TYPE_CHECKING:
    from wasmtime import Caller

MODULE = "spvnode"
"""Name of the import module."""
ALLOC, FILTER, CHECK = "spvnode_alloc", "filter_event", "check_header"
"""What a plugin exports beside its memory."""
TICK_SECONDS = 0.01
"""Between two ticks of the clock by which deadlines are counted."""
HEADER_SIZE = 80
"""Bytes of a Bitcoin header."""
MAX_HOST_CALLS = 256
"""Calls of ours within one call of a plugin: fuel does not count what they cost, a few us each."""
MAX_LOG_BYTES = 256
"""Of one line that a plugin logs; the rest is cut off."""
LOG_BURST = 20
"""Lines that a plugin may log at once; then ``LOG_RATE`` a second. What is too much is counted."""
LOG_RATE = 1.0

log = get_logger("plugins")


class Refused(Exception):
    """Ends the plugin's call."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Memory(Protocol):
    """The plugin's memory during a call."""

    def read(self, at: int, size: int) -> bytes:
        """Raises Refused outside of it."""

    def write(self, at: int, data: bytes) -> None:
        """The same."""


@dataclass(frozen=True, slots=True)
class Window:
    """Headers of the chain that is looked at, from the height ``start`` upward, 80 bytes each."""

    start: int = 0
    raw: bytes = b""

    def header(self, height: int) -> bytes:
        """The 80 bytes at ``height``; empty outside."""
        at = (height - self.start) * HEADER_SIZE
        return self.raw[at : at + HEADER_SIZE] if at >= 0 else b""


NO_WINDOW = Window()


@dataclass(slots=True)
class Lines:
    """Lines of the log that a plugin may fill: ``LOG_BURST`` at once, then ``LOG_RATE`` a second."""

    dropped: int = 0
    _left: float = field(default=LOG_BURST)
    _counted_at: float = 0.0

    def take(self, now: float) -> bool:
        """Whether there is one now (seconds of any clock)."""
        self._left = min(LOG_BURST, self._left + max(0.0, now - self._counted_at) * LOG_RATE)
        self._counted_at = now
        if self._left < 1:
            self.dropped += 1
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Desk:
    """What one plugin's host functions stand on. ``begin`` it for each call."""

    plugin: str
    clock: Callable[[], float]
    window: Window = NO_WINDOW
    calls_left: int = MAX_HOST_CALLS
    lines: Lines = field(default_factory=Lines)

    def begin(self, window: Window) -> None:
        """A call of the plugin begins."""
        self.window = window
        self.calls_left = MAX_HOST_CALLS

    def count(self) -> None:
        """One call of ours. Raises Refused where there were too many."""
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Refused(Reason.CALLS, f"more than {MAX_HOST_CALLS} in one call")

    def log(self, memory: Memory, at: int, size: int) -> None:
        """``log(ptr, len)``."""
        text = memory.read(at, min(size, MAX_LOG_BYTES)).decode("utf-8", "replace")
        if self.lines.take(self.clock()):
            log.info("plugin says", plugin=self.plugin, text=text)

    def now(self, memory: Memory) -> int:
        """``now() -> i64``: Unix seconds."""
        return int(self.clock())

    def header(self, memory: Memory, height: int, at: int) -> int:
        """``header(height, ptr) -> i32``: 1 with the header written at ``ptr``, 0 where there is none to give."""
        found = self.window.header(height)
        if len(found) != HEADER_SIZE:
            return 0
        memory.write(at, found)
        return 1


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One of them: WebAssembly's types of its parameters and results, and the method of ``Desk`` that answers."""

    capability: str
    parameters: tuple[str, ...]
    results: tuple[str, ...]
    call: Callable[..., int | None]


FUNCTIONS: Mapping[str, HostFunction] = MappingProxyType(
    {
        "log": HostFunction("log", ("i32", "i32"), (), Desk.log),
        "now": HostFunction("clock", (), ("i64",), Desk.now),
        "header": HostFunction("headers", ("i32", "i32"), ("i32",), Desk.header),
    }
)
"""All of them by name."""


def bind(function: HostFunction, desk: Desk, view: Callable[[Caller], Memory]) -> Callable[..., int | None]:
    """The function as the sandbox calls it: numbers as WebAssembly means them, unsigned."""

    def call(caller: Caller, *numbers: int) -> int | None:
        desk.count()
        return function.call(desk, view(caller), *(number & 0xFFFFFFFF for number in numbers))

    return call
