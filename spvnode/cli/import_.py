"""``spvnode import``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from spvnode.bitcoin.params import NETWORKS
from spvnode.bitcoin.start import Checkpoint
from spvnode.cli.client import IN_WARMUP, Client, DaemonError, running
from spvnode.cli.options import json_option, place_options, progress_option
from spvnode.cli.output import emit, pairs
from spvnode.cli.progress import ProgressBar
from spvnode.config import Config, ensure_datadir
from spvnode.config_sources import load_config
from spvnode.errors import InputError
from spvnode.importer import (
    Checked,
    HeaderFile,
    Imported,
    Progress,
    StoreTarget,
    check_file,
    store_file,
)
from spvnode.inputs import CheckpointInput, parse_checkpoint, parse_network
from spvnode.networks import ETHEREUM
from spvnode.opening import open_stored
from spvnode.types import Hash32, Height, Work, hash_from_hex, hash_hex


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--network", required=True, metavar="N", help="Network of the headers.")
@click.option("--checkpoint", metavar="HEIGHT:HASH", help="The block that the file begins with, which you trust.")
@place_options
@progress_option
@json_option
def command(
    file: str,
    network: str,
    checkpoint: str | None,
    datadir: str | None,
    config: str | None,
    progress: bool,
    as_json: bool,
) -> None:
    """Check all headers in FILE (80 bytes each, lowest first), then commit them.

    FILE begins with the network's genesis, or with the block of --checkpoint, whose HEIGHT must be a multiple of 2,016
    where the network retargets. If one header is bad nothing is stored. A cut file is taken up to its last whole
    header; importing again goes on where the chain ends. @bundled is the mainnet history that ships with spvnode,
    blocks 0 to 32,259. If a daemon runs, the headers go through it.
    """
    if network in ETHEREUM:
        known = ", ".join(NETWORKS)
        raise InputError("--network", f"{network}: only headers of Bitcoin's networks are imported ({known})")
    params = NETWORKS[parse_network(network, "--network", tuple(NETWORKS))]
    flags = {"datadir": datadir} if datadir else {}
    settings = load_config(
        config_file=Path(config) if config else None,
        environ=os.environ,
        flags=flags,
        flag_names={"datadir": "--datadir"},
    )
    given = parse_checkpoint(checkpoint, "--checkpoint", with_network=False) if checkpoint else None
    source = HeaderFile.named(file, network)
    bar = ProgressBar(forced=progress)
    try:
        checked = check_file(source, params, given, time.time(), bar)
        checked = _enriched(checked, given, network, settings)
        done = _store(source, checked, network, settings.data_path, bar)
    finally:
        bar.close()
    _report(done, network, as_json=as_json)


def _enriched(checked: Checked, given: CheckpointInput | None, network: str, settings: Config) -> Checked:
    """With the work and the peaks that the config file knows for the same checkpoint."""
    for entry in settings.checkpoint:
        if given is not None and (entry.network, entry.height, entry.block_hash) == (network, given.height, given.hash):
            start = checked.start
            known = Checkpoint(start.height, start.hash, start.header, Work(entry.work or 0), entry.peak_hashes)
            return Checked(known, checked.first, checked.count, checked.rest)
    return checked


def _store(source: HeaderFile, checked: Checked, network: str, datadir: Path, progress: Progress) -> Imported:
    client = running(datadir)
    if client is not None:
        return store_file(source, checked, DaemonTarget(client, network), progress)
    with open_stored(NETWORKS[network], ensure_datadir(datadir), checked.start) as chain:
        return store_file(source, checked, StoreTarget(chain), progress)


def _report(done: Imported, network: str, *, as_json: bool) -> None:
    rate = done.accepted / done.seconds if done.seconds > 0 else 0.0
    data: dict[str, Any] = {
        "network": network,
        "blocks": done.tip_height,
        "headers": done.tip_height,
        "bestblockhash": hash_hex(done.tip_hash),
        "checked": done.checked.count,
        "known": done.known,
        "below_start": done.below,
        "accepted": done.accepted,
        "trailing_bytes": done.checked.rest,
        "headers_per_second": round(rate),
    }
    rows: dict[str, object] = {
        "height": done.tip_height,
        "hash": data["bestblockhash"],
        "checked": f"{done.checked.count:,} headers",
        "new": f"{done.accepted:,} headers" + (f", {rate:,.0f}/s" if done.accepted else ""),
        "cut": f"{done.checked.rest} bytes after the last whole header were left out" if done.checked.rest else None,
        "not held": f"{done.below:,} headers below the store's start; the daemon fills them in from peers"
        if done.below
        else None,
    }
    emit(data, pairs(rows), as_json=as_json)


class DaemonTarget:
    """A running daemon, which holds the store. See ``spvnode.importer.Target``."""

    def __init__(self, client: Client, network: str) -> None:
        self._client = client
        self._network = network
        info = self._call("getblockchaininfo")
        start = info["start"]
        self._base = Height(0 if start["complete"] else start["height"])
        self._tip = Height(info["blocks"])

    @property
    def base(self) -> Height:
        """Lowest height it answers for."""
        return self._base

    @property
    def tip_height(self) -> Height:
        """Best header's height, as of the last call."""
        return self._tip

    def block_hash(self, height: Height) -> Hash32:
        """Hash on its main chain."""
        return hash_from_hex(self._call("getblockhash", height=height))

    def commit(self, headers: bytes, *, last: bool) -> None:
        """Hands it a run; it makes each one durable."""
        self._tip = Height(self._call("importheaders", headers=headers.hex())["height"])

    def _call(self, method: str, **params: object) -> Any:
        try:
            return self._client.call(method, {**params, "network": self._network}, about="FILE")
        except DaemonError as error:
            if error.rpc_code != IN_WARMUP:
                raise
            problem = f"the daemon's {self._network} has not begun: it waits for its checkpoint's header from a peer"
            hint = "or stop it, import a file that begins there with --checkpoint, and start it again"
            raise InputError("--network", f"{problem}; {hint}") from error
