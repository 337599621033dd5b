"""The fence around one module: what is refused when it is loaded, and how each kind of bad call ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from wasm import ALLOC, FOREVER, KEEP, MEMORY, checking, config, entry, filtering
from wasmtime import Engine

from spvnode.config_plugins import MAX_FUEL
from spvnode.errors import InputError
from spvnode.plugins.faults import PluginFault, Reason
from spvnode.plugins.guest import MAX_FILE_BYTES, MAX_FUNCTIONS, MAX_TABLE_ELEMENTS, Guest, make_engine
from spvnode.plugins.host import LOG_BURST, MAX_HOST_CALLS, MAX_LOG_BYTES, TICK_SECONDS, Window

LOG = '(import "spvnode" "log" (func $log (param i32 i32)))'
NOW = '(import "spvnode" "now" (func $now (result i64)))'
HEADER = '(import "spvnode" "header" (func $header (param i32 i32) (result i32)))'


def guest(tmp_path: Path, text: str, **settings: Any) -> Guest:
    return Guest(make_engine(), config(tmp_path, text, **settings), lambda: 1_700_000_000.0)


@contextmanager
def ticking(engine: Engine) -> Iterator[None]:
    """The engine's clock, as the room keeps it."""
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_SECONDS):
            engine.increment_epoch()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def ask(one: Guest, data: bytes = b"{}", export: str = "filter_event") -> int | PluginFault:
    return one.call(export, data)[0]


def reason(outcome: int | PluginFault) -> Reason:
    assert isinstance(outcome, PluginFault)
    assert outcome.plugin == "p"
    return outcome.reason


@pytest.mark.parametrize("binary", [False, True])
def test_text_and_binary_modules_answer(tmp_path: Path, binary: bool) -> None:
    one = guest(tmp_path, filtering("(i32.eq (local.get $len) (i32.const 3))"), binary=binary)
    assert [ask(one, b"abc"), ask(one, b"abcd")] == [1, 0]
    outcome, fuel = one.call("filter_event", b"abc")
    assert outcome == 1
    assert 0 < fuel < 100


def test_the_input_lies_where_the_plugin_wants_it(tmp_path: Path) -> None:
    one = guest(tmp_path, checking("(i32.load (local.get $at))"))
    assert ask(one, (77).to_bytes(4, "little") + bytes(80), "check_header") == 77
    assert ask(one, b"\xff\xff\xff\xff" + bytes(80), "check_header") == -1


def test_nothing_is_remembered_between_calls(tmp_path: Path) -> None:
    body = "(local.set $a (i32.load (i32.const 8))) (i32.store (i32.const 8) (i32.const 1)) (local.get $a)"
    one = guest(tmp_path, filtering(body))
    assert [ask(one) for _ in range(3)] == [0, 0, 0]


def test_work_without_end_stops_at_the_fuel(tmp_path: Path) -> None:
    one = guest(tmp_path, filtering(FOREVER), fuel=1_000_000)
    outcome, fuel = one.call("filter_event", b"{}")
    assert reason(outcome) is Reason.FUEL
    assert fuel == 1_000_000
    assert (
        reason(ask(guest(tmp_path, filtering(KEEP, alloc=ALLOC.replace("(i32.const 1024)", FOREVER))))) is Reason.FUEL
    )


def test_work_without_end_stops_at_the_deadline(tmp_path: Path) -> None:
    engine = make_engine()
    one = Guest(engine, config(tmp_path, filtering(FOREVER), fuel=MAX_FUEL, deadline_ms=10), lambda: 0.0)
    with ticking(engine):
        outcome, fuel = one.call("filter_event", b"{}")
    assert reason(outcome) is Reason.DEADLINE
    assert fuel < MAX_FUEL


def test_memory_does_not_grow_beyond_its_bound(tmp_path: Path) -> None:
    refused = "(i32.eq (memory.grow (i32.const {})) (i32.const -1))"
    one = guest(tmp_path, filtering(refused.format(16)), memory=16 << 16)
    assert ask(one) == 1
    assert ask(guest(tmp_path, filtering(refused.format(15)), memory=16 << 16)) == 0
    bomb = "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (i32.const 1)"
    assert reason(ask(guest(tmp_path, filtering(bomb)))) is Reason.FUEL


