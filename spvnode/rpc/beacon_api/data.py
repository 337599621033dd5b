"""Light-client objects as the Beacon API writes them: JSON with its ``version``, SSZ with its fork digest."""

from __future__ import annotations

from typing import Any

import msgspec

from merkle.ssz_json import to_json
from spvnode.ethereum.containers import BeaconBlockHeader, container, encode
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.headers import fork_at_slot
from spvnode.ethereum.networks import Network
from spvnode.ethereum.records import Kept, slot_of, wire_digest

_LENGTH_SIZE = 8


def version_of(network: Network, value: Kept) -> str:
    """The fork of its slot, which says how ``value`` is laid out."""
    return str(fork_at_slot(network, slot_of(value)) or value.fork)


def as_json(network: Network, value: Kept) -> bytes:
    """``{"version": ..., "data": ...}``."""
    data = to_json(container(network.preset, value.fork, type(value)), value)
    return msgspec.json.encode({"version": version_of(network, value), "data": data})


def as_ssz(network: Network, value: Kept) -> bytes:
    """The plain encoding."""
    return encode(network.preset, value)


def as_chunk(network: Network, value: Kept) -> bytes:
    """One of several: u64 little-endian length of the rest, fork digest, SSZ."""
    chunk = wire_digest(network, slot_of(value)) + as_ssz(network, value)
    return len(chunk).to_bytes(_LENGTH_SIZE, "little") + chunk


def header_json(network: Network, header: BeaconBlockHeader) -> Any:
    """A ``BeaconBlockHeader`` for ``json``."""
    return to_json(container(network.preset, Fork.ALTAIR, BeaconBlockHeader), header)
