"""One followed network on a real store: restarts after failures, the wait for a checkpoint, and gossiped tips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from mine import mine, mine_run, regtest_chain
from structlog.testing import capture_logs
from world import NOW, Peer, open_chain

from p2p.faults import RemoteFault
from p2p.mesh.peer import PeerInfo
from spvnode.bitcoin.header import Header
from spvnode.bitcoin.params import REGTEST
from spvnode.bitcoin.stored import StoredChain
from spvnode.config import CheckpointConfig, SyncConfig
from spvnode.errors import InputError, StoreError
from spvnode.follow.bitcoin import GOSSIP_DEPTH, BitcoinFollower
from spvnode.following import Tip
from spvnode.node import Node
from spvnode.store.errors import StoreDamaged
from spvnode.supervise import supervise
from spvnode.sync import events as ev
from spvnode.sync.effects import FetchAfter, FetchRange
from spvnode.sync.source import Items
from spvnode.sync.table import State
from spvnode.types import Hash32, Height, Work

HEADERS = regtest_chain(300)
PATIENCE = 20.0
SYNCHRONISING = {f"synchronising: {state}" for state in State}


def honest(headers: bytes = HEADERS) -> StoredChain:
    chain = open_chain()
    verdict = chain.plan(headers, NOW)
    chain.write(verdict, now=NOW, sync=False)
    chain.apply(verdict)
    return chain


class Mesh:
    """Peers by name, asked in place."""

    def __init__(self, **chains: StoredChain) -> None:
        self.peers = {name: Peer(name, chain) for name, chain in chains.items()}
        self.asked: Counter[str] = Counter()
        self.reported: list[RemoteFault] = []
        self.hold = trio.Event()
        self.hold.set()

    async def fetch_after(self, peer: str, locator: list[Hash32], count: int) -> Items:
        self.asked[peer] += 1
        await self.hold.wait()
        return self.peers[peer].honest(FetchAfter(0, peer, count), locator)

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items:
        self.asked[peer] += 1
        return self.peers[peer].honest(FetchRange(0, peer, start, count), [])

    async def announce(self, tip: Tip) -> None:
        pass

    async def report(self, fault: RemoteFault) -> None:
        self.reported.append(fault)

    def useful(self, peer: str) -> None:
        pass

    def claim(self, name: str) -> ev.PeerTip:
        return ev.PeerTip(name, self.peers[name].chain.tip, Height(0))


def followed(datadir: Path, mesh: Mesh, checkpoint: CheckpointConfig | None = None) -> BitcoinFollower:
    return BitcoinFollower(
        REGTEST, datadir, checkpoint, mesh, sync=SyncConfig(), write_buffer=1 << 20,
        pool=trio.CapacityLimiter(4), clock=lambda: NOW,
    )  # fmt: skip


def checkpoint_at(height: int, block_hash: bytes | None = None) -> CheckpointConfig:
    known = block_hash or Header(HEADERS[(height - 1) * 80 : height * 80]).hash
    return CheckpointConfig(network="regtest", height=height, hash=known[::-1].hex())


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what is waited for has no event
        await trio.sleep(0.01)


def run_followed(one: BitcoinFollower, main: Callable[[], object]) -> None:
    """``main`` while ``one`` is followed under the supervisor."""

    async def bounded() -> None:
        try:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    await trio.to_thread.run_sync(one.open)
                    nursery.start_soon(supervise, "sync", one.run)
                    await main()  # type: ignore[misc]
                    nursery.cancel_scope.cancel()
        finally:
            one.close()

    trio.run(bounded)


def height_of(one: BitcoinFollower) -> int:
    return one.chain.tip.height if one.chain is not None else -1


def said(one: BitcoinFollower) -> set[str]:
    return {reason for reason, holds in one.reasons().items() if holds}


def store_up_to(datadir: Path, height: int) -> None:
    """A chain from genesis on, as a run without a checkpoint leaves it."""
    mesh = Mesh(a=honest(HEADERS[: height * 80]))
    one = followed(datadir, mesh)

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == height)

    run_followed(one, main)


# -- restarts


def test_a_damaged_store_is_opened_anew_and_the_sync_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh(a=honest(), b=honest(HEADERS[: 100 * 80]))
    one = followed(tmp_path, mesh)
    damaged = [StoreDamaged("checksum")]
    write = StoredChain.write

    def fail_once(chain: StoredChain, *args: object, **named: object) -> None:
        if damaged:
            raise damaged.pop()
        write(chain, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(StoredChain, "write", fail_once)

    async def main() -> None:
        await until(lambda: one.driver is not None)
        first = one.driver
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 300)
        assert one.driver is not first
        assert not mesh.reported

    run_followed(one, main)


def test_an_opening_that_fails_after_a_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store was open again, and its chain was not: that must not be taken for a wait for a checkpoint."""
    mesh = Mesh(a=honest())
    one = followed(tmp_path, mesh)
    load = StoredChain._load
    plan, errors = StoredChain.plan, [RuntimeError("a defect")]

    def plan_once(chain: StoredChain, *args: object) -> object:
        if errors:
            monkeypatch.setattr(StoredChain, "_load", load_once)
            raise errors.pop()
        return plan(chain, *args)  # type: ignore[arg-type]

    def load_once(chain: StoredChain) -> object:
        monkeypatch.setattr(StoredChain, "_load", load)
        raise StoreError("the disk is full just now")

    monkeypatch.setattr(StoredChain, "plan", plan_once)

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 300)

    run_followed(one, main)


