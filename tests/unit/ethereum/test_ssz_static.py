"""The reference tests of the light client's containers: 9,600 values of every fork and both presets."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

import pytest

from merkle.ssz_json import from_json, to_json
from spvnode.ethereum.containers import schema_for
from spvnode.ethereum.forks import Fork
from tests.support.eth_vectors import archive, unhex

CASES_PUBLISHED = {"minimal": 9225, "mainnet": 375}


def groups() -> dict[str, list[tuple[str, str, str]]]:
    """preset/fork/container -> (path, root, digest of its canonical JSON)."""
    found = defaultdict(list)
    for path, (root, digest) in json.loads(archive("ssz_static")["index.json"]).items():
        found["/".join(path.split("/")[:3])].append((path, root, digest))
    return found


GROUPS = groups()


@pytest.mark.parametrize("preset", CASES_PUBLISHED)
def test_every_published_case_is_here(preset: str) -> None:
    counts = [len(cases) for group, cases in GROUPS.items() if group.startswith(preset)]
    assert sum(counts) == CASES_PUBLISHED[preset]


def json_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


@pytest.mark.parametrize("group", GROUPS)
def test_ssz_static(group: str) -> None:
    preset, fork, name = group.split("/")
    kind = schema_for(preset, Fork(fork))[name]
    for path, root, digest in GROUPS[group]:
        data = archive("ssz_static")[path]
        value = kind.decode(data)
        assert kind.encode(value) == data, path
        assert kind.hash_tree_root(value) == unhex(root), path
        as_json = to_json(kind, value)
        assert json_digest(as_json) == digest, path
        assert from_json(kind, as_json) == value, path
