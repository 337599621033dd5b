"""Whose notices are kept when one token's watches find too much, and what readers of the node's log hear of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import trio
from event_node import EventNode, chain_of, with_hub
from trio.testing import MockClock
from watch_desk import ALICE, BOB

from spvnode.bitcoin.payments import Direction, Ground, Payment, Reading
from spvnode.rpc.caller import LOCAL, OPERATOR, Caller, Kind, Scope
from spvnode.rpc.events.feed import Item, feed
from spvnode.rpc.events.hub import TAIL, Hub
from spvnode.rpc.events.journal import (
    MAX_NOTICES,
    MAX_OWNER_NOTICES,
    MAX_TOKEN_NOTICES,
    MAX_USER_SCANS,
    Journal,
    State,
    Watch,
)
from spvnode.rpc.events.scanning import MAX_BURST, MAX_TOLD, Seen, advance
from spvnode.rpc.events.sse import read_wish
from spvnode.rpc.events.watching import Sight
from spvnode.rpc.methods.watch_blocks import TOKEN_LOOK_BACK
from spvnode.types import Hash32, Height, hash_hex
from spvnode.view import ChainView
from spvnode.watching.interest import CHUNK

EVE = Caller(Kind.TOKEN, "token:eve", frozenset({Scope.READ}))
NOBODY = Caller(Kind.ANONYMOUS, "127.0.0.1", frozenset())
BUSY = b"\x51\x20" + bytes(32)
DEEP = chain_of(TOKEN_LOOK_BACK + 10)


def tell(state: State, caller: Caller | None, count: int = 1) -> None:
    for _ in range(count):
        state.tell("watch" if caller else "readiness", "regtest", 1.0, {}, caller.user if caller else "")


def kept(state: State, owner: str) -> list[int]:
    return [notice.seq for notice in state.notices if notice.owner == owner]


# -- the flood


def busy_block(chain: ChainView, height: int, payments: int) -> Seen:
    paid = tuple(
        Payment(BUSY, Direction.RECEIVED, Ground.OUTPUT, Hash32(bytes([at]) + height.to_bytes(31, "big")), (0,), 1)
        for at in range(payments)
    )
    hashes = chain.block_hash(Height(height)), chain.block_hash(Height(height - 1))
    return Seen(Height(height), *hashes, frozenset({BUSY}), Reading(paid, frozenset(), hidden=False))


def search(state: State, chain: ChainView, owner: str, payments: int = 60) -> int:
    """All watches of a token that look at a busy script, as far back as they may; the most told in one change."""
    first = chain.tip_height - TOKEN_LOOK_BACK + 1
    ids = range(state.next_watch, state.next_watch + MAX_USER_SCANS)
    at = hash_hex(chain.block_hash(Height(first - 1)))
    state.watches = {
        one: Watch(one, "regtest", "script", owner, scripts=(BUSY.hex(),), next_height=first, at=at) for one in ids
    }
    state.next_watch = ids.stop
    most = 0
    for start in range(first, chain.tip_height + 1, CHUNK):
        seen = [
            busy_block(chain, height, payments) for height in range(start, min(start + CHUNK, chain.tip_height + 1))
        ]
        before = state.next_seq
        advance(state, Sight("regtest", (), chain, None), seen, frozenset(ids), 1.0)
        most = max(most, state.next_seq - before)
        assert kept(state, owner)[before - state.next_seq :] == list(range(before, state.next_seq)), "nobody saw it"
    return most


def test_a_token_that_watches_a_busy_script_pushes_out_only_its_own() -> None:
    node = EventNode()
    node.commit(DEEP)
    state = State()
    tell(state, BOB, 400)
    tell(state, None, 100)
    tell(state, LOCAL, 1)
    before = {notice.seq for notice in state.notices}
    for _ in range(3):
        most = search(state, node.real["regtest"], "token:eve")
        assert before <= {notice.seq for notice in state.notices}
        assert len(kept(state, "token:eve")) == MAX_OWNER_NOTICES
        assert MAX_BURST < most <= MAX_OWNER_NOTICES


def test_who_has_many_notices_is_still_told_all_that_a_block_holds() -> None:
    node = EventNode()
    node.commit(DEEP[: 80 * 2])
    chain = node.real["regtest"]
    at = hash_hex(chain.block_hash(Height(0)))
    for owner, told in (("token:alice", MAX_BURST + 2), ("", MAX_TOLD * (MAX_BURST // MAX_TOLD + 2))):
        state = State()
        for _ in range(MAX_OWNER_NOTICES):
            state.tell("watch", "regtest", 1.0, {}, owner)
        first = state.next_seq
        for number in range(MAX_BURST // MAX_TOLD + 2):
            state.watches[number] = Watch(
                number, "regtest", "script", owner, scripts=(BUSY.hex(),), next_height=1, at=at
            )
        seen = busy_block(chain, 1, MAX_TOLD + 9)
        advance(state, Sight("regtest", (), chain, None), [seen], frozenset(state.watches), 1.0)
        assert state.next_seq - first == told
        more = [notice.data["more"] for notice in state.notices if "more" in notice.data]
        assert more == [9] * 5 + ([9, 9] if owner == "" else [MAX_TOLD + 8] * 2)


def test_all_tokens_together_leave_room_for_the_node_and_for_who_has_few() -> None:
    state = State()
    tell(state, None, MAX_NOTICES)
    tell(state, BOB, MAX_TOKEN_NOTICES // 21)
    few = kept(state, "token:bob")
    for number in range(20):
        for _ in range(MAX_OWNER_NOTICES + 10):
            state.tell("watch", "regtest", 1.0, {}, f"token:{number}")
    assert kept(state, "") == list(range(MAX_NOTICES - MAX_TOKEN_NOTICES + 1, MAX_NOTICES + 1))
    assert kept(state, "token:bob") == few
    assert len(state.notices) == MAX_NOTICES
    tell(state, None, 3 * MAX_NOTICES)
    assert kept(state, "token:bob") == few, "nor do the node's own push out anybody's"
    assert len(state.notices) == MAX_NOTICES


def test_marks_of_what_is_lost_are_bounded() -> None:
    state = State()
    for number in range(3 * MAX_TOKEN_NOTICES):
        state.tell("watch", "regtest", 1.0, {}, f"token:{number}")
        assert state.notices[-1].owner == f"token:{number}"
    assert len(state.notices) == MAX_TOKEN_NOTICES
    assert state.lost == {"": 2 * MAX_TOKEN_NOTICES}
    assert len(state.held) == MAX_TOKEN_NOTICES


# -- readers


async def take(hub: Hub, caller: Caller, last: str) -> tuple[list[Item], str]:
    """What a reader who comes back with ``last`` is told, up to the end of the log; and its last id."""
    wish = read_wish(hub, caller, b"networks=regtest", {b"last-event-id": last.encode()})
    items: list[Item] = []
    async with aclosing(feed(hub, wish.choice, wish.cursor)) as some:
        async for found in some:
            items += found
            if wish.cursor["node"] == hub.last("node"):
                break
    return [item for item in items if item.kind], items[-1].cursor


def numbers(items: Sequence[Item]) -> list[int]:
    return [json.loads(item.data)["seq"] for item in items if item.kind != "gap"]


def gaps(items: Sequence[Item]) -> list[range]:
    found = [json.loads(item.data) for item in items if item.kind == "gap"]
    return [range(one["after"] + 1, one["next"]) for one in found]


def with_log(folder: Path, body: Callable[[Hub], Any]) -> None:
    async def main() -> None:
        await body(Hub(EventNode(), Journal(folder / "watches.json")))

    trio.run(main, clock=MockClock(autojump_threshold=0.01))  # silence is over at once


def test_others_read_all_theirs_over_a_flood_and_its_owner_is_told_of_the_gap(tmp_path: Path) -> None:
    flood = MAX_OWNER_NOTICES + 200

    def happen(state: State) -> None:
        for caller, count in ((EVE, 3), (BOB, 2), (None, 1), (EVE, flood), (ALICE, 1), (EVE, 1), (None, 1)):
            tell(state, caller, count)

    async def before(hub: Hub) -> None:
        await hub.change(happen)

    async def after(hub: Hub) -> None:
        end = hub.last("node")
        for caller, mine in ((BOB, [4, 5]), (ALICE, [end - 2]), (NOBODY, [])):
            items, last = await take(hub, caller, "regtest:0,node:0")
            assert (numbers(items), gaps(items)) == (sorted([*mine, 6, end]), [])
            assert last == f"regtest:0,node:{end}"
        eves = [*range(end - 1 - MAX_OWNER_NOTICES, end - 2), end - 1]
        lost = range(7, eves[0])
        for caller, mine in ((EVE, []), (LOCAL, [4, 5, end - 2]), (OPERATOR, [4, 5, end - 2])):
            items, _ = await take(hub, caller, "node:0")
            assert gaps(items) == [range(1, 4), lost]
            assert numbers(items) == sorted([*eves, *mine, 6, end])
            gap = next(item for item in items if item.id == f"node:{eves[0] - 1}.gap")
            again, _ = await take(hub, caller, gap.cursor)  # cut off just behind it
            assert (numbers(again)[0], gaps(again)) == (eves[0], [])
            assert gaps((await take(hub, caller, f"node:{eves[0] + 5}"))[0]) == []

    with_log(tmp_path, before)
    with_log(tmp_path, after)  # after a restart


def test_a_reader_who_goes_on_over_floods_and_restarts_misses_nothing_unsaid(tmp_path: Path) -> None:
    """Whatever a reader could see comes once, or lies in a gap; and who has lost nothing is told of no gap."""
    rng = random.Random(3)
    tokens = [Caller(Kind.TOKEN, f"token:{number}", frozenset({Scope.READ})) for number in range(5)]
    readers = [*tokens, NOBODY, LOCAL]
    seen: dict[Caller, list[int]] = {caller: [] for caller in readers}
    covered: dict[Caller, set[int]] = {caller: set() for caller in readers}
    cursors = dict.fromkeys(readers, "regtest:0,node:0")
    owners: dict[int, str] = {}

    def happen(state: State) -> None:
        for _ in range(400):
            caller = rng.choices([*tokens, None], [100, 50, 20, 5, 1, 3])[0]
            owners[state.next_seq] = caller.user if caller else ""
            tell(state, caller)

    async def round_of(hub: Hub) -> None:
        await hub.change(happen)
        for caller in readers:
            if rng.random() < 0.4:
                items, cursors[caller] = await take(hub, caller, cursors[caller])
                seen[caller] += numbers(items)
                covered[caller].update(*gaps(items))

    async def finish(hub: Hub) -> None:
        for caller in readers:
            items, _ = await take(hub, caller, cursors[caller])
            seen[caller] += numbers(items)
            covered[caller].update(*gaps(items))

    for _ in range(20):
        with_log(tmp_path, round_of)
    with_log(tmp_path, finish)
    for caller in readers:
        could = {seq for seq, owner in owners.items() if caller is LOCAL or owner in ("", caller.user)}
        assert sorted(seen[caller]) == seen[caller] == sorted(set(seen[caller]))
        assert could == set(seen[caller]) | (could & covered[caller])
        assert not covered[caller] & set(seen[caller])
        if could == set(seen[caller]):
            assert not covered[caller]
    assert covered[tokens[0]]
    assert not covered[tokens[4]]
    assert not covered[NOBODY]


class Along:
    """A reader who is there all the time."""

    def __init__(self, hub: Hub, caller: Caller) -> None:
        self.hub = hub
        self.caller = caller
        self.told: list[Item] = []
        self.there = trio.Event()

    async def read(self) -> None:
        wish = read_wish(self.hub, self.caller, b"networks=regtest", {})
        async with aclosing(feed(self.hub, wish.choice, wish.cursor)) as some:
            async for found in some:
                self.told += [item for item in found if item.kind]
                self.there.set()

    async def reach(self, seq: int) -> None:
        while numbers(self.told[-1:]) != [seq]:
            await self.hub.looked()


def test_who_reads_along_misses_nothing_of_a_flood(tmp_path: Path) -> None:
    """Nor does its owner: what one change tells is kept. Some rounds come from the tail, and some from the log."""
    rounds, burst = 6, TAIL + 50

    def happen(count: int, state: State) -> None:
        for caller, times in ((BOB, 1), (EVE, count), (None, 1)):
            tell(state, caller, times)

    async def main() -> None:
        async with with_hub(EventNode(), tmp_path) as hub, trio.open_nursery() as nursery:
            readers = {caller: Along(hub, caller) for caller in (EVE, BOB, NOBODY, LOCAL)}
            while not hub.last("node"):  # readiness is told first
                await hub.looked()
            for reader in readers.values():
                nursery.start_soon(reader.read)
                await reader.there.wait()
            with trio.fail_after(60):
                for count in (1, burst) * rounds:
                    await hub.change(partial(happen, count))
                    for reader in readers.values():
                        await reader.reach(hub.last("node"))
            for caller, own in ((EVE, burst + 1), (BOB, 2), (NOBODY, 0), (LOCAL, burst + 3)):
                assert gaps(readers[caller].told) == []
                assert len(readers[caller].told) == rounds * (own + 2)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_file_whose_numbers_had_no_holes(tmp_path: Path) -> None:
    notices = [{"seq": seq, "time": 1.0, "kind": "watch", "network": "regtest", "owner": "token:bob"} for seq in (8, 9)]
    old = {"version": 2, "next_seq": 10, "next_watch": 1, "watches": [], "cursors": {}, "ready": {}}
    (tmp_path / "watches.json").write_text(json.dumps({**old, "notices": notices}))

    async def body(hub: Hub) -> None:
        for caller, told in ((BOB, [8, 9]), (ALICE, [])):
            items, _ = await take(hub, caller, "node:2")
            assert (gaps(items), numbers(items)) == ([range(3, 8)], told)
        await hub.change(lambda state: tell(state, BOB))
        assert Journal(tmp_path / "watches.json").state == hub.watches
        assert hub.watches.held == {"token:bob": 3}

    with_log(tmp_path, body)
