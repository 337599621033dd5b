"""``spvnode status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from spvnode.cli.beacon import grounds, missing_peers, signers, silent_apis
from spvnode.cli.client import IN_WARMUP, Client, DaemonError
from spvnode.cli.options import all_networks_option, find_datadir, json_option, place_options
from spvnode.cli.output import emit, pairs, seconds, work_text


@click.command("status")
@all_networks_option
@place_options
@json_option
def command(network: str | None, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Show what the daemon is doing: heights, peers, synchronisation, and whether its answers deserve belief.

    `ready` is what /readyz says, with the reasons. Exits with 0 whether ready or not.
    """
    client = Client(find_datadir(datadir, config))
    node = client.call("getnodeinfo")
    networks = [network] if network else node["networks"]
    chains = [_chain(client, name) for name in networks]
    # With one chain, its fields stand at the top too, where a script looks first.
    data = {**(chains[0] if len(chains) == 1 else {}), **node, "chains": chains}
    emit(data, [*_head(node), *(line for chain in chains for line in _lines(chain))], as_json=as_json)


def _chain(client: Client, network: str) -> dict[str, Any]:
    named = {"network": network}
    sync = client.call("getsyncinfo", named)
    peers = client.call("getpeerinfo", named)
    beacon = "grounds" in sync
    rests = "grounds" if beacon else "start"
    standing = {key: sync.pop(key) for key in ("network", "freshness", "ready", rests)}
    reasons = sync.pop("reasons", [])
    info = (_beacon_info if beacon else _header_info)(client, named, standing)
    transports = Counter(str(kind) for peer in peers if (kind := peer.get("transport_protocol_type")))
    return {
        **info,
        "connections": len(peers),
        "connections_in": sum(bool(peer.get("inbound")) for peer in peers),
        "transports": dict(transports),
        "reasons": reasons,
        "sync": sync,
    }


def _header_info(client: Client, named: dict[str, str], standing: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**client.call("getblockchaininfo", named), "chaintips": client.call("getchaintips", named)}
    except DaemonError as error:
        if error.rpc_code != IN_WARMUP:
            raise
        return {"blocks": None, "headers": None, "bestblockhash": None, **standing, "chaintips": []}


def _beacon_info(client: Client, named: dict[str, str], standing: dict[str, Any]) -> dict[str, Any]:
    try:
        found = {head: client.call(f"get{head}header", named) for head in ("finalized", "optimistic")}
    except DaemonError as error:
        if error.rpc_code != IN_WARMUP:
            raise
        found = {"finalized": None, "optimistic": None}
    return {**found, **standing}


def _head(node: dict[str, Any]) -> list[str]:
    return pairs(
        {
            "version": node["version"],
            "uptime": seconds(node["uptime"]),
            "peer id": node["peer_id"] or "none (no mesh)",
        }
    )


def _lines(chain: dict[str, Any]) -> list[str]:
    rows = {
        **(_beacon_rows(chain) if "grounds" in chain else _tip_rows(chain)),
        "heard from peers": _ago(chain["freshness"].get("last_useful_event_age")),
        "peers": _peers(chain),
        "not connected": "; ".join(_absent(chain["sync"])) or None,
        "disagreement": _disagreement(chain["sync"].get("wire", {}).get("disagreements", ())),
        "sync": chain["sync"].get("state"),
        "faults": ", ".join(f"{name} {count}" for name, count in chain["sync"].get("faults", {}).items()) or None,
        "ready": "yes" if chain["ready"] else "no: " + "; ".join(chain["reasons"]),
    }
    return ["", f"{chain['network']}:", *("  " + line for line in pairs(rows))]


def _tip_rows(chain: dict[str, Any]) -> dict[str, object]:
    start = chain["start"]
    if start is None:
        return {"height": "none yet"}
    trust = "genesis" if start["kind"] == "genesis" else f"checkpoint {start['height']}:{start['hash']}"
    return {
        "height": chain["blocks"],
        "hash": chain["bestblockhash"],
        "chainwork": work_text(chain["chainwork"])
        + ("" if start["complete"] else " (since the checkpoint, or as given with it)"),
        "rests on": trust + ("" if start["complete"] else " (history below it not complete)"),
        "tip age": _age(chain["freshness"].get("tip_age")),
        "branches": len(chain["chaintips"]) - 1,
    }


def _beacon_rows(chain: dict[str, Any]) -> dict[str, object]:
    finalized, optimistic = chain["finalized"], chain["optimistic"]
    if finalized is None:
        return {"finalized": f"none yet: {_missing(chain['sync'])} (`spvnode doctor` says how to begin)"}
    return {
        "finalized": _slot(finalized),
        "optimistic": _slot(optimistic),
        "execution block": _execution(finalized, optimistic),
        "signed by": signers(optimistic),
        "rests on": grounds(chain["grounds"]),
    }


def _missing(sync: dict[str, Any]) -> str:
    """Why nothing is finalized: what a network waits for of which a checkpoint was named says so."""
    how = str(sync.get("waiting_for", "")).partition(": ")[2]
    return f"checkpoint {how}" if how else "no checkpoint is trusted"


def _slot(header: dict[str, Any]) -> str:
    return f"slot {header['slot']}, {seconds(header['age'])} old, {header['root']}"


def _execution(finalized: dict[str, Any], optimistic: dict[str, Any]) -> str | None:
    """Numbers of the execution blocks; None before capella."""
    final, newest = ((header["execution"] or {}).get("block_number") for header in (finalized, optimistic))
    return None if final is None else f"{final} finalized, {newest} signed"


def _peers(chain: dict[str, Any]) -> str:
    """``3 (1 libp2p, 2 v2; 1 of them dialed us)``."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(chain["transports"].items()))
    dialed = f"; {chain['connections_in']} of them dialed us" if chain["connections_in"] else ""
    return f"{chain['connections']} ({kinds}{dialed})" if kinds else str(chain["connections"])


def _absent(sync: dict[str, Any]) -> list[str]:
    """Whom the operator named, and who is not there."""
    return [*silent_apis(sync.get("apis", ())), *missing_peers(sync.get("not_connected", ()))]


def _disagreement(rows: Sequence[dict[str, Any]]) -> str | None:
    """Who stays on another branch than ours."""
    told = [f"{row['peer']} at {row['height']} for {seconds(row['seconds'])}" for row in rows]
    return f"{len(told)} on another branch: " + ", ".join(told) if told else None


def _age(age: float | None) -> str | None:
    """A block may be made by a clock that is ahead of ours."""
    return seconds(age) if age is None or age >= 0 else f"none: its time is {seconds(-age)} ahead of our clock"


def _ago(age: float | None) -> str:
    return "never" if age is None else f"{seconds(age)} ago"
