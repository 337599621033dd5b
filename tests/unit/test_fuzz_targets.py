"""The fuzz targets themselves, on random and on damaged well-formed inputs: what ``make fuzz`` does for longer."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

from targets import TARGETS, seeds

CASES = 2_000


@pytest.mark.parametrize("name", TARGETS)
def test_strangers_bytes_are_parsed_or_refused(name: str) -> None:
    rng = random.Random(name)
    known = [b"", *seeds().get(name, [])]
    for _ in range(CASES):
        data = bytearray(rng.choice(known) if rng.random() < 0.5 else rng.randbytes(rng.randrange(300)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        TARGETS[name](bytes(data))
