"""Exit codes: what a script can rely on. The numbers above 63 are those of BSD's sysexits.h."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """See ``MEANINGS``."""

    OK = 0
    NEGATIVE = 1
    INPUT = 2
    UNAVAILABLE = 69
    SOFTWARE = 70
    STORE = 74
    BUSY = 75
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done; for `verify`: the proof holds; for `check`: every store is sound",
    Exit.NEGATIVE: "the answer is no: the proof does not hold, or a store is damaged",
    Exit.INPUT: "bad input: a flag, a file (also one that is no proof), the config, a height or hash that is not there",
    Exit.UNAVAILABLE: "no daemon answers in this data directory, or none of its peers has what was asked for",
    Exit.SOFTWARE: "a fault of spvnode itself; please report the line it printed",
    Exit.STORE: "the store or the disk refused (full, not readable, from a newer version)",
    Exit.BUSY: "another process uses the store; try again when it has ended",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}


def exit_help() -> str:
    """The table as the last part of ``--help``."""
    rows = "\n".join(f"  {int(code):>3}  {text}" for code, text in MEANINGS.items())
    return f"Exit codes:\n{rows}"
