"""``spvnode check``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from merkle.hashing import sha256d_headers
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import NETWORKS
from spvnode.cli.client import running
from spvnode.cli.exits import Exit
from spvnode.cli.options import find_datadir, json_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.config import ensure_datadir
from spvnode.errors import InputError, StoreError, StoreLocked
from spvnode.opening import checkpoint_of
from spvnode.store.audit import audit
from spvnode.store.errors import StoreDamaged
from spvnode.store.folder import store_path, stored_networks
from spvnode.store.headers import HeaderStore
from spvnode.types import Height, hash_hex


@click.command("check")
@place_options
@json_option
def command(datadir: str | None, config: str | None, as_json: bool) -> int:
    """Audit the stores of all networks in the data directory.

    Every row is read, every header checked again by every rule. Damage that opening can heal is healed and told. The
    daemon must not be running. Exits with 1 if a store is damaged, 74 if one could not be checked.
    """
    place = find_datadir(datadir, config)
    if running(place):
        raise StoreLocked(f"datadir: a daemon runs in {place} and holds its stores; stop it first")
    found = [_audit(place, network) for network in _networks(place)]
    verdicts = [entry["good"] for entry in found]
    emit(
        {"datadir": str(place), "good": all(verdicts), "networks": found},
        [line for entry in found for line in _lines(entry)],
        as_json=as_json,
    )
    if False in verdicts:
        return Exit.NEGATIVE
    return Exit.STORE if None in verdicts else Exit.OK


def _networks(datadir: Path) -> tuple[str, ...]:
    """Those that have a store in ``datadir``. InputError when there is none, or nobody can tell."""
    try:
        with os.scandir(datadir):
            networks = stored_networks(datadir)
    except OSError as error:
        raise InputError("datadir", f"{datadir}: {error.strerror}") from error
    if not networks:
        raise InputError("datadir", f"no store in {datadir}")
    ensure_datadir(datadir)  # opening a store writes to it
    return networks


def _audit(datadir: Path, network: str) -> dict[str, Any]:
    """What was found; ``good`` is None where the store could not be looked at, which says nothing about it."""
    if network not in NETWORKS:
        return {"network": network, "good": None, "problems": ["this version has no rules for this network"]}
    try:
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
    except StoreLocked:
        raise
    except StoreDamaged as error:
        return {"network": network, "good": False, "problems": [str(error)]}
    except StoreError as error:  # no permission, no room, a newer version's: nothing is known to be damaged
        return {"network": network, "good": None, "problems": [str(error)]}


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


def _lines(entry: dict[str, Any]) -> list[str]:
    rows = {
        "height": "none yet" if entry["good"] and entry["blocks"] is None else entry.get("blocks"),
        "hash": entry.get("bestblockhash"),
        "headers": f"{entry['stored_headers']:,} from height {entry['base']} on" if "stored_headers" in entry else None,
        "events": entry.get("events"),
        "branches": entry.get("side_branches"),
        "size": f"{entry['size_on_disk']:,} bytes" if "size_on_disk" in entry else None,
        "healed": "; ".join(entry.get("healed", ())) or None,
        "problems": "; ".join(entry["problems"]) or "none",
    }
    verdict = {True: "good", False: "DAMAGED", None: "NOT CHECKED"}[entry["good"]]
    return [f"{entry['network']}: {verdict}", *("  " + line for line in pairs(rows))]
