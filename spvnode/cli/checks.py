"""What ``spvnode doctor`` looks at, one function a subject: each gives findings, none changes anything."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from spvnode.cli.beacon import missing_peers, silent_apis
from spvnode.cli.output import seconds
from spvnode.config import MAX_DATADIR_BYTES, WORLD_WRITABLE, Config, owner_name
from spvnode.errors import InputError
from spvnode.networks import BITCOIN, ETHEREUM
from spvnode.sources import API, MESH, OWN_NETWORK

LOW_DISK = 1 << 30
"""Bytes: what mainnet's headers, their index and a compaction of the store take, twice."""
NO_DISK = 64 << 20
"""Bytes: below it a commit may not fit."""
CLOCK_WARN = 60.0
"""Seconds between our clock and the middle of our peers'; theirs are seldom 10 s off."""
CLOCK_FAIL = 600.0
"""Seconds: Bitcoin Core warns at ten minutes (v28.1, ``TimeOffsets``), and a slot of Ethereum is 12 s."""
TIP_AHEAD = 2 * 60 * 60 + 60
"""Seconds that the newest header may be ahead of our clock: Bitcoin's rule, and a minute."""
MIN_CLOCKS = 3
"""Peers whose clocks are compared: one of two may be the one that is wrong."""
FEW_PEERS = 2
"""With one alone nobody contradicts it."""
OTHERS = 0o077
"""Mode bits of group and others: a data directory is its owner's alone (0700)."""
NAME_ONE = "it has no public peers: name a node with --connect HOST:PORT, or a spvnode with --peer"
"""For a network of one's own, such as regtest."""
DNS_SECONDS = 5.0
"""For all names together."""
HORIZON_WARN = 28 * 24 * 60 * 60
"""Seconds, as ``spvnode.ethereum.networks.HORIZON_WARNING_SECONDS``."""
Told = Mapping[str, Mapping[str, Any]]


class State(StrEnum):
    """How a subject is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix``: what to do about it; empty where nothing is to be done."""

    what: str
    state: State
    says: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


def settings(config: Config, place: Path) -> Finding:
    """Whether a start would take them: tried as a start tries them."""
    import trio  # noqa: PLC0415 - what --help does without

    from spvnode.plugins.room import Room  # noqa: PLC0415
    from spvnode.rehearsal import rehearse  # noqa: PLC0415

    try:
        trio.run(rehearse, config, place, Room())
    except InputError as error:
        return unfit(error)
    return Finding("settings", State.OK, f"read; networks: {', '.join(config.networks)}")


def unfit(error: InputError) -> Finding:
    """Settings that do not hold, or cannot be read."""
    fix = "correct that key; docs/cli.md lists all of them"
    if isinstance(error.__cause__, PermissionError):
        fix = "let this user read it, or run this as its owner"
    elif isinstance(error.__cause__, OSError):
        fix = "name another one, or make it"
    return Finding("settings", State.FAIL, str(error), fix)


def data_directory(place: Path) -> Finding:
    """There, ours, and nobody else's to write; as ``spvnode.config.ensure_datadir`` wants it."""
    what = "data directory"
    try:
        found = place.stat()
    except FileNotFoundError:
        return Finding(what, State.OK, f"{place} is not there yet; `spvnode run` makes it")
    except OSError as error:
        return Finding(what, State.FAIL, f"{place}: {error.strerror}", "name another one with --datadir")
    if not place.is_dir():
        return Finding(what, State.FAIL, f"{place} is no directory", "name another one with --datadir")
    if found.st_uid != os.geteuid():
        owner = owner_name(found.st_uid)
        return Finding(what, State.FAIL, f"{place} belongs to {owner}", f"run spvnode as {owner}, or chown it")
    if found.st_mode & WORLD_WRITABLE:
        return Finding(what, State.FAIL, f"every user may write {place}", f"chmod 700 {place}")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return Finding(what, State.FAIL, f"{place} may not be read and written", f"chmod 700 {place}")
    if len(os.fsencode(place)) > MAX_DATADIR_BYTES:
        return Finding(what, State.FAIL, f"{place} is too long for a socket in it", "name a shorter one")
    if found.st_mode & OTHERS:
        says = f"{place} is open to other users (mode {found.st_mode & 0o777:o})"
        return Finding(what, State.WARN, says, f"chmod 700 {place}: what it holds is the daemon's alone")
    return Finding(what, State.OK, str(place))


def disk(place: Path) -> Finding:
    """Room on the disk that holds, or will hold, ``place``."""
    there = next((one for one in (place, *place.parents) if one.exists()), Path("/"))
    free = shutil.disk_usage(there).free
    says = f"{free / 1e9:.1f} GB free at {there}"
    if free >= LOW_DISK:
        return Finding("disk", State.OK, says)
    state = State.FAIL if free < NO_DISK else State.WARN
    return Finding("disk", state, says, f"make room: {LOW_DISK >> 30} GiB, or name a data directory on another disk")


