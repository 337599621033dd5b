"""Ten million headers of too little work, from eight peers that are there all at once, over real sockets, while one
peer is honest. In processes of their own; ``SPVNODE_TEST_PROFILE=soak`` sends so many, else it is a hundredth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mine import regtest_chain

ROOT = Path(__file__).parents[2]
SOAK = os.environ.get("SPVNODE_TEST_PROFILE") == "soak"
FLOODERS = 8
FLOOD = 1_250_000 if SOAK else 40_000
"""Headers of each: more than a node that is itself syncing would show."""
BELIEVED = FLOOD + 10_000
HONEST = BELIEVED + 40_000
SPACING = 60
"""Seconds between blocks: with ten minutes so long a chain would end in our future."""
HELD = 30_000_000
"""Bytes of presyncs and supplies, far above what they come to: a flood that was kept would be 100 MB of each peer."""


@contextmanager
def peers(flood: Path, honest: Path) -> Iterator[list[int]]:
    """Their ports; the honest one's is the last."""
    command = [sys.executable, "-m", "tests.adversary.flood_peers", str(flood), str(honest), str(FLOODERS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def victim(folder: Path, ports: list[int], floods: int) -> dict[str, Any]:
    arguments = [str(folder), json.dumps(ports), str(HONEST), str(BELIEVED), str(floods)]
    command = [sys.executable, "-m", "tests.adversary.flood_victim", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_flood_of_low_work_by_eight_peers_over_sockets_is_left_and_the_honest_chain_comes_in(tmp_path: Path) -> None:
    flood, honest = tmp_path / "flood", tmp_path / "honest"
    flood.write_bytes(regtest_chain(FLOOD, seed=7, spacing=SPACING))
    chain = regtest_chain(HONEST, spacing=SPACING)
    honest.write_bytes(chain)
    with peers(flood, honest) as ports:
        alone = victim(tmp_path / "alone", ports[-1:], 0)
        flooded = victim(tmp_path / "flooded", ports, FLOODERS)
    sys.stdout.write(f"alone {alone}\nflooded {flooded}\n")
    for found in (alone, flooded):
        assert (found["height"], found["branches"]) == (HONEST, 0)
        assert found["tip"] == chain[-80:].hex()
        assert found["held"] <= HELD
    assert alone["faults"] == {}
    assert flooded["faults"] == {"low-work": FLOODERS}
    assert flooded["peak_mb"] <= alone["peak_mb"] + HELD / 1e6
