"""Watches: what sets them off, once, also over restarts; and the file that they are kept in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from event_node import EventNode, chain_of, with_hub
from watch_desk import ALICE, BOB, Desk

from spvnode.errors import StoreError
from spvnode.rpc.caller import LOCAL
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.journal import MAX_NOTICES, MAX_USER_WATCHES, Journal, State
from spvnode.types import hash_hex

CHAIN, OTHER = chain_of(60), chain_of(80, seed=5)


def run(folder: Path, node: EventNode, body: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        async with with_hub(node, folder) as hub:
            await body(Desk(node, hub))

    trio.run(main)


def test_confirmations_are_told_once_also_over_a_restart(tmp_path: Path) -> None:
    node = EventNode()
    node.commit(CHAIN[:800])

    async def before(desk: Desk) -> None:
        assert await desk.call("watch", kind="confirmations", hash=desk.hash_at(8), confirmations=5) == {"id": 1}
        node.commit(CHAIN[800:880])
        await desk.looked()
        assert desk.told() == []

    async def after(desk: Desk) -> None:
        assert [one["confirmations"] for one in await desk.call("listwatches")] == [5]
        node.commit(CHAIN[880:960])
        await desk.looked()
        (told,) = desk.told()
        assert (told["watch"], told["condition"], told["height"], told["confirmations"]) == (1, "confirmations", 8, 5)
        assert await desk.call("listwatches") == []
        node.commit(CHAIN[960:1040])

    async def much_later(desk: Desk) -> None:
        await trio.sleep(0.2)
        assert [one["watch"] for one in desk.told()] == [1]
        assert await desk.call("watch", kind="confirmations", hash=desk.hash_at(3), confirmations=2) == {"id": 2}
        assert [one["watch"] for one in desk.told()] == [1, 2], "what is so already is told at once"

    for body in (before, after, much_later):
        run(tmp_path, node, body)


def test_the_first_header_of_a_time(tmp_path: Path) -> None:
    node = EventNode()
    node.commit(CHAIN[:1600])
    times = [int.from_bytes(CHAIN[at + 68 : at + 72], "little") for at in range(0, len(CHAIN), 80)]

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="time", time=times[9])
        assert [(one["height"], one["header_time"]) for one in desk.told()] == [(10, times[9])]
        told = desk.told()[0]
        assert told["wanted"] == times[9]
        assert told["time"] > told["header_time"], "an event's time is when it happened"
        await desk.call("watch", kind="time", time=times[29] - 5)
        node.commit(CHAIN[1600:2000])
        await desk.looked()
        assert len(desk.told()) == 1
        node.commit(CHAIN[2000:3200])
        await desk.looked()
        assert desk.told()[1]["height"] == 30
        assert desk.told()[1]["hash"] == desk.hash_at(30)

    run(tmp_path, node, body)


def test_reorganizations_that_touch_a_block(tmp_path: Path) -> None:
    node = EventNode()
    node.commit(CHAIN[:1600])
    old, new = hash_hex(node.real["regtest"].block_hash(20)), ""  # type: ignore[arg-type]

    async def body(desk: Desk) -> None:
        nonlocal new
        await desk.call("watch", kind="reorg", hash=old)
        await desk.call("watch", kind="reorg", hash="11" * 32)
        node.commit(CHAIN[1600:1680])
        node.commit(OTHER[: 80 * 40])
        await desk.looked()
        (told,) = desk.told()
        assert (told["watch"], told["hash"], told["fork_height"]) == (1, old, 0)
        assert told["to"]["height"] == 40
        node.commit(CHAIN[: 80 * 60])
        await desk.looked()
        assert [one["watch"] for one in desk.told()] == [1, 1], "out, and in again"
        await desk.call("unwatch", id=1)
        node.commit(OTHER)
        await desk.looked()
        assert len(desk.told()) == 2

    run(tmp_path, node, body)


def test_a_long_reorganization_lists_not_all_hashes_and_is_told_all_the_same(tmp_path: Path) -> None:
    node = EventNode()
    node.commit(CHAIN[:1600])
    watched = hash_hex(node.real["regtest"].block_hash(3))  # type: ignore[arg-type]

    async def body(desk: Desk) -> None:
        await desk.call("watch", kind="reorg", hash=watched)
        await desk.call("watch", kind="reorg", hash="11" * 32)
        node.commit(OTHER[: 80 * 40])
        event = dict(node.log["regtest"][-1])
        node.log["regtest"][-1] = {**event, "undo": event["undo"][:2], "redo": event["redo"][:2]}
        await desk.looked()
        assert [one["watch"] for one in desk.told()] == [1]

    run(tmp_path, node, body)


def test_each_sees_its_own_and_the_operator_all(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        for caller in (ALICE, BOB, LOCAL):
            await desk.call("watch", caller=caller, kind="reorg", hash="11" * 32)
        assert [one["id"] for one in await desk.call("listwatches", caller=ALICE)] == [1]
        assert [one["owner"] for one in await desk.call("listwatches")] == ["alice", "bob", None]
        assert (await desk.reply("unwatch", caller=ALICE, id=2))["error"]["code"] == -8
        assert await desk.call("unwatch", caller=BOB, id=2) is True
        assert await desk.call("unwatch", id=1) is True
        assert (await desk.reply("unwatch", id=1))["error"]["message"] == "id: there is no watch 1"

    run(tmp_path, EventNode(), body)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"kind": "block"}, "kind: Invalid enum value 'block'; one of confirmations, reorg, script, time"),
        ({"kind": "reorg"}, "hash: must be given"),
        ({"kind": "reorg", "hash": "xy"}, "hash: must be of length 64"),
        ({"kind": "confirmations", "hash": "11" * 32, "confirmations": 0}, "confirmations: Expected int >= 1"),
        ({"kind": "time"}, "time: must be given, in Unix seconds"),
        ({"kind": "time", "time": -1}, "time: Expected int >= 0"),
        ({"kind": "time", "time": 1, "network": "signet"}, "network: 'signet' does not run here; running: regtest"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, params: dict[str, object], problem: str) -> None:
    async def body(desk: Desk) -> None:
        assert (await desk.reply("watch", **params))["error"]["message"] == problem

    if "length" in problem:
        problem += " (not 2, for 'xy')"
    run(tmp_path, EventNode(), body)


def test_one_token_cannot_take_all_places(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        for _ in range(MAX_USER_WATCHES):
            await desk.call("watch", caller=ALICE, kind="reorg", hash="11" * 32)
        assert "error" in await desk.reply("watch", caller=ALICE, kind="reorg", hash="11" * 32)
        assert "result" in await desk.reply("watch", caller=BOB, kind="reorg", hash="11" * 32)

    run(tmp_path, EventNode(), body)


def test_notices_are_bounded_and_read_by_number(tmp_path: Path) -> None:
    journal, state = Journal(tmp_path / "j"), State()
    for n in range(MAX_NOTICES + 10):
        state.tell("watch", "regtest", 1.0, {"n": n})
    journal.write(state)
    found = Journal(tmp_path / "j")
    assert found.last_seq == MAX_NOTICES + 10
    assert [one.seq for one in found.notices(0, 3)] == [11, 12, 13]
    assert [one.seq for one in found.notices(MAX_NOTICES + 8, 100)] == [MAX_NOTICES + 9, MAX_NOTICES + 10]
    assert found.notices(MAX_NOTICES + 10, 1) == []


def test_a_damaged_file_is_put_aside_and_numbers_go_on_above(tmp_path: Path) -> None:
    path = tmp_path / "watches.json"
    for raw in (b"", b"{", b'{"version":2}', b"\xff" * 100):
        path.write_bytes(raw)
        found = Journal(path, lambda: 1_700_000_000.0)
        assert found.last_seq == 1_699_999_999
        assert (tmp_path / "watches.json.damaged-1700000000").read_bytes() == raw


def test_what_cannot_be_written_is_not_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "gone"

    async def main() -> None:
        folder.mkdir()
        hub = Hub(EventNode(), Journal(folder / "j"))
        folder.rmdir()
        with pytest.raises(StoreError):
            await hub.change(partial(State.tell, kind="watch", network="regtest", now=1.0, data={}))
        assert hub.watches.notices == []

    trio.run(main)
