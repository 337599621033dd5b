"""Log lines: one event with named values, straight to stderr (journald and containers read it there).

``text`` for people: ``2026-11-22T14:00:00Z info  sync started  network=bitcoin``. ``json`` for machines: one object a
line with ``ts`` (Unix seconds), ``level``, ``event`` and the values. Text from peers and clients appears only as a
value: cut to ``MAX_VALUE`` and with control characters escaped, so that no remote byte can forge a line.

Libraries that use the standard ``logging`` end in the same stream, from WARNING up.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, BinaryIO

import msgspec

# structlog.dev imports rich where it is installed, for a renderer that is not used here: 3.4 MB and 70 modules.
_hide_rich = "rich" not in sys.modules
if _hide_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes its import fail
import structlog  # noqa: E402

if _hide_rich:
    del sys.modules["rich"]

MAX_VALUE = 1_000
"""Characters of one value that are kept. A peer's error text, a client's path."""
MAX_TRACE = 20_000
"""Characters of a traceback that are kept; an exception's message may quote what a peer sent."""
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_encoder = msgspec.json.Encoder(enc_hook=repr)


def configure(level: str = "info", format: str = "auto", stream: BinaryIO | None = None) -> None:
    """Sets up the process's logging. ``format`` is ``auto``, ``text`` or ``json``; ``stream`` defaults to stderr."""
    out = sys.stderr.buffer if stream is None else stream
    as_text = format == "text" or (format == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _bound,
            render_text if as_text else render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *room: _Lines(_Sink(out), *room),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)


def get_logger(room: str) -> Any:
    """A logger whose lines carry ``room``. May be called at import: ``configure`` reaches it later."""
    return structlog.get_logger(room)


def render_json(logger: _Lines, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """One JSON object, ``ts`` first."""
    return _encoder.encode({"ts": round(time.time(), 3), "room": logger.room, **event})


def render_text(logger: _Lines, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """One line for people; a traceback follows on lines of its own."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    level, name, trace = event.pop("level"), event.pop("event"), event.pop("exception", "")
    values = " ".join(f"{key}={_plain(value)}" for key, value in event.items())
    line = f"{stamp} {level:<7} {logger.room}: {_printable(str(name))}  {values}".rstrip()
    # Indented, so that no line of an exception's message can pass for a log line.
    rest = "".join(f"\n  {_escaped(part)}" for part in trace.splitlines())
    return (line + rest).encode(errors="backslashreplace")


def _bound(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        text = value.hex() if isinstance(value, bytes) else value
        if isinstance(text, str):
            limit = MAX_TRACE if key == "exception" else MAX_VALUE
            event[key] = text if len(text) <= limit else text[:limit] + "..."
    return event


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if not text.isprintable() or " " in text or not text else text


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _escaped(line: str) -> str:
    return line if line.isprintable() else line.encode("unicode_escape").decode()


class _Lines(structlog.BytesLogger):
    """Writes finished lines; knows the room they come from (the argument of ``structlog.get_logger``)."""

    def __init__(self, sink: _Sink, room: str = "spvnode") -> None:
        super().__init__(sink)  # type: ignore[arg-type]  # of a file, only write and flush are used
        self.room = room


class _Sink:
    """A stream that may break (a closed pipe, a full disk) without taking down who logs."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        """Writes ``line``, or loses it: there is nowhere left to say so."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line)

    def flush(self) -> None:
        """Flushes; see ``write``."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Forward(logging.Handler):
    """Standard-library records as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        log = get_logger(record.name)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's own format mistake
            message = str(record.msg)
        log.log(record.levelno, message, exc_info=record.exc_info or None)
