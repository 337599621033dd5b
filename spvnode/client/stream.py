"""Server-sent events (WHATWG HTML, 9.2), as the daemon sends them. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from spvnode.client.errors import ClientError

MAX_EVENT = 16 << 20
"""Bytes of one event; a reorganization of 2,016 blocks takes 0.3 MB. Whoever listens there can fill it."""
SILENCE = 45.0
"""Seconds without a byte after which the stream is taken up anew: three of the daemon's keepalives."""


class Event(NamedTuple):
    """Something that happened. ``cursor`` is where to go on after it: keep it once the event is dealt with."""

    cursor: str
    kind: str
    """``extend``, ``reorg``, ``fork``, ``fault``, ``backfill``, ``advance``, ``finality``, ``watch``, ``readiness``, or
    ``gap``: events between were lost, or are no longer kept."""
    network: str
    data: Mapping[str, Any]
    """The daemon's JSON."""


class Parser:
    """Bytes in, events out; ``cursor`` also moves where there is nothing to tell."""

    def __init__(self, cursor: str | None) -> None:
        self.cursor = cursor
        self._rest = b""

    def cut_off(self) -> None:
        """The stream has ended: what had not come whole will come again."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that ``data`` completes. Raises ClientError for what is no stream of ours."""
        self._rest += data.replace(b"\r", b"")
        if len(self._rest) > MAX_EVENT:
            raise ClientError(f"an event of more than {MAX_EVENT} bytes")
        *blocks, self._rest = self._rest.split(b"\n\n")
        for block in blocks:
            event = self._event(block)
            if event is not None:
                yield event

    def _event(self, block: bytes) -> Event | None:
        try:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
            self.cursor = fields.get("id", self.cursor)
            if "data" not in fields:
                return None
            data = json.loads(fields["data"])
            return Event(self.cursor or "", fields.get("event", "message"), str(data.get("network", "")), data)
        except (ValueError, AttributeError, RecursionError) as error:
            raise ClientError(f"the stream of events holds something else: {error}") from error
