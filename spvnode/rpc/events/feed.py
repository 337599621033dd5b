"""One reader's events, in order, from where it is: what all streams and webhooks are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec
import trio

from spvnode.errors import InputError
from spvnode.inputs import shown
from spvnode.rpc.caller import Caller, Kind
from spvnode.rpc.events.cursor import parse_cursor, show_cursor
from spvnode.rpc.events.filters import require_filter
from spvnode.rpc.events.hub import Entry, Hub
from spvnode.rpc.events.journal import NODE_LOG

KINDS = frozenset(
    {"extend", "reorg", "fork", "fault", "backfill", "advance", "finality", "watch", "readiness", "check", "gap"}
)
"""Kinds of events, to choose among. ``gap``: events between are no longer kept, or were lost."""
KEEPALIVE_SECONDS = 15.0
"""Of silence before a reader hears that there is nothing: so it knows that we live, and we that it does."""
EVERYBODYS = frozenset({Kind.LOCAL, Kind.OPERATOR})
"""Callers who are told of everybody's watches."""


Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Item:
    """An event with the reader's ``cursor`` after it; without ``kind`` only the cursor has moved (``data`` empty)."""

    cursor: str
    kind: str
    data: bytes
    id: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reader wants: logs, kinds (empty for all), whose watches, and by which filter (empty for none)."""

    logs: tuple[str, ...]
    kinds: frozenset[str]
    caller: Caller
    filter: str = ""

    def wants(self, entry: Entry) -> bool:
        """Whether the reader is told."""
        if self.kinds and entry.kind not in self.kinds:
            return False
        if entry.log == NODE_LOG and entry.network not in self.logs:
            return False
        return self.sees(entry.owner)

    def sees(self, owner: str) -> bool:
        """Whether the reader may be told of what is this owner's."""
        return not owner or self.caller.kind in EVERYBODYS or owner == self.caller.user


def choose(hub: Hub, caller: Caller, networks: Sequence[str], kinds: Collection[str], filter: str = "") -> Choice:
    """The choice of a query. Raises InputError for a network, kind or filter that there is not."""
    known = [name for name in hub.logs if name != NODE_LOG]
    require_choice(known, networks, kinds)
    require_filter(filter, hub.filters.names, "filter")
    # Once each: a query has room for two thousand, and every look goes through them.
    return Choice((*dict.fromkeys(networks or known), NODE_LOG), frozenset(kinds), caller, filter)


def require_choice(known: Sequence[str], networks: Sequence[str], kinds: Collection[str]) -> None:
    """Raises InputError unless all ``networks`` are among the ``known``, and all kinds are such."""
    for name in networks:
        if name not in known:
            raise InputError("networks", f"{shown(name)} does not run here; running: {', '.join(known)}")
    for kind in kinds:
        if kind not in KINDS:
            raise InputError("kinds", f"{shown(kind)} is none of {', '.join(sorted(KINDS))}")


def begin(hub: Hub, choice: Choice, given: str | None) -> dict[str, int]:
    """Where a reader with the cursor ``given`` goes on; logs that it does not name begin now. Raises InputError."""
    named = {} if given is None else parse_cursor(given, "cursor")
    return {name: named.get(name, hub.last(name)) for name in choice.logs}


async def feed(
    hub: Hub, choice: Choice, cursor: dict[str, int], turn: Turn = trio.lowlevel.checkpoint
) -> AsyncGenerator[Sequence[Item], None]:
    """Without end: what comes after ``cursor``, some at a time, and after ``KEEPALIVE_SECONDS`` of silence the cursor
    alone. The first thing is the cursor, so that a reader who is cut off at once knows where to come back to.
    ``turn`` is awaited before each look: one event wakes all readers, and some have far to go."""
    yield [Item(show_cursor(cursor), "", b"")]
    while True:
        await turn()
        items: list[Item] = []
        more = False
        for name in choice.logs:
            if hub.last(name) == cursor[name]:
                continue
            entries = hub.read(name, cursor[name])
            more = more or bool(entries)
            if not entries and 0 < hub.last(name) < cursor[name]:  # a power cut took what was not synced
                items.append(_gap(name, cursor, hub.last(name) + 1))
            holes = bool(entries) and entries[-1].seq - cursor[name] > len(entries)
            lost = hub.lost(name, choice.sees) if holes else 0  # above it what is missing was others'
            for entry in entries:
                if cursor[name] < min(lost, entry.seq - 1):
                    items.append(_gap(name, cursor, entry.seq))
                cursor[name] = entry.seq
                if choice.wants(entry):
                    items.append(Item(show_cursor(cursor), entry.kind, entry.data, f"{name}:{entry.seq}"))
        if items:
            yield await _through(hub, choice, items)
        # Else the way goes on: past what came while the reader took this, or through much that nobody wants.
        if not (items or more) or all(hub.last(name) == cursor[name] for name in choice.logs):
            with trio.move_on_after(KEEPALIVE_SECONDS) as silence:
                await hub.news()
            if silence.cancelled_caught:
                yield [Item(show_cursor(cursor), "", b"")]


async def _through(hub: Hub, choice: Choice, items: Sequence[Item]) -> Sequence[Item]:
    """Those that the reader's filter keeps, and the cursor behind them all. A ``gap`` is always told."""
    if not choice.filter:
        return items
    asked = [item for item in items if item.kind != "gap"]
    kept = iter(await hub.filters.keep(choice.filter, [item.data for item in asked]))
    told = [item for item in items if item.kind == "gap" or next(kept)]
    return told if told[-1:] == items[-1:] else [*told, Item(items[-1].cursor, "", b"")]


def _gap(name: str, cursor: dict[str, int], following: int) -> Item:
    """Tells that the log goes on with the number ``following``, and moves the cursor there. What is between was pruned,
    damaged, or taken back; in the node's log some of it may have been others'."""
    gap = {"network": name, "kind": "gap", "after": cursor[name], "next": following}
    cursor[name] = following - 1
    return Item(show_cursor(cursor), "gap", msgspec.json.encode(gap), f"{name}:{cursor[name]}.gap")
