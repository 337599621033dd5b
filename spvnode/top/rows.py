"""What the page shows, as text: rows of its tables and lines of its log. No terminal here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from spvnode.cli.output import seconds
from spvnode.top.look import Look

MAX_CELL = 60
"""Characters of a cell: peers name themselves."""
MAX_LINE = 400
"""Characters of a line of the log: a fault quotes what a peer sent."""
HASH_ENDS = 12
"""Digits of each end of a hash that a line shows."""
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
NETWORK_COLUMNS = {"network": 10, "tip": 11, "age": 9, "state": 13, "rate": 10, "peers": 5, "ready": 36}
"""Widths: fixed, so that nothing moves while one reads; 110 columns in all."""
PEER_COLUMNS = {"network": 10, "peer": 30, "agent": 16, "tip": 9, "ping": 7, "in": 10, "out": 10}
"""The same of the peers."""


def head_line(look: Look) -> str:
    """About the node."""
    node = look.node
    who = shown(node["peer_id"]) if node["peer_id"] else "no mesh"
    return f"spvnode {shown(node['version'])}   up {seconds(node['uptime'])}   {who}"


def network_rows(look: Look, before: Look | None) -> list[tuple[str, ...]]:
    """A row for each network; rates against the look ``before``."""
    return [_network_row(name, about, look, before) for name, about in look.networks.items()]


def _network_row(name: str, about: Mapping[str, Any], look: Look, before: Look | None) -> tuple[str, ...]:
    age, tip = about["freshness"].get("tip_age"), about["tip"]
    old = before.networks.get(name, {}).get("tip") if before is not None else None
    rate = None if tip is None or old is None or before is None else (tip - old) / max(look.at - before.at, 0.001)
    ready = "yes" if about["ready"] else "no: " + "; ".join(map(str, about.get("reasons", ())))
    return (
        shown(name),
        "none yet" if tip is None else f"{tip:,}",
        seconds(age) or "-",
        shown(about.get("state") or about.get("waiting_for") or "-"),
        f"{amount(rate)}/s" if rate else "-",
        str(len(about["peers"])),
        shown(ready),
    )


def peer_rows(look: Look, before: Look | None) -> list[tuple[str, ...]]:
    """A row for each peer of each network."""
    return [
        _peer_row(network, peer, look, before) for network, about in look.networks.items() for peer in about["peers"]
    ]


def _peer_row(network: str, peer: Mapping[str, Any], look: Look, before: Look | None) -> tuple[str, ...]:
    old: Mapping[str, Any] = {}
    for one in before.networks.get(network, {}).get("peers", ()) if before is not None else ():
        if one.get("addr") == peer.get("addr"):
            old = one
    span = look.at - before.at if before is not None else 0.0
    ping = peer.get("pingtime")
    tip = next((peer[key] for key in ("synced_headers", "finalized_slot", "startingheight") if peer.get(key)), None)
    return (
        shown(network),
        shown(peer.get("addr") or peer.get("peer_id") or "?"),
        shown(peer.get("subver") or peer.get("agent") or "-"),
        "-" if tip is None else shown(tip),
        f"{ping * 1000:.0f} ms" if isinstance(ping, int | float) else "-",
        _speed(peer, old, "bytesrecv", span),
        _speed(peer, old, "bytessent", span),
    )


def _speed(peer: Mapping[str, Any], old: Mapping[str, Any], key: str, span: float) -> str:
    now, then = peer.get(key), old.get(key)
    if not isinstance(now, int | float) or not isinstance(then, int | float) or span <= 0 or now < then:
        return "-"
    return f"{amount((now - then) / span)}B/s"


def amount(value: float) -> str:
    """``12.3 k``: three digits and a unit."""
    for size, unit in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def event_line(event: Mapping[str, Any]) -> str:
    """One event on one line: time of day (UTC), network, kind, and what is told of that kind."""
    when = event.get("time")
    clock = time.strftime("%H:%M:%S", time.gmtime(when)) if isinstance(when, int | float) else "--:--:--"
    told = _told(event)
    return shown(f"{clock}  {event.get('network', '')}  {event.get('kind', '')}  {told}".rstrip(), MAX_LINE)


def _told(event: Mapping[str, Any]) -> str:
    kind, to = event.get("kind"), event.get("to")
    tip = f"{to.get('height')} {_short(str(to.get('hash', '')))}" if isinstance(to, Mapping) else ""
    if kind == "reorg":
        undone, new = event.get("undo_count"), event.get("redo_count")
        return f"{undone} undone, {new} new above {event.get('fork_height')}: {tip}"
    if kind == "readiness":
        reasons = event.get("reasons")
        return "ready" if event.get("ready") else "not ready: " + "; ".join(map(str, reasons or ()))
    if kind in ("extend", "backfill", "advance", "finality") and tip:
        return tip
    skipped = ("seq", "time", "kind", "network", "undo", "redo", "from", "to")
    rest = {name: value for name, value in event.items() if name not in skipped and value not in (None, 0, "")}
    return " ".join(f"{name}={value}" for name, value in rest.items())


def _short(block_hash: str) -> str:
    """Its two ends: one begins with zeros, the other is what differs."""
    return block_hash if len(block_hash) <= HASH_ENDS * 2 else f"{block_hash[:HASH_ENDS]}…{block_hash[-HASH_ENDS:]}"


def matches(line: str, words: Sequence[str]) -> bool:
    """Whether a line holds every word; one with ``-`` before it must not be there. Case counts for nothing."""
    low = line.lower()
    return all((word[1:] not in low) if word.startswith("-") and word != "-" else (word in low) for word in words)


def shown(value: object, most: int = MAX_CELL) -> str:
    """Text of strangers for a terminal: one line, printable, not long."""
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return text if len(text) <= most else text[: most - 1] + "…"
