"""What the filter benchmarks work on: scripts, and a filter that holds some."""

from __future__ import annotations

import random
from collections.abc import Callable

from spvnode.bitcoin import gcs

KEY = bytes(range(16))


def scripts(count: int, seed: int) -> list[bytes]:
    """Distinct witness scripts, always the same for a seed."""
    rng = random.Random(seed)
    return [b"\x00\x14" + rng.randbytes(20) for _ in range(count)]


def make_filter(held: list[bytes]) -> bytes:
    """The filter of distinct ``held`` under ``KEY``."""
    raw = gcs.siphash_scaled(KEY, gcs.pack(held), len(held) * gcs.INVERSE_RATE)
    return gcs.encode({int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)})


def matcher(match: Callable[..., int], held: list[bytes], wanted: list[bytes]) -> Callable[[], int]:
    """A call that matches ``wanted`` against the filter of ``held``, all arguments ready."""
    filters, items, out = gcs.pack([make_filter(held)]), gcs.pack(wanted), bytearray(1)
    room = bytearray(gcs.gcs_workspace(len(wanted)))
    return lambda: match(filters, KEY, items, room, out)
