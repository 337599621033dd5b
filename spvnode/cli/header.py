"""``spvnode header``."""

from __future__ import annotations

from typing import Any

import click

from spvnode.cli.beacon import HEADS, header_rows, is_beacon, utc
from spvnode.cli.client import Client
from spvnode.cli.options import find_datadir, json_option, network_option, place_options
from spvnode.cli.output import emit, pairs, work_text
from spvnode.inputs import parse_height_or_hash


@click.command("header")
@click.argument("block", metavar="X")
@network_option
@place_options
@json_option
def command(block: str, network: str | None, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Show the header X.

    On a Bitcoin network X is a height or a block hash. On an Ethereum network it is `finalized`, `optimistic`, or the
    number or hash (with 0x) of a finalized execution block; these two words, and 0x, mean the daemon's first Ethereum
    network where none is named.
    """
    marked = block in HEADS or block.startswith("0x")
    if not marked:
        parse_height_or_hash(block, "X")
    client = Client(find_datadir(datadir, config))
    if marked or is_beacon(client, network):
        reply = _beacon_header(client, block, network)
        emit(reply, pairs(header_rows(reply)), as_json=as_json)
        return
    reply = _header(client, block, network)
    # How many transactions the block has is not in its header: Core's 0 for that would mislead people.
    rows = {name: value for name, value in reply.items() if not isinstance(value, dict | bool) and name != "nTx"}
    rows |= {
        "time": utc(reply["time"]),
        "mediantime": utc(reply["mediantime"]),
        "chainwork": work_text(reply["chainwork"]),
    }
    emit(reply, pairs(rows), as_json=as_json)


def _header(client: Client, block: str, network: str | None) -> Any:
    named = parse_height_or_hash(block, "X")
    blockhash = block
    if isinstance(named, int):
        blockhash = client.call("getblockhash", {"height": named, "network": network}, about="X")
    return client.call("getblockheader", {"blockhash": blockhash, "network": network}, about="X")


def _beacon_header(client: Client, block: str, network: str | None) -> Any:
    if block == "optimistic":
        return client.call("getoptimisticheader", {"network": network}, about="X")
    wanted = None if block == "finalized" else block
    return client.call("getfinalizedheader", {"block": wanted, "network": network}, about="X")
