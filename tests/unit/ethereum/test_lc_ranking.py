"""The reference tests of is_better_update: every pair of 57 updates, best first."""

from __future__ import annotations

import pytest

from spvnode.ethereum.containers import LightClientUpdate, decode
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.presets import PRESETS
from spvnode.ethereum.ranking import is_better_update
from tests.support.eth_vectors import archive, folders, read_yaml

CASES = folders("light_client", "update_ranking")
CASES_PUBLISHED = 7


def test_every_published_case_is_here() -> None:
    assert len(CASES) == CASES_PUBLISHED


@pytest.mark.parametrize("folder", CASES)
def test_update_ranking(folder: str) -> None:
    files = archive("light_client")
    preset_name, fork, *_ = folder.split("/")
    preset = PRESETS[preset_name]
    count = int(read_yaml(files[f"{folder}/meta.yaml"])["updates_count"])
    updates = [
        decode(preset, Fork(fork), LightClientUpdate, files[f"{folder}/updates_{index}.ssz"]) for index in range(count)
    ]
    assert count == 57
    for place, better in enumerate(updates):
        assert not is_better_update(preset, better, better)
        for worse in updates[place + 1 :]:
            assert is_better_update(preset, better, worse)
            assert not is_better_update(preset, worse, better)
