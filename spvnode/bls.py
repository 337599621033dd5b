"""BLS signatures of Ethereum's sync committees: one at a time, or many in one check.

A committee's participants sign one message; their keys add up to one key, reckoned as the committee's sum minus those
who are missing. Many signatures are checked together by a random linear combination with one final exponentiation:
prod e(r_i * key_i, H(m_i)) == e(g1, sum r_i * signature_i), r_i random 64-bit numbers, r_0 = 1. A batch with a forgery
passes with chance 2**-64, because every signature is in the subgroup (decoded so) and the r_i are not known beforehand;
without them two forgeries could cancel out. A batch is checked in parts, each while the next one is made ready. When
a part fails, each in it is checked alone, so that the culprit is named.

Holds: up to ``MAX_CACHED_COMMITTEES`` decoded committees, least recently used out first. Bounded by: our own store, as
only committees whose branch is proven come here. Every function may run in a worker thread, and the slow ones should:
the blspy backend releases the interpreter's lock. What a remote signed wrongly is returned, never raised.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Lock

from spvnode.bls_backends import KEY_SIZE, Backend, Point, default_backend

MAX_CACHED_COMMITTEES = 4
"""Current and next of one network, and one to spare for each; a fully decoded one of 512 keys holds 150 KB."""
MAX_BATCH = 64
"""Signatures in one call: what a run of updates holds at most, and 25 ms of two cores."""
PART = 24
"""Signatures in one combined check. Of 64, two parts of this size are checked while those after them are made ready,
and a small one is left for the end. A bad signature costs as many single checks; the final exponentiation, 4 %."""
PAIRING_THREADS = 2
"""Threads of one batch beside the caller's, which soon only waits: the cores of a small device."""
MULTIPLIER_BITS = 64
"""A forged batch passes with chance 2**-64."""
G2_POINT_AT_INFINITY = b"\xc0" + bytes(95)


class BlsReason(StrEnum):
    """Why a signature is refused."""

    NO_PARTICIPANTS = "no-participants"
    COMMITTEE_KEY = "committee-key"
    """A key is no point of the subgroup, or is infinity."""
    COMMITTEE_AGGREGATE = "committee-aggregate"
    """The keys do not add up to the committee's ``aggregate_pubkey``."""
    KEYS_CANCEL = "keys-cancel"
    """The participants' keys add up to infinity."""
    SIGNATURE_ENCODING = "signature-encoding"
    """It is no point of the subgroup."""
    SIGNATURE = "signature"
    """It is not these participants' signature of this message."""


@dataclass(frozen=True, slots=True)
class SignatureSet:
    """What one sync aggregate claims: the members with a bit set signed ``message``.

    ``pubkeys`` n * 48 bytes; ``aggregate_pubkey`` 48; ``bits`` n bits, the first lowest; ``message`` 32 (a signing
    root); ``signature`` 96.
    """

    pubkeys: bytes
    aggregate_pubkey: bytes
    bits: bytes
    message: bytes
    signature: bytes


