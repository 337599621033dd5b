"""A daemon that is killed at random while it looks into blocks for a script, which a peer on the real wire serves, and
while the chain grows and is reorganized: every payment is told, and none twice."""

from __future__ import annotations

import http.client
import os
import random
import time
from pathlib import Path
from typing import Any

from block_server import BlockServer
from blocks import In, MadeChain, Tx, key, signature
from daemons import PATIENCE, Daemon, RpcFailed

from spvnode.bitcoin.prevouts import hash160
from spvnode.types import hash_hex

DEATHS = 60 if os.environ.get("SPVNODE_TEST_PROFILE") == "soak" else 4
SCRIPT = b"\x00\x14" + hash160(key(1))
PAYER = b"\x00\x14" + hash160(key(7))


def payment(number: int) -> Tx:
    return Tx((In(b"\x11" * 32, number, b"", (signature(7), key(7))),), (SCRIPT,))


class Chain:
    """Grows at random; ``paid`` is, by height of the main chain, the txid that pays the script there."""

    def __init__(self, rng: random.Random) -> None:
        self.made = MadeChain()
        self.paid: dict[int, str] = {}
        self._rng = rng
        self._number = 0

    def step(self, *, reorganize: bool = False) -> None:
        tip = len(self.made.blocks)
        back = min(tip, self._rng.randrange(2, 6)) if reorganize or self._rng.random() < 0.3 else 0
        self.made = MadeChain(self.made.blocks[: tip - back], self.made.prevouts[: tip - back])
        self.paid = {height: txid for height, txid in self.paid.items() if height <= tip - back}
        for height in range(tip - back + 1, tip + self._rng.randrange(2, 5)):
            self._number += 1
            tx = payment(self._number)
            if self._rng.random() < 0.5:
                self.made.extend([tx], [PAYER])
                self.paid[height] = hash_hex(tx.txid)
            else:
                self.made.extend(pays=b"\x53" + self._number.to_bytes(3, "little"))


def start(daemon: Daemon, server: BlockServer) -> None:
    daemon.start("--no-mesh", "--connect", server.address)
    daemon.wait_answer()


def told(daemon: Daemon) -> list[dict[str, Any]]:
    events = daemon.call("getevents", 0, 1_000, "node")["events"]
    return [event for event in events if event["kind"] == "watch"]


def wait_caught_up(daemon: Daemon, tip: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            (shown,) = daemon.call("listwatches")
            if (daemon.call("getblockcount"), shown["scanned"], shown["waiting_for"]) == (tip, tip, None):
                return
        except (OSError, http.client.HTTPException, RpcFailed):
            pass  # it comes up
        assert time.monotonic() < deadline, f"{shown}: {daemon.log()[-2_000:]}"
        time.sleep(0.05)


def test_every_payment_is_told_and_none_twice(tmp_path: Path) -> None:
    rng = random.Random(5)
    daemon, chain = Daemon(tmp_path / "node", "regtest"), Chain(rng)
    with BlockServer().running() as server:
        for _ in range(5):
            chain.step()
        server.follow(chain.made)
        start(daemon, server)
        daemon.wait_height(len(chain.made.blocks))
        daemon.call("watch", "script", None, 1, None, None, [SCRIPT.hex()], [], 1)
        for death in range(DEATHS):
            if death % 2:
                wait_caught_up(daemon, len(chain.made.blocks))
            for _ in range(rng.randrange(1, 4)):
                chain.step()
                server.follow(chain.made)
                time.sleep(rng.uniform(0.0, 0.4))
            if death % 3 == 2:
                wait_caught_up(daemon, len(chain.made.blocks))
            daemon.kill()
            if death % 3 == 2:
                chain.step(reorganize=True)
                server.follow(chain.made)
            start(daemon, server)
        wait_caught_up(daemon, len(chain.made.blocks))
        found = told(daemon)
        standing: dict[tuple[str, int], str] = {}
        for one in found:
            place = one["txid"], one["height"]
            if one.get("undone"):
                assert standing.pop(place) == one["hash"], "undone, and was never told"
            else:
                assert place not in standing, "told twice"
                standing[place] = one["hash"]
        assert standing == {(txid, height): daemon.call("getblockhash", height) for height, txid in chain.paid.items()}
        assert any(one.get("undone") for one in found)
        assert daemon.stop() == 0
    assert {"getcfheaders", "getcfilters", "getdata"} <= set(server.served)
    assert not daemon.faults()
