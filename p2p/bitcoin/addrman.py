"""The address book of Bitcoin's network: addresses that were told (new) and that have worked (tried), hard to poison.

The tables are Bitcoin Core's (``buckets``), the draws are stricter. However many addresses an attacker has, he gets:

- Tried, slots: with addresses in g groups, 8 g of 256 buckets. He never displaces one that still answers: before an
  address leaves its slot it is dialed, and only when that failed does the other take its place (test before evict).
- Tried, draws: a group is drawn first, then an address in it. With g of G groups his share is g / G at most.
- New, slots: addresses in g groups that are told by s source groups lie in s * min(g, 64) of 1,024 buckets, and do not
  push out others that are not yet known to be bad.
- New, draws: a bucket is drawn first, so his share is s * min(g, 64) / B at most, with B buckets in use.

Half of the draws are from each table. Time is Unix seconds and an argument; randomness and the salt are injected.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from p2p import statefile
from p2p.bitcoin.addrentry import FUTURE_S, JUST_TRIED_S, Entry
from p2p.bitcoin.buckets import NEW_BUCKETS, SALT_SIZE, Hasher, Table
from p2p.bitcoin.messages import Address
from p2p.bitcoin.netaddr import Endpoint, Network, endpoint_from_key

MAX_FILE: Final = 16 << 20
"""Bytes of the file: 81,920 entries of 150 bytes at most, and room."""
MAX_REFERENCES: Final = 8
"""Buckets of the new in which one address may lie (Core's ADDRMAN_NEW_BUCKETS_PER_ADDRESS)."""
MAX_COLLISIONS: Final = 10
"""Addresses that wait until the one in their slot has been tested (Core's ADDRMAN_SET_TRIED_COLLISION_SIZE)."""

REPLACEMENT_S: Final = 4 * 3_600
"""An address that worked so recently keeps its slot without a test."""
TEST_WINDOW_S: Final = 40 * 60
"""So long a collision waits for its test; then the newcomer goes on waiting in the table of the new."""

PENALTY_S: Final = 2 * 3_600
"""Taken off the time that a stranger tells (as Core does): his word is worth less than what we have seen."""
UNKNOWN_AGE_S: Final = 5 * 86_400
"""The age that an impossible time stands for (as in Core)."""
ANSWER_SHARE: Final = 0.23
"""Share of the book that one answer to ``getaddr`` may show (Core's MAX_PCT_ADDR_TO_SEND)."""
ANSWER_MAX: Final = 1_000


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    salt: bytes
    entries: msgspec.Raw


class _Collision(NamedTuple):
    slot: int
    since: int


class AddrMan:
    """The book. With a ``path``, kept in that file (``unsaved``); its salt is made once and stays with it.

    ``reachable`` are the networks that can be dialed, all others are kept to be passed on. ``private`` lets addresses
    in that nobody on the Internet can dial (for networks of one's own).
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        rng: random.Random,
        reachable: Collection[int] = (Network.IPV4, Network.IPV6),
        private: bool = False,
    ) -> None:
        self._path = path
        self._rng = rng
        self._reachable = frozenset(reachable)
        self._private = private
        self._entries: dict[bytes, Entry] = {}
        self._collisions: dict[bytes, _Collision] = {}
        self._by_group: dict[bytes, set[bytes]] = {}  # of the tried
        self._changed = False
        stored = statefile.load(path, _File, limit=MAX_FILE) if path is not None else None
        self._salt = stored.salt if stored and len(stored.salt) == SALT_SIZE else rng.randbytes(SALT_SIZE)
        self._hasher = Hasher(self._salt)
        self._new = Table(b"new", self._hasher)
        self._tried = Table(b"tried", self._hasher)
        if stored is not None:
            self._restore(stored.entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def tried(self) -> int:
        """How many of them have worked."""
        return len(self._tried.slots)

    def get(self, endpoint: Endpoint) -> Entry | None:
        """The record of an address."""
        return self._entries.get(endpoint.key)

    # What we hear and see.

    def add(self, addresses: Iterable[Address], source: bytes, now: int, *, penalty: int = PENALTY_S) -> int:
        """Remember what somebody of group ``source`` has told (``Endpoint.group``); how many were new and let in."""
        return sum([self._add(address, source, now, penalty) for address in addresses])

    def attempt(self, endpoint: Endpoint, now: int) -> None:
        """A dial begins; it counts as failed until ``good``."""
        entry = self.get(endpoint)
        if entry is not None:
            entry.last_try = now
            entry.attempts += 1
            self._changed = True

    def good(self, endpoint: Endpoint, now: int, services: int | None = None) -> None:
        """A handshake has ended well: to the tried, or, if another is in its slot, on the list until that is tested."""
        entry = self.get(endpoint)
        if entry is None:
            return
        entry.last_try = entry.last_success = now
        entry.attempts = 0
        entry.services = entry.services if services is None else services
        self._changed = True
        if not entry.buckets:
            return
        slot = self._tried_slot(entry.key, endpoint.group)
        if slot not in self._tried.slots:
            self._move_to_tried(entry, endpoint.group, slot)
        elif len(self._collisions) < MAX_COLLISIONS:
            self._collisions.setdefault(entry.key, _Collision(slot, now))

    def seen(self, endpoint: Endpoint, now: int) -> None:
        """A session there has ended well: tell others that it was alive. Not earlier, or they would learn with whom we
        are connected right now."""
        entry = self.get(endpoint)
        if entry is not None:
            entry.time = max(entry.time, now)
            self._changed = True

    # Whom to dial.

    def select(
        self, now: int, *, groups: Collection[bytes] = (), new_only: bool = False, services: int = 0
    ) -> Endpoint | None:
        """Draw an address to dial, outside ``groups``, or only a new one, or one that is said to have all ``services``.
        None when nothing is due."""
        tables = [self._draw_new] if new_only else [self._draw_new, self._draw_tried]
        if not new_only and self._rng.random() < 0.5:
            tables.reverse()
        for draw in tables:
            found = draw(now, groups, services)
            if found is not None:
                return found
        return None

    def feeler(self, now: int) -> Endpoint | None:
        """Whom to dial just to see whether he is there: one whose slot another wants, else a new one."""
        self.resolve(now)
        waiting = [self._tried.slots[c.slot] for c in self._collisions.values() if c.slot in self._tried.slots]
        self._rng.shuffle(waiting)
        for key in waiting:
            endpoint = self._candidate(self._entries[key], now, (), again=True)
            if endpoint is not None:
                return endpoint
        return self.select(now, new_only=True)

    def resolve(self, now: int) -> None:
        """Settle collisions: the newcomer gets the slot only after a dial of the one in it has failed."""
        for key, (slot, since) in list(self._collisions.items()):
            entry = self._entries.get(key)
            if entry is None or not entry.buckets:
                del self._collisions[key]
                continue
            holder_key = self._tried.slots.get(slot)
            holder = self._entries[holder_key] if holder_key is not None else None
            if holder is not None and holder.last_success > now - REPLACEMENT_S:
                del self._collisions[key]
            elif holder is None or (since <= holder.last_try < now - JUST_TRIED_S and holder.attempts):
                del self._collisions[key]
                self._move_to_tried(entry, _endpoint(entry).group, slot)
            elif since <= now - TEST_WINDOW_S:
                del self._collisions[key]

    def answer(self, now: int) -> list[Address]:
        """Addresses for somebody who asks: a random share, none that is bad. Keep it for a day before giving it again:
        many answers would show the whole book, and what in it is ours."""
        count = min(ANSWER_MAX, int(len(self._entries) * ANSWER_SHARE))
        drawn = self._rng.sample(list(self._entries.values()), count)
        return [Address(entry.time, entry.services, _endpoint(entry)) for entry in drawn if not entry.bad(now)]

    # The file.

    def unsaved(self) -> Callable[[], None] | None:
        """A job for a worker thread that writes the book as it is now (it raises OSError), or None when that has been
        done. Up to 8 MB: once in a quarter of an hour and at the end is enough."""
        if self._path is None or not self._changed:
            return None
        self._changed = False
        rows = msgspec.Raw(msgspec.json.encode(list(self._entries.values())))
        return partial(statefile.save, self._path, _File(1, self._salt, rows), indent=-1)

    def save_failed(self) -> None:
        """The job has raised: what it would have written is unsaved again."""
        self._changed = True

    def _restore(self, rows: msgspec.Raw) -> None:
        try:
            entries = msgspec.json.decode(rows, type=list[Entry])
        except msgspec.ValidationError:
            return  # another version's rows: they fill again by themselves
        for entry in entries:
            endpoint = endpoint_from_key(entry.key)
            if endpoint is None or entry.key in self._entries or not self._admits(endpoint):
                continue
            if entry.buckets:
                self._restore_new(entry)
            else:
                slot = self._tried_slot(entry.key, endpoint.group)
                if slot not in self._tried.slots:
                    self._enter_tried(entry, endpoint.group, slot)
                    self._entries[entry.key] = entry

    def _restore_new(self, entry: Entry) -> None:
        wanted = [bucket for bucket in dict.fromkeys(entry.buckets) if 0 <= bucket < NEW_BUCKETS][:MAX_REFERENCES]
        entry.buckets = []
        for bucket in wanted:
            slot = self._new.slot(bucket, entry.key)
            if slot not in self._new.slots:
                self._new.put(slot, entry.key)
                entry.buckets.append(bucket)
        if entry.buckets:
            self._entries[entry.key] = entry

    # Adding.

    def _admits(self, endpoint: Endpoint) -> bool:
        return endpoint.dialable or (self._private and endpoint.port != 0 and endpoint.network in self._reachable)

    def _add(self, address: Address, source: bytes, now: int, penalty: int) -> bool:
        endpoint = address.endpoint
        if not self._admits(endpoint):
            return False
        time = address.time if 100_000_000 < address.time <= now + FUTURE_S else now - UNKNOWN_AGE_S
        key = endpoint.key
        entry = self._entries.get(key)
        if entry is None:
            fresh = Entry(key, source, address.services, max(0, time - penalty), buckets=[])
            return self._enter_new(fresh, self._hasher.new_bucket(endpoint.group, source), now)
        self._refresh(entry, address.services, time, penalty, now)
        # Many who tell the same make it likelier to be drawn, but each time half as much.
        if entry.buckets and len(entry.buckets) < MAX_REFERENCES and not self._rng.randrange(1 << len(entry.buckets)):
            self._enter_new(entry, self._hasher.new_bucket(endpoint.group, source), now)
        return False

    def _refresh(self, entry: Entry, services: int, time: int, penalty: int, now: int) -> None:
        alive = now - time < 86_400
        if entry.time < time - (3_600 if alive else 86_400) - penalty:
            entry.time = max(0, time - penalty)
            self._changed = True
        if not entry.last_success:  # what we have seen ourselves is not talked over
            entry.services |= services

    def _enter_new(self, entry: Entry, bucket: int, now: int) -> bool:
        """Into a bucket of the new, if its slot there is free or held by one that is bad or lies elsewhere too."""
        slot = self._new.slot(bucket, entry.key)
        holder_key = self._new.slots.get(slot)
        if holder_key is not None:
            holder = self._entries[holder_key]
            if holder is entry or not (holder.bad(now) or (len(holder.buckets) > 1 and not entry.buckets)):
                return False
            self._leave_new(holder, bucket)
        self._new.put(slot, entry.key)
        entry.buckets.append(bucket)
        self._entries[entry.key] = entry
        self._changed = True
        return True

    def _leave_new(self, entry: Entry, bucket: int) -> None:
        """Out of one bucket; out of the book when that was the last."""
        self._new.clear(self._new.slot(bucket, entry.key))
        entry.buckets.remove(bucket)
        if not entry.buckets:
            del self._entries[entry.key]

    # Between the tables.

    def _tried_slot(self, key: bytes, group: bytes) -> int:
        return self._tried.slot(self._hasher.tried_bucket(key, group), key)

    def _enter_tried(self, entry: Entry, group: bytes, slot: int) -> None:
        self._tried.put(slot, entry.key)
        self._by_group.setdefault(group, set()).add(entry.key)

    def _move_to_tried(self, entry: Entry, group: bytes, slot: int) -> None:
        for bucket in entry.buckets:
            self._new.clear(self._new.slot(bucket, entry.key))
        entry.buckets = []
        holder = self._tried.slots.get(slot)
        if holder is not None:  # only now: its place among the new may be where `entry` lay
            self._back_to_new(self._entries[holder], slot)
        self._enter_tried(entry, group, slot)

    def _back_to_new(self, entry: Entry, slot: int) -> None:
        """From its slot among the tried to the one among the new that its source gives it, whoever is there."""
        group = _endpoint(entry).group
        self._tried.clear(slot)
        members = self._by_group[group]
        members.remove(entry.key)
        if not members:
            del self._by_group[group]
        bucket = self._hasher.new_bucket(group, entry.source)
        holder = self._new.slots.get(self._new.slot(bucket, entry.key))
        if holder is not None:
            self._leave_new(self._entries[holder], bucket)
        self._new.put(self._new.slot(bucket, entry.key), entry.key)
        entry.buckets = [bucket]

    # Drawing.

    def _draw_new(self, now: int, groups: Collection[bytes], services: int) -> Endpoint | None:
        buckets = self._new.buckets()
        self._rng.shuffle(buckets)
        return self._first((self._new.members(bucket) for bucket in buckets), now, groups, services)

    def _draw_tried(self, now: int, groups: Collection[bytes], services: int) -> Endpoint | None:
        names = [group for group in self._by_group if group not in groups]
        self._rng.shuffle(names)
        return self._first((sorted(self._by_group[name]) for name in names), now, groups, services)

    def _first(
        self, sets: Iterable[list[bytes]], now: int, groups: Collection[bytes], services: int
    ) -> Endpoint | None:
        """A random one of the first set that has any to dial."""
        for keys in sets:
            self._rng.shuffle(keys)
            for key in keys:
                entry = self._entries[key]
                endpoint = self._candidate(entry, now, groups) if entry.services & services == services else None
                if endpoint is not None:
                    return endpoint
        return None

    def _candidate(self, entry: Entry, now: int, groups: Collection[bytes], *, again: bool = False) -> Endpoint | None:
        """Its endpoint, when it may be dialed. ``again``: whatever the wait since the last attempt."""
        if entry.key[0] not in self._reachable:
            return None
        if entry.last_try > now - JUST_TRIED_S if again else not entry.due(now) or entry.bad(now):
            return None
        endpoint = _endpoint(entry)
        return None if groups and endpoint.group in groups else endpoint


def _endpoint(entry: Entry) -> Endpoint:
    endpoint = endpoint_from_key(entry.key)
    if endpoint is None:
        raise ValueError(f"key {entry.key.hex()} is no endpoint")
    return endpoint