class Committee:
    """Keys of one sync committee, decoded (checked) when first needed and kept.

    A whole committee takes 33 ms for 512 keys. ``lazy`` decodes only ``aggregate_pubkey`` and the keys of those who are
    missing, and checks for the subgroup what is left when they are taken away, not each: 0.5 ms at the usual 95 %
    participation, for a committee that is used once, on the way through old periods. It rests on the state's aggregate
    being the sum of its keys, and on these having been checked at their deposit; all lie under the same proven root.
    """

    __slots__ = ("_aggregate", "_backend", "_keys", "_pubkeys", "_total")

    def __init__(self, pubkeys: bytes, aggregate_pubkey: bytes, backend: Backend) -> None:
        self._pubkeys = pubkeys
        self._aggregate = aggregate_pubkey
        self._backend = backend
        self._keys: list[Point | None] = [None] * (len(pubkeys) // KEY_SIZE)
        self._total: Point | None = None

    def decode(self) -> BlsReason | None:
        """Decodes every key. None when all are valid and their sum is the aggregate, else the reason."""
        if self._total is not None:
            return None
        keys = [self._key(index) for index in range(len(self._keys))]
        if not keys or not complete(keys):
            return BlsReason.COMMITTEE_KEY
        total = self._backend.add(keys)
        if self._backend.encode(total) != self._aggregate:
            return BlsReason.COMMITTEE_AGGREGATE
        self._total = total
        return None

    def dump(self) -> bytes | None:
        """The decoded keys, for ``load``; None unless ``decode`` has found all of them good."""
        keys = [key for key in self._keys if key is not None]
        return None if self._total is None else self._backend.dump_keys(keys)

    def load(self, data: bytes) -> bool:
        """Takes keys that ``dump`` gave for these very keys, in place of decoding. False when they are not that many,
        or do not add up to the aggregate; the rest is not checked again, so ``data`` must come from our own disk."""
        keys = self._backend.load_keys(data)
        if not keys or len(keys) != len(self._keys):
            return False
        total = self._backend.add(keys)
        if self._backend.encode(total) != self._aggregate:
            return False
        self._keys, self._total = list(keys), total
        return True

    def participants_key(self, bits: bytes, *, lazy: bool = False) -> Point | BlsReason:
        """Sum of the keys whose bit is set, or why there is none."""
        everyone = (1 << len(self._keys)) - 1
        present = int.from_bytes(bits, "little") & everyone
        missing = present ^ everyone
        if not present:
            return BlsReason.NO_PARTICIPANTS
        if lazy and self._total is None:
            return self._lazy_key(present, missing)
        reason = self.decode()
        if reason is not None:
            return reason
        if present.bit_count() < missing.bit_count():
            key = self._backend.add([self._keys[index] for index in set_bits(present)])
        else:
            key = self._backend.subtract(self._total, [self._keys[index] for index in set_bits(missing)])
        return BlsReason.KEYS_CANCEL if self._backend.is_infinity(key) else key

    def _key(self, index: int) -> Point | None:
        if self._keys[index] is None:
            self._keys[index] = decode_key(self._backend, self._pubkeys[index * KEY_SIZE : (index + 1) * KEY_SIZE])
        return self._keys[index]

    def _lazy_key(self, present: int, missing: int) -> Point | BlsReason:
        """``participants_key`` from as few keys as possible. They are not kept: nobody has checked them one by one."""
        less = present.bit_count() >= missing.bit_count()
        members = set_bits(missing if less else present)
        rows = [self._pubkeys[index * KEY_SIZE : (index + 1) * KEY_SIZE] for index in members]
        points = self._backend.decode_g1_unchecked([self._aggregate, *rows] if less else rows)
        if points is None:
            return BlsReason.COMMITTEE_KEY
        key = self._backend.subtract(points[0], points[1:]) if less else self._backend.add(points)
        if self._backend.is_infinity(key):
            return BlsReason.KEYS_CANCEL
        checked = self._backend.decode_g1(self._backend.encode(key))
        return BlsReason.COMMITTEE_KEY if checked is None else checked


def complete(keys: Sequence[Point | None]) -> bool:
    """Whether no key is None. (``None in keys`` would compare each point with None, 3 microseconds in blspy.)"""
    return all(key is not None for key in keys)


def set_bits(number: int) -> list[int]:
    """Positions of the bits that are set, lowest first."""
    positions = []
    while number:
        lowest = number & -number
        positions.append(lowest.bit_length() - 1)
        number ^= lowest
    return positions


@dataclass(frozen=True, slots=True)
class _Ready:
    key: Point
    message: bytes
    signature: Point


class Verifier:
    """Checks signature sets against one backend, with a cache of committees. Safe to use from several threads.

    ``random_bits`` gives that many random bits as a number; only tests replace it.
    """

    def __init__(self, backend: Backend | None = None, *, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self.backend = backend or default_backend()
        self._random_bits = random_bits
        self._committees: OrderedDict[tuple[bytes, bytes], Committee] = OrderedDict()
        self._lock = Lock()

    def committee(self, pubkeys: bytes, aggregate_pubkey: bytes) -> Committee:
        """The committee with these keys, from the cache or new (and then not decoded yet)."""
        name = (pubkeys, aggregate_pubkey)
        with self._lock:
            committee = self._committees.pop(name, None) or Committee(pubkeys, aggregate_pubkey, self.backend)
            self._committees[name] = committee
            if len(self._committees) > MAX_CACHED_COMMITTEES:
                self._committees.popitem(last=False)
        return committee

    def decoded_keys(self, pubkeys: bytes, aggregate_pubkey: bytes) -> bytes | None:
        """The keys of a committee that has been wholly decoded, for ``take_decoded_keys``; else None."""
        data = self.committee(pubkeys, aggregate_pubkey).dump()
        return None if data is None else self.backend.name.encode() + b"\0" + data

    def take_decoded_keys(self, pubkeys: bytes, aggregate_pubkey: bytes, data: bytes) -> bool:
        """Spares decoding a committee: ``data`` is what ``decoded_keys`` gave for it. False when it is no use, because
        another backend wrote it, say."""
        name, _, keys = data.partition(b"\0")
        return name == self.backend.name.encode() and self.committee(pubkeys, aggregate_pubkey).load(keys)

    def verify(self, item: SignatureSet, *, lazy: bool = False) -> BlsReason | None:
        """None when the signature holds. ``lazy`` as for ``Committee``."""
        ready = self._prepare(item, lazy=lazy)
        if isinstance(ready, BlsReason):
            return ready
        return None if self._holds(ready) else BlsReason.SIGNATURE

    def verify_batch(self, items: Sequence[SignatureSet], *, lazy: bool = False) -> list[BlsReason | None]:
        """One answer per item, each as ``verify`` gives it. ValueError for more than ``MAX_BATCH`` items."""
        if len(items) > MAX_BATCH:
            raise ValueError(f"items: {len(items)}, at most {MAX_BATCH}")
        if len(items) <= PART:
            prepared, together = self._combine(items, lazy)
            return self._answers(prepared, good=together())
        with ThreadPoolExecutor(PAIRING_THREADS, thread_name_prefix="bls") as pool:
            parts = []
            for at in range(0, len(items), PART):
                prepared, together = self._combine(items[at : at + PART], lazy)
                parts.append((prepared, pool.submit(together)))
            return [answer for prepared, held in parts for answer in self._answers(prepared, good=held.result())]

    def _combine(
        self, items: Sequence[SignatureSet], lazy: bool
    ) -> tuple[list[_Ready | BlsReason], Callable[[], bool]]:
        """Each item made ready, and the one check that is left to make for all of them: false for too few of them."""
        prepared = [self._prepare(item, lazy=lazy) for item in items]
        ready = [entry for entry in prepared if isinstance(entry, _Ready)]
        if len(ready) < 2:
            return prepared, lambda: False
        numbers = [1] + [self._random_bits(MULTIPLIER_BITS) or 1 for _ in ready[1:]]
        together = partial(
            self.backend.pairing_check,
            self.backend.multiply_each([entry.key for entry in ready], numbers),
            [entry.message for entry in ready],
            self.backend.multiply_sum([entry.signature for entry in ready], numbers),
        )
        return prepared, together

    def _answers(self, prepared: Sequence[_Ready | BlsReason], *, good: bool) -> list[BlsReason | None]:
        """Of one part; ``good`` tells that it held as a whole."""
        return [
            entry if isinstance(entry, BlsReason) else None if good or self._holds(entry) else BlsReason.SIGNATURE
            for entry in prepared
        ]

    def _prepare(self, item: SignatureSet, *, lazy: bool) -> _Ready | BlsReason:
        signature = self.backend.decode_g2(item.signature)
        if signature is None:
            return BlsReason.SIGNATURE_ENCODING
        key = self.committee(item.pubkeys, item.aggregate_pubkey).participants_key(item.bits, lazy=lazy)
        return key if isinstance(key, BlsReason) else _Ready(key, item.message, signature)

    def _holds(self, ready: _Ready) -> bool:
        return self.backend.pairing_check([ready.key], [ready.message], ready.signature)


def decode_key(backend: Backend, data: bytes) -> Point | None:
    """``KeyValidate``: the key's point, or None when it is no point of the subgroup, or infinity."""
    key = backend.decode_g1(data)
    return None if key is None or backend.is_infinity(key) else key


def fast_aggregate_verify(backend: Backend, pubkeys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
    """``FastAggregateVerify``: all of ``pubkeys`` signed one message."""
    keys = [decode_key(backend, data) for data in pubkeys]
    point = backend.decode_g2(signature)
    if point is None or not keys or not complete(keys):
        return False
    key = backend.add(keys)
    return not backend.is_infinity(key) and backend.pairing_check([key], [message], point)


def eth_fast_aggregate_verify(backend: Backend, pubkeys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
    """The same, where no signers with the signature at infinity are right too (altair ``bls.md``)."""
    if not pubkeys and signature == G2_POINT_AT_INFINITY:
        return True
    return fast_aggregate_verify(backend, pubkeys, message, signature)


def aggregate_verify(backend: Backend, pubkeys: Sequence[bytes], messages: Sequence[bytes], signature: bytes) -> bool:
    """``AggregateVerify``: each key signed its own message, and ``signature`` is the sum."""
    keys = [decode_key(backend, data) for data in pubkeys]
    point = backend.decode_g2(signature)
    if point is None or not keys or not complete(keys) or len(keys) != len(messages):
        return False
    return backend.pairing_check(keys, messages, point)


def eth_aggregate_pubkeys(backend: Backend, pubkeys: Sequence[bytes]) -> bytes | None:
    """Sum of valid keys, 48 bytes; None when there are none or one is invalid (altair ``bls.md``)."""
    keys = [decode_key(backend, data) for data in pubkeys]
    return backend.encode(backend.add(keys)) if keys and complete(keys) else None
