"""Both engines keep the same promises."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from spvnode.errors import StoreError
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Batch, Engine
from tests.support.stored import everything, level_engine


@pytest.fixture(params=["leveldb", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine = level_engine(tmp_path / "store") if request.param == "leveldb" else MemoryEngine()
    yield made
    made.close()
    made.close()  # twice is harmless


def test_it_agrees_with_a_dict(engine: Engine) -> None:
    rng = random.Random(5)
    naive: dict[bytes, bytes] = {}
    for step in range(400):
        keys = [rng.randbytes(rng.randint(1, 2)) for _ in range(rng.randint(1, 8))]
        deletes, puts = keys[::2], [(key, rng.randbytes(rng.randint(0, 300))) for key in keys]
        if rng.random() < 0.5:
            puts = puts[1::2]
        engine.write(Batch(puts, deletes), sync=step % 50 == 0)
        for key in deletes:
            naive.pop(key, None)
        naive.update(puts)
        low, high = sorted(rng.randbytes(2) for _ in range(2))
        inside = sorted((key, value) for key, value in naive.items() if low <= key < high)
        limit = rng.randint(1, 60)
        assert engine.range(low, high, limit=limit) == inside[:limit]
        assert engine.range(low, high, limit=limit, reverse=True) == inside[::-1][:limit]
        assert engine.get(keys[0]) == naive.get(keys[0])
        if step % 100 == 99:
            engine.reopen()
    assert everything(engine) == sorted(naive.items())


def test_a_put_beats_a_delete_of_the_same_batch(engine: Engine) -> None:
    engine.write(Batch([(b"k", b"old")]), sync=False)
    engine.write(Batch([(b"k", b"new")], [b"k"]), sync=False)
    assert engine.get(b"k") == b"new"


def test_keys_sort_as_unsigned_bytes(engine: Engine) -> None:
    keys = [b"\x00", b"\x7f", b"\x7f\x00", b"\x80", b"\xfe\xff"]
    engine.write(Batch([(key, b"") for key in reversed(keys)]), sync=False)
    assert [key for key, _ in engine.range(b"", b"\xff", limit=10)] == keys


def test_it_tells_its_size(engine: Engine) -> None:
    engine.write(Batch([(b"k", bytes(1000))]), sync=True)
    stats = engine.stats()
    assert stats.detail
    assert (stats.disk_bytes > 1000 and stats.files > 0) or isinstance(engine, MemoryEngine)


def test_a_closed_folder_is_closed(tmp_path: Path) -> None:
    engine = level_engine(tmp_path / "store")
    engine.close()
    for use in (
        lambda: engine.get(b"k"),
        lambda: engine.range(b"", b"\xff", limit=1),
        lambda: engine.write(Batch(), sync=False),
        engine.reopen,
        engine.stats,
    ):
        with pytest.raises(StoreError, match=r"store: closed"):
            use()