def coverage(network: str, sources: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether a network has sources, as ``spvnode.sources`` has them: the daemon's, or else those of the settings."""
    what = f"sources of {network}"
    if not sources and _is_private(network):
        return Finding(what, State.WARN, "none", NAME_ONE)
    if not sources:
        fix = "allow its own network" + (", or the mesh; headers then come by `spvnode import` only"
               if network in BITCOIN else ", or name a Beacon API with --beacon-api URL")  # fmt: skip
        return Finding(what, State.WARN if network in BITCOIN else State.FAIL, "none", fix)
    says = ", ".join(_source(one) for one in sources)
    if len(sources) == 1:
        return Finding(what, State.WARN, f"{says} alone", "a second kind would show where the first one lies or stalls")
    return Finding(what, State.OK, says)


def _is_private(network: str) -> bool:
    """Whether it has no peers that anybody could find, as regtest."""
    from p2p.bitcoin.seeds import SEEDS, Seeds  # noqa: PLC0415 - what --help does without

    return network in BITCOIN and not SEEDS.get(network, Seeds()).any


def _source(one: Mapping[str, Any]) -> str:
    named, finds = one["named"], one["finds"]
    if one["kind"] == API:
        return f"{named} Beacon API{'s' if named > 1 else ''}"
    if one["kind"] == MESH:
        return f"mesh ({named} named peers{', mdns' if finds else ''})"
    if finds:
        return "its own network"
    return f"{named} named nodes" if named else "nodes that dial this one"


def apis(network: str, about: Mapping[str, Any]) -> Iterator[Finding]:
    """Beacon APIs that do not answer."""
    for says in silent_apis(about.get("apis", ())):
        yield Finding(f"APIs of {network}", State.WARN, says, "correct --beacon-api, or start what should answer there")


def named(network: str, about: Mapping[str, Any]) -> Iterator[Finding]:
    """Peers of the operator that are not connected."""
    for says in missing_peers(about.get("not_connected", ())):
        yield Finding(f"named peers of {network}", State.WARN, says, "correct its address or peer id, or start it")


def dns(
    sources: Mapping[str, Sequence[Mapping[str, Any]]], look_up: Callable[..., Any] = socket.getaddrinfo
) -> Iterator[Finding]:
    """Whether the names that Bitcoin's networks begin at are answered, for those that ask them."""
    from p2p.bitcoin.seeds import SEEDS  # noqa: PLC0415 - what --help does without

    for network, all_of_it in sources.items():
        if not any(one["dns"] for one in all_of_it):
            continue
        names = SEEDS[network].dns
        answered = _resolved(names, look_up)
        what, says = f"DNS for {network}", f"{answered} of {len(names)} seeds answer"
        if answered:
            yield Finding(what, State.OK, says)
        else:
            fix = "look at /etc/resolv.conf and the firewall (UDP 53); or name nodes in [[wire]] connect"
            yield Finding(what, State.WARN if SEEDS[network].fixed else State.FAIL, says, fix)


def _resolved(names: Sequence[str], look_up: Callable[..., Any]) -> int:
    pool = ThreadPoolExecutor(max(len(names), 1), thread_name_prefix="dns")
    tries = [pool.submit(look_up, name, None, type=socket.SOCK_STREAM) for name in names]
    end, found = time.monotonic() + DNS_SECONDS, 0
    for one in tries:
        try:
            found += bool(one.result(max(end - time.monotonic(), 0)))
        except (OSError, NotInTime, UnicodeError):
            continue  # a name without an answer is what we count
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def daemon(place: Path, networks: Sequence[str] | None, configured: Sequence[str]) -> Finding:
    """``networks``: what it follows; None where none runs. ``configured``: what the settings name."""
    if networks is None:
        fix = f"start it: spvnode run --datadir {place}; peers, clock and readiness are then looked at as well"
        return Finding("daemon", State.WARN, "none runs here", fix)
    says = f"runs, and follows {', '.join(networks)}"
    if set(networks) != set(configured):
        says += " by its flags; what follows is about these"
    return Finding("daemon", State.OK, says)


def clock(told: Told) -> Finding:
    """Ours against the peers', and against the newest headers."""
    offsets = [
        float(peer["timeoffset"])
        for about in told.values()
        for peer in about["peers"]
        if isinstance(peer.get("timeoffset"), int | float)
    ]
    ages = {name: about["freshness"].get("tip_age") for name, about in told.items()}
    fix = "set the clock, and keep it set: timedatectl set-ntp true"
    ahead = [name for name, age in ages.items() if age is not None and age < -TIP_AHEAD]
    if ahead:
        return Finding("clock", State.FAIL, f"behind the newest header of {', '.join(ahead)}", fix)
    if len(offsets) >= MIN_CLOCKS:
        middle = statistics.median(offsets)
        says = f"{abs(middle):.0f} s {'behind' if middle > 0 else 'ahead of'} the middle of {len(offsets)} peers"
        if abs(middle) > CLOCK_WARN:
            return Finding("clock", State.FAIL if abs(middle) > CLOCK_FAIL else State.WARN, says, fix)
        return Finding("clock", State.OK, says)
    if any(age is not None for age in ages.values()):
        return Finding(
            "clock", State.OK, f"not behind any tip; {len(offsets)} peers tell their time, too few to compare"
        )
    return Finding("clock", State.WARN, "nothing to compare it with", "run this again when the daemon has peers")


def peers(network: str, about: Mapping[str, Any]) -> Finding:
    """How many are connected."""
    what, count = f"peers of {network}", len(about["peers"])
    if count >= FEW_PEERS:
        return Finding(what, State.OK, f"{count} connected")
    fix = "wait a minute after a start; then look at the sources above, and let TCP out through the firewall"
    if _is_private(network):
        fix = NAME_ONE
    if network in BITCOIN and any(one["kind"] == OWN_NETWORK and one["named"] for one in about["sources"]):
        fix = "do the named nodes run, as full nodes? Another spvnode is met on the mesh, with --peer"
    if count:
        fix = "with one alone nobody contradicts it: wait a minute after a start, then name or allow others"
    meant = any(reason.startswith("the mesh is off") for reason in about["reasons"])
    return Finding(what, State.WARN if count or meant else State.FAIL, f"{count} connected", fix)


_FIXES = (
    ("no peer", "as for peers above"),
    ("the tip is", "wait: peers, as soon as there are any, bring what came since"),
    ("the tip has less than the minimum chain work", "wait: this is not the whole chain yet; peers bring the rest"),
    ("the signed header is", "wait: peers or APIs bring newer ones; where none do, look at the sources above"),
    ("the finalized header is", "wait, as for the signed header; a network may also stop finalizing for a time"),
    ("most", "compare the tip with a source that you trust; `spvnode call why` tells what this one rests on"),
    ("the mesh is off", "without peers the node knows only what is imported; leave out --no-mesh or --no-p2p"),
    ("starting", "wait: the store is being opened and checked"),
    ("waiting for the checkpoint's header", "reach a peer that has this block; is its hash right?"),
    ("peers have another block", "the checkpoint in the settings is wrong, or all these peers lie: compare its hash"),
    ("not yet at the checkpoint", "wait: peers bring the rest; where none do, look at the sources above"),
    ("the checkpoint is not on a valid chain", "it was wrong: begin in a new data directory, from another one"),
    ("synchronising", "wait; where it stays so, `spvnode status` counts the faults"),
    ("the clock is behind", "set the clock"),
    (
        "waiting for a trusted checkpoint",
        "name one: --checkpoint NETWORK:ROOT; or sources: --beacon-api URL --quorum K",
    ),
    (
        "waiting for the checkpoint: named",
        "reach a source that has it: no --no-p2p, or --beacon-api URL; is the root a beacon block's, an epoch's first?",
    ),
    ("waiting for another checkpoint", "correct or renew --checkpoint NETWORK:ROOT; the reason says what is wrong"),
    ("this version does not know the fork", "update spvnode"),
)


def readiness(network: str, about: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding for each reason that replies do not deserve belief."""
    what = f"{network} ready"
    if not about["reasons"]:
        age = seconds(about["freshness"].get("tip_age"))
        yield Finding(what, State.OK, "yes" if age is None else f"tip {age} old")
    for reason in about["reasons"]:
        fix = next((fix for start, fix in _FIXES if reason.startswith(start)), "docs/operating.md explains the reasons")
        yield Finding(what, State.WARN, reason, fix)


def horizon(network: str, about: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Until when this version knows an Ethereum network's forks."""
    if network in BITCOIN:
        return
    end = _horizon_told(about) if about is not None else _horizon_known(network)
    if end is None:
        return
    what, left = f"forks of {network}", end - time.time()
    if left > HORIZON_WARN:
        yield Finding(what, State.OK, f"known for {seconds(left)} more")
    elif left > 0:
        yield Finding(what, State.WARN, f"known for {seconds(left)} more only", "update spvnode")
    else:
        yield Finding(what, State.FAIL, "this version does not know the fork that is in force", "update spvnode")


def _horizon_told(about: Mapping[str, Any]) -> float | None:
    found = about.get("fork_horizon")
    return None if found is None else float(found["time"])


def _horizon_known(network: str) -> float | None:
    """Of a built-in network."""
    if network not in ETHEREUM:
        return None
    from spvnode.ethereum.networks import NETWORKS  # noqa: PLC0415 - 100 ms of rules, where no daemon tells
    from spvnode.ethereum.units import Epoch, compute_start_slot_at_epoch  # noqa: PLC0415

    params = NETWORKS[network]
    last = params.schedule.horizon
    return None if last is None else params.start_of(compute_start_slot_at_epoch(params.preset, Epoch(last + 1)))
