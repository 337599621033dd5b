"""What commands say of a beacon chain."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from spvnode.cli.client import Client
from spvnode.cli.output import seconds
from spvnode.networks import BITCOIN

HEADS = ("finalized", "optimistic")
"""The two headers that a light client has."""


def is_beacon(client: Client, network: str | None) -> bool:
    """Whether ``network``, or without a name the daemon's first, is an Ethereum network."""
    name = network or client.call("getnodeinfo")["networks"][0]
    return name not in BITCOIN


def header_rows(reply: Mapping[str, Any]) -> dict[str, object]:
    """A header of ``getfinalizedheader`` or ``getoptimisticheader`` for people; what is not known is left out."""
    execution = reply.get("execution") or {}
    return {
        "slot": reply["slot"],
        "epoch": reply["epoch"],
        "root": reply["root"],
        "parent root": reply.get("parent_root"),
        "state root": reply.get("state_root"),
        "body root": reply.get("body_root"),
        "proposer": reply.get("proposer_index"),
        "time": utc(reply["time"]),
        "age": seconds(reply["age"]),
        "finalized": "yes" if reply["finalized"] else f"no, slot {reply['finalized_slot']} is",
        "signed by": signers(reply),
        "execution block": execution.get("block_number"),
        "block hash": execution.get("block_hash"),
        "execution state root": execution.get("state_root"),
        "receipts root": execution.get("receipts_root"),
        "transactions root": execution.get("transactions_root"),
        "rests on": grounds(reply["grounds"]),
        "ready": "yes" if reply["ready"] else "no (see `spvnode status`)",
    }


def signers(reply: Mapping[str, Any]) -> str | None:
    """``512 of 512, in slot 6730826``; None where no update shows the header."""
    part = reply.get("participation")
    if part is None:
        return None
    return f"{part['participants']} of {part['committee_size']}, in slot {reply['signature_slot']}"


def grounds(start: Mapping[str, Any] | None) -> str | None:
    """Where trust begins, and who named it."""
    if start is None:
        return None
    return f"block {start['root']} at slot {start['slot']}, named by {', '.join(start['vouched_by'])} ({start['kind']})"


def silent_apis(apis: Iterable[Mapping[str, Any]]) -> list[str]:
    """Beacon APIs that are no peers now, and why, as far as is known."""
    found = []
    for one in apis:
        if not one["up"]:
            fault = one["last_fault"]
            why = "no answer yet" if fault is None else f"unreachable ({fault['evidence'] or fault['reason']})"
            found.append(f"{one['peer'].removeprefix('rest:')}: {why}")
    return found


def missing_peers(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Named peers that are not connected, and why, as far as is known."""
    return [f"{row['addr']}: {row['problem'] or 'no answer yet'}" for row in rows]


def utc(unix: int) -> str:
    """Unix seconds, and the same in words."""
    return f"{unix} ({time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(unix))})"
