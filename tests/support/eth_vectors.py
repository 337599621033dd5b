"""Reads the Ethereum vectors: archives of tests/vectors/ethereum, and networks made from what lies in them."""

from __future__ import annotations

import json
import lzma
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spvnode.ethereum.config import load_config
from spvnode.ethereum.containers import LightClientUpdate, decode
from spvnode.ethereum.forks import BlobParameters, Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.networks import Network, fork_digests
from spvnode.ethereum.presets import PRESETS
from spvnode.ethereum.units import Epoch, ForkDigest, Root, Version

FOLDER = Path(__file__).parents[1] / "vectors" / "ethereum"
DIGEST_SIZE = 4


@cache
def archive(name: str) -> dict[str, bytes]:
    """Path -> bytes of every file in ``name``.tar.xz."""
    with lzma.open(FOLDER / f"{name}.tar.xz") as stream, tarfile.open(fileobj=stream, mode="r|") as members:
        return {member.name: members.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def folders(name: str, kind: str) -> list[str]:
    """Paths of the cases of a kind of vector ("sync"), by their steps or data files."""
    marks = {
        "sync": "/sync/pyspec_tests/",
        "data_collection": "/data_collection/",
        "update_ranking": "/update_ranking/",
    }
    return sorted({path.rpartition("/")[0] for path in archive(name) if marks[kind] in path})


def read_yaml(data: bytes) -> Any:
    """With every scalar a string: roots and digests are hex, and YAML would make numbers of some."""
    return yaml.load(data, Loader=yaml.BaseLoader)  # noqa: S506


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def case_network(data: bytes, genesis_validators_root: bytes = bytes(32)) -> Network:
    """The network of a case's config.yaml."""
    return load_config(data.decode(), name="case", genesis_validators_root=Root(genesis_validators_root))


def fork_of_digest(network: Network, digest: bytes) -> Fork:
    """The fork of a context digest."""
    fork = fork_digests(network)[ForkDigest(digest)].fork
    assert fork is not None
    return fork


@cache
def real_sets() -> tuple[str, ...]:
    return tuple(sorted({path.partition("/")[0] for path in archive("real")}))


def real_json(name: str, file: str) -> Any:
    return json.loads(archive("real")[f"{name}/{file}"])


def real_network(name: str) -> Network:
    """The network of a recorded set, from its manifest."""
    manifest = real_json(name, "manifest.json")
    forks = tuple(
        ScheduledFork(entry["fork"], Version(unhex(entry["version"])), Epoch(entry["epoch"]), Fork(entry["fork"]))
        for entry in manifest["fork_schedule"]
    )
    blobs = tuple(BlobParameters(Epoch(epoch), count) for epoch, count in manifest["blob_schedule"])
    return Network(
        name=name,
        preset=PRESETS[manifest["preset"]],
        schedule=ForkSchedule(forks, blobs),
        genesis_validators_root=Root(unhex(manifest["genesis_validators_root"])),
        genesis_time=manifest["genesis_time"],
        slot_duration_ms=1000 * manifest["seconds_per_slot"],
    )


def real_updates(name: str, network: Network) -> list[LightClientUpdate]:
    """The set's updates.ssz: per update u64 length, context digest, SSZ."""
    data = archive("real")[f"{name}/updates.ssz"]
    updates = []
    at = 0
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 8], "little")
        fork = fork_of_digest(network, data[at + 8 : at + 8 + DIGEST_SIZE])
        updates.append(decode(network.preset, fork, LightClientUpdate, data[at + 8 + DIGEST_SIZE : end]))
        at = end
    return updates
