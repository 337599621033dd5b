"""A script watched by a daemon whose peers, on the real wire, do not agree about a block's filter."""

from __future__ import annotations

import time
from pathlib import Path

from block_server import BlockServer
from blocks import In, MadeChain, Tx, key, signature
from daemons import PATIENCE, Daemon
from demand_peers import Ledger

from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import elements, values
from spvnode.bitcoin.prevouts import hash160
from spvnode.types import hash_hex

SCRIPT = b"\x00\x14" + hash160(key(1))
PAYER = b"\x00\x14" + hash160(key(7))
PAYMENT = Tx((In(b"\x11" * 32, 0, b"", (signature(7), key(7))),), (SCRIPT,))
PAID_AT = 20


def chain() -> MadeChain:
    made = MadeChain()
    for height in range(1, 31):
        if height == PAID_AT:
            made.extend([PAYMENT], [PAYER])
        else:
            made.extend()
    return made


def hiding(made: MadeChain) -> bytes:
    """The filter of the block that pays, without the script."""
    block = Ledger(made).blocks[PAID_AT]
    left = elements(block, [PAYER]) - {SCRIPT}
    return gcs.encode(values(block.hash, left, len(left)))


def test_a_peer_that_hides_a_payment_is_found_out_and_the_payment_is_told(tmp_path: Path) -> None:
    made, daemon = chain(), Daemon(tmp_path / "node", "regtest")
    with BlockServer().running() as honest, BlockServer({PAID_AT: hiding(made)}).running() as liar:
        for server in (honest, liar):
            server.follow(made)
        daemon.start("--no-mesh", "--connect", honest.address, "--connect", liar.address, "--log-level", "debug")
        daemon.wait_height(30)
        deadline = time.monotonic() + PATIENCE
        while len([row for row in daemon.call("getpeerinfo") if int(row["services"], 16) & 64]) < 2:
            assert time.monotonic() < deadline, daemon.log()[-2_000:]
            time.sleep(0.05)
        daemon.call("watch", "script", None, 1, None, None, [SCRIPT.hex()], None, 1)
        while not (found := [one for one in events(daemon) if one["kind"] == "watch"]):
            assert time.monotonic() < deadline, daemon.log()[-2_000:]
            time.sleep(0.05)
        (told,) = found
        assert (told["txid"], told["height"], told["value"]) == (hash_hex(PAYMENT.txid), PAID_AT, 1)
        assert [line["height"] for line in daemon.lines("filters disputed")][:1] == [PAID_AT]
        assert daemon.stop() == 0


def events(daemon: Daemon) -> list[dict[str, object]]:
    return list(daemon.call("getevents", 0, 1_000, "node")["events"])