def test_tables_do_not_grow_beyond_their_bound(tmp_path: Path) -> None:
    grown = "(i32.eq (table.grow (ref.null func) (i32.const {})) (i32.const -1))"
    table = f"{MEMORY} (table 1 funcref)"
    assert ask(guest(tmp_path, filtering(grown.format(MAX_TABLE_ELEMENTS), memory=table))) == 1
    assert ask(guest(tmp_path, filtering(grown.format(MAX_TABLE_ELEMENTS - 1), memory=table))) == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(i32.load (i32.const -4))", Reason.MEMORY),
        ("(i32.store (i32.const 65534) (i32.const 1)) (i32.const 1)", Reason.MEMORY),
        ("unreachable", Reason.TRAP),
        ("(i32.div_u (i32.const 1) (local.get $a))", Reason.TRAP),
        ("(call $deep)", Reason.STACK),
        ("(i32.const 2)", Reason.RESULT),
        ("(i32.const -1)", Reason.RESULT),
    ],
)
def test_a_bad_call_is_a_fault_and_the_next_one_is_none(tmp_path: Path, body: str, expected: Reason) -> None:
    deep = "(func $deep (result i32) (call $deep) (i32.add (i32.const 1)))"
    body = f"(if (result i32) (i32.eq (local.get $len) (i32.const 1)) (then {body}) (else (i32.const 1)))"
    one = guest(tmp_path, f"(module {MEMORY} {ALLOC} {deep} {entry('filter_event', body)})")
    for _ in range(3):
        assert reason(ask(one, b"x")) is expected
        assert ask(one, b"xx") == 1


@pytest.mark.parametrize("place", ["-1", "65535", "0x7fffffff", "-65536"])
def test_input_is_not_written_outside_the_memory(tmp_path: Path, place: str) -> None:
    one = guest(tmp_path, filtering(KEEP, alloc=ALLOC.replace("1024", place)))
    assert reason(ask(one, b"xy")) is Reason.POINTER


def test_what_needs_no_memory_at_the_very_end_is_fine(tmp_path: Path) -> None:
    assert ask(guest(tmp_path, filtering(KEEP, alloc=ALLOC.replace("1024", "65534"))), b"xy") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (filtering(KEEP, memory="(memory 1)"), "exports no memory"),
        (filtering(KEEP, memory='(global (export "memory") i32 (i32.const 1))'), "exports no memory"),
        (filtering(KEEP, alloc=""), "exports no spvnode_alloc"),
        (f"(module {MEMORY} {ALLOC})", "exports no filter_event and no check_header"),
        (f'(module {MEMORY} {ALLOC} (func (export "filter_event") (param i32)))', "not as a function of 2 i32"),
        (filtering(KEEP, alloc='(global (export "spvnode_alloc") i32 (i32.const 1))'), "not as a function of 1 i32"),
        (filtering(KEEP, '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'),
         "imports 'wasi_snapshot_preview1.fd_write', which no capability gives"),
        (filtering(KEEP, '(import "spvnode" "secret" (func))'), "'spvnode.secret', which no capability gives"),
        (filtering(KEEP, '(import "env" "memory" (memory 1))', memory=""), "exports no memory"),
        (filtering(KEEP, LOG), "imports spvnode.log, which needs the capability log"),
        (filtering(KEEP, NOW), "imports spvnode.now, which needs the capability clock"),
        (filtering(KEEP, HEADER), "imports spvnode.header, which needs the capability headers"),
        (filtering(KEEP, memory='(memory (export "memory") 65)'), "does not start"),
        (filtering(KEEP, memory=f'{MEMORY} (table {MAX_TABLE_ELEMENTS + 1} funcref)'), "does not start"),
        (filtering(KEEP, "(func $s unreachable) (start $s)"), "does not start: trap"),
        (filtering(KEEP, "(func $s (loop $l (br $l))) (start $s)"), "does not start: out-of-fuel"),
        (filtering(KEEP, memory='(memory (export "memory") i64 1)'), "is no WebAssembly module"),
        (filtering(KEEP, memory=f"{MEMORY} (memory 1)"), "is no WebAssembly module"),
        (filtering("(i64.const 1)"), "is no WebAssembly module"),
        ("(module", "is no WebAssembly module"),
        ("\0asm\1\0\0\0\xff", "is no WebAssembly module"),
        ("", "is no WebAssembly module: expected at least one module field --> <anon>:1:1"),
        ("(module)", "exports no memory"),
    ],
)  # fmt: skip
def test_what_is_no_plugin_is_refused_when_it_is_loaded(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=r"plugin\.file: p: ") as caught:
        guest(tmp_path, text)
    assert problem in caught.value.problem


def test_files_that_are_not_there_or_too_long(tmp_path: Path) -> None:
    one = config(tmp_path, filtering(KEEP))
    Path(one.file).write_bytes(b"\0asm" + bytes(MAX_FILE_BYTES))
    with pytest.raises(InputError, match=f"longer than {MAX_FILE_BYTES} bytes"):
        Guest(make_engine(), one, lambda: 0.0)
    Path(one.file).unlink()
    with pytest.raises(InputError, match="No such file"):
        Guest(make_engine(), one, lambda: 0.0)
    os.mkfifo(one.file)  # which nobody will ever write to
    with pytest.raises(InputError, match="is no regular file"):
        Guest(make_engine(), one, lambda: 0.0)


