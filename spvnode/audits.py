"""What ``spvnode check`` finds in the store of one network, each kind of chain by its own rules. ``good`` is None where
a store could not be looked at, which says nothing about it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from merkle.hashing import sha256d_headers
from spvnode import networks
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import NETWORKS
from spvnode.config import BeaconConfig
from spvnode.errors import InputError, StoreError, StoreLocked
from spvnode.opening import checkpoint_of
from spvnode.store.audit import audit
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import store_path
from spvnode.store.headers import HeaderStore
from spvnode.types import Height, hash_hex


def audit_store(datadir: Path, network: str, devnets: Mapping[str, BeaconConfig]) -> dict[str, Any]:
    """What was found. ``devnets``: Ethereum networks of the configuration. Raises StoreLocked."""
    try:
        if network in networks.BITCOIN:
            return _audit_headers(datadir, network)
        if network in networks.ETHEREUM or network in devnets:
            return _audit_beacon(datadir, devnets.get(network) or BeaconConfig(network=network))
    except StoreLocked:
        raise
    except StoreDamaged as error:
        return {"network": network, "good": False, "problems": [str(error)]}
    except (StoreError, InputError) as error:  # no permission, no room, a newer version's, a devnet's file is gone
        return {"network": network, "good": None, "problems": [str(error)]}
    return {"network": network, "good": None, "problems": ["this version has no rules for this network"]}


def _audit_headers(datadir: Path, network: str) -> dict[str, Any]:
    params = NETWORKS[network]
    with HeaderStore.open(store_path(datadir, network), genesis_hash=params.genesis_hash, now=time.time()) as store:
        if store.start is None:
            return {"network": network, "good": True, "problems": [], "blocks": None, "healed": list(store.faults)}
        report = audit(store, hashing=sha256d_headers)
        problems = [*report.problems, *_broken_rules(store, network)]
        return {
            "network": network,
            "good": not problems,
            "problems": problems,
            "healed": list(report.healed),
            "blocks": report.tip_height,
            "headers": report.tip_height,
            "bestblockhash": hash_hex(store.tip_hash),
            "base": report.base,
            "stored_headers": report.headers,
            "side_branches": report.side_branches,
            "events": report.events,
            "size_on_disk": report.disk_bytes,
        }


def _audit_beacon(datadir: Path, config: BeaconConfig) -> dict[str, Any]:
    from spvnode.bls import Verifier  # noqa: PLC0415 - for who follows Ethereum
    from spvnode.ethereum.auditing import audit as audit_chain  # noqa: PLC0415
    from spvnode.follow.ethereum_network import network_of  # noqa: PLC0415
    from spvnode.store.beacon import BeaconStore  # noqa: PLC0415

    params = network_of(config)
    path = store_path(datadir, config.network)
    with BeaconStore.open(path, chain_id=params.genesis_validators_root, now=time.time()) as store:
        entry = {"network": config.network, "healed": list(store.faults), "events": store.event_count,
                 "size_on_disk": store.stats().disk_bytes}  # fmt: skip
        if store.start is None:
            return {**entry, "good": True, "problems": [], "periods": None}
        report = audit_chain(params, store, Verifier())
        return {
            **entry,
            "good": report.good,
            "problems": list(report.problems),
            "periods": [report.first, report.last],
            "start": "0x" + store.start.root.hex(),
        }


def _broken_rules(store: HeaderStore, network: str) -> Iterator[str]:
    """What the rules of the chain say about the rows; nothing is cut away here."""
    start = None if store.complete else checkpoint_of(store.start)
    chain = HeaderChain(NETWORKS[network], store, start)
    runs = ((Height(first), headers) for first, headers, _ in store.scan())
    report = chain.load(runs, store.side_branches())
    if report.fault is not None:
        yield f"header {report.last_good + 1} breaks the rule {report.fault}"
    for tip in report.dropped:
        yield f"the side branch that ends in {hash_hex(tip)} fits nowhere"