def test_news_that_overtakes_the_start_is_not_undone_by_it(tmp_path: Path) -> None:
    """A peer that leaves while a driver is being told of all claims is not claimed to be there afterwards."""
    mesh = Mesh(a=honest(HEADERS[: 50 * 80]))
    one = followed(tmp_path, mesh)

    async def main() -> None:
        names = [f"p{i}" for i in range(50)]
        for name in names:
            one.claims[name] = ev.PeerTip(name, Tip(Height(0), REGTEST.genesis_hash, 0), Height(0))  # type: ignore[arg-type]
        while one.driver is None:
            await trio.lowlevel.checkpoint()  # to be there at once: it is being told of the claims right now
        for name in reversed(names):
            await one.post(ev.PeerLeft(name))
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 50)
        assert len(one.driver.machine.peers) == 1  # type: ignore[union-attr]

    run_followed(one, main)


# -- a start at a checkpoint


def test_a_checkpoint_that_no_peer_has_is_nobodys_fault(tmp_path: Path) -> None:
    """It is as likely the operator's; and a peer is asked for it again only when it has something new."""
    mesh = Mesh(a=honest(), b=honest())
    one = followed(tmp_path, mesh, checkpoint_at(200, bytes(32)))

    async def main() -> None:
        await one.post(mesh.claim("a"))
        for _ in range(20):
            await one.post(mesh.claim("b"))
            await until(lambda: mesh.asked["b"] > 0)
            await one.post(ev.PeerTip("c", Tip(Height(5), Hash32(bytes(32)), 0), Height(0)))  # type: ignore[arg-type]
            await trio.sleep(0.01)
        assert one.chain is None
        assert not mesh.reported
        assert mesh.asked["a"] == 1

    run_followed(one, main)


