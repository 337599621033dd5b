"""``spvnode header``."""

from __future__ import annotations

import time

import click

from spvnode.cli.client import Client
from spvnode.cli.options import find_datadir, json_option, network_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.inputs import parse_height_or_hash


@click.command("header")
@click.argument("block", metavar="X")
@network_option
@place_options
@json_option
def command(block: str, network: str | None, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Show the header X, a height or a block hash."""
    named = parse_height_or_hash(block, "X")
    client = Client(find_datadir(datadir, config))
    blockhash = block
    if isinstance(named, int):
        blockhash = client.call("getblockhash", {"height": named, "network": network}, about="X")
    reply = client.call("getblockheader", {"blockhash": blockhash, "network": network}, about="X")
    rows = {name: value for name, value in reply.items() if not isinstance(value, dict | bool)}
    rows["time"] = f"{reply['time']} ({time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(reply['time']))})"
    emit(reply, pairs(rows), as_json=as_json)
