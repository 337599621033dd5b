"""Whom the operator has shut out: addresses, networks and peer ids, each until a time, kept in a file.

Not the scores' discouragements (``p2p.score``): those are ours, end by themselves soon, and spare the last useful peer;
a ban is an order. Time is Unix seconds and an argument. Bound: ``MAX_BANS``, which only the operator can fill.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import structlog

from p2p import statefile

MAX_BANS: Final = 1_024
"""Entries; a check of a connection looks at each. Networks instead of addresses make a long list short."""
MAX_BAN_S: Final = 100 * 365 * 86_400.0
"""A hundred years, beyond which a time is a typing error."""
_PEER_ID: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,64}")

log = structlog.get_logger(__name__)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class BanError(ValueError):
    """Not a thing that can be banned; says why."""


class TooManyBans(ValueError):
    """``MAX_BANS`` are in force."""


class Ban(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``subject`` is shut out from ``since`` to ``until`` (Unix seconds): a network (``192.0.2.0/24``,
    ``2001:db8::/32``), a single address as the smallest one, or a peer id."""

    subject: str
    since: float
    until: float


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    bans: list[Ban]


class BanList:
    """All bans of the node. With a ``path`` they are kept there (``unsaved``)."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._bans: dict[str, Ban] = {}
        self._networks: dict[str, Network] = {}
        self._watchers: list[Callable[[], None]] = []
        self._changed = False
        stored = statefile.load(path, _File) if path is not None else None
        for ban in (stored.bans if stored else [])[-MAX_BANS:]:
            try:
                self._put(Ban(canonical(ban.subject), ban.since, ban.until))
            except BanError as error:  # somebody edited the file
                log.warning("ban ignored", path=str(path), problem=str(error))

    def add(self, subject: str, now: float, until: float) -> bool:
        """Shuts ``subject`` out; False where it is already. BanError where it is neither address, network nor peer id,
        or ``until`` is more than ``MAX_BAN_S`` ahead; TooManyBans."""
        name = canonical(subject)
        self._expire(now)
        if name in self._bans:
            return False
        if not now < until <= now + MAX_BAN_S:
            raise BanError("it must end in the future, within a hundred years")
        if len(self._bans) >= MAX_BANS:
            raise TooManyBans(f"{MAX_BANS} bans are in force; lift one first")
        self._put(Ban(name, now, until))
        self._tell()
        return True

    def remove(self, subject: str) -> bool:
        """Lets ``subject`` in again; False where it was not shut out under that very name."""
        name = canonical(subject)
        if self._bans.pop(name, None) is None:
            return False
        self._networks.pop(name, None)
        self._tell()
        return True

    def clear(self) -> None:
        """Lets everybody in again."""
        self._bans.clear()
        self._networks.clear()
        self._tell()

    def entries(self, now: float) -> list[Ban]:
        """Those in force."""
        self._expire(now)
        return list(self._bans.values())

    def until(self, peer: str, addr: str, now: float) -> float | None:
        """When the last ban ends that shuts out this peer at this address (multiaddr, ``HOST:PORT`` or host); None
        when none does."""
        if not self._bans:
            return None
        found = [ban.until for ban in (self._bans.get(peer),) if ban is not None]
        ip = _ip_of(addr)
        if ip is not None:
            found += [self._bans[name].until for name, network in self._networks.items() if ip in network]
        return max((until for until in found if now < until), default=None)

    def watch(self, call: Callable[[], None]) -> Callable[[], None]:
        """``call`` hears of every change, until what this returns is called."""
        self._watchers.append(call)
        return partial(self._watchers.remove, call)

    def unsaved(self) -> Callable[[], None] | None:
        """As ``ScoreBoard.unsaved``."""
        if self._path is None or not self._changed:
            return None
        self._changed = False
        return partial(statefile.save, self._path, _File(1, list(self._bans.values())))

    def save_failed(self) -> None:
        """The job has raised: what it would have written is unsaved again."""
        self._changed = True

    def _put(self, ban: Ban) -> None:
        self._bans[ban.subject] = ban
        if not _PEER_ID.fullmatch(ban.subject):
            self._networks[ban.subject] = ipaddress.ip_network(ban.subject)

    def _expire(self, now: float) -> None:
        for name in [name for name, ban in self._bans.items() if ban.until <= now]:
            del self._bans[name]
            self._networks.pop(name, None)
            self._changed = True

    def _tell(self) -> None:
        self._changed = True
        for call in list(self._watchers):
            call()


def canonical(subject: str) -> str:
    """The one way in which a subject is written. BanError."""
    if _PEER_ID.fullmatch(subject):
        return subject
    try:
        return str(ipaddress.ip_network(subject.strip(), strict=False))
    except ValueError:
        raise BanError(f"{subject[:64]!r} is neither an IP address, a network, nor a peer id") from None


def _ip_of(addr: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in a multiaddr, ``HOST:PORT`` or host; None for a name."""
    if addr.startswith("/"):
        host = [*addr.split("/", 3), "", ""][2]
    elif addr.startswith("["):
        host = addr[1:].partition("]")[0]
    else:
        host = addr if addr.count(":") != 1 else addr.partition(":")[0]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
