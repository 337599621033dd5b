"""The whole suite runs on both engines: ``where`` is what to open, again and again, in one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spvnode.store.headers import HeaderStore
from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Engine
from tests.support.stored import open_store


@pytest.fixture(params=["leveldb", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Engine:
    return tmp_path / "net" / "store" if request.param == "leveldb" else MemoryEngine()


@pytest.fixture
def store(where: Path | Engine) -> Iterator[HeaderStore]:
    """A new store that begins at genesis."""
    with open_store(where) as opened:
        yield opened
