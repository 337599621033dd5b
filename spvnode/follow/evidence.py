"""Files that say who contradicted whom, for the operator to judge: one JSON file a conflict, beside the store."""

from __future__ import annotations

from pathlib import Path

import msgspec

from p2p import statefile

MAX_FILES = 16
"""Evidence files kept for one network, the newest; a source that contradicts the others makes one at each start."""
MAX_STATEMENTS = 128
"""In one file: all endpoints and the peers of a quorum, twice."""
PREFIX = "trust-conflict-"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """``source`` says that ``root`` (hex) is final, or is its block, at ``epoch`` or ``slot``."""

    source: str
    says: str
    root: str
    epoch: int | None = None
    slot: int | None = None


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content. ``made_at``: Unix seconds."""

    version: int = 1
    network: str
    genesis_validators_root: str
    made_at: int
    problem: str
    statements: tuple[Statement, ...]


def write_conflict(folder: Path, conflict: Conflict) -> Path:
    """``<folder>/trust-conflict-<unix>.json``, atomically, mode 0600; older ones beyond ``MAX_FILES`` go. Blocking.
    OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{PREFIX}{conflict.made_at}.json"
    statefile.save(path, conflict)
    for old in sorted(folder.glob(f"{PREFIX}*.json"), key=lambda file: file.name)[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path
