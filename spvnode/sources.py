"""Where a network's data comes from, by the configuration: what a running daemon tells of itself, and what ``spvnode
doctor`` works out where none runs."""

from __future__ import annotations

from typing import Any

from spvnode.config import Config
from spvnode.networks import BITCOIN

OWN_NETWORK = "network"
MESH = "mesh"
API = "api"


def sources_of(config: Config, network: str) -> list[dict[str, Any]]:
    """``kind``: the network's own peers, the mesh, or Beacon APIs; ``named``: how many the operator named; ``finds``:
    whether it looks for others by itself; ``dns``: whether by asking name servers. JSON-ready; addresses and URLs stay
    out of it, which may hold passwords."""
    return _bitcoin(config, network) if network in BITCOIN else _beacon(config, network)


def _source(kind: str, named: int, *, finds: bool, dns: bool = False) -> dict[str, Any]:
    return {"kind": kind, "named": named, "finds": finds, "dns": dns}


def _bitcoin(config: Config, network: str) -> list[dict[str, Any]]:
    from p2p.bitcoin.seeds import SEEDS, Seeds  # noqa: PLC0415 - 3 ms that only some commands need

    wire, seeds, found = config.wire_for(network), SEEDS.get(network, Seeds()), []
    if wire.enabled and (wire.connect or wire.listen or seeds.any):
        finds = seeds.any and not wire.connect
        dns = finds and bool(seeds.dns) and wire.dns_seeds and not wire.proxy
        found.append(_source(OWN_NETWORK, len(wire.connect), finds=finds, dns=dns))
    if config.mesh.enabled:
        found.append(_source(MESH, len(config.mesh.peers), finds=config.mesh.mdns))
    return found


def _beacon(config: Config, network: str) -> list[dict[str, Any]]:
    beacon, found = config.beacon_for(network), []
    if beacon is not None and beacon.p2p:
        found.append(_source(OWN_NETWORK, len(beacon.peers), finds=beacon.discovery))
    if beacon is not None and beacon.apis:
        found.append(_source(API, len(beacon.apis), finds=False))
    return found
