"""The two tables of the address book: buckets of 64 slots, chosen by salted hashes, as Bitcoin Core's.

Where an address may lie depends on who told it (table of the new) or on where it is (table of the tried), and on a salt
that nobody outside knows: an attacker cannot aim at the slots of others, and his share of the buckets is bounded by the
networks that he has, not by the addresses that he makes up.
"""

from __future__ import annotations

import hashlib
from typing import Final

BUCKET_SIZE: Final = 64
"""Slots in a bucket (Core's ADDRMAN_BUCKET_SIZE)."""
NEW_BUCKETS: Final = 1_024
TRIED_BUCKETS: Final = 256
"""65,536 slots for addresses of which we have heard, 16,384 for those that have worked: at 400 bytes each 33 MB, when
strangers have filled them all."""
NEW_BUCKETS_PER_SOURCE: Final = 64
"""Buckets that all addresses told by one source group can reach (Core's ADDRMAN_NEW_BUCKETS_PER_SOURCE_GROUP)."""
TRIED_BUCKETS_PER_GROUP: Final = 8
"""Buckets that all addresses of one group can reach (Core's ADDRMAN_TRIED_BUCKETS_PER_GROUP)."""

SALT_SIZE: Final = 32


class Hasher:
    """BLAKE2b keyed with the salt, over parts with their lengths."""

    __slots__ = ("_salt",)

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def __call__(self, *parts: bytes) -> int:
        state = hashlib.blake2b(digest_size=8, key=self._salt)
        for part in parts:
            state.update(len(part).to_bytes(2, "little"))
            state.update(part)
        return int.from_bytes(state.digest(), "little")

    def new_bucket(self, group: bytes, source: bytes) -> int:
        """Bucket of an address in ``group`` that somebody in group ``source`` has told: one for each such pair, and 64
        in all for one source."""
        lane = self(b"new lane", group, source) % NEW_BUCKETS_PER_SOURCE
        return self(b"new", source, lane.to_bytes(1, "little")) % NEW_BUCKETS

    def tried_bucket(self, key: bytes, group: bytes) -> int:
        """Bucket of an address that has worked: one of eight for its group."""
        lane = self(b"tried lane", key) % TRIED_BUCKETS_PER_GROUP
        return self(b"tried", group, lane.to_bytes(1, "little")) % TRIED_BUCKETS


class Table:
    """Slots that hold addresses by their key. A slot's number is bucket * 64 + position."""

    __slots__ = ("_hasher", "_name", "_used", "slots")

    def __init__(self, name: bytes, hasher: Hasher) -> None:
        self._name = name
        self._hasher = hasher
        self.slots: dict[int, bytes] = {}
        self._used: dict[int, int] = {}

    def slot(self, bucket: int, key: bytes) -> int:
        """The one slot of ``bucket`` in which ``key`` may lie."""
        position = self._hasher(b"position", self._name, bucket.to_bytes(2, "little"), key) % BUCKET_SIZE
        return bucket * BUCKET_SIZE + position

    def put(self, slot: int, key: bytes) -> None:
        """Fill an empty slot."""
        if slot in self.slots:
            raise ValueError(f"slot {slot} is taken")
        self.slots[slot] = key
        bucket = slot // BUCKET_SIZE
        self._used[bucket] = self._used.get(bucket, 0) + 1

    def clear(self, slot: int) -> bytes:
        """Empty a slot; what was in it. KeyError when nothing was."""
        key = self.slots.pop(slot)
        bucket = slot // BUCKET_SIZE
        self._used[bucket] -= 1
        if not self._used[bucket]:
            del self._used[bucket]
        return key

    def buckets(self) -> list[int]:
        """Those that are not empty."""
        return list(self._used)

    def members(self, bucket: int) -> list[bytes]:
        """Keys in ``bucket``."""
        first = bucket * BUCKET_SIZE
        return [self.slots[slot] for slot in range(first, first + BUCKET_SIZE) if slot in self.slots]
