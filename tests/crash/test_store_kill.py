"""kill -9 at random moments: everything that was acknowledged is there, and the store opens by itself.

``SPVNODE_TEST_PROFILE=soak`` makes 200 trials of the usual 40.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

from spvnode.store.audit import audit
from tests.support.stored import open_store

TRIALS = 200 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 40
LONGEST = 0.08
"""Seconds of work before the kill: enough for a few tables, with the small write buffer of ``open_store``."""


def run_and_kill(folder: Path, seed: int, rng: random.Random) -> list[str]:
    """Lets a committer run for a random while and kills it. Returns the whole lines that it wrote."""
    command = [sys.executable, "-m", "tests.crash.committer", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if rng.random() < 0.9:  # else it dies while it starts, opens or heals
            assert select.select([process.stdout], [], [], 60)[0]
            time.sleep(rng.random() * LONGEST)
        else:
            time.sleep(rng.random() * 0.25)
        process.kill()
        written = process.stdout.read()
    return [line.decode() for line in written.split(b"\n")[:-1]]


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    rng = random.Random(11)
    folder = tmp_path / "store"
    acknowledged = 0
    for trial in range(TRIALS):
        lines = run_and_kill(folder, trial, rng)
        assert lines[:1] in ([], ["open"]), "a killed process is no fault"
        with open_store(folder) as store:
            assert store.faults == ()
            if trial % 8 == 0 or trial == TRIALS - 1:
                assert audit(store).problems == ()
            for line in lines[-5:]:
                if line == "open":
                    continue
                seq, height, tip_hash = line.split()
                event = store.events(int(seq) - 1, limit=1)[0]
                assert (event.seq, event.new_tip.height, event.new_tip.hash.hex()) == (int(seq), int(height), tip_hash)
            if len(lines) > 1:
                last = int(lines[-1].split()[0])
                assert last <= store.last_seq <= last + 1, "at most the commit under way has come on top"
                acknowledged += len(lines) - 1
    assert acknowledged > TRIALS
