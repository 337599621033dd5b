"""``spvnode proof``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from spvnode.cli.beacon import HEADS
from spvnode.cli.client import Client
from spvnode.cli.files import write_file
from spvnode.cli.options import find_datadir, json_option, network_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.errors import InputError
from spvnode.inputs import parse_height, parse_height_or_hash

_TREE_ROWS = ("height", "hash", "confirmations", "cp_height", "root")
_BEACON_ROWS = ("header", "slot", "root", "checkpoint_root", "updates")


@click.command("proof")
@click.argument("block", metavar="X")
@click.option(
    "-o", "--output", "--out", metavar="FILE", help="Write the proof's canonical bytes here (.json: its JSON form)."
)
@click.option("--cp-height", metavar="HEIGHT", help="Bitcoin: end the tree at this height. Default: the tip.")
@network_option
@place_options
@json_option
def command(
    block: str,
    output: str | None,
    cp_height: str | None,
    network: str | None,
    datadir: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Make a portable proof of the header X.

    On a Bitcoin network X is a height or a block hash. On an Ethereum network (by default the daemon's first) X is
    `finalized` or `optimistic`. Without -o the proof's JSON form is printed. `spvnode verify` checks either form, with
    nothing but the proof.
    """
    if block in HEADS:
        if cp_height is not None:
            raise InputError("--cp-height", "is for Bitcoin networks; X is a header of an Ethereum network")
        as_text = output is None or _is_json(output)
        method, rows = "getbeaconheaderproof", _BEACON_ROWS
        wanted: dict[str, Any] = {"header": block, "format": "json" if as_text else "hex"}
    else:
        named = parse_height_or_hash(block, "X")
        end = None if cp_height is None else parse_height(cp_height, "--cp-height")
        method, rows = "getheaderproof", _TREE_ROWS
        wanted = {"block": named if isinstance(named, int) else block, "cp_height": end}
    client = Client(find_datadir(datadir, config))
    reply = client.call(method, {**wanted, "network": network}, about="X")
    if output is None:
        emit(reply if as_json else reply["bundle"], (), as_json=True)
        return
    size = _write(output, reply)
    summary = {key: reply[key] for key in rows} | {"file": output, "bytes": size}
    emit(summary, pairs(summary), as_json=as_json)


def _is_json(file: str) -> bool:
    return Path(file).suffix == ".json"


def _write(file: str, reply: Mapping[str, Any]) -> int:
    raw = json.dumps(reply["bundle"], indent=2).encode() + b"\n" if _is_json(file) else bytes.fromhex(reply["hex"])
    write_file(Path(file), raw, "-o")
    return len(raw)
