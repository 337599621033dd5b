"""``where``: what to open, again and again, in one test; on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from spvnode.store.memory import MemoryEngine
from spvnode.store.port import Engine


@pytest.fixture(params=["leveldb", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Engine:
    return tmp_path / "net" / "store" if request.param == "leveldb" else MemoryEngine()
