"""Reads the vectors under tests/vectors, each once per process."""

from __future__ import annotations

import csv
import io
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"


@cache
def unpacked(name: str) -> bytes:
    """The content of an .xz vector of Bitcoin."""
    return lzma.decompress((VECTORS / "bitcoin" / f"{name}.xz").read_bytes())


def table(name: str) -> list[dict[str, str]]:
    """The rows of a compressed CSV vector of Bitcoin."""
    return list(csv.DictReader(io.StringIO(unpacked(name).decode())))


def document(name: str) -> Any:
    """A JSON vector of Bitcoin."""
    return json.loads((VECTORS / "bitcoin" / name).read_text())
