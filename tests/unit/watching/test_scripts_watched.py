"""Scripts that are watched by compact filters: payments and spends, reorganizations, restarts, peers that do not serve
or lie, and fairness. Filters and blocks come through the real fetchers."""

from __future__ import annotations

from pathlib import Path

import trio
from blocks import In, Tx, key, signature
from demand_peers import Ledger, Peer
from scan_node import ScanNode, brief, caught_up, run_scan
from watch_desk import ALICE, Desk

from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import elements, values
from spvnode.bitcoin.prevouts import hash160
from spvnode.rpc.events.scanning import MAX_TOLD
from spvnode.types import hash_hex
from spvnode.watching.interest import CHUNK
from spvnode.watching.scanner import IN_FLIGHT, SAVE_BLOCKS

MINE = b"\x00\x14" + hash160(key(1))
HIDDEN = b"\x51\x20" + key(3)[1:]
PLAIN = b"\x00\x14" + bytes(20)
ELSEWHERE = b"\x11" * 32


def pay(*scripts: bytes, amount: int = 700, index: int = 0) -> Tx:
    return Tx((In(ELSEWHERE, index, b"", (signature(7), key(7))),), scripts, amount)


SPENT_7 = b"\x00\x14" + hash160(key(7))


def spend_of(tx: Tx, place: int = 0, witness: tuple[bytes, ...] = (bytes(64),)) -> Tx:
    return Tx((In(tx.txid, place, b"", witness),), (PLAIN,))


def grown(node: ScanNode, count: int = 1) -> None:
    made = node.branch(len(node.made.blocks))
    for _ in range(count):
        made.extend()
    node.follow(made)


def mined(node: ScanNode, tx: Tx, prevout: bytes = SPENT_7) -> None:
    made = node.branch(len(node.made.blocks))
    made.extend([tx], [prevout])
    node.follow(made)


def test_payments_and_spends_are_told_as_they_come(tmp_path: Path) -> None:
    node = ScanNode("a", "b")
    grown(node, 5)
    received = pay(PLAIN, MINE, MINE)

    async def body(desk: Desk) -> None:
        assert await desk.call("watch", kind="script", scripts=[MINE.hex()]) == {"id": 1}
        grown(node, 2)
        await caught_up(desk)
        assert desk.told() == []
        mined(node, received)
        await caught_up(desk)
        mined(node, spend_of(received, 1, (signature(1), key(1))), MINE)
        await caught_up(desk)
        got, spent = desk.told()
        assert got["watch"] == 1
        assert got["condition"] == "script"
        assert (got["txid"], got["hash"], got["height"]) == (hash_hex(received.txid), desk.hash_at(8), 8)
        assert (got["script"], got["direction"], got["outputs"]) == (MINE.hex(), "received", [1, 2])
        assert (got["value"], got["confirmations"], got["rests_on"]) == (1_400, 1, "output")
        assert (spent["direction"], spent["inputs"], spent["rests_on"]) == ("spent", [0], "revealed script")
        assert "value" not in spent
        (shown,) = await desk.call("listwatches")
        assert (shown["scanned"], shown["waiting_for"], shown["scripts"]) == (9, None, [MINE.hex()])

    run_scan(tmp_path, node, body)
    assert sorted(node.filters_fetched) == [6, 7, 8, 9]
    assert node.blocks_fetched == [8, 9]


def test_an_address_and_a_search_that_begins_below_the_tip(tmp_path: Path) -> None:
    node = ScanNode()
    script = bytes.fromhex("a914da1745e9b549bd0bfa1a569971c77eba30cd5a4b87")
    grown(node, 10)
    mined(node, pay(script))
    grown(node, 30)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", addresses=["2ND8PB9RrfCaAcjfjP1Y6nAgFd9zWHYX4DN"], since=3)
        await caught_up(desk)
        (told,) = desk.told()
        assert (told["script"], told["height"], told["confirmations"]) == (script.hex(), 11, 31)

    run_scan(tmp_path, node, body)
    assert 1 < node.peers.most_open <= IN_FLIGHT
    assert sorted(node.filters_fetched) == list(range(3, 42))
    assert node.blocks_fetched == [11]


def test_cursors_are_kept_also_where_nothing_is_found(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 3 * SAVE_BLOCKS)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=1)
        await caught_up(desk)
        assert desk.told() == []

    async def again(desk: Desk) -> None:
        await caught_up(desk)

    run_scan(tmp_path, node, body)
    before = len(node.filters_fetched)
    run_scan(tmp_path, node, again)
    assert len(node.filters_fetched) - before < SAVE_BLOCKS + CHUNK


def test_a_search_that_begins_above_the_tip(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 3)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=6)
        mined(node, pay(MINE))
        grown(node, 1)
        mined(node, pay(MINE, index=1))
        await caught_up(desk)
        assert brief(desk.told()) == [("received", 6, False)]

    run_scan(tmp_path, node, body)
    assert node.filters_fetched == [6]


