"""The plugins of a configuration together: counts, faults, turns, and replacing all of them."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from wasm import FOREVER, KEEP, LAST_DIGIT, MEMORY, ODD_HEIGHT, checking, config, filtering, room_with

from spvnode.config import Config
from spvnode.config_plugins import MAX_FUEL, MAX_PLUGINS, PluginConfig
from spvnode.config_rpc import RpcConfig, WebhookConfig
from spvnode.errors import InputError
from spvnode.metrics import Metrics
from spvnode.plugins import guest, host, room
from spvnode.plugins.faults import PluginFault
from spvnode.plugins.host import Window
from spvnode.plugins.room import MAX_FAULTS_IN_A_ROW, SLICE_SECONDS, Room
from spvnode.reloading import Reloader
from spvnode.rpc.settings import Desk

PAGE = Path(__file__).resolve().parents[3] / "docs" / "plugins.md"
EVENTS = [b'{"n":%d}' % number for number in range(10_000)]
FAULTY = "(if (i32.eq (local.get $len) (i32.const 7)) (then unreachable)) (i32.const 0)"
"""Drops all but events of seven bytes, which it fails at."""


def test_ten_thousand_events_in_order_while_the_loop_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, filtering(LAST_DIGIT)))
        rounds = 0

        async def turn() -> None:
            nonlocal rounds
            while True:
                await trio.sleep(SLICE_SECONDS / 5)
                rounds += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            kept = await plugins.keep("p", EVENTS)
            nursery.cancel_scope.cancel()
        assert list(kept) == [number % 2 == 1 for number in range(len(EVENTS))]
        assert rounds > 10
        state = plugins.states()[0]
        assert (state["calls"], state["faults"], state["state"]) == (len(EVENTS), 0, "on")
        assert 10 < state["fuel"] / len(EVENTS) < 100

    trio.run(main)


def test_a_filter_that_fails_keeps_the_event_and_is_switched_off_after_some(tmp_path: Path) -> None:
    async def main() -> None:
        metrics = Metrics()
        plugins = await room_with(config(tmp_path, filtering(FAULTY)), metrics=metrics)
        bad, good = b'{"n":1}', b'{"n":10}'
        with capture_logs() as logs:
            assert await plugins.keep("p", [good, bad, bad, good]) == [False, True, True, False]
            assert [line["event"] for line in logs] == ["plugin failed"]
            assert logs[0]["reason"] == "trap"
            assert "unreachable" in logs[0]["detail"]
            assert await plugins.keep("p", [bad] * 9 + [good]) == [True] * 9 + [False]  # one event, asked for by many
            worse = [b'{"n":%d}' % number for number in range(MAX_FAULTS_IN_A_ROW)]
            kept = await plugins.keep("p", worse + [good] * 3)
            assert [line["event"] for line in logs[1:]] == ["plugin failed"] * 2 + ["plugin switched off"]
        assert kept == [True] * (MAX_FAULTS_IN_A_ROW + 3)
        assert await plugins.keep("p", [good]) == [True]
        state = plugins.states()[0]
        assert (state["state"], state["calls"], state["faults"]) == ("off", 19, 11 + MAX_FAULTS_IN_A_ROW)
        assert state["last_fault"]["reason"] == "trap"
        assert counted(metrics, "spvnode_plugin_calls") == {"p": 19}
        assert counted(metrics, "spvnode_plugin_faults") == {"p trap": 16}
        assert counted(metrics, "spvnode_plugin_fuel") == {"p": state["fuel"]}

    trio.run(main)


def counted(metrics: Metrics, name: str) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    found = next(family for family in families if family.name == name)
    return {" ".join(one.labels.values()): one.value for one in found.samples}


def test_deadlines_are_kept_by_the_rooms_own_clock(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, filtering(FOREVER), fuel=1_000_000_000, deadline_ms=20))
        assert await plugins.keep("p", [b"{}"]) == [True]
        assert plugins.states()[0]["last_fault"]["reason"] == "deadline"

    trio.run(main)


def test_a_trial_has_the_deadline_of_a_call(tmp_path: Path) -> None:
    endless = "(func $start (loop $l (br $l))) (start $start)"
    with pytest.raises(InputError, match="does not start: deadline"):
        trio.run(room_with, config(tmp_path, filtering(KEEP).replace(MEMORY, MEMORY + endless), fuel=MAX_FUEL))


def test_faults_by_the_thousand_are_few_lines(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, filtering(FAULTY)), clock=lambda: 0.0)
        with capture_logs() as logs:
            await plugins.keep("p", [b'{"n":1}', b'{"n":10}'] * 100)
        assert [line["event"] for line in logs] == ["plugin failed"] * host.LOG_BURST
        assert plugins.states()[0]["faults"] == 100

    trio.run(main)


def test_a_cancelled_reader_waits_for_its_turn_at_most(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, filtering(FOREVER), fuel=1_000_000_000, deadline_ms=50))
        with trio.move_on_after(0.02) as scope:
            await plugins.keep("p", [b"{}"] * 4)
        assert scope.cancelled_caught
        assert 1 <= plugins.states()[0]["calls"] < 4
        assert plugins.states()[0]["last_fault"]["reason"] == "deadline"

    trio.run(main)


def test_readers_take_turns(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, filtering(KEEP)))
        order: list[str] = []

        async def read(name: str, count: int) -> None:
            await plugins.keep("p", EVENTS[:count])
            order.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "long", 5_000)
            await trio.sleep(SLICE_SECONDS)
            nursery.start_soon(read, "short", 1)
        assert order == ["short", "long"]

    trio.run(main)


def test_a_name_that_is_gone_or_no_filter_keeps_everything(tmp_path: Path) -> None:
    async def main() -> None:
        plugins = await room_with(config(tmp_path, checking(ODD_HEIGHT)))
        assert list(plugins.names) == []
        for name in ("p", "gone"):
            assert await plugins.keep(name, EVENTS[:3]) == [True] * 3
            assert not plugins.is_off(name)
        assert await Room().keep("p", EVENTS[:2]) == [True] * 2

    trio.run(main)


def test_all_of_them_are_replaced_or_none(tmp_path: Path) -> None:
    async def main() -> None:
        one = config(tmp_path, filtering(LAST_DIGIT), "one")
        plugins = await room_with(one)
        assert await plugins.keep("one", EVENTS[:2]) == [False, True]
        with pytest.raises(InputError, match=r"plugin\.file: two: .*two\.wat exports no spvnode_alloc"):
            await plugins.load(
                [config(tmp_path, filtering(KEEP), "one"), config(tmp_path, filtering(KEEP, alloc=""), "two")]
            )
        with pytest.raises(InputError, match=r"rpc\.webhook\.filter: 'one' is no event filter .* there are: none"):
            await plugins.load([config(tmp_path, checking(ODD_HEIGHT), "one")], ["one"])
        assert await plugins.keep("one", EVENTS[:2]) == [False, True]
        assert plugins.states()[0]["calls"] == 4
        changed = plugins.changed
        plugins.put(await plugins.load([config(tmp_path, filtering(KEEP), "one")], ["one"]))
        assert changed.is_set()
        assert await plugins.keep("one", EVENTS[:2]) == [True, True]
        assert plugins.states()[0]["calls"] == 2

    trio.run(main)


def test_reload_reads_the_files_again_and_keeps_the_old_where_one_does_not_hold(tmp_path: Path) -> None:
    def configured(*found: PluginConfig, filters: str = "") -> Config:
        hook = WebhookConfig(name="h", url="http://127.0.0.1:1/", secret_file=str(tmp_path), filter=filters)
        return Config(datadir=str(tmp_path), plugin=found, rpc=RpcConfig(webhook=(hook,) if filters else ()))

    async def main() -> None:
        good = configured(config(tmp_path, filtering(LAST_DIGIT)))
        now = [good]
        plugins = Room()
        reloader = Reloader(good, lambda: now[0], tmp_path, Desk(), plugins)
        assert (await reloader.reload()).applied == ()
        assert await plugins.keep("p", EVENTS[:2]) == [False, True]
        config(tmp_path, filtering("(i64.const 1)"))
        with pytest.raises(InputError, match=r"is no WebAssembly module: .*expected i32, found i64"):
            await reloader.reload()
        with capture_logs() as logs:
            await reloader.on_signal()
        assert "expected i32" in logs[0]["problem"]
        assert await plugins.keep("p", EVENTS[:2]) == [False, True]
        now[0] = configured(config(tmp_path, filtering(KEEP), fuel=20_000))
        assert (await reloader.reload()).applied == ("plugin",)
        assert await plugins.keep("p", EVENTS[:2]) == [True, True]
        now[0] = configured(config(tmp_path, checking(ODD_HEIGHT)), filters="p")
        with pytest.raises(InputError, match=r"rpc\.webhook\.filter"):
            await reloader.reload()
        now[0] = configured()
        assert (await reloader.reload()).applied == ("plugin",)
        assert list(plugins.names) == []

    trio.run(main)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = config(tmp_path, filtering(KEEP))
    monkeypatch.delitem(sys.modules, "spvnode.plugins.guest")
    monkeypatch.setitem(sys.modules, "wasmtime", None)

    async def main() -> None:
        assert (await Room().load([])).engine is None
        with pytest.raises(InputError, match=r"plugin: wants WebAssembly: .venv/bin/pip install '\.\[plugins\]'"):
            await Room().load([one])

    trio.run(main)


def test_the_example_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    found = re.search(r"```wat\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    block = re.search(r"\n( +\[\[plugin\]\]\n.*?)\n\n", PAGE.read_text(), re.DOTALL)
    assert block is not None
    (table,) = tomllib.loads(block[1])["plugin"]

    async def main() -> None:
        one = config(tmp_path, found[1], **{key: value for key, value in table.items() if key != "file"})
        plugins = await room_with(one)
        events = [b'{"network":"bitcoin","kind":"extend","x":"' + b"y" * 200_000 + b'"}', b'{"kind":"reorg"}',
                  b"{}", b'{"kind":"extend', b'"kind":"extend"']  # fmt: skip
        assert await plugins.keep("quiet", events) == [False, True, True, True, False]
        headers = [bytes(68) + when.to_bytes(4, "little") + bytes(8) for when in (100, 90, 90, 200)]
        window = Window(7, b"".join(headers))
        data = [height.to_bytes(4, "little") + header for height, header in enumerate(headers, 7)]
        assert await plugins.check("quiet", data, window) == [0, 1, 0, 0]

    trio.run(main)


def test_the_page_tells_the_bounds_as_they_are() -> None:
    page = PAGE.read_text()
    for words in (
        f"At most {MAX_PLUGINS} plugins",
        f"at most {guest.MAX_FILE_BYTES >> 20} MiB",
        f"{guest.MAX_STACK_BYTES >> 10} KiB of stack",
        f"{guest.MAX_TABLES} tables of {guest.MAX_TABLE_ELEMENTS:,} entries",
        f"{host.MAX_HOST_CALLS} calls of the node",
        f"{host.MAX_LOG_BYTES} bytes of UTF-8; {host.LOG_BURST} at once",
        f"a reader's turn is {room.SLICE_SECONDS * 1_000:g} ms",
        f"after {room.MAX_FAULTS_IN_A_ROW} faults in a row",
        f"fuel = {PluginConfig(name='a', file='b').fuel:_}",
        f"memory = {PluginConfig(name='a', file='b').memory:_}",
        f"deadline_ms = {PluginConfig(name='a', file='b').deadline_ms}",
    ):
        assert words in page, words


def test_checks_answer_in_order_and_faults_are_among_them(tmp_path: Path) -> None:
    async def main() -> None:
        body = f"(if (i32.eq (i32.load (local.get $at)) (i32.const 5)) (then unreachable)) {ODD_HEIGHT}"
        plugins = await room_with(config(tmp_path, checking(body), headers=("regtest", "signet")))
        assert plugins.checks == [("p", "regtest"), ("p", "signet")]
        found = await plugins.check("p", [height.to_bytes(4, "little") + bytes(80) for height in range(3, 8)])
        assert [one for one in found if isinstance(one, int)] == [7, 0, 0, 7]
        assert isinstance(found[2], PluginFault)

    trio.run(main)
