"""Where a reader is: the number of the last event that it has, for each log. As text ``bitcoin:17,node:3``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spvnode.errors import InputError
from spvnode.inputs import shown

MAX_CURSOR = 4_096
"""Characters of a cursor: 64 logs of 32 characters and a number each. Any local client can send one."""
MAX_SEQ = 2**63 - 1
"""Numbers that a store can hold."""
_PART = re.compile(r"(?P<log>[a-z][a-z0-9-]{0,31}):(?P<seq>[0-9]{1,19})\Z")


def parse_cursor(text: str, field: str) -> dict[str, int]:
    """The numbers by log. Raises InputError."""
    if len(text) > MAX_CURSOR:
        raise InputError(field, f"longer than {MAX_CURSOR} characters")
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _PART.match(part.strip())
        if match is None or int(match["seq"]) > MAX_SEQ:
            raise InputError(field, f"{shown(part)} is not of the form NETWORK:NUMBER")
        found[match["log"]] = int(match["seq"])
    return found


def show_cursor(cursor: Mapping[str, int]) -> str:
    """The text that ``parse_cursor`` reads."""
    return ",".join(f"{log}:{seq}" for log, seq in cursor.items())