def test_a_module_of_countless_functions_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has {MAX_FUNCTIONS + 1} functions, at most {MAX_FUNCTIONS}"):
        guest(tmp_path, filtering(KEEP, *["(func)"] * (MAX_FUNCTIONS - 1)))  # beside its own two
    assert ask(guest(tmp_path, filtering(KEEP, *["(func)"] * 200))) == 1


def test_headers_want_an_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plugin.headers: p looks at no headers: .* exports no check_header"):
        guest(tmp_path, filtering(KEEP), headers=("regtest",))


def test_an_import_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spvnode\.log as another type"):
        guest(tmp_path, filtering(KEEP, '(import "spvnode" "log" (func (param i32)))'), capabilities=("log",))
    with pytest.raises(InputError, match=r"spvnode\.log as another type"):
        guest(tmp_path, filtering(KEEP, '(import "spvnode" "log" (global i32))'), capabilities=("log",))


def test_the_clock(tmp_path: Path) -> None:
    body = "(i64.eq (call $now) (i64.const 1700000000))"
    assert ask(guest(tmp_path, filtering(body, NOW), capabilities=("clock",))) == 1


def test_a_line_in_the_log_is_bounded_and_so_is_their_number(tmp_path: Path) -> None:
    body = "(call $log (i32.const 1024) (local.get $len)) (i32.const 1)"
    one = guest(tmp_path, filtering(body, LOG), capabilities=("log",))
    with capture_logs() as logs:
        assert ask(one, b"hello \xff") == 1
        assert ask(one, b"x" * 1_000) == 1
        for _ in range(LOG_BURST):
            assert ask(one) == 1
    assert [line["text"] for line in logs[:2]] == ["hello \ufffd", "x" * MAX_LOG_BYTES]
    assert len(logs) == LOG_BURST
    assert one.desk.lines.dropped == 2


@pytest.mark.parametrize("place", ["65536 1", "-1 4", "-1 -1", "65530 100"])
def test_lines_from_outside_the_memory_are_a_fault(tmp_path: Path, place: str) -> None:
    at, size = place.split()
    body = f"(call $log (i32.const {at}) (i32.const {size})) (i32.const 1)"
    assert reason(ask(guest(tmp_path, filtering(body, LOG), capabilities=("log",)))) is Reason.POINTER


def test_the_node_is_not_asked_without_end(tmp_path: Path) -> None:
    body = """(loop $l (drop (call $now)) (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $a) (i32.const {})))) (i32.const 1)"""
    one = guest(tmp_path, filtering(body.format(MAX_HOST_CALLS), NOW), capabilities=("clock",))
    assert [ask(one), ask(one)] == [1, 1]
    one = guest(tmp_path, filtering(body.format(MAX_HOST_CALLS + 1), NOW), capabilities=("clock",))
    assert reason(ask(one)) is Reason.CALLS


def test_headers_beside_the_one_that_is_looked_at(tmp_path: Path) -> None:
    body = """(if (i32.eqz (call $header (i32.load (local.get $at)) (i32.const 512))) (then (return (i32.const -5))))
        (i32.load8_u (i32.const 591))"""
    one = guest(tmp_path, checking(body, HEADER), capabilities=("headers",), headers=("regtest",))
    window = Window(10, b"".join(bytes(79) + bytes([number]) for number in (1, 2, 3)))
    data = [height.to_bytes(4, "little") + bytes(80) for height in (9, 10, 12, 13, 2**32 - 1)]
    assert [one.call("check_header", one_, window)[0] for one_ in data] == [-5, 1, 3, -5, -5]
    assert one.call("check_header", data[1])[0] == -5
    outside = "(call $header (i32.const 10) (i32.const 65500))"
    one = guest(tmp_path, checking(outside, HEADER), capabilities=("headers",), headers=("regtest",))
    assert reason(one.call("check_header", data[0], window)[0]) is Reason.POINTER


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_module_is_refused_or_answers(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    one = config(tmp_path, filtering("(i32.load (local.get $at))", LOG), binary=True, capabilities=("log",))
    raw = bytearray(Path(one.file).read_bytes())
    for at, value in changes:
        raw[at % len(raw)] = value
    Path(one.file).write_bytes(raw)
    with capture_logs() as logs:
        try:
            found = Guest(make_engine(), one, lambda: 0.0)
        except InputError:
            return
        for export in found.exports:
            assert isinstance(found.call(export, b"{}")[0], int | PluginFault)
    assert "plugin call failed" not in [line["event"] for line in logs]
