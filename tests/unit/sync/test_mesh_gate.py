"""Mesh peers before the gate: what passes, when the network's minimum counts, and that nothing is kept of who left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import btc_peers as bp
import btc_sync
import pytest
import trio
from btc_lines import one_order
from btc_sync import Node, node, one_clock, run, street_of, with_minimum_work
from mine import mine_run, regtest_chain
from world import open_chain

from p2p.bitcoin import messages as m
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin.start import Checkpoint
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.mesh_gate import RETELL_S, ProvenMesh
from spvnode.sync.prover import MAX_PROVING_INBOUND
from spvnode.sync.proving import FULL
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

__all__ = ["one_clock", "one_order"]
pytestmark = pytest.mark.usefixtures("one_clock", "one_order")

PARAMS = with_minimum_work(20_000)
LOW = regtest_chain(300, seed=1)
LONG = regtest_chain(25_000, seed=2)
LONGER = regtest_chain(60_000, seed=3)
T = TypeVar("T")


@dataclass
class Mesh:
    """Every peer has the chain of its name; ``breaks``: answers that a peer gives before it fails once; ``pauses``: how
    long a peer takes for an answer to a presync."""

    chains: dict[str, bytes]
    breaks: dict[str, int] = field(default_factory=dict)
    pauses: dict[str, float] = field(default_factory=dict)
    reported: list[RemoteFault] = field(default_factory=list)

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        await trio.sleep(self.pauses.get(peer, 0.01) if count == m.MAX_HEADERS else 0.01)
        if peer in self.breaks:
            self.breaks[peer] -= 1
            if self.breaks[peer] < 0:
                del self.breaks[peer]
                return RemoteFault(FaultReason.TIMEOUT, peer, "made up")
        chain = self.chains[peer]
        places = bp.places_of(chain)
        after = next((places[one] for one in cast(Sequence[Hash32], locator) if one in places), 0)
        return Items(Height(after + 1), chain[after * 80 : (after + count) * 80])

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        await trio.sleep(0.01)
        return Items(start, (bp.GENESIS + self.chains[peer])[start * 80 : (start + count) * 80])

    async def announce(self, tip: Tip) -> None:
        pass

    async def report(self, fault: RemoteFault) -> None:
        self.reported.append(fault)

    def useful(self, peer: str) -> None:
        pass


async def claim(made: Node, name: str, chain: bytes) -> ProvenMesh:
    assert made.mesh is not None
    height = len(chain) // 80
    await made.mesh.post(
        ev.PeerTip(name, Tip(Height(height), bp.hash_of(chain[-80:]), Work(2 * height + 2)), Height(0))
    )
    return made.mesh


async def idle(remote: bp.Remote) -> None:
    """A peer of Bitcoin's network that has nothing yet."""
    while True:
        message = await remote.receive()
        if isinstance(message, m.GetHeaders):
            await remote.send(m.Headers(b""))
        else:
            await remote.answer(message)


def test_a_node_with_its_mesh_alone_takes_what_there_is() -> None:
    async def main() -> None:
        async with node(street_of(), PARAMS, mesh=Mesh({"a": LOW})) as made:
            await claim(made, "a", LOW)
            await trio.sleep(5)
            assert made.height == 300

    run(main)