def test_a_spend_that_shows_nothing_is_known_by_its_output_or_told_as_possible(tmp_path: Path) -> None:
    node = ScanNode()
    known, older = pay(HIDDEN), pay(HIDDEN, index=1)
    mined(node, older)

    async def first(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[HIDDEN.hex()])
        mined(node, known)
        await caught_up(desk)

    async def second(desk: Desk) -> None:
        mined(node, spend_of(known), HIDDEN)
        mined(node, spend_of(older), HIDDEN)
        await caught_up(desk)
        _, sure, doubtful = desk.told()
        assert (sure["direction"], sure["rests_on"], sure["height"]) == ("spent", "spent output", 3)
        assert (doubtful["direction"], doubtful["rests_on"], doubtful["height"]) == ("spent", "filter", 4)
        assert doubtful["possible"] is True
        assert "txid" not in doubtful

    run_scan(tmp_path, node, first, second)


def test_a_match_by_chance_is_dropped_silently(tmp_path: Path) -> None:
    """The peers' filter holds the script, and the block has nothing to do with it."""
    node = ScanNode()
    made = node.branch(0)
    made.extend([pay(PLAIN)], [SPENT_7, MINE])
    node.follow(made)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=1)
        await caught_up(desk)
        assert desk.told() == []

    run_scan(tmp_path, node, body)
    assert node.blocks_fetched == [1]


def test_a_reorganization_undoes_and_tells_again(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 4)
    tx, gone = pay(MINE), pay(MINE, index=1)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()])
        mined(node, tx)
        mined(node, gone)
        await caught_up(desk)
        old = desk.hash_at(5)
        made = node.branch(4)
        made.extend(pays=b"\x53")
        made.extend()
        made.extend([tx], [SPENT_7])
        node.follow(made)
        await caught_up(desk)
        assert brief(desk.told()) == [
            ("received", 5, False),
            ("received", 6, False),
            ("received", 5, True),
            ("received", 6, True),
            ("received", 7, False),
        ]
        undone, again = desk.told()[2], desk.told()[4]
        assert (undone["hash"], undone["txid"], undone["value"]) == (old, hash_hex(tx.txid), 700)
        assert "confirmations" not in undone
        assert (again["hash"], again["txid"]) == (desk.hash_at(7), hash_hex(tx.txid))

    run_scan(tmp_path, node, body)


def test_back_and_forth_is_told_each_time(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 4)
    one, other = node.branch(4), node.branch(4)
    one.extend([pay(MINE)], [SPENT_7])
    other.extend(pays=b"\x53")
    other.extend()

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()])
        node.follow(one)
        await caught_up(desk)
        node.follow(other)
        await caught_up(desk)
        one.extend()
        one.extend()
        node.follow(one)
        await caught_up(desk)
        assert brief(desk.told()) == [("received", 5, False), ("received", 5, True), ("received", 5, False)]

    run_scan(tmp_path, node, body)


def test_a_reorganization_while_nobody_looked(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 4)

    async def before(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()])
        mined(node, pay(MINE))
        await caught_up(desk)

    async def after(desk: Desk) -> None:
        await caught_up(desk)
        assert brief(desk.told()) == [("received", 5, False), ("received", 5, True), ("received", 6, False)]

    async def between(_: Desk) -> None:
        pass

    run_scan(tmp_path, node, before)
    made = node.branch(4)
    made.extend(pays=b"\x53")
    made.extend([pay(MINE, index=4)], [SPENT_7])
    node.follow(made)
    run_scan(tmp_path, node, after, between)


def test_ends_at_any_moment_miss_nothing_and_tell_nothing_twice(tmp_path: Path) -> None:
    """The daemon is cut off again and again, after more and more turns of its loop; nothing of a turn is kept but what
    is on the disk."""
    node = ScanNode()
    expected = []
    for height in range(1, 41):
        if height % 3:
            grown(node)
        else:
            mined(node, pay(MINE, index=height))
            expected.append(("received", height, False))

    async def begin(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=1)

    async def cut(desk: Desk) -> None:
        for _ in range(cut.turns):  # type: ignore[attr-defined]
            await trio.lowlevel.checkpoint()

    async def end(desk: Desk) -> None:
        await caught_up(desk)
        assert brief(desk.told()) == expected

    run_scan(tmp_path, node, begin)
    for turns in range(0, 120, 3):
        cut.turns = turns  # type: ignore[attr-defined]
        run_scan(tmp_path, node, cut)
    run_scan(tmp_path, node, end)


