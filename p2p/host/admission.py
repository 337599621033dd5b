"""Who may come in: counts of inbound connections by address, before and after their handshake. No I/O.

Upstream counts inbound connections in one limiter whose slots are held until the whole swarm ends
(network/swarm.py:2060), so that a default node refuses everybody after 250 inbound connections in its lifetime; and any
300 silent sockets of one machine hold all of them for the ten seconds of the upgrade timeout (network/swarm.py:1982).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from p2p.bucket import TokenBucket
from p2p.host.limits import Limits


def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """Address of a peer name as the kernel gives it: scope ids cut, mapped IPv4 unwrapped. Raise ValueError."""
    address = ipaddress.ip_address(text.split("%", 1)[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def group_of(address: IPv4Address | IPv6Address) -> str:
    """What counts as one address: a whole /64 of IPv6, since every customer has at least that."""
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@dataclass(eq=False, slots=True)
class Ticket:
    """One inbound connection, from accept to its end. ``evict`` ends it while it is pending."""

    group: str
    public: bool
    evict: Callable[[], None]
    established: bool = False


@dataclass(slots=True)
class _Group:
    pending: list[Ticket] = field(default_factory=list)
    established: int = 0


class Gate:
    """Admits, promotes and releases inbound connections."""

    def __init__(self, limits: Limits, max_connections: int) -> None:
        self._limits = limits
        self.max_inbound = max(1, max_connections - limits.outbound_reserve)
        self._groups: dict[str, _Group] = {}
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()
        self.pending = 0
        self.established = 0

    def knock(self, ip: str, evict: Callable[[], None], now: float) -> Ticket | None:
        """A connection was accepted. None: close it at once. Otherwise it is pending, perhaps in place of another."""
        address = parse_ip(ip)
        ticket = Ticket(group_of(address), address.is_global, evict)
        if self.established >= self.max_inbound or not self._may_connect(ticket, now):
            return None
        group = self._groups.setdefault(ticket.group, _Group())
        if len(group.pending) >= self._limits.pending_per_ip:
            self._evict_oldest(group)
        elif self.pending >= self._limits.pending_total:
            self._evict_oldest(max(self._groups.values(), key=lambda other: len(other.pending)))
        group.pending.append(ticket)
        self.pending += 1
        return ticket

    def promote(self, ticket: Ticket) -> bool:
        """The handshake is done. False: over a limit, close it (and ``release``)."""
        group = self._groups[ticket.group]
        if self.established >= self.max_inbound:
            return False
        if ticket.public and group.established >= self._limits.public_ip_connections:
            return False
        group.pending.remove(ticket)
        self.pending -= 1
        ticket.established = True
        group.established += 1
        self.established += 1
        return True

    def release(self, ticket: Ticket) -> None:
        """The connection is gone, or was evicted; exactly once per ticket."""
        group = self._groups.get(ticket.group)
        if group is None:  # evicted, and everybody else of this address has left since
            return
        if ticket.established:
            group.established -= 1
            self.established -= 1
        elif ticket in group.pending:
            group.pending.remove(ticket)
            self.pending -= 1
        if not group.pending and not group.established:
            del self._groups[ticket.group]

    def _evict_oldest(self, group: _Group) -> None:
        ticket = group.pending.pop(0)
        self.pending -= 1
        ticket.evict()

    def _may_connect(self, ticket: Ticket, now: float) -> bool:
        limits = self._limits
        bucket = self._rates.get(ticket.group)
        if bucket is None:
            rate, burst = (
                (limits.public_connect_rate, limits.public_connect_burst)
                if ticket.public
                else (limits.private_connect_rate, limits.private_connect_burst)
            )
            bucket = self._rates[ticket.group] = TokenBucket(rate, burst, now)
            if len(self._rates) > limits.tracked_addresses:
                self._rates.popitem(last=False)
        self._rates.move_to_end(ticket.group)
        return bucket.take(1, now)
