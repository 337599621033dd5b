"""Why the peers that the operator named are not connected: he should not need a debug log to see a mistyped one."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Final

import structlog
import trio

REMIND_S: Final = 3600.0
"""Seconds between two warnings of one peer. A dead one is dialed every two minutes, for ever."""
MAX_PROBLEM: Final = 300
"""Characters kept of a problem: part of it may be the remote's words."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Missing:
    """A named peer that is not connected. ``problem``: why, as far as is known; None before the first attempt."""

    addr: str
    problem: str | None


class Troubles:
    """Tell it whom the operator wants (``expect``, ``forget``), and how it goes (``failed``, ``cleared``). As large as
    the number of named peers, which their dialer bounds."""

    def __init__(self, network: str) -> None:
        self._network = network
        self._problems: dict[str, str | None] = {}
        self._warned: dict[str, float] = {}

    def expect(self, addr: str) -> None:
        """The operator names ``addr``."""
        self._problems.setdefault(addr, None)

    def forget(self, addr: str) -> None:
        """He does so no longer."""
        self._problems.pop(addr, None)
        self._warned.pop(addr, None)

    def failed(self, addr: str, problem: str) -> None:
        """An attempt at ``addr`` came to nothing. What nobody has named is a matter of the debug log."""
        problem = problem.removeprefix(f"{addr}: ")[:MAX_PROBLEM]
        if addr not in self._problems:
            log.debug("dial failed", network=self._network, addr=addr, problem=problem)
            return
        self._problems[addr] = problem
        now = trio.current_time()
        if now - self._warned.get(addr, -REMIND_S) < REMIND_S:
            log.debug("named peer not connected", network=self._network, addr=addr, problem=problem)
            return
        self._warned[addr] = now
        log.warning("named peer not connected", network=self._network, addr=addr, problem=problem)

    def cleared(self, addr: str) -> None:
        """It is connected. When it was last warned of stays: who comes and goes would fill the log."""
        if addr in self._problems:
            self._problems[addr] = None

    def of(self, addr: str) -> Missing:
        """``addr``, not connected."""
        return Missing(addr, self._problems.get(addr))


def cause(error: BaseException) -> str:
    """The first cause of an error in words: libraries wrap each in one that says less."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None and str(error.__cause__):
            error = error.__cause__
        else:
            break
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # its own words repeat the address
    return str(error) or type(error).__name__
