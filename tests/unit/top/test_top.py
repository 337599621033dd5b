"""The terminal page on a live server: driven by Textual's Pilot, its text compared with a snapshot."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import trio
from event_node import EventNode, chain_of, live_events
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from spvnode.cli.shell import run_command
from spvnode.client import connect, connect_async
from spvnode.top import app as page
from spvnode.top.app import Top
from spvnode.top.look import Look
from spvnode.top.rows import MAX_CELL, MAX_LINE, amount, event_line, matches, network_rows, peer_rows, shown

SNAPSHOT = Path(__file__).with_name("top.txt")
PATIENCE = 20.0


class Served:
    """An ``EventNode`` behind a real server, in a thread of its own."""

    def __init__(self, place: Path, node: EventNode, token: trio.lowlevel.TrioToken) -> None:
        self.place = place
        self.node = node
        self._token = token

    def do(self, work: Callable[[], object]) -> None:
        trio.from_thread.run_sync(work, trio_token=self._token)


@contextmanager
def served(place: Path) -> Iterator[Served]:
    node = EventNode()
    began: Queue[tuple[trio.lowlevel.TrioToken, trio.Event]] = Queue()

    async def main() -> None:
        async with live_events(node, place):
            done = trio.Event()
            began.put((trio.lowlevel.current_trio_token(), done))
            await done.wait()

    thread = Thread(target=trio.run, args=(main,))
    thread.start()
    token, done = began.get(timeout=30)
    try:
        with connect(place) as client:  # the first thing that is told: it would come at any moment
            first = client.events(cursor="node:0", patience=30)
            assert next(first).kind == "readiness"
            first.close()
        yield Served(place, node, token)
    finally:
        token.run_sync_soon(done.set)
        thread.join(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LOOK_SECONDS", 0.05)


def text_of(top: Top) -> str:
    """What stands on the screen, without the spaces at the ends of lines."""
    width, height = top.size
    lines = top.screen._compositor.render_strips()
    assert len(lines) == height
    return "".join(line.text[:width].rstrip() + "\n" for line in lines)


def rows(top: Top, name: str) -> list[list[Any]]:
    table = top.query_one(name, DataTable)
    return [table.get_row_at(at) for at in range(table.row_count)]


def log(top: Top) -> list[str]:
    return [strip.text.rstrip() for strip in top.query_one("#log", RichLog).lines]


def head(top: Top) -> str:
    return str(top.query_one("#head", Static).content)


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await pilot.pause(0.02)


def drive(top: Top, steps: Callable[[Pilot[None]], Any]) -> None:
    async def main() -> None:
        async with top.run_test(size=(110, 30)) as pilot:
            await steps(pilot)

    asyncio.run(main())


def test_state_peers_events_and_the_filter(server: Served) -> None:
    top = Top(connect_async(server.place))

    async def steps(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: rows(top, "#networks"))
        await asyncio.sleep(0.2)  # the stream has begun
        server.do(lambda: server.node.commit(chain_of(3)))
        await until(pilot, lambda: any("extend  3 " in line for line in log(top)))
        server.do(lambda: server.node.happen(kind="fault", reason="bad-pow", peer="p1"))
        server.do(lambda: server.node.commit(chain_of(5, seed=5)))
        await until(pilot, lambda: any("reorg" in line for line in log(top)))
        await until(pilot, lambda: rows(top, "#networks")[0][1] == "5" and rows(top, "#networks")[0][4] == "-")
        assert rows(top, "#networks")[0][0] == "regtest"
        assert rows(top, "#networks")[0][6] == "yes"
        assert rows(top, "#peers") == [["regtest", "/ip4/127.0.0.1/tcp/1", "-", "7", "-", "-", "-"]]
        assert "3 undone, 5 new above 0: 5 " in log(top)[-1]
        await pilot.pause()
        assert text_of(top) == SNAPSHOT.read_text()
        every = len(log(top))
        await pilot.press("slash", *"reorg", "enter")
        await until(pilot, lambda: len(log(top)) == 1)
        await pilot.press("slash", "escape")
        await until(pilot, lambda: len(log(top)) == every)
        await pilot.press("slash", "home", *"-reorg", "enter")
        await until(pilot, lambda: len(log(top)) == every - 1)
        assert top.query_one("#filter", Input).value == "-reorg"
        await pilot.press("c")
        await until(pilot, lambda: not log(top))

    drive(top, steps)


def test_a_pause(server: Served) -> None:
    top = Top(connect_async(server.place), ("regtest",))

    async def steps(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: rows(top, "#networks"))
        await asyncio.sleep(0.2)
        await pilot.press("p")
        await until(pilot, lambda: "PAUSED" in head(top))
        server.do(lambda: server.node.commit(chain_of(4)))
        await asyncio.sleep(0.3)
        assert rows(top, "#networks")[0][1] == "0"
        assert not [line for line in log(top) if "extend" in line]
        await pilot.press("p")
        await until(pilot, lambda: rows(top, "#networks")[0][1] == "4")
        await until(pilot, lambda: any("extend  4 " in line for line in log(top)))
        assert "PAUSED" not in head(top)

    drive(top, steps)


def test_a_daemon_that_goes_away(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: rows(top, "#networks"))
        ending.set()
        await until(pilot, lambda: "no daemon answers" in head(top) or "went away" in head(top))
        assert rows(top, "#networks")
        await pilot.press("q")

    ending = asyncio.Event()
    top = Top(connect_async(tmp_path))

    async def main() -> None:
        context = served(tmp_path)
        await asyncio.to_thread(context.__enter__)
        async with top.run_test(size=(110, 30)) as pilot:
            closing = asyncio.create_task(close_after(context))
            await steps(pilot)
            await closing

    async def close_after(context: Any) -> None:
        await ending.wait()
        await asyncio.to_thread(context.__exit__, None, None, None)

    asyncio.run(main())


# -- the command


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run_command(["top", "--datadir", str(tmp_path)]) == 2
    way = ".venv/bin/pip install '.[top]' in the checkout"
    assert capsys.readouterr().err == f"error: textual: is not installed; {way} brings it\n"


def test_without_a_terminal(
    server: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Top, "run", lambda _: pytest.fail("it was started"))
    assert run_command(["top", "--datadir", str(server.place)]) == 2
    told = "error: stdout: is no terminal; `spvnode status --json` is for programs\n"
    assert capsys.readouterr() == ("", told)


def test_one_look_as_json(server: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # the extra is not needed
    assert run_command(["top", "--json", "--datadir", str(server.place)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["node"]["version"] == "0.0.test"
    assert found["networks"]["regtest"]["tip"] == 0


def test_without_a_daemon_or_its_network(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["top", "--datadir", str(tmp_path / "none")]) == 69
    assert run_command(["top", "--datadir", str(server.place), "--network", "signet"]) == 2
    assert "signet does not run here; running: regtest" in capsys.readouterr().err


# -- text


def look(at: float, tip: int | None, received: int = 0) -> Look:
    peer = {"addr": "a:1", "subver": "\x1b[31mX" * 30, "bytesrecv": received, "pingtime": 0.0123, "synced_headers": 9}
    about = {"freshness": {"tip_age": None}, "tip": tip, "peers": [peer], "ready": False, "reasons": ["no peer"]}
    return Look(at, {}, {"regtest": about})


def test_rates() -> None:
    (row,) = network_rows(look(12.0, 25_000), look(10.0, 0))
    assert row == ("regtest", "25,000", "-", "-", "12.5 k/s", "1", "no: no peer")
    (row,) = network_rows(look(10.0, None), None)
    assert (row[1], row[4]) == ("none yet", "-")
    (row,) = peer_rows(look(12.0, 1, 3_000_000), look(10.0, 1, 1_000_000))
    assert row[3:6] == ("9", "12 ms", "1 MB/s")
    assert len(row[2]) == MAX_CELL
    assert "\x1b" not in row[2]
    assert peer_rows(look(12.0, 1, 5), look(10.0, 1, 6))[0][5] == "-"  # another connection under the same address
    assert [amount(each) for each in (0.5, 999, 1_500, 2e9)] == ["0.5 ", "999 ", "1.5 k", "2 G"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"time": 0, "network": "r", "kind": "readiness", "ready": True}, "00:00:00  r  readiness  ready"),
        ({"kind": "readiness", "ready": False, "reasons": ["a", "b"]}, "--:--:--    readiness  not ready: a; b"),
        ({"time": 60, "network": "r", "kind": "gap", "after": 3, "next": 9}, "00:01:00  r  gap  after=3 next=9"),
        ({"network": "r", "kind": "fault", "seq": 5, "why": "\n\x1b"}, "--:--:--  r  fault  why=??"),
    ],
)
def test_lines(event: dict[str, Any], line: str) -> None:
    assert event_line(event) == line
    assert len(event_line({**event, "kind": "x" * 1000})) == MAX_LINE


def test_filters() -> None:
    assert matches("12:00  Bitcoin  reorg", ["bitcoin", "reorg"])
    assert not matches("12:00  Bitcoin  reorg", ["bitcoin", "-reorg"])
    assert matches("anything", [])
    assert matches("a - b", ["-"])
    assert shown("x" * 99, 5) == "xxxx…"
