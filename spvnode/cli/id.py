"""``spvnode id``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from p2p.host.identity import IdentityError, load_or_create
from spvnode.cli.client import running
from spvnode.cli.options import json_option, place_options
from spvnode.cli.output import emit
from spvnode.config import Config, ensure_datadir
from spvnode.config_sources import load_config
from spvnode.errors import InputError
from spvnode.places import IDENTITY_NAME


@click.command("id")
@place_options
@json_option
def command(datadir: str | None, config: str | None, as_json: bool) -> None:
    """Print this node's peer id and the multiaddrs that others can dial.

    A running daemon tells where it listens. Without one the key in the data directory is read (or made), and no address
    can be dialled yet: the config's are then shown as what it would listen on (in JSON `listen`, `addresses` is empty).
    """
    settings = load_config(
        config_file=Path(config) if config else None,
        environ=os.environ,
        flags={"datadir": datadir} if datadir else {},
        flag_names={"datadir": "--datadir"},
    )
    client = running(settings.data_path)
    found = _from_daemon(client.call("getnodeinfo")) if client else _from_file(settings)
    if found["peer_id"] is None and not found["beacon"]:
        raise InputError("mesh.enabled", "the daemon runs without mesh: it has no peer id")
    would = [f"no daemon runs; it would listen on {addr}" for addr in found["listen"]]
    ours = [found["peer_id"], *found["addresses"]] if found["peer_id"] else []
    if found["running"] and found["peer_id"] and not found["addresses"]:
        would = ["the daemon does not listen yet: ask again in a moment"]
    emit(found, [*ours, *would, *_wires(found["beacon"])], as_json=as_json)


def _wires(beacon: dict[str, Any]) -> list[str]:
    """Ethereum networks have nodes of their own, and know us by another key."""
    return [f"{name}: {known}" for name, wire in beacon.items() for known in (*wire["addresses"], wire["enr"]) if known]


def _from_daemon(node: dict[str, Any]) -> dict[str, Any]:
    return {"peer_id": node["peer_id"], "addresses": node["listen_addrs"], "listen": [], "running": True,
            "beacon": node["beacon"]}  # fmt: skip


def _from_file(settings: Config) -> dict[str, Any]:
    path = ensure_datadir(settings.data_path) / IDENTITY_NAME
    try:
        peer_id = load_or_create(path).peer_id
    except IdentityError as error:
        raise InputError("identity", f"{error.path}: {error.problem}") from error
    listen = [f"{addr}/p2p/{peer_id}" for addr in settings.mesh.listen]
    return {"peer_id": peer_id, "addresses": [], "listen": listen, "running": False, "beacon": {}}
