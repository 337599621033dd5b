"""``spvnode status``."""

from __future__ import annotations

from typing import Any

import click

from spvnode.cli.client import Client
from spvnode.cli.options import find_datadir, json_option, network_option, place_options
from spvnode.cli.output import emit, pairs, seconds


@click.command("status")
@network_option
@place_options
@json_option
def command(network: str | None, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Show what the daemon is doing: heights, peers, synchronisation, and whether its answers deserve belief."""
    client = Client(find_datadir(datadir, config))
    node = client.call("getnodeinfo")
    networks = [network] if network else node["networks"]
    chains = [_chain(client, name) for name in networks]
    # With one chain, its fields stand at the top too, where a script looks first.
    data = {**(chains[0] if len(chains) == 1 else {}), **node, "chains": chains}
    emit(data, [*_head(node), *(line for chain in chains for line in _lines(chain))], as_json=as_json)


def _chain(client: Client, network: str) -> dict[str, Any]:
    info = client.call("getblockchaininfo", {"network": network})
    sync = client.call("getsyncinfo", {"network": network})
    tips = client.call("getchaintips", {"network": network})
    peers = client.call("getpeerinfo", {"network": network})
    for key in ("network", "freshness", "ready", "start"):
        sync.pop(key, None)
    reasons = sync.pop("reasons", [])
    return {**info, "connections": len(peers), "reasons": reasons, "chaintips": tips, "sync": sync}


def _head(node: dict[str, Any]) -> list[str]:
    return pairs(
        {
            "version": node["version"],
            "uptime": seconds(node["uptime"]),
            "peer id": node["peer_id"] or "none (no mesh)",
        }
    )


def _lines(chain: dict[str, Any]) -> list[str]:
    start = chain["start"]
    trust = "genesis" if start["kind"] == "genesis" else f"checkpoint {start['height']}:{start['hash']}"
    ready = "yes" if chain["ready"] else "no: " + "; ".join(chain["reasons"])
    return [
        "",
        f"{chain['network']}:",
        *(
            "  " + line
            for line in pairs(
                {
                    "height": chain["blocks"],
                    "hash": chain["bestblockhash"],
                    "chainwork": chain["chainwork"].lstrip("0") or "0",
                    "rests on": trust + ("" if start["complete"] else " (history below it not complete)"),
                    "tip age": seconds(chain["freshness"].get("tip_age")),
                    "last word": seconds(chain["freshness"].get("last_useful_event_age")) or "never",
                    "peers": chain["connections"],
                    "branches": len(chain["chaintips"]) - 1,
                    "sync": chain["sync"].get("state"),
                    "ready": ready,
                }
            )
        ),
    ]