def test_once_it_has_reached_the_minimum_it_takes_no_less() -> None:
    """Not even a fork of a few headers from near our tip, which nobody has to prove elsewhere."""
    fork = LONG[: 19_900 * 80]
    less, enough = (mine_run(bp.hash_of(fork[-80:]), 1_400_000_000, count, seed=count) for count in (60, 120))

    async def main() -> None:
        async with node(street_of(), PARAMS, mesh=Mesh({})) as made:
            await made.driver.import_items(LONG[: 20_050 * 80])
            assert made.mesh is not None
            for branch in (less, enough):
                await made.mesh.post(ev.Pushed("a", Height(19_901), branch))
                await trio.sleep(5)
            assert [len(branch.headers) // 80 for branch in made.chain.store.side_branches()] == [120]

    run(main)


def test_beside_bitcoins_own_peers_the_minimum_counts() -> None:
    """The chain of little work stays out, pushed or fetched; the long one comes in, in two passes."""
    mesh = Mesh({"a": LOW, "b": LONG})

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            gate = await claim(made, "a", LOW)
            await gate.post(ev.Pushed("a", Height(1), LOW[:80]))
            await trio.sleep(5)
            assert made.height == 0
            await claim(made, "b", LONG)
            await trio.sleep(20)
            assert made.height == 25_000
            assert mesh.reported == []
            assert gate.nbytes == 0

    run(main)


def test_who_fails_in_a_pass_is_asked_again_once_it_claims_again() -> None:
    mesh = Mesh({"b": LONG}, breaks={"b": 3})

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            await claim(made, "b", LONG)
            await trio.sleep(5)
            assert (made.height, [fault.reason for fault in mesh.reported]) == (0, [FaultReason.TIMEOUT])
            await claim(made, "b", LONG)
            await trio.sleep(20)
            assert made.height == 25_000

    run(main)


def test_of_a_peer_that_left_nothing_is_kept() -> None:
    mesh = Mesh({"b": LONG})

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            gate = await claim(made, "b", LONG)
            await trio.sleep(0.03)
            assert gate.prover.running == 1
            await gate.post(ev.PeerLeft("b"))
            await trio.sleep(RETELL_S)
            assert (gate.prover.running, gate.peers, gate.nbytes) == (0, {}, 0)
            assert made.height == 0

    run(main)


def test_strangers_who_dial_us_do_not_take_all_turns() -> None:
    """Each answers just in time, and none is at fault. Who still waits holds a message's worth."""
    strangers = [f"stranger{number}" for number in range(MAX_PROVING_INBOUND + 2)]
    low = LONG[: 19_000 * 80]
    mesh = Mesh(dict.fromkeys(strangers, low) | {"chosen": LONG}, pauses=dict.fromkeys(strangers, 9.9))

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            for name in strangers:
                gate = await claim(made, name, low)
            await trio.sleep(30)
            assert gate.prover.running == MAX_PROVING_INBOUND
            waiting = [known.doubt for known in gate.peers.values() if known.doubt is not None]
            assert [len(doubt.headers) for doubt in waiting] == [FULL, FULL]
            await claim(made, "chosen", LONG)
            await trio.sleep(20)
            assert made.height == 25_000

    run(main)


def test_who_leaves_while_others_are_told_of() -> None:
    told: list[str] = []

    async def main() -> None:
        async def tell(event: ev.Event) -> None:
            told.append(type(event).__name__)
            if len(told) == 3:
                await gate.post(ev.PeerLeft("b"))

        gate = ProvenMesh(PARAMS, Mesh({}), lambda: None, minimum=lambda: True, chosen=lambda _: True, tell=tell)
        for peer in ("a", "b"):
            await gate.post(ev.PeerTip(peer, Tip(Height(1), Hash32(bytes(32)), Work(0)), Height(0)))
            gate.peers[peer].again.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            await trio.sleep(2 * RETELL_S)
            nursery.cancel_scope.cancel()
        assert told == ["PeerTip", "PeerTip", "PeerTip", "PeerLeft"]

    run(main)


@pytest.fixture
def slow_disk(one_clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked or written takes longer than a round trip."""

    async def in_place(job: Callable[..., T], *args: object, **how: object) -> T:
        await trio.sleep(0.03)
        return job(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", in_place)


@pytest.mark.usefixtures("slow_disk")
def test_ranges_that_come_before_the_minimum_is_reached_are_asked_for_again() -> None:
    """Nobody has run out of headers whose ranges were faster than our disk."""
    mesh = Mesh({"a": LONGER, "b": LONGER})

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            await made.driver.import_items(LONGER[: 18_000 * 80])
            await claim(made, "a", LONGER)
            await claim(made, "b", LONGER)
            await trio.sleep(20)
            assert made.height == 60_000
            assert mesh.reported == []

    run(main)


def test_a_backfill_has_no_work_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below a checkpoint is pinned by it, also while our chain has less than the minimum."""
    raw = LONG[14_999 * 80 : 15_000 * 80]
    start = Checkpoint(Height(15_000), Hash32(bp.hash_of(raw)), raw, Work(30_002))
    monkeypatch.setattr(btc_sync, "open_chain", lambda params: open_chain(params, start))
    mesh = Mesh({"a": LONG[: 15_100 * 80], "b": LONG[: 15_100 * 80]})

    async def main() -> None:
        async with node(street_of(bp.House(idle)), PARAMS, mesh=mesh) as made:
            await trio.sleep(5)
            await claim(made, "a", mesh.chains["a"])
            await claim(made, "b", mesh.chains["b"])
            await trio.sleep(20)
            assert (made.height, made.chain.whole) == (15_000, True)
            assert mesh.reported == []

    run(main)
