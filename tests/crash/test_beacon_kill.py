"""kill -9 at random moments of following a beacon chain: everything that was acknowledged is there, the store opens by
itself, what is in it verifies, and it goes on.

``SPVNODE_TEST_PROFILE=soak`` makes 150 trials of the usual 12.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

from spvnode.bls import Verifier
from spvnode.ethereum.chain import BeaconChain
from spvnode.following import Outcome
from tests.crash.beacon_committer import open_store, world
from tests.support.beacon_chains import clock, offer, run
from tests.support.beacon_world import complete_update, late

TRIALS = 150 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 12
LONGEST = 0.25
"""Seconds of work before the kill: a few rounds from a start to the end of the chain."""


def run_and_kill(folder: Path, seed: int, rng: random.Random) -> list[str]:
    """Lets a committer run for a random while and kills it. Returns the whole lines that it wrote."""
    command = [sys.executable, "-m", "tests.crash.beacon_committer", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        time.sleep(rng.random() * LONGEST)
        process.kill()
        written = process.stdout.read()
    return [line.decode() for line in written.split(b"\n")[:-1]]


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    rng, made, verifier = random.Random(5), world(), Verifier()
    folder = tmp_path / "store"
    acknowledged = 0
    for trial in range(TRIALS):
        lines = run_and_kill(folder, trial, rng)
        assert lines[0] == "open", "a killed process is no fault"
        with open_store(folder) as store:
            assert store.faults == ()
            chain = BeaconChain.open(made.network, store, clock=clock, verifier=verifier)
            if chain is None:
                assert store.start is None
                assert lines == ["open"]
                continue
            assert chain.faults == ()
            acknowledged += len(lines) - 1
            last = lines[-1].split()
            if last[0] == chain.start.root.hex():  # else the process had just begun anew
                height, finalized, optimistic = (int(number) for number in last[1:4])
                assert chain.tip.height >= height
                assert chain.finalized.beacon.slot >= finalized
                assert chain.optimistic.beacon.slot >= optimistic
            elif last[0] == "begin":
                assert last[1] == chain.start.root.hex()
            if trial % 4 == 0 and chain.locator() < 5:
                update = complete_update(made, chain.locator(), rng)
                verdict = offer(chain, run(made.network, [update]), now=made.network.start_of(late(made)))
                assert (verdict.outcome, verdict.last) == (Outcome.EXTENDS, chain.tip.height)
    assert acknowledged > TRIALS, "most of them were killed at work"
