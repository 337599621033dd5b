"""Where all readers of events meet: looks at the logs, keeps what watches and readiness give, wakes who waits.

Events are encoded once for all readers; the newest ``TAIL`` of each log are held so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import trio

from spvnode.errors import StoreError
from spvnode.logs import get_logger
from spvnode.rpc.caller import Caller, Kind
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.events.filters import NO_FILTERS, Filters
from spvnode.rpc.events.journal import NODE_LOG, Journal, Notice, State
from spvnode.rpc.events.watching import Sight, look
from spvnode.rpc.limits import MAX_SUBSCRIPTIONS, MAX_USER_SUBSCRIPTIONS
from spvnode.rpc.settings import Desk
from spvnode.view import NodeView

POLL_SECONDS = 0.1
"""Between two looks at the logs while somebody listens or waits; a look costs 2 us a network."""
IDLE_SECONDS = 1.0
"""While nobody does: watches and readiness are looked at all the same."""
BATCH = 100
"""Events read from a log at once, some 100 kB at most."""
RETRY_SECONDS = 10.0
"""After which one who found no place may try again."""
TAIL = 256
"""Encoded events of each log that are kept for readers who are up to date: 256 kB a network at most."""

log = get_logger("events")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of one log. ``owner``: who alone is told, empty for everybody."""

    log: str
    seq: int
    kind: str
    network: str
    data: bytes
    owner: str = ""


