"""Recorded chains as a js beacon node has them, and as a daemon of ours is told of their networks."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from eth_vectors import DIGEST_SIZE, archive, fork_of_digest, real_json, real_network, unhex

from spvnode.ethereum.containers import LightClientFinalityUpdate, LightClientUpdate, beacon_root, decode, encode
from spvnode.ethereum.full_node import create_light_client_finality_update, create_light_client_optimistic_update
from spvnode.ethereum.networks import Network

SLOTS_LATE = 3
"""A shifted chain's last recorded signature lies so many slots back."""


@dataclass(frozen=True)
class Object:
    """Light-client data with their context, and the slot of the header that was signed (a bootstrap's own)."""

    digest: str
    ssz: bytes
    slot: int

    @property
    def given(self) -> dict[str, str]:
        """For ``beacon.mjs``."""
        return {"digest": self.digest, "ssz": base64.b64encode(self.ssz).decode()}


@dataclass(frozen=True)
class Recorded:
    """One set. ``updates`` by period; the last two fields are of what ``finality`` finalizes."""

    name: str
    network: Network
    root: bytes
    bootstrap: Object
    updates: Mapping[int, Object]
    finality: Object
    optimistic: Object
    finalized_slot: int
    finalized_root: bytes

    @property
    def manifest(self) -> Any:
        """As it was recorded."""
        return real_json(self.name, "manifest.json")

    def faster(self, slot_duration_ms: int) -> Recorded:
        """The same with other slots: their length is not signed either."""
        return replace(self, network=replace(self.network, slot_duration_ms=slot_duration_ms))

    def genesis_for(self, slot: int) -> int:
        """Genesis time with which ``slot`` begins now. Nothing that is signed depends on it."""
        return int(time.time()) - slot * self.network.slot_duration_ms // 1000

    @property
    def genesis_now(self) -> int:
        """Genesis time with which the set ends now."""
        return self.genesis_for(self.optimistic.slot + 1 + SLOTS_LATE)

    def config(self) -> dict[str, Any]:
        """The network's config.yaml, without a genesis time of its own."""
        manifest = self.manifest
        config: dict[str, Any] = {
            "PRESET_BASE": manifest["preset"],
            "CONFIG_NAME": "recorded",
            "MIN_GENESIS_TIME": manifest["genesis_time"],
            "SECONDS_PER_SLOT": self.network.slot_duration_ms // 1000,
            "SLOT_DURATION_MS": self.network.slot_duration_ms,
        }
        for entry in manifest["fork_schedule"]:
            name = entry["fork"].upper()
            config["GENESIS_FORK_VERSION" if name == "PHASE0" else f"{name}_FORK_VERSION"] = entry["version"]
            if name != "PHASE0":
                config[f"{name}_FORK_EPOCH"] = entry["epoch"]
        blobs = [{"EPOCH": epoch, "MAX_BLOBS_PER_BLOCK": count} for epoch, count in manifest["blob_schedule"]]
        return {**config, "BLOB_SCHEDULE": blobs} if blobs else config

    def write_config(self, folder: Path) -> Path:
        """As a file."""
        file = folder / "config.yaml"
        # Hex stays text, as in the standard files that we and others read.
        file.write_text(yaml.safe_dump(self.config()))
        return file

    def beacon(self, genesis: int, without: tuple[str, ...] = (), *, real: bool = False) -> dict[str, Any]:
        """``beacon`` of a ``JsPeer``; ``real``: on Lodestar's own mainnet."""
        config = {key: str(value) for key, value in self.config().items() if key != "BLOB_SCHEDULE"}
        blobs = self.config().get("BLOB_SCHEDULE", [])
        named = {**config, "BLOB_SCHEDULE": [{key: str(value) for key, value in one.items()} for one in blobs]}
        return {
            "network": "mainnet" if real else named,
            "root": self.network.genesis_validators_root.hex(),
            "genesis": self.network.genesis_time if real else genesis,
            "without": list(without),
        }

    def everything(self) -> dict[str, Any]:
        """What a node has that has all of it."""
        return {
            "bootstraps": {self.root.hex(): self.bootstrap.given},
            "updates": {str(period): one.given for period, one in self.updates.items()},
            "finality": self.finality.given,
            "optimistic": self.optimistic.given,
            "status": self.status(self.finalized_root, self.finalized_slot, self.optimistic.slot),
            "metadata": {"seq_number": "7"},
        }

    def status(self, finalized_root: bytes, finalized_slot: int, head_slot: int) -> dict[str, Any]:
        """Of a node that has finalized that."""
        epoch = -(-finalized_slot // self.network.preset.slots_per_epoch)  # the block of an empty slot is an older one
        return {
            "finalized_root": "0x" + finalized_root.hex(),
            "finalized_epoch": str(epoch),
            "head_root": "0x" + "77" * 32,
            "head_slot": str(head_slot),
        }

    def live(self, period: int) -> tuple[Object, Object]:
        """The finality and the optimistic update of the moment in which a period's update was signed."""
        found = self.updates[period]
        digest = bytes.fromhex(found.digest)
        update = decode(self.network.preset, fork_of_digest(self.network, digest), LightClientUpdate, found.ssz)
        made = (create_light_client_finality_update(update), create_light_client_optimistic_update(update))
        finality, optimistic = (Object(found.digest, encode(self.network.preset, one), found.slot) for one in made)
        return finality, optimistic

    def finalized_of(self, finality: Object) -> tuple[bytes, int]:
        """Root and slot of the block that a finality update finalizes."""
        return _finalized(self.network, finality)


@cache
def load(name: str) -> Recorded:
    """Everything of a recorded set."""
    network, manifest = real_network(name), real_json(name, "manifest.json")

    def one(file: str) -> Object:
        told = manifest["files"][file]
        return Object(told["context_digest"], archive("real")[f"{name}/{file}.ssz"], told["slot"])

    finality = one("finality_update")
    root, slot = _finalized(network, finality)
    updates = _updates(name, manifest["files"]["updates"]["entries"])
    trusted = unhex(manifest["trusted_block_root"])
    return Recorded(name, network, trusted, one("bootstrap"), updates, finality, one("optimistic_update"), slot, root)


def _finalized(network: Network, finality: Object) -> tuple[bytes, int]:
    fork = fork_of_digest(network, bytes.fromhex(finality.digest))
    update = decode(network.preset, fork, LightClientFinalityUpdate, finality.ssz)
    beacon = update.finalized_header.beacon
    return beacon_root(beacon), beacon.slot


def _updates(name: str, entries: list[Any]) -> dict[int, Object]:
    """updates.ssz: per update u64 length, context, SSZ."""
    data, at, found = archive("real")[f"{name}/updates.ssz"], 0, {}
    for entry in entries:
        end = at + 8 + int.from_bytes(data[at : at + 8], "little")
        digest, ssz = data[at + 8 : at + 8 + DIGEST_SIZE], data[at + 8 + DIGEST_SIZE : end]
        found[entry["period"]] = Object(digest.hex(), ssz, entry["attested_slot"])
        at = end
    return found


MAINNET = load("mainnet-capella-nimbus21")
"""Periods 800 to 820 and a part of 821."""
DEVNET = load("devnet-lodestar-deneb-electra")
"""Periods 0 to 2 of a devnet that Lodestar ran: deneb, from slot 80 electra."""
