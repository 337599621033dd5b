"""A node that is flooded: ``python -m tests.adversary.flood_victim FOLDER PORTS COUNT BELIEVED FLOODS`` follows the
peers on PORTS (a JSON list) until it has COUNT headers and FLOODS chains of too little work were left. Prints what it
cost, as JSON."""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.options import NetParams, Options
from p2p.score import ScoreBoard
from spvnode.bitcoin.params import REGTEST
from spvnode.follow.bitcoin_wire import Served
from spvnode.sync.wire_pump import Pump
from spvnode.types import Height, Work
from tests.bench.wire_node import Node, peak

PATIENCE = 280.0


class Victim(Node):
    """Measures while it follows."""

    async def endure(self, ports: list[int], count: int, floods: int) -> dict[str, Any]:
        """See above. ``seconds``: until the honest chain was there; ``over``: until all of it was."""
        began, scores = time.monotonic(), ScoreBoard()
        net = self.net = BitcoinNet(
            NetParams(self.params.name, self.params.magic, self.params.default_port),
            Served(self),
            book=AddrMan(rng=random.Random(1)),
            scores=scores,
            options=Options(connect=[f"127.0.0.1:{port}" for port in ports], outbound=0, anchors=0),
        )
        pump, held, seconds, before = Pump(net, self.source, self), 0, 0.0, peak()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.driver.run)
            await nursery.start(lambda task_status: net.run(task_status=task_status))
            nursery.start_soon(pump.run)
            with trio.fail_after(PATIENCE):
                while self.chain.tip.height < count or pump.prover.low_work < floods:
                    await trio.sleep(0.02)
                    held = max(held, pump.prover.nbytes + self.source.nbytes)
                    if not seconds and self.chain.tip.height >= count:
                        seconds = time.monotonic() - began
            seconds = seconds or time.monotonic() - began
            over = time.monotonic() - began
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        found = {str(reason): times for reason, times in scores.faults.items() if times}
        tip = self.chain.headers.header(Height(count)).hex()
        return {
            "seconds": seconds, "over": over, "held": held, "before_mb": before, "peak_mb": peak(),
            "faults": found, "height": self.chain.tip.height, "tip": tip,
            "branches": len(self.chain.store.side_branches()),
        }  # fmt: skip


def main(folder: str, ports: str, count: str, believed: str, floods: str) -> None:
    """See above."""
    node = Victim(replace(REGTEST, minimum_chain_work=Work(2 * int(believed))), Path(folder))
    found = trio.run(node.endure, json.loads(ports), int(count), int(floods))
    node.store.close()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
