"""New headers shown to plugins: which of them, over reorganizations, restarts and long syncs; what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from event_node import EventNode, chain_of, with_hub
from structlog.testing import capture_logs
from wasm import ODD_HEIGHT, checking, config, room_with

from spvnode.plugins.checks import BELOW, MAX_TOLD, NEAR_TIP, HeaderChecks
from spvnode.plugins.room import MAX_FAULTS_IN_A_ROW, Room
from spvnode.rpc.events.hub import Hub

CHAIN = chain_of(1_000)
OTHER = chain_of(12, seed=5)
HEADER = '(import "spvnode" "header" (func $header (param i32 i32) (result i32)))'
ALL = "(i32.const 3)"
NONE = "(i32.const 0)"


def told(hub: Hub) -> list[dict[str, Any]]:
    """What checks gave."""
    return [one.data for one in hub.watches.notices if one.kind == "check"]


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - what a service does, seen from outside
            await trio.sleep(0.01)


def run_of(first: int, last: int) -> bytes:
    return CHAIN[(first - 1) * 80 : last * 80]


@asynccontextmanager
async def checking_with(
    tmp_path: Path, body: str, node: EventNode, *more: str, **settings: Any
) -> AsyncIterator[tuple[HeaderChecks, Hub, Room]]:
    """Checks of one plugin over ``node``, which has looked once."""
    room = await room_with(config(tmp_path, checking(body, *more), headers=("regtest",), **settings))
    async with with_hub(node, tmp_path) as hub:
        checks = HeaderChecks(node, hub, room)
        await checks.look("p", "regtest")
        yield checks, hub, room


def test_each_new_header_is_shown_once(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        node.commit(run_of(1, 3))
        async with checking_with(tmp_path, ODD_HEIGHT, node) as (checks, hub, room):
            assert told(hub) == []  # it begins with the next
            node.commit(run_of(4, 7))
            node.commit(run_of(8, 8))
            for _ in range(3):
                await checks.look("p", "regtest")
            assert [(one["height"], one["code"]) for one in told(hub)] == [(5, 7), (7, 7)]
            assert told(hub)[0]["hash"] == node.real["regtest"].block_hash(5)[::-1].hex()
            node.happen(kind="fork")
            await checks.look("p", "regtest")
            assert room.states()[0]["calls"] == 5

    trio.run(main)


def test_the_other_side_of_a_reorganization_is_shown(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        node.commit(run_of(1, 5))
        async with checking_with(tmp_path, ODD_HEIGHT, node) as (checks, hub, _):
            node.commit(run_of(6, 9))
            await checks.look("p", "regtest")
            assert [one["height"] for one in told(hub)] == [7, 9]
            node.commit(OTHER)
            assert node.log["regtest"][-1]["kind"] == "reorg"
            await checks.look("p", "regtest")
            again = told(hub)[2:]
            assert [one["height"] for one in again] == [1, 3, 5, 7, 9, 11]
            assert again[-1]["hash"] == node.real["regtest"].block_hash(11)[::-1].hex()

    trio.run(main)


def test_a_restart_goes_on_where_it_was_and_tells_nothing_twice(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        async with checking_with(tmp_path, ODD_HEIGHT, node) as (checks, hub, _):
            node.commit(run_of(1, 2))
            await checks.look("p", "regtest")
        node.commit(run_of(3, 4))
        async with checking_with(tmp_path, ODD_HEIGHT, node) as (checks, hub, _):
            assert [one["height"] for one in told(hub)] == [1, 3]
            node.commit(run_of(5, 6))
            await checks.look("p", "regtest")
        async with checking_with(tmp_path, ODD_HEIGHT, node) as (checks, hub, room):
            assert [one["height"] for one in told(hub)] == [1, 3, 5]
            assert room.states()[0]["calls"] == 0

    trio.run(main)


def test_a_log_that_lost_its_end_begins_anew(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        async with checking_with(tmp_path, ALL, node) as (checks, hub, _):
            node.commit(run_of(1, 2))
            await checks.look("p", "regtest")
            node.next_seq["regtest"] = 1
            node.log["regtest"].clear()
            await checks.look("p", "regtest")
            node.commit(run_of(3, 3))
            await checks.look("p", "regtest")
            assert [one["height"] for one in told(hub)] == [1, 2, 3]

    trio.run(main)


def test_a_long_sync_is_left_alone_and_its_newest_headers_shown_once_it_has_settled(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        node.commit(run_of(1, 10))
        async with checking_with(tmp_path, NONE, node) as (checks, _, room):
            node.commit(run_of(11, 11))
            await checks.look("p", "regtest")
            assert room.states()[0]["calls"] == 1
            for first in range(12, 912, 300):
                node.commit(run_of(first, first + 299))
                await checks.look("p", "regtest")
            assert room.states()[0]["calls"] == 1
            node.commit(run_of(912, 912))
            with capture_logs() as logs:
                await checks.look("p", "regtest")
            assert room.states()[0]["calls"] == 1 + NEAR_TIP
            assert [line["count"] for line in logs if line["event"] == "headers not shown"] == [901 - NEAR_TIP]

    trio.run(main)


def test_many_objections_are_few_events(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        async with checking_with(tmp_path, ALL, node) as (checks, hub, _):
            node.commit(run_of(1, 100))
            await checks.look("p", "regtest")
            found = told(hub)
            assert [one["height"] for one in found] == [*range(1, MAX_TOLD), 100]
            assert found[-1]["left_out"] == 100 - MAX_TOLD
            assert "left_out" not in found[0]

    trio.run(main)


def test_a_check_that_fails_says_so_and_that_it_is_off(tmp_path: Path) -> None:
    async def main() -> None:
        node = EventNode()
        async with checking_with(tmp_path, "unreachable", node) as (checks, hub, room):
            node.commit(run_of(1, 20))
            await checks.look("p", "regtest")
            found = told(hub)
            assert [(one["height"], one["fault"]) for one in found] == [
                (height, "trap") for height in range(1, MAX_FAULTS_IN_A_ROW + 1)
            ]
            assert ["off" in one for one in found] == [False] * (MAX_FAULTS_IN_A_ROW - 1) + [True]
            node.commit(run_of(21, 22))
            await checks.look("p", "regtest")
            assert told(hub) == found
            assert room.states()[0]["calls"] == MAX_FAULTS_IN_A_ROW

    trio.run(main)


def test_headers_below_may_be_asked_for(tmp_path: Path) -> None:
    reach = f"(i32.sub (i32.load (local.get $at)) (i32.const {BELOW}))"
    body = f"""(if (i32.eqz (call $header {reach} (i32.const 512))) (then (return (i32.const 1))))
        (if (call $header (i32.sub {reach} (i32.const 1)) (i32.const 512)) (then (return (i32.const 2))))
        (i32.const 0)"""

    async def main() -> None:
        node = EventNode()
        node.commit(run_of(1, 299))
        async with checking_with(tmp_path, body, node, HEADER, capabilities=("headers",)) as (checks, hub, room):
            node.commit(run_of(300, 300))
            await checks.look("p", "regtest")
            assert told(hub) == []
            assert room.states()[0]["calls"] == 1

    trio.run(main)


def test_the_service_follows_the_chain_and_the_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        node, room = EventNode(), Room()
        async with with_hub(node, tmp_path) as hub, trio.open_nursery() as nursery:
            nursery.start_soon(HeaderChecks(node, hub, room).run)
            node.commit(run_of(1, 3))
            room.put(await room.load([config(tmp_path, checking(ALL), headers=("regtest", "signet"))]))
            await until(lambda: "p/regtest" in hub.watches.checked)
            node.commit(run_of(4, 4))
            await until(lambda: bool(told(hub)))
            assert [one["height"] for one in told(hub)] == [4]
            room.put(await room.load([config(tmp_path, checking(NONE), "q", headers=("regtest",))]))
            await until(lambda: list(hub.watches.checked) == ["q/regtest"])
            nursery.cancel_scope.cancel()

    trio.run(main)
