"""A progress bar on stderr, where a person is looking or one was asked for."""

from __future__ import annotations

import sys
import time

BAR_WIDTH = 30
REFRESH_SECONDS = 0.1
"""Between redraws on a terminal."""
LINE_SECONDS = 1.0
"""Between lines where stderr is a file or a pipe."""


class ProgressBar:
    """Call it with (what, done, total); ``close`` ends its line. ``forced``: also where stderr is no terminal."""

    def __init__(self, *, forced: bool) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = forced or self._terminal
        self._next = 0.0
        self._pass = ""
        self._begun = self._last = time.monotonic()
        self._open = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """Draws, if it is time to."""
        now = time.monotonic()
        if what != self._pass:  # a pass reports after its first chunk: what that took began with the report before
            self._pass, self._begun = what, self._last
        self._last = now
        if not self._shown or (now < self._next and done != total):
            return
        self._next = now + (REFRESH_SECONDS if self._terminal else LINE_SECONDS)
        rate = done / (now - self._begun) if now > self._begun else 0.0
        text = f"{what:<8} {_bar(done, total)} {done:>9,} headers  {rate:>9,.0f}/s"
        sys.stderr.write(f"\r{text}\033[K" if self._terminal else text + "\n")
        sys.stderr.flush()
        self._open = self._terminal

    def close(self) -> None:
        """Leaves the bar's line."""
        if self._open:
            sys.stderr.write("\n")
            self._open = False


def _bar(done: int, total: int) -> str:
    share = min(1.0, done / max(1, total))
    full = int(share * BAR_WIDTH)
    return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] {share:>4.0%}"
