"""Log lines: their two forms, and that nobody else can write one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from spvnode import logs
from spvnode.logs import MAX_TRACE, MAX_VALUE


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.BytesIO()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.BytesIO) -> list[str]:
    return stream.getvalue().decode().splitlines()


def test_json_lines(stream: io.BytesIO) -> None:
    log = logs.get_logger("sync")  # made before, as modules do
    logs.configure("info", "json", stream)
    log.info("tip moved", network="bitcoin", height=7, hash=b"\x01\xff", other={"a": (1, 2)})
    log.debug("not shown")
    (line,) = lines(stream)
    found = json.loads(line)
    assert isinstance(found.pop("ts"), float)
    assert found == {
        "room": "sync", "network": "bitcoin", "height": 7, "hash": "01ff", "other": {"a": [1, 2]}, "event": "tip moved",
        "level": "info",
    }  # fmt: skip


def test_text_lines(stream: io.BytesIO) -> None:
    logs.configure("debug", "text", stream)
    logs.get_logger("rpc").debug("listens", on="127.0.0.1:1", name="two words", empty="", number=None)
    (line,) = lines(stream)
    assert line[20:] == " debug   rpc: listens  on=127.0.0.1:1 name='two words' empty='' number=None"


def test_auto_is_json_where_nobody_looks(stream: io.BytesIO) -> None:
    logs.configure("info", "auto", stream)
    logs.get_logger("x").info("e")
    assert lines(stream)[0].startswith('{"ts":')


@pytest.mark.parametrize("form", ["json", "text"])
def test_remote_text_cannot_forge_a_line(stream: io.BytesIO, form: str) -> None:
    logs.configure("info", form, stream)
    evil = "x\n2026-01-01T00:00:00Z error   rpc: forged\r\x1b[2J\u2028\x85"
    logs.get_logger("p2p").warning("peer fault", evidence=evil)
    try:
        raise ValueError(evil)
    except ValueError:
        logs.get_logger("p2p").exception("failed")
    text = stream.getvalue().decode()
    assert not any(line.startswith("2026-01-01") for line in text.splitlines())
    assert "\x1b" not in text


def test_values_and_traces_are_cut(stream: io.BytesIO) -> None:
    logs.configure("info", "json", stream)
    logs.get_logger("x").info("e", value="y" * (MAX_VALUE + 1))
    assert json.loads(lines(stream)[0])["value"] == "y" * MAX_VALUE + "..."
    try:
        raise ValueError("z" * 2 * MAX_TRACE)
    except ValueError:
        logs.get_logger("x").exception("failed")
    assert len(lines(stream)[1]) < MAX_TRACE + 500


def test_libraries_end_in_the_same_stream(stream: io.BytesIO) -> None:
    logs.configure("info", "text", stream)
    logging.getLogger("zeroconf").warning("slow %s", "peer")
    logging.getLogger("zeroconf").warning("bad %d", "format")
    logging.getLogger("zeroconf").info("not shown")
    assert [line[21:] for line in lines(stream)] == ["warning zeroconf: slow peer", "warning zeroconf: bad %d"]


def test_a_broken_stream_does_not_break_who_logs(stream: io.BytesIO) -> None:
    logs.configure("info", "text", stream)
    stream.close()
    logs.get_logger("x").info("lost")
