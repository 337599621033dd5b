"""From a data directory to a chain: opens one network's store, at the start that it has or that it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spvnode.bitcoin.params import ChainParams
from spvnode.bitcoin.start import Checkpoint
from spvnode.bitcoin.stored import StoredChain
from spvnode.store.folder import store_path
from spvnode.store.headers import HeaderStore
from spvnode.store.schema import StartRecord


def checkpoint_of(record: StartRecord | None) -> Checkpoint | None:
    """The start of a store as a chain takes it; None for genesis and for a store that has not begun."""
    if record is None or record.height == 0:
        return None
    return Checkpoint(record.height, record.hash, record.header, record.chainwork, record.peaks)


def record_of(start: Checkpoint) -> StartRecord:
    """The start of a chain as a store takes it."""
    return StartRecord(start.height, start.header, start.chainwork, start.peaks)


@contextmanager
def open_stored(params: ChainParams, datadir: Path, start: Checkpoint) -> Iterator[StoredChain]:
    """The chain of ``params`` in ``datadir``, loaded and checked, for as long as the context lasts.

    ``start`` is where a new store begins; one that is there keeps its own. Raises ``StoreError`` (``StoreLocked``
    where another process has it).
    """
    store = HeaderStore.open(
        store_path(datadir, params.name), genesis_hash=params.genesis_hash, start=record_of(start), now=time.time()
    )
    with store:
        yield StoredChain(params, store, checkpoint_of(store.start), clock=time.time)
