"""What bounds watches that look into blocks, what callers must get right, the file, and reading the node's log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from event_node import EventNode, chain_of
from scan_node import ScanNode, run_scan
from small_node import SmallNode
from watch_desk import ALICE, BOB, Desk

from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import REGTEST, ChainParams
from spvnode.bitcoin.payments import Direction, Ground, Payment, Reading
from spvnode.bitcoin.start import Checkpoint
from spvnode.follow.bitcoin_wire import BitcoinWire
from spvnode.rpc.events.journal import MAX_COINS, MAX_SCANS, MAX_USER_SCANS, Journal, State, Watch
from spvnode.rpc.events.scanning import MAX_PLACES, MAX_TOLD, NEWS_SLACK, REWIND, Seen, advance, settle, unsettled
from spvnode.rpc.events.watching import Sight
from spvnode.rpc.methods.watch_blocks import LOOK_BACK, MAX_SCRIPTS, TOKEN_LOOK_BACK
from spvnode.sync.events import Event
from spvnode.types import Hash32, Height, Work, hash_hex
from spvnode.watching.interest import CHUNK, NEAR, Interest, tasks


@dataclass
class Followed:
    params: ChainParams
    headers: HeaderChain

    async def post(self, event: Event) -> None:
        raise NotImplementedError


SCRIPT = "0014" + "11" * 20
TAPROOT = b"\x51\x20" + bytes(32)
DEEP = chain_of(LOOK_BACK + 10)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "scripts: must be given, or addresses"),
        ({"scripts": ["0"]}, "scripts.0: must be hexadecimal"),
        ({"scripts": [SCRIPT, ""]}, "scripts.1: empty"),
        ({"scripts": ["6a01"]}, "scripts.0: empty, above 10000 bytes, or OP_RETURN"),
        ({"scripts": [SCRIPT] * (MAX_SCRIPTS + 1)}, f"scripts: {MAX_SCRIPTS + 1} with the addresses are above"),
        ({"scripts": [f"51{at:04x}" + "00" * 200 for at in range(60)]}, "scripts: 12180 bytes in all are above 10000"),
        ({"addresses": ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"]}, "addresses.0: '1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa': "),
        ({"scripts": [SCRIPT], "txid": "11" * 32}, "txid, hash: not for scripts"),
        ({"kind": "reorg", "hash": "11" * 32, "txid": "11" * 32}, "txid, scripts, addresses, since: only for script"),
        ({"kind": "confirmations", "hash": "11" * 32, "since": 9}, "txid, scripts, addresses, since: only for script"),
        ({"scripts": [SCRIPT], "since": 10}, "since: 10 is below 11"),
        ({"scripts": [SCRIPT], "since": -1}, "since: Expected"),
        ({"scripts": [SCRIPT], "network": "signet"}, "network: 'signet' does not run here"),
    ],
)  # fmt: skip
def test_bad_input_is_named(tmp_path: Path, params: dict[str, Any], problem: str) -> None:
    node = ScanNode()
    node.commit(DEEP)

    async def body(desk: Desk) -> None:
        assert (await desk.reply("watch", **{"kind": "script", **params}))["error"]["message"].startswith(problem)

    run_scan(tmp_path, node, body)


def test_how_far_back_a_search_may_begin(tmp_path: Path) -> None:
    node = ScanNode()
    node.peers.peers = {}
    node.commit(DEEP)
    tip = node.real["regtest"].tip_height

    async def body(desk: Desk) -> None:
        least = tip - TOKEN_LOOK_BACK + 1
        reply = await desk.reply("watch", caller=ALICE, kind="script", scripts=[SCRIPT], since=least - 1)
        assert f"below {least}" in reply["error"]["message"]
        await desk.call("watch", caller=ALICE, kind="script", scripts=[SCRIPT], since=least)
        await desk.call("watch", kind="script", scripts=[SCRIPT], since=tip - LOOK_BACK + 1)

    run_scan(tmp_path, node, body)


def test_how_many_look_into_blocks(tmp_path: Path) -> None:
    node = ScanNode()

    async def body(desk: Desk) -> None:
        for _ in range(MAX_USER_SCANS):
            await desk.call("watch", caller=ALICE, kind="script", scripts=[SCRIPT])
        assert "error" in await desk.reply("watch", caller=ALICE, kind="script", scripts=[SCRIPT])
        assert "result" in await desk.reply("watch", caller=ALICE, kind="reorg", hash="11" * 32)
        for _ in range(MAX_SCANS - MAX_USER_SCANS):
            await desk.call("watch", kind="script", scripts=[SCRIPT])
        reply = await desk.reply("watch", caller=BOB, kind="script", scripts=[SCRIPT])
        assert f"{MAX_SCANS} watches look into blocks" in reply["error"]["message"]

    run_scan(tmp_path, node, body)


def test_each_reads_its_own_of_the_nodes_log(tmp_path: Path) -> None:
    node = ScanNode()
    node.commit(DEEP[: 80 * 20])

    async def body(desk: Desk) -> None:
        for caller in (ALICE, BOB):
            await desk.call("watch", caller=caller, kind="confirmations", hash=desk.hash_at(3))
        for caller, numbers in ((ALICE, [1]), (BOB, [2])):
            reply = await desk.call("getevents", caller=caller, network="node")
            told = [one for one in reply["events"] if one["kind"] == "watch"]
            assert [one["watch"] for one in told] == numbers
            assert reply["cursor"] == desk.hub.last("node")
        every = await desk.call("getevents", network="node")
        assert [one["watch"] for one in every["events"] if one["kind"] == "watch"] == [1, 2]
        assert all(one["network"] == "regtest" for one in every["events"])
        page = await desk.call("getevents", network="node", limit=1)
        rest = await desk.call("getevents", network="node", cursor=page["cursor"])
        assert page["events"] + rest["events"] == every["events"]
        assert (await desk.call("getevents", network="node", cursor=every["cursor"]))["events"] == []

    run_scan(tmp_path, node, body)


def test_a_file_of_the_first_version_opens(tmp_path: Path) -> None:
    path = tmp_path / "watches.json"
    old = {"version": 1, "next_seq": 4, "next_watch": 3, "notices": [], "cursors": {"regtest": 7}, "ready": {},
           "watches": [{"id": 2, "network": "regtest", "kind": "reorg", "owner": "", "hash": "11" * 32}]}  # fmt: skip
    path.write_text(json.dumps(old))
    journal = Journal(path)
    assert journal.state.watches[2].hash == "11" * 32
    journal.write(journal.state)
    assert json.loads(path.read_bytes())["version"] == 3
    assert Journal(path).state == journal.state


def test_a_watch_is_kept_whole(tmp_path: Path) -> None:
    state = State()
    state.watches[1] = Watch(1, "regtest", "script", "token:alice", scripts=(SCRIPT,), next_height=9, at="22" * 32,
                             coins={"33" * 32 + ":1": 0})  # fmt: skip
    Journal(tmp_path / "j").write(state)
    assert Journal(tmp_path / "j").state == state


def watch(number: int, next_height: int, **more: Any) -> Watch:
    return Watch(number, "regtest", "script", "", scripts=(SCRIPT,), next_height=next_height, **more)


def test_who_is_near_the_tip_goes_first_and_nobody_waits_for_ever() -> None:
    tip = Height(1_000)
    watches = [watch(1, 500), watch(2, 300), watch(3, tip), watch(4, tip + 1), watch(5, 303)]
    near, far = tasks(watches, tip, oldest_first=False)
    assert (near.start, near.end, [one.id for one in near.watches]) == (tip, tip, [3])
    assert (far.start, far.end, [one.id for one in far.watches]) == (300, 300 + CHUNK - 1, [2, 5])
    _, far = tasks(watches, tip, oldest_first=True)
    assert [one.id for one in far.watches] == [1]
    assert tasks([watch(1, tip - NEAR)], tip, oldest_first=False)[0].end == tip - NEAR + CHUNK - 1
    assert tasks([watch(4, tip + 1)], tip, oldest_first=False) == []


@pytest.mark.parametrize(
    ("news", "first", "expected"), [(True, 300, 300), (True, 201, 201), (True, 5, 21), (False, 201, 21)]
)
def test_old_blocks_that_a_sync_brings_are_no_news(news: bool, first: int, expected: int) -> None:
    """The block at the height ``first`` is a day older than the watch, and all before are older still."""
    node = EventNode()
    node.commit(DEEP[: 80 * 300])
    chain = node.real["regtest"]
    made = chain.median_time(Height(first)) + NEWS_SLACK
    one = watch(1, 21, made=made, news=news, at=hash_hex(chain.block_hash(Height(20))))
    state = State(watches={1: one})
    assert unsettled(one, chain) is (expected != 21)
    settle(state, "regtest", chain, 1.0)
    assert state.watches[1].next_height == expected
    assert state.watches[1].at == hash_hex(chain.block_hash(Height(expected - 1)))
    assert state.notices == []
    assert not unsettled(state.watches[1], chain)


@pytest.mark.parametrize("tip", [300, 103])
def test_a_chain_that_begins_above_what_was_looked_at(tip: int) -> None:
    header = DEEP[80 * 99 : 80 * 100]
    start = Checkpoint(Height(100), header_hash(header), header, Work(0))
    node = SmallNode("regtest", checkpoints={"regtest": start})
    node.add("regtest", DEEP[80 * 100 : 80 * tip])
    later = node.real["regtest"]
    state = State(watches={1: watch(1, 99), 2: watch(2, 50, at="77" * 32)})
    settle(state, "regtest", later, 1.0)
    assert [one.next_height for one in state.watches.values()] == [100, 101]
    assert not any(unsettled(one, later) for one in state.watches.values())


def test_indices_that_one_notice_lists_are_bounded() -> None:
    node = EventNode()
    node.commit(DEEP[: 80 * 2])
    chain = node.real["regtest"]
    hashes = [chain.block_hash(Height(height)) for height in range(2)]
    script = bytes.fromhex(SCRIPT)
    wide = Payment(script, Direction.RECEIVED, Ground.OUTPUT, Hash32(bytes(32)), tuple(range(MAX_PLACES + 9)), 99)
    state = State(watches={1: watch(1, 1, at=hash_hex(hashes[0]))})
    seen = Seen(Height(1), hashes[1], hashes[0], frozenset(), Reading((wide,), frozenset(), hidden=False))
    advance(state, Sight("regtest", (), chain, None), [seen], frozenset({1}), 1.0)
    (notice,) = state.notices
    assert notice.data["outputs"] == list(range(MAX_PLACES))
    assert notice.data["value"] == 99


def test_all_who_ask_share_one_fetcher() -> None:
    """It bounds what is fetched at once."""
    node = EventNode()
    chain = node.real["regtest"]
    wire = BitcoinWire(Followed(REGTEST, chain), None, clock=lambda: 0.0)
    assert wire.on_demand(chain) is wire.on_demand(chain)
    other = EventNode().real["regtest"]
    assert wire.on_demand(other) is not wire.on_demand(chain)


class Counted(tuple[Payment, ...]):
    rounds = 0

    def __iter__(self) -> Iterator[Payment]:
        Counted.rounds += 1
        return super().__iter__()


def test_a_block_is_gone_through_once_for_all_watches() -> None:
    """A hundred may look for the same scripts, and a block may pay these thousands of times."""
    node = EventNode()
    node.commit(DEEP[: 80 * 2])
    chain = node.real["regtest"]
    hashes = [chain.block_hash(Height(height)) for height in range(2)]
    scripts = (bytes.fromhex(SCRIPT), TAPROOT)
    many = Counted(
        Payment(scripts[at % 2], Direction.RECEIVED, Ground.OUTPUT, Hash32(at.to_bytes(32, "big")), (0,), 1)
        for at in range(2 * MAX_TOLD)
    )
    seen = Seen(Height(1), hashes[1], hashes[0], frozenset(), Reading(many, frozenset(), hidden=False))
    state = State()
    for number in range(1, 6):
        state.watches[number] = watch(number, 1, at=hash_hex(hashes[0]))
        state.watches[number + 5] = Watch(
            number + 5, "regtest", "script", "", scripts=(TAPROOT.hex(), SCRIPT), next_height=1, at=hash_hex(hashes[0])
        )
    advance(state, Sight("regtest", (), chain, None), [seen], frozenset(state.watches), 1.0)
    assert Counted.rounds == 1
    both = [notice.data for notice in state.notices if notice.data["watch"] == 10]
    assert [one["txid"] for one in both] == [f"{at:02x}" + "00" * 31 for at in range(MAX_TOLD)]
    assert [one.get("more") for one in both[-2:]] == [None, MAX_TOLD]
    assert [one.get("more") for one in [notice.data for notice in state.notices if notice.data["watch"] == 1]] == (
        [None] * MAX_TOLD
    )
    assert list(state.watches[10].coins)[-1] == f"{2 * MAX_TOLD - 1:02x}" + "00" * 31 + ":0"


def test_outputs_kept_in_mind_are_bounded() -> None:
    node = EventNode()
    node.commit(DEEP[: 80 * 3])
    chain = node.real["regtest"]
    hashes = [chain.block_hash(Height(height)) for height in range(4)]
    state = State()
    state.watches[1] = Watch(
        1, "regtest", "script", "", scripts=(SCRIPT, TAPROOT.hex()), next_height=1, at=hash_hex(hashes[0])
    )
    for height in (1, 2, 3):
        many = Payment(TAPROOT, Direction.RECEIVED, Ground.OUTPUT, Hash32(bytes((height,)) * 32), tuple(range(70)), 70)
        shown = Payment(bytes.fromhex(SCRIPT), Direction.RECEIVED, Ground.OUTPUT, Hash32(bytes(32)), (1,), 1)
        seen = Seen(
            Height(height), hashes[height], hashes[height - 1], frozenset(), Reading((many, shown), frozenset(), False)
        )
        advance(state, Sight("regtest", (), chain, None), [seen], frozenset({1}), 1.0)
    coins = state.watches[1].coins
    assert list(coins)[-1] == "03" * 32 + ":69"
    assert len(coins) == MAX_COINS
    assert set(coins.values()) == {1}
    interest = Interest.of([state.watches[1]])
    assert interest.coins[b"\x03" * 32, 69] == TAPROOT


def test_a_block_that_is_not_the_next_moves_nothing() -> None:
    node = EventNode()
    node.commit(DEEP[: 80 * 3])
    chain = node.real["regtest"]
    hashes = [chain.block_hash(Height(height)) for height in range(4)]
    state = State()
    state.watches[1] = watch(1, 2, at=hash_hex(hashes[1]))
    reading = Reading((), frozenset(), hidden=False)
    for seen in (
        Seen(Height(3), hashes[3], hashes[2], frozenset(), reading),
        Seen(Height(2), hashes[2], Hash32(bytes(32)), frozenset(), reading),
        Seen(Height(2), Hash32(bytes(32)), hashes[1], frozenset(), reading),
    ):
        before = state.copy()
        advance(state, Sight("regtest", (), chain, None), [seen], frozenset({1, 2}), 1.0)
        assert state == before


def test_a_chain_that_was_cut_short_undoes_nothing_and_one_that_was_lost_goes_back() -> None:
    node, other = EventNode(), EventNode()
    node.commit(DEEP[: 80 * 300])
    other.commit(chain_of(400, seed=9))
    cut = EventNode()
    cut.commit(DEEP[: 80 * 200])
    known = watch(1, 301, at=hash_hex(node.real["regtest"].tip_hash))
    assert not unsettled(known, node.real["regtest"])
    assert not unsettled(known, cut.real["regtest"])
    lost = other.real["regtest"]
    assert unsettled(known, lost)
    state = State(watches={1: known})
    settle(state, "regtest", lost, 1.0)
    assert state.watches[1].next_height == 300 - REWIND + 1
    assert state.watches[1].at == hash_hex(lost.block_hash(Height(300 - REWIND)))
    assert state.notices == []
