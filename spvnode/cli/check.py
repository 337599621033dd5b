"""``spvnode check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from spvnode.audits import audit_store
from spvnode.cli.client import running
from spvnode.cli.exits import Exit
from spvnode.cli.options import find_datadir, json_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.config import Config, ensure_datadir
from spvnode.config_sources import load_config
from spvnode.errors import InputError, StoreLocked
from spvnode.store.folder import stored_networks


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
    devnets = {entry.network: entry for entry in _settings(place, config).beacon}
    found = [audit_store(place, network, devnets) for network in _networks(place)]
    verdicts = [entry["good"] for entry in found]
    emit(
        {"datadir": str(place), "good": all(verdicts), "networks": found},
        [line for entry in found for line in _lines(entry)],
        as_json=as_json,
    )
    if False in verdicts:
        return Exit.NEGATIVE
    return Exit.STORE if None in verdicts else Exit.OK


def _settings(place: Path, config: str | None) -> Config:
    file = Path(config) if config else None
    flags = {"datadir": str(place)}
    return load_config(config_file=file, environ=os.environ, flags=flags, flag_names={"datadir": "--datadir"})


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


def _lines(entry: dict[str, Any]) -> list[str]:
    periods = entry.get("periods")
    rows = {
        "height": "none yet" if entry["good"] and entry.get("blocks", 0) is None else entry.get("blocks"),
        "periods": "none yet" if entry["good"] and entry.get("periods", 0) is None else periods and _span(periods),
        "start": entry.get("start"),
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


def _span(periods: list[int]) -> str:
    first, last = periods
    return f"{first} to {last}" if last >= first else f"none from {first} on yet"