class Hub:
    """One daemon's. ``run`` it; the rest is called on the same thread."""

    def __init__(
        self, node: NodeView, journal: Journal, desk: Desk | None = None, filters: Filters = NO_FILTERS
    ) -> None:
        self._node = node
        self._journal = journal
        self._desk = desk or Desk()
        self.filters = filters
        self._tails: dict[str, deque[Entry]] = {}
        self._seen = {name: self.last(name) for name in self.logs}
        """Number of the newest event of each log that readers were woken for."""
        self._news = trio.Event()
        self._called = trio.Event()
        self._looked = trio.Event()
        self.held: dict[str, str] = {}
        """By network: why the search of its blocks does not go on, where it does not."""
        self._listeners = 0
        self._subscribers: dict[str, int] = {}
        self._writing = trio.Lock()

    @property
    def logs(self) -> Sequence[str]:
        """Names of all logs."""
        return (*self._node.networks, NODE_LOG)

    @property
    def watches(self) -> State:
        """Watches and notices, as last written."""
        return self._journal.state

    # -- readers

    def last(self, name: str) -> int:
        """The newest event's number in a log; 0 when there is none."""
        return self._journal.last_seq if name == NODE_LOG else self._node.last_event(name)

    def read(self, name: str, after: int, limit: int = BATCH) -> Sequence[Entry]:
        """Up to ``limit`` events of a log with a greater number, oldest first."""
        tail = self._tails.get(name)
        if tail and tail[0].seq <= after + 1:
            if after >= tail[-1].seq:
                return self._fresh(name, after, limit)
            first = next(at for at, entry in enumerate(tail) if entry.seq > after)
            return list(islice(tail, first, first + limit))
        return self._fresh(name, after, limit)

    def lost(self, name: str, sees: Callable[[str], bool]) -> int:
        """The number above which a reader has lost nothing: what ``read`` leaves out there was not for it. ``sees``
        tells whether an owner's is. In a network's log all is for everybody."""
        return self._journal.lost(sees) if name == NODE_LOG else self.last(name)

    def _fresh(self, name: str, after: int, limit: int) -> Sequence[Entry]:
        if name == NODE_LOG:
            return [_notice_entry(one) for one in self._journal.notices(after, limit)]
        return [_entry(name, event) for event in self._node.events(name, after, limit)]

    async def news(self) -> None:
        """Returns when there may be something new: a reader looks, then waits here, then looks again."""
        self._listeners += 1
        self._called.set()
        try:
            await self._news.wait()
        finally:
            self._listeners -= 1

    async def looked(self) -> None:
        """Returns after the next look at the logs: for one who has to do with every block, and is no listener."""
        await self._looked.wait()

    def require_room(self, caller: Caller) -> None:
        """Raises RpcError unless one more may listen."""
        local = caller.kind is Kind.LOCAL
        most = MAX_SUBSCRIPTIONS if local else self._desk.now.subscriptions
        each = most if local else max(MAX_USER_SUBSCRIPTIONS, most - MAX_SUBSCRIPTIONS)
        everybody, mine = (self._subscribers.get(name, 0) for name in _counters(caller))
        if everybody >= most or mine >= each:
            raise RpcError(Code.LIMIT_EXCEEDED, f"{most} listen already, or {each} of you", retry_after=RETRY_SECONDS)

    @contextmanager
    def subscription(self, caller: Caller) -> Iterator[None]:
        """A place among those who listen. RpcError when there is none."""
        self.require_room(caller)
        taken, names = self._subscribers, _counters(caller)
        for name in names:
            taken[name] = taken.get(name, 0) + 1
        try:
            yield
        finally:
            for name in names:
                taken[name] -= 1
                if not taken[name]:
                    del taken[name]

    # -- looking

    async def run(self) -> None:
        """Looks at the logs until cancelled. What cannot be written now is tried again with the next look."""
        while True:
            try:
                await self._look()
            except StoreError as error:
                log.warning("watches not written; tried again", error=str(error))
            self._called = trio.Event()
            self._looked.set()
            self._looked = trio.Event()
            if self._listeners:
                await trio.sleep(POLL_SECONDS)
            else:
                with trio.move_on_after(IDLE_SECONDS):
                    await self._called.wait()

    async def _look(self) -> None:
        await self._mark_readiness()
        for network in self._node.networks:
            if any(watch.network == network for watch in self._journal.state.watches.values()):
                await self._look_for_watches(network)
        fresh = [name for name in self.logs if self._take(name)]
        if fresh:
            self._news.set()
            self._news = trio.Event()

    def _take(self, name: str) -> bool:
        """Encodes what is new in a log. True where anything is."""
        last = self.last(name)
        seen = self._seen[name]
        if last <= seen:
            return False
        tail = self._tails.setdefault(name, deque(maxlen=TAIL))
        if last - seen > TAIL or not self._listeners:  # a sync, or nobody reads: who does later takes it from the store
            tail.clear()
        else:
            tail.extend(self._fresh(name, tail[-1].seq if tail else seen, TAIL))
        self._seen[name] = last
        return True

    async def _mark_readiness(self) -> None:
        changed = {
            name: state
            for name in self._node.networks
            if (state := self._node.readiness(name)).ready != self._journal.state.ready.get(name)
        }
        if not changed:
            return

        def mark(state: State) -> None:
            for name, found in changed.items():
                state.ready[name] = found.ready
                data = {"ready": found.ready, "reasons": list(found.reasons)}
                state.tell("readiness", name, self._node.now(), data)

        await self.change(mark)

    async def _look_for_watches(self, network: str) -> None:
        after = self._journal.state.cursors.get(network, 0)
        while events := self._node.events(network, after, BATCH):
            after = int(events[-1]["seq"])
            await self.change(partial(self._fire, network, events), only_if_told=True)
            await trio.lowlevel.checkpoint()

    def _fire(self, network: str, events: Sequence[Mapping[str, Any]], state: State) -> None:
        look(state, self.sight(network, events), self._node.now())

    def sight(self, network: str, events: Sequence[Mapping[str, Any]] = ()) -> Sight:
        """What watches of a network see now."""
        return Sight(network, events, self._node.chains.get(network), self._node.beacons.get(network))

    async def change(self, edit: Callable[[State], None], *, only_if_told: bool = False) -> bool:
        """Applies ``edit`` to the journal, on disk before anybody sees it; True where it was written.
        ``only_if_told``: what adds no notice is kept in memory and written with the next change. Raises StoreError, and
        what ``edit`` raises."""
        async with self._writing:
            state = self._journal.state.copy()
            edit(state)
            written = not only_if_told or state.next_seq != self._journal.state.next_seq
            if written:
                await trio.to_thread.run_sync(self._journal.write, state)
            self._journal.state = state
        self._called.set()
        return written


def _counters(caller: Caller) -> tuple[str, str]:
    """Where a listener is counted: with all of its side, and by itself. Those without credentials are one: on loopback
    each connection is a user of its own, and a loop that opens them must leave room for those who have some."""
    if caller.kind is Kind.LOCAL:
        return "unix", "unix:all"
    return "tcp", "nobody" if caller.kind is Kind.ANONYMOUS else caller.user


def _entry(name: str, event: Mapping[str, Any]) -> Entry:
    return Entry(name, int(event["seq"]), str(event["kind"]), name, msgspec.json.encode({"network": name, **event}))


def _notice_entry(notice: Notice) -> Entry:
    data = {"network": notice.network, "seq": notice.seq, "time": notice.time, "kind": notice.kind, **notice.data}
    return Entry(NODE_LOG, notice.seq, notice.kind, notice.network, msgspec.json.encode(data), notice.owner)