def test_it_waits_for_peers_and_goes_on(tmp_path: Path) -> None:
    node = ScanNode("a")
    grown(node, 2)
    peers, node.peers.peers = node.peers.peers, {}

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=1)
        mined(node, pay(MINE))
        with trio.fail_after(20):
            while "block 1" not in desk.hub.held.get("regtest", ""):  # noqa: ASYNC110 - of any state there is
                await trio.sleep(0.005)
        shown = (await desk.call("listwatches"))[0]
        assert shown["scanned"] == 0
        assert "no peer that serves it is connected" in shown["waiting_for"]
        node.peers.peers = {"a": Peer(Ledger(node.made))} if peers else {}
        await caught_up(desk)
        assert (await desk.call("listwatches"))[0]["waiting_for"] is None
        assert brief(desk.told()) == [("received", 3, False)]

    run_scan(tmp_path, node, body)


def test_it_says_at_once_that_no_peer_can_be_asked(tmp_path: Path) -> None:
    node = ScanNode("a")
    grown(node, 2)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()])
        assert (await desk.call("listwatches"))[0]["waiting_for"] is None
        node.peers.peers = {}
        assert "no peer that serves it is connected" in (await desk.call("listwatches"))[0]["waiting_for"]

    run_scan(tmp_path, node, body)


def without(node: ScanNode, height: int, script: bytes) -> bytes:
    """The filter of a block short of one script."""
    block = Ledger(node.made).blocks[height]
    chosen = elements(block, node.made.prevouts[height - 1]) - {script}
    return gcs.encode(values(block.hash, chosen, len(chosen)))


def test_a_peer_that_hides_a_payment_is_found_out(tmp_path: Path) -> None:
    node = ScanNode("liar", "honest")
    grown(node, 3)
    mined(node, pay(MINE))
    node.peers.peers["liar"].filters = {4: without(node, 4, MINE)}

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=1)
        await caught_up(desk)
        assert brief(desk.told()) == [("received", 4, False)]

    run_scan(tmp_path, node, body)
    assert set(node.peers.reasons) == {"liar"}


def test_where_filters_stay_disputed_the_block_is_read(tmp_path: Path) -> None:
    """The liar adds to the filter of a block that hides what it spends: nobody can tell who is right."""
    node = ScanNode("liar", "honest")
    older = pay(HIDDEN)
    mined(node, older)
    mined(node, spend_of(older), HIDDEN)
    block = Ledger(node.made).blocks[2]
    scripts = elements(block, [b"\x51\x20" + bytes(32)])
    node.peers.peers["liar"].filters = {2: gcs.encode(values(block.hash, scripts, len(scripts)))}

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[HIDDEN.hex()], since=1)
        await caught_up(desk)
        assert brief(desk.told()) == [("received", 1, False), ("spent", 2, False)]

    run_scan(tmp_path, node, body)


def test_watches_share_filters_and_blocks_and_news_goes_first(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 60)

    async def body(desk: Desk) -> None:
        for script in (MINE, HIDDEN, PLAIN):
            await desk.call("watch", kind="script", scripts=[script.hex()])
        mined(node, pay(MINE, HIDDEN))
        await caught_up(desk)
        assert node.filters_fetched == [61]
        assert node.blocks_fetched == [61]
        await desk.call("watch", kind="script", scripts=[MINE.hex()], since=2)
        await desk.call("watch", kind="script", scripts=[PLAIN.hex()], since=10)
        mined(node, pay(PLAIN))
        await caught_up(desk)
        assert [(one["watch"], one["height"]) for one in desk.told()] == [
            (1, 61), (2, 61), (3, 62), (4, 61), (5, 62)
        ]  # fmt: skip

    run_scan(tmp_path, node, body)
    assert len(node.filters_fetched) < 1 + 61 + 53, "those far behind went on together where they met"


def test_a_script_in_common_use_is_told_of_in_part(tmp_path: Path) -> None:
    node = ScanNode()
    made = node.branch(0)
    made.extend([pay(MINE, index=at) for at in range(MAX_TOLD + 5)], [SPENT_7])
    node.follow(made)

    async def body(desk: Desk) -> None:
        await desk.call("watch", caller=ALICE, kind="script", scripts=[MINE.hex()], since=1)
        await caught_up(desk)
        told = desk.told()
        assert len(told) == MAX_TOLD
        assert [one.get("more") for one in told] == [None] * (MAX_TOLD - 1) + [5]

    run_scan(tmp_path, node, body)


def test_unwatch_ends_it(tmp_path: Path) -> None:
    node = ScanNode()
    grown(node, 2)

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="script", scripts=[MINE.hex()])
        mined(node, pay(MINE))
        await caught_up(desk)
        assert await desk.call("unwatch", id=1) is True
        mined(node, pay(MINE, index=1))
        await trio.sleep(0.2)
        assert brief(desk.told()) == [("received", 3, False)]

    run_scan(tmp_path, node, body)
    assert node.filters_fetched == [3]
