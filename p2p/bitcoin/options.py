"""What an operator decides about Bitcoin's own network, and the ways out that something else may replace."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p.bans import BanList
from p2p.bitcoin.anchors import MAX_ANCHORS
from p2p.bitcoin.dialing import Dial
from p2p.bitcoin.peers import OUTBOUND
from p2p.bitcoin.seeding import Resolve, system_resolve
from p2p.bitcoin.seeds import Seeds
from p2p.saving import Offload


@dataclass(frozen=True, slots=True)
class NetParams:
    """What tells one network from another. ``spacing``: seconds between blocks."""

    name: str
    magic: bytes
    port: int
    spacing: float = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """Of one network."""

    connect: Sequence[str] = ()
    """Configured peers, HOST[:PORT] each."""
    proxy: tuple[str, int] | None = None
    """A SOCKS5 proxy, as (host, port), for every connection."""
    listen: tuple[str, int] | None = None
    """(host, port) for those who dial us; port 0 for any."""
    seeds: Seeds = Seeds()  # noqa: RUF009 - frozen
    outbound: int = OUTBOUND
    anchors: int = MAX_ANCHORS
    """How many peers of the book are dialed, of either kind; with 0 of both only the configured ones are."""
    anchor_path: Path | None = None
    agent: str = "/spvnode/"
    services: int = 0
    """Bits that we offer."""
    keep_last: bool = True
    """The last peer that has been useful is scored but never left."""
    bans: BanList | None = None
    dial: Dial | None = None
    resolve: Resolve = system_resolve
    wall: Callable[[], float] = time.time
    """Unix seconds."""
    rng: random.Random | None = None
    offload: Offload = trio.to_thread.run_sync
