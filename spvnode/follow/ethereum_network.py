"""Which Ethereum network a ``[[beacon]]`` entry is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spvnode.config import BeaconConfig
from spvnode.errors import InputError
from spvnode.ethereum.config import load_config
from spvnode.ethereum.networks import NETWORKS, Network
from spvnode.ethereum.units import Root
from spvnode.types import Hash32


def network_of(config: BeaconConfig) -> Network:
    """The network that a ``[[beacon]]`` entry is about. Raises InputError."""
    if not config.config:
        return NETWORKS[config.network]
    try:
        text = Path(config.config).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("beacon.config", f"{config.config}: {error}") from error
    root = config.validators_root or Hash32(bytes(32))
    network = load_config(text, name=config.network, genesis_validators_root=Root(root),
                          genesis_time=config.genesis_time)  # fmt: skip
    return replace(network, name=config.network)
