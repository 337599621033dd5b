"""Known peers: dialable addresses, how they did, and which to dial next. Persisted as one JSON file.

Strangers fill it (mDNS, identify), so it is bounded in all, per peer and per address group; an address that
has worked is dropped last. Dialing draws a group first and an address in it second: whoever holds m
addresses in g groups gets the share of his groups, not of his addresses. Time is Unix seconds and an
argument, randomness is injected.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from p2p import statefile
from p2p.addresses import AddressError, PeerAddress, parse_address

MAX_ENTRIES: Final = 1_024
"""Addresses in all, about 250 bytes each in the file."""
MAX_PER_PEER: Final = 4
"""Addresses of one peer id: IPv4, IPv6, a name, and one more."""
MAX_PER_GROUP: Final = 32
"""Addresses in one group (a /16 of IPv4): 1/32 of the book for whoever rents one network."""

RETRY_FIRST_S: Final = 60.0
RETRY_MAX_S: Final = 6 * 3_600.0
"""Least wait before an address is tried again, doubling with each failure in a row."""

MAX_FAILURES_NEW: Final = 3
"""Failures in a row that an address which never worked may have before it is dropped."""
MAX_FAILURES_PROVEN: Final = 20
"""The same for one that has worked: at the retry times above, about four days of absence."""

PROVEN_SHARE: Final = 0.5
"""Share of draws that look at proven addresses only, where there are any; the rest looks at all, so that
new ones get their chance and a full set of bad ones cannot shut them out."""


class Source(StrEnum):
    """How an address became known."""

    DIALED = "dialed"
    """We dialed it by configuration or command."""
    IDENTIFY = "identify"
    """A peer that connected to us says it listens there."""
    MDNS = "mdns"
    DISCV5 = "discv5"


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One address and its record."""

    addr: str
    source: Source
    added: float
    last_try: float = 0.0
    last_success: float = 0.0
    """Last time a session was opened there; 0: never."""
    failures: int = 0
    """Failures since the last success."""

    @property
    def proven(self) -> bool:
        """It has worked once."""
        return self.last_success > 0.0

    def due(self) -> float:
        """Unix seconds from which it may be tried."""
        if not self.last_try:
            return 0.0
        return self.last_try + min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(self.failures, 16))


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    peers: list[Entry]


class _Known(NamedTuple):
    entry: Entry
    addr: PeerAddress
    group: str


class AddressBook:
    """Addresses by their text. With a ``path``, kept in that file (``unsaved``)."""

    def __init__(self, path: Path | None = None, *, rng: random.Random | None = None) -> None:
        self._path = path
        self._rng = rng or random.Random()  # noqa: S311  spreads load; an attacker gains nothing by knowing it
        self._known: dict[str, _Known] = {}
        self._changed = False
        stored = statefile.load(path, _File) if path is not None else None
        for entry in (stored.peers if stored else [])[:MAX_ENTRIES]:
            self._restore(entry)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, addr: str) -> bool:
        return addr in self._known

    def entries(self) -> list[Entry]:
        """All of them, in the order in which they came."""
        return [known.entry for known in self._known.values()]

    def add(self, addr: PeerAddress, source: Source, now: float) -> bool:
        """Remember an address; True when it is new and was let in."""
        text = str(addr)
        if text in self._known:
            return False
        if not (
            self._make_room(self._of_peer(addr.peer), MAX_PER_PEER)
            and self._make_room(self._of_group(addr.group), MAX_PER_GROUP)
            and self._make_room(self.entries(), MAX_ENTRIES)
        ):
            return False
        self._known[text] = _Known(Entry(text, source, now), addr, addr.group)
        self._changed = True
        return True

    def succeeded(self, addr: PeerAddress, now: float) -> None:
        """A session was opened at this address."""
        entry = self._entry(addr)
        if entry is not None:
            entry.last_try = entry.last_success = now
            entry.failures = 0
            self._changed = True

    def tried(self, addr: PeerAddress, now: float) -> None:
        """A dial begins."""
        entry = self._entry(addr)
        if entry is not None:
            entry.last_try = now

    def failed(self, addr: PeerAddress, now: float) -> None:
        """The dial failed, or nothing there speaks our protocol. Too many in a row, and it is forgotten."""
        entry = self._entry(addr)
        if entry is None:
            return
        entry.last_try = now
        entry.failures += 1
        self._changed = True
        if entry.failures >= (MAX_FAILURES_PROVEN if entry.proven else MAX_FAILURES_NEW):
            self._drop(entry)

    def forget(self, peer: str) -> None:
        """Drop every address of a peer."""
        for entry in self._of_peer(peer):
            self._drop(entry)

    def pick(self, now: float, *, peers: Collection[str] = (), groups: Collection[str] = ()) -> PeerAddress | None:
        """Draw an address to dial, whose time has come and whose peer is not among ``peers``;
        outside ``groups`` when there is one. None when nothing is due."""
        due = [known for known in self._candidates(peers) if _is_due(known.entry, now)]
        proven = [known for known in due if known.entry.proven]
        if proven and self._rng.random() < PROVEN_SHARE:
            due = proven
        by_group: dict[str, list[_Known]] = {}
        for known in due:
            by_group.setdefault(known.group, []).append(known)
        if not by_group:
            return None
        fresh = [group for group in by_group if group not in groups]
        group = self._rng.choice(fresh or list(by_group))
        return self._rng.choice(by_group[group]).addr

    def next_due(self, *, peers: Collection[str] = ()) -> float | None:
        """Unix seconds at which the next address outside ``peers`` may be dialed; None when there is none."""
        return min((known.entry.due() for known in self._candidates(peers)), default=None)

    def unsaved(self) -> Callable[[], None] | None:
        """A job for a worker thread that writes the book as it is now (it raises OSError), or None
        when that has been done."""
        if self._path is None or not self._changed:
            return None
        self._changed = False
        copies = [msgspec.structs.replace(entry) for entry in self.entries()]
        return partial(statefile.save, self._path, _File(1, copies))

    def save_failed(self) -> None:
        """The job has raised: what it would have written is unsaved again."""
        self._changed = True

    def _restore(self, entry: Entry) -> None:
        try:
            addr = parse_address(entry.addr)
        except AddressError:
            return  # a rule has become stricter since it was written
        entry.addr = str(addr)
        self._known[entry.addr] = _Known(entry, addr, addr.group)

    def _entry(self, addr: PeerAddress) -> Entry | None:
        known = self._known.get(str(addr))
        return known.entry if known is not None else None

    def _candidates(self, peers: Collection[str]) -> Iterable[_Known]:
        return (known for known in self._known.values() if known.addr.peer not in peers)

    def _of_peer(self, peer: str) -> list[Entry]:
        return [known.entry for known in self._known.values() if known.addr.peer == peer]

    def _of_group(self, group: str) -> list[Entry]:
        return [known.entry for known in self._known.values() if known.group == group]

    def _make_room(self, entries: Collection[Entry], limit: int) -> bool:
        """Room for one more among ``entries``: drop the one with the most failures, then the
        oldest, that never worked. False when there is none that failed: what has not been tried yet
        is not flushed out by what comes later."""
        if len(entries) < limit:
            return True
        failed = [entry for entry in entries if entry.failures and not entry.proven]
        if not failed:
            return False
        self._drop(max(failed, key=lambda entry: (entry.failures, -entry.added)))
        return True

    def _drop(self, entry: Entry) -> None:
        del self._known[entry.addr]
        self._changed = True


def _is_due(entry: Entry, now: float) -> bool:
    """An attempt in the future means that the clock was set back since: it says nothing."""
    return entry.due() <= now or entry.last_try > now
