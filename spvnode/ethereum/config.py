"""Reads a devnet's standard ``config.yaml`` into a ``Network``.

The file is the consensus specs' (``configs/*.yaml``): upper-case names, scalars, and ``BLOB_SCHEDULE``. Every scalar is
read as text and converted here, so that YAML's guesses about types do not matter. What a light client does not need is
ignored. Errors are ``InputError`` with the key's name: the file is the user's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from spvnode.errors import InputError
from spvnode.ethereum.forks import MAX_SCHEDULE_ENTRIES, BlobParameters, Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.networks import ChurnLimits, Network
from spvnode.ethereum.presets import PRESETS
from spvnode.ethereum.units import FAR_FUTURE_EPOCH, Epoch, Root, Version

MAX_CONFIG_BYTES = 1 << 20
"""Standard files have 10 KB; the user points us at this one, perhaps at the wrong one."""
MAX_CONFIG_NUMBER = 2**256 - 1
"""``TERMINAL_TOTAL_DIFFICULTY`` is the largest number in the file."""
_MAX_NUMBER_CHARACTERS = 80

_FORK_EPOCH = re.compile(r"([A-Z0-9]+(?:_[A-Z0-9]+)*)_FORK_EPOCH")
_DECIMAL = re.compile(r"[0-9]+")
_HEX = re.compile(r"0x([0-9a-fA-F]{2})+")
_REQUIRED: Any = object()


def load_config(text: str, *, name: str, genesis_validators_root: Root, genesis_time: int | None = None) -> Network:
    """The network that ``text`` describes.

    ``genesis_time`` defaults to ``MIN_GENESIS_TIME + GENESIS_DELAY``, when devnets without deposits begin. A fork that
    is scheduled in the file and unknown to us ends the fork horizon; unscheduled forks are left out.
    """
    config = _parse(text)
    preset_name = _text(config, "PRESET_BASE")
    if preset_name not in PRESETS:
        raise InputError("PRESET_BASE", f"must be one of {', '.join(PRESETS)}")
    if len(genesis_validators_root) != 32:
        raise InputError("genesis_validators_root", f"{len(genesis_validators_root)} bytes, expected 32")
    if genesis_time is None:
        genesis_time = _number(config, "MIN_GENESIS_TIME") + _number(config, "GENESIS_DELAY", 0)
    return Network(
        name=name,
        preset=PRESETS[preset_name],
        schedule=_schedule(config),
        genesis_validators_root=genesis_validators_root,
        genesis_time=genesis_time,
        slot_duration_ms=_slot_duration(config),
        churn=ChurnLimits(**_churn(config)),
    )


def _parse(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_CONFIG_BYTES:
        raise InputError("config", f"{len(text)} characters, at most {MAX_CONFIG_BYTES}")
    try:
        # BaseLoader leaves every scalar a string and builds no objects.
        config = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError("config", f"is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise InputError("config", "is not a table of names and values")
    return config


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if not isinstance(value, str):
        raise InputError(key, "is missing" if value is None else "is not a plain value")
    return value


def _number(config: Mapping[str, Any], key: str, default: int = _REQUIRED) -> int:
    if key not in config and default is not _REQUIRED:
        return default
    value = _text(config, key)
    if len(value) > _MAX_NUMBER_CHARACTERS or not _DECIMAL.fullmatch(value) or int(value) > MAX_CONFIG_NUMBER:
        raise InputError(key, "is no number from 0 to 2**256 - 1")
    return int(value)


def _version(config: Mapping[str, Any], key: str) -> Version:
    value = _text(config, key)
    if not _HEX.fullmatch(value) or len(value) != 10:
        raise InputError(key, "is no fork version (0x and 8 hex digits)")
    return Version(bytes.fromhex(value[2:]))


def _slot_duration(config: Mapping[str, Any]) -> int:
    key = "SLOT_DURATION_MS" if "SLOT_DURATION_MS" in config else "SECONDS_PER_SLOT"
    duration = _number(config, key) * (1 if key == "SLOT_DURATION_MS" else 1000)
    if not duration:
        raise InputError(key, "must be above 0")
    return duration


def _schedule(config: Mapping[str, Any]) -> ForkSchedule:
    forks = [ScheduledFork("phase0", _version(config, "GENESIS_FORK_VERSION"), Epoch(0), Fork.PHASE0)]
    known = {fork.value: rank for rank, fork in enumerate(Fork)}
    for key in config:
        match = _FORK_EPOCH.fullmatch(key)
        if not match:
            continue
        epoch = Epoch(_number(config, key))
        fork_name = match[1].lower()
        if epoch != FAR_FUTURE_EPOCH:
            fork = Fork(fork_name) if fork_name in known else None
            forks.append(ScheduledFork(fork_name, _version(config, f"{match[1]}_FORK_VERSION"), epoch, fork))
    # Forks of one epoch come in their historical order; one that we do not know is newer than those we do.
    forks.sort(key=lambda entry: (entry.epoch, known.get(entry.name, len(known))))
    try:
        return ForkSchedule(tuple(forks), _blob_schedule(config), _number(config, "MAX_BLOBS_PER_BLOCK_ELECTRA", 9))
    except ValueError as error:
        raise InputError("config", str(error)) from None


def _blob_schedule(config: Mapping[str, Any]) -> tuple[BlobParameters, ...]:
    entries = config.get("BLOB_SCHEDULE") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("BLOB_SCHEDULE", "is no list of EPOCH and MAX_BLOBS_PER_BLOCK")
    if len(entries) > MAX_SCHEDULE_ENTRIES:
        raise InputError("BLOB_SCHEDULE", f"{len(entries)} entries, at most {MAX_SCHEDULE_ENTRIES}")
    blobs = [BlobParameters(Epoch(_u64(entry, "EPOCH")), _u64(entry, "MAX_BLOBS_PER_BLOCK")) for entry in entries]
    return tuple(sorted(blobs, key=lambda entry: entry.epoch))


def _u64(config: Mapping[str, Any], key: str) -> int:
    number = _number(config, key)
    if number >> 64:
        raise InputError(key, "does not fit 64 bits")
    return number


def _churn(config: Mapping[str, Any]) -> dict[str, int]:
    names = ChurnLimits.__dataclass_fields__
    return {name: _number(config, name.upper()) for name in names if name.upper() in config}
