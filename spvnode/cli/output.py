"""What commands print: JSON for programs, aligned names and values for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def emit(data: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Prints ``data`` as JSON, or ``lines`` for people."""
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines))


def pairs(rows: Mapping[str, object]) -> list[str]:
    """``name  value`` lines, the names padded to one width; rows whose value is None are left out."""
    shown = {name: value for name, value in rows.items() if value is not None}
    width = max(map(len, shown), default=0)
    return [f"{name:<{width}}  {value}" for name, value in shown.items()]


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table: its heads, then its rows, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in (heads, *rows))
    return ["  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines]


def work_text(work: str) -> str:
    """Core's 64 hex digits for people: ``0x12c012c012c, 2^40.2 hashes``. Programs get the digits, as Core has them."""
    number = int(work, 16)
    return f"0x{number:x}, 2^{math.log2(number):.1f} hashes" if number else "0x0"


def seconds(value: float | None) -> str | None:
    """A span for people: ``45 s``, ``12 min``, ``5.0 h``, ``3.2 d``, ``16.9 years``."""
    if value is None:
        return None
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if value < limit:
            return f"{value / unit:.0f} {name}"
    for limit, unit, name in ((172_800, 3600, "h"), (730 * 86_400, 86_400, "d")):
        if value < limit:
            return f"{value / unit:.1f} {name}"
    return f"{value / (365.25 * 86_400):.1f} years"