def test_the_wait_for_a_checkpoint_outlives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has begun at it, the chain could not be made: the next try finds it there, without any peer."""
    mesh = Mesh(a=honest())
    one = followed(tmp_path, mesh, checkpoint_at(200))
    load = StoredChain._load

    def load_once(chain: StoredChain) -> object:
        monkeypatch.setattr(StoredChain, "_load", load)
        one.claims.clear()
        raise StoreError("the disk is full just now")

    monkeypatch.setattr(StoredChain, "_load", load_once)

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 200)
        await one.post(mesh.claim("a"))
        await until(lambda: one.chain is not None and one.chain.whole)
        assert height_of(one) == 300
        assert one.headers is not None
        assert one.headers.root(Height(300)) == mesh.peers["a"].chain.headers.root(Height(300))

    run_followed(one, main)


# -- gossiped tips


def test_which_gossiped_tips_are_passed_on(tmp_path: Path) -> None:
    mesh = Mesh(a=honest(HEADERS[: 299 * 80]))
    one = followed(tmp_path, mesh)

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 299)
        tip = Header(HEADERS[298 * 80 : 299 * 80])
        news = HEADERS[299 * 80 :]
        rival = mine_run(tip.prev_hash, tip.time, 1, seed=3)
        old_rival = mine_run(Header(HEADERS[9 * 80 : 10 * 80]).hash, tip.time, 1, seed=3)
        weak, _ = mine(tip.hash, time=tip.time + 600, good=False)
        assert one.judge_tip(300, news) is True
        assert one.judge_tip(299, rival) is True
        assert one.judge_tip(300, weak) is False
        assert one.judge_tip(400, news) is None
        # Each of these has its proof of work, and can be sent as news as often as there are heights to claim.
        for height in range(299 - GOSSIP_DEPTH, 301):
            assert one.judge_tip(height, HEADERS[:80]) is None
            assert one.judge_tip(height, old_rival) is None
            assert one.judge_tip(height, tip.raw) is None
        assert one.judge_tip(299, news) is None

    run_followed(one, main)


def info(name: str, *, inbound: bool, static: bool = False) -> PeerInfo:
    return PeerInfo(
        name, "/ip4/127.0.0.1/tcp/1", inbound=inbound, static=static, since=0.0, tips={}, score=0.0, agent="",
        bytes_received=0, bytes_sent=0, headers_received=0, headers_served=0, last_useful=None,
    )  # fmt: skip


def test_peers_of_the_mesh_that_we_chose_do_not_count_as_strangers(tmp_path: Path) -> None:
    peers = [info("dialed", inbound=False), info("stranger", inbound=True), info("named", inbound=True, static=True)]
    one = BitcoinFollower(
        REGTEST, tmp_path, None, Mesh(), sync=SyncConfig(), write_buffer=1 << 20, pool=trio.CapacityLimiter(4),
        clock=lambda: NOW, mesh_peers=lambda: peers,
    )  # fmt: skip

    async def main() -> None:
        for peer in peers:
            await one.mesh.post(ev.PeerTip(peer.id, Tip(Height(1), Hash32(bytes(32)), Work(0)), Height(0)))

    trio.run(main)
    strangers = {name: known.inbound for name, known in one.mesh.peers.items()}
    assert strangers == {"dialed": False, "stranger": True, "named": False}


def test_without_its_networks_own_peers_nobody_can_be_asked_for_blocks(tmp_path: Path) -> None:
    node = Node({"regtest": followed(tmp_path, Mesh())})
    for filters in (True, False):
        why = node.unreachable("regtest", filters=filters)
        assert why is not None
        assert why.startswith("this node is not connected to regtest's own peers")


# -- a checkpoint, and a chain that was begun without it


def test_a_checkpoint_above_the_tip_is_held_against_every_chain(tmp_path: Path) -> None:
    """It was ignored there: the chain went past it with another block, and the next start failed."""
    store_up_to(tmp_path, 56)
    mesh = Mesh(a=honest())
    one = followed(tmp_path, mesh, checkpoint_at(60, b"\xab" * 32))

    async def main() -> None:
        await until(lambda: one.driver is not None)
        assert "not yet at the checkpoint at height 60" in said(one)
        await one.post(mesh.claim("a"))
        await until(lambda: one.contradictions > 0)
        assert mesh.reported == [], "it may be the operator who is wrong"
        assert height_of(one) == 56
        assert "peers have another block at the checkpoint at height 60: is its hash right?" in said(one)

    run_followed(one, main)


def test_a_checkpoint_above_the_tip_that_holds_is_passed(tmp_path: Path) -> None:
    store_up_to(tmp_path, 56)
    mesh = Mesh(a=honest())
    one = followed(tmp_path, mesh, checkpoint_at(60))

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 300)
        assert not [reason for reason in said(one) if "checkpoint" in reason]

    run_followed(one, main)


def test_a_checkpoint_that_contradicts_the_store_stops_the_start_and_cuts_nothing(tmp_path: Path) -> None:
    store_up_to(tmp_path, 300)
    wrong = followed(tmp_path, Mesh(), checkpoint_at(60, b"\xab" * 32))
    with pytest.raises(InputError, match="checkpoint: height 60 is"):
        wrong.open()
    wrong.close()
    again = followed(tmp_path, Mesh())
    again.open()
    assert height_of(again) == 300
    again.close()


def test_a_start_says_what_the_checkpoint_is_for(tmp_path: Path) -> None:
    store_up_to(tmp_path, 56)
    one = followed(tmp_path, Mesh(), checkpoint_at(60))
    with capture_logs() as logs:
        one.open()
    one.close()
    assert "the chain began at genesis; the checkpoint at 60 is held against it" in [line["event"] for line in logs]


# -- readiness


def test_an_ordinary_new_block_does_not_make_it_unready(tmp_path: Path) -> None:
    """It did, for the time between a peer's claim and the commit: with one block of eight somebody was told."""
    mesh = Mesh(a=honest(HEADERS[: 298 * 80]), b=honest())
    one = followed(tmp_path, mesh)
    block = trio.Event()

    async def main() -> None:
        await one.post(mesh.claim("a"))
        await until(lambda: height_of(one) == 298)
        await until(lambda: not said(one) & SYNCHRONISING)
        mesh.hold = block
        await one.post(mesh.claim("b"))
        await until(lambda: mesh.asked["b"] > 0)
        assert one.driver is not None
        assert one.driver.machine.peers.leaders(one.driver.machine.tip)
        assert not said(one) & SYNCHRONISING
        block.set()
        await until(lambda: height_of(one) == 300)

    run_followed(one, main)


def test_a_first_sync_and_a_long_way_behind_make_it_unready_at_once(tmp_path: Path) -> None:
    mesh = Mesh(a=honest(HEADERS[:160]), b=honest())
    one = followed(tmp_path, mesh)

    async def main() -> None:
        for name, height in (("a", 2), ("b", 300)):
            mesh.hold = trio.Event()
            await one.post(mesh.claim(name))
            await until(lambda name=name: mesh.asked[name] > 0)  # type: ignore[misc]
            assert said(one) & SYNCHRONISING
            mesh.hold.set()
            await until(lambda height=height: height_of(one) == height)  # type: ignore[misc]
            await until(lambda: not said(one) & SYNCHRONISING)

    run_followed(one, main)
