"""Which of the media types that we can give a client likes best (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_ACCEPTED = 16
"""Entries of an Accept header that are looked at. Browsers send 8; any local client can fill the header."""
_QUALITY = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")


def preferred(accept: bytes | None, offered: Sequence[bytes]) -> bytes | None:
    """The offered type of the highest quality, the first of equals; None when the client takes none of them. Without
    a header the client takes anything."""
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_parse(entry) for entry in accept.lower().split(b",", MAX_ACCEPTED)[:MAX_ACCEPTED]]
    best, quality = None, 0.0
    for kind in offered:
        found = _quality(kind, ranges)
        if found > quality:
            best, quality = kind, found
    return best


def _parse(entry: bytes) -> tuple[bytes, float]:
    """A media range and its quality; a quality that is no number makes the range unwanted."""
    kind, *parameters = (part.strip() for part in entry.split(b";"))
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            return kind, float(value) if _QUALITY.match(value.strip()) else 0.0
    return kind, 1.0


def _quality(kind: bytes, ranges: Sequence[tuple[bytes, float]]) -> float:
    """By the most specific range that covers ``kind``."""
    group = kind.partition(b"/")[0] + b"/*"
    for wanted in (kind, group, b"*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
