"""``spvnode doctor``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from spvnode.cli import checks
from spvnode.cli.checks import Finding, State, Told
from spvnode.cli.client import Client, DaemonAbsent, DaemonError, running
from spvnode.cli.exits import Exit
from spvnode.cli.options import find_datadir, json_option, place_options
from spvnode.cli.output import emit
from spvnode.config import Config
from spvnode.config_sources import load_config
from spvnode.errors import InputError
from spvnode.sources import sources_of
from spvnode.store.folder import stored_networks

_MARKS = {State.OK: "ok  ", State.WARN: "WARN", State.FAIL: "FAIL"}


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Ask no name server.")
@place_options
@json_option
def command(offline: bool, datadir: str | None, config: str | None, as_json: bool) -> int:
    """Find what keeps the node from working: settings, data directory, disk, clock, DNS, sources, peers, forks.

    Works with and without a running daemon, and changes nothing. Each line that is not well says what to do. Exits with
    1 if anything failed, 0 otherwise.
    """
    found = list(examine(datadir, config, offline=offline))
    failed = any(one.state is State.FAIL for one in found)
    emit({"good": not failed, "findings": [one.as_json() for one in found]}, _lines(found), as_json=as_json)
    return Exit.NEGATIVE if failed else Exit.OK


def examine(datadir: str | None, config: str | None, *, offline: bool) -> Iterator[Finding]:
    """All findings, in the order in which they should be mended."""
    try:
        place = find_datadir(datadir, config)
        settings = load_config(
            config_file=Path(config) if config else None,
            environ=os.environ,
            flags={"datadir": str(place)},
            flag_names={"datadir": "--datadir"},
        )
    except InputError as error:
        yield checks.unfit(error)
        return
    yield checks.settings(settings, place)
    yield checks.data_directory(place)
    yield checks.disk(place)
    told: dict[str, dict[str, Any]] = {}
    try:
        client = running(place)
        told = {} if client is None else _told(client)
    except (DaemonAbsent, DaemonError) as error:
        yield Finding("daemon", State.FAIL, str(error), "look at its log; `spvnode run` shows it in a terminal")
    else:
        yield checks.daemon(place, None if client is None else list(told), settings.networks)
    yield from _of_networks(settings, place, told, offline=offline)


def _networks(settings: Config, place: Path) -> Sequence[str]:
    """Those of the settings; where only others have a store here, flags chose these the last time."""
    stored = stored_networks(place)
    return settings.networks if not stored or set(stored) & set(settings.networks) else stored


def _of_networks(settings: Config, place: Path, told: Told, *, offline: bool) -> Iterator[Finding]:
    """A running daemon is asked: its flags may say other than the settings, which count where none runs."""
    sources = {name: about["sources"] for name, about in told.items()} or {
        name: sources_of(settings, name) for name in _networks(settings, place)
    }
    for network, found in sources.items():
        yield checks.coverage(network, found)
        yield from checks.apis(network, told.get(network, {}))
        yield from checks.named(network, told.get(network, {}))
    if not offline:
        yield from checks.dns(sources)
    yield checks.clock(told)
    for network in sources:
        about = told.get(network)
        if about is not None:
            yield checks.peers(network, about)
            yield from checks.readiness(network, about)
        yield from checks.horizon(network, about)


def _told(client: Client) -> dict[str, dict[str, Any]]:
    """By network: what ``getsyncinfo`` says, and ``peers``."""
    return {
        name: {**client.call("getsyncinfo", {"network": name}), "peers": client.call("getpeerinfo", {"network": name})}
        for name in client.call("getnodeinfo")["networks"]
    }


def _lines(found: Sequence[Finding]) -> Iterator[str]:
    width = max(len(one.what) for one in found)
    for one in found:
        yield f"{_MARKS[one.state]}  {one.what:<{width}}  {one.says}"
        if one.fix:
            yield f"{'':{width + 6}}  -> {one.fix}"
