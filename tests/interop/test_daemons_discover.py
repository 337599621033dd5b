"""A daemon of ours that knows nobody but the record of another finds it by discv5. `make interop` runs it."""

from __future__ import annotations

import pytest

from p2p.discv5.enr import make
from tests.interop.beacon_js import Daemons, Js, beacon_node
from tests.interop.js_peer import until
from tests.interop.recorded import DEVNET

pytestmark = pytest.mark.interop

GONE = make(b"\x11" * 32, 1, {b"ip": bytes([127, 0, 0, 1]), b"udp": (9).to_bytes(2, "big")}).text
"""A bootnode that does not answer: on loopback it takes one to have discovery at all."""


def test_a_record_is_enough(js: Js, daemon: Daemons) -> None:
    genesis = DEVNET.genesis_now
    peer = beacon_node(js, DEVNET, genesis)
    first = daemon(DEVNET, genesis=genesis, peers=[peer.addr], discovery=True, bootnodes=[GONE])
    first.start()
    record = until(lambda: first.identity()["enr"], "to discover")
    first.wait_finalized(DEVNET.finalized_slot)
    second = daemon(DEVNET, genesis=genesis, discovery=True, bootnodes=[record])
    second.start()
    found = second.wait_finalized(DEVNET.finalized_slot)
    assert found["root"] == "0x" + DEVNET.finalized_root.hex()
    assert first.identity()["peer_id"] in {row["peer_id"] for row in second.peers()}
    assert second.identity()["peer_id"] in {row["peer_id"] for row in first.peers()}
