"""The durable event log: one entry per commit, which is also the commit's mark. Codec and index.

A consumer keeps the ``seq`` of the last event it has handled and asks for what follows. Sequence numbers only rise;
they may skip (after damage, see ``LOST_MARGIN``). An event is as durable as its commit: one that was not synced can go
with a power cut, together with its headers, and its number is then used again.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from spvnode.beacon_commit import StepKind
from spvnode.store.schema import sealed, unsealed
from spvnode.types import CommitKind, Hash32, Height, Work

RETAIN_EVENTS = 10_000
"""Events kept. At one block in ten minutes: ten weeks."""
PRUNE_AT = 2 * RETAIN_EVENTS
"""When the oldest are dropped, in one go. Deleting makes LevelDB rewrite tables, so it must be rare: one sync of a
million headers makes 500 events and never comes here."""
MAX_INLINE_HASHES = 144
"""Hashes listed in each direction of one reorganization event: a day of blocks. Counts are always right."""
MAX_DETAIL_BYTES = 500
"""Text of a fault."""
LOST_MARGIN = 1 << 20
"""Sequence numbers skipped after damage: more than the lost events can have used."""

_HEAD = struct.Struct(">QQBI I32s I32s B32s II BBH")


class EventKind(StrEnum):
    """What happened. The first three are commits of a header chain."""

    EXTEND = CommitKind.EXTEND.value
    REORG = CommitKind.REORG.value
    FORK = CommitKind.FORK.value
    FAULT = "fault"
    """Damage was found and healed; heights above ``new_tip`` must be fetched again."""
    BACKFILL = "backfill"
    """Everything below the checkpoint is stored and checked; ``redo_count`` headers."""
    ADVANCE = StepKind.ADVANCE.value
    """A beacon chain's optimistic header moved, or ``redo_count`` committees became known. Tips are slot and root."""
    FINALITY = StepKind.FINALITY.value
    """A beacon chain's finalized header moved. Tips are its slot and root; ``redo_count`` as for ADVANCE."""


_KINDS = tuple(EventKind)
"""Stored as positions: new kinds go at the end."""


@dataclass(frozen=True, slots=True)
class ChainTip:
    """Height -1 with a hash of zeros: no header at all."""

    height: Height
    hash: Hash32


NO_TIP = ChainTip(Height(-1), Hash32(bytes(32)))


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. ``time`` in Unix seconds, to the millisecond.

    The main chain went from ``old_tip`` to ``new_tip``: ``undo_count`` headers above ``fork_height`` left it, then
    ``redo_count`` joined it. For a reorganization, ``undo`` lists hashes from the old tip downward and ``redo`` from
    ``fork_height + 1`` upward, each cut at ``MAX_INLINE_HASHES``. ``chainwork`` is cumulative at the new tip, None
    where the store could not know it.
    """

    seq: int
    time: float
    kind: EventKind
    fork_height: Height
    old_tip: ChainTip
    new_tip: ChainTip
    chainwork: Work | None
    undo_count: int = 0
    redo_count: int = 0
    undo: tuple[Hash32, ...] = ()
    redo: tuple[Hash32, ...] = ()
    detail: str = ""


def encode_event(event: Event) -> bytes:
    """142 bytes, plus 32 for each hash listed, plus the detail."""
    detail = event.detail.encode()[:MAX_DETAIL_BYTES].decode(errors="ignore").encode()
    work = event.chainwork
    head = _HEAD.pack(
        event.seq,
        round(event.time * 1000),
        _KINDS.index(event.kind),
        event.fork_height + 1,
        event.old_tip.height + 1,
        event.old_tip.hash,
        event.new_tip.height + 1,
        event.new_tip.hash,
        work is not None,
        (work or 0).to_bytes(32, "big"),
        event.undo_count,
        event.redo_count,
        len(event.undo),
        len(event.redo),
        len(detail),
    )
    return sealed(head + b"".join(event.undo) + b"".join(event.redo) + detail)


def decode_event(value: bytes) -> Event:
    """Reads back ``encode_event``. Raises ValueError on bytes that it never wrote."""
    value = unsealed(value)
    if len(value) < _HEAD.size:
        raise ValueError(f"event of {len(value)} bytes")
    seq, ms, kind, fork, old, old_hash, new, new_hash, known, work, *counts = _HEAD.unpack_from(value)
    undo_count, redo_count, undos, redos, chars = counts
    redo_at = _HEAD.size + 32 * undos
    detail_at = redo_at + 32 * redos
    if len(value) != detail_at + chars or kind >= len(_KINDS):
        raise ValueError(f"event of {len(value)} bytes and kind {kind}")
    return Event(
        seq=seq,
        time=ms / 1000,
        kind=_KINDS[kind],
        fork_height=Height(fork - 1),
        old_tip=ChainTip(Height(old - 1), Hash32(old_hash)),
        new_tip=ChainTip(Height(new - 1), Hash32(new_hash)),
        chainwork=Work(int.from_bytes(work, "big")) if known else None,
        undo_count=undo_count,
        redo_count=redo_count,
        undo=tuple(_hashes(value[_HEAD.size : redo_at])),
        redo=tuple(_hashes(value[redo_at:detail_at])),
        detail=value[detail_at:].decode(),
    )


def _hashes(packed: bytes) -> Iterator[Hash32]:
    return (Hash32(packed[i : i + 32]) for i in range(0, len(packed), 32))


class EventIndex:
    """Where each retained event lies: 12 bytes an event, at most ``PRUNE_AT`` events.

    Any thread may read while one thread appends.
    """

    def __init__(self, places: Iterable[tuple[int, int]] = ()) -> None:
        """``places``: (seq, height in its key), in any order."""
        ordered = sorted(places)
        self._columns = (array("Q", (seq for seq, _ in ordered)), array("I", (height for _, height in ordered)))

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def first_seq(self) -> int | None:
        """Oldest retained event."""
        seqs = self._columns[0]
        return seqs[0] if seqs else None

    @property
    def last_seq(self) -> int | None:
        """Newest event."""
        seqs = self._columns[0]
        return seqs[-1] if seqs else None

    def append(self, seq: int, height: int) -> None:
        """A new event; ``seq`` is above all others."""
        seqs, heights = self._columns
        heights.append(height)  # first, so that a reader who sees the seq finds its height
        seqs.append(seq)

    def after(self, seq: int, limit: int) -> list[tuple[int, int]]:
        """Up to ``limit`` places with a greater sequence number, in order."""
        seqs, heights = self._columns
        at = bisect_right(seqs, seq)
        return list(zip(seqs[at : at + limit], heights[at : at + limit], strict=False))

    def oldest(self, keep: int) -> list[tuple[int, int]]:
        """The places before the last ``keep``."""
        seqs, heights = self._columns
        return list(zip(seqs[:-keep], heights[:-keep], strict=False))

    def forget(self, count: int) -> None:
        """Drops the ``count`` oldest places."""
        seqs, heights = self._columns
        self._columns = (seqs[count:], heights[count:])
