"""The gate: who may come in, by address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.host.admission import Gate, Ticket, group_of, parse_ip
from p2p.host.limits import Limits

PUBLIC = "8.8.8.8"
OTHER_PUBLIC = "9.9.9.9"
LOCAL = "127.0.0.1"


class Door:
    """A gate, and who was evicted by it."""

    def __init__(self, limits: Limits, max_connections: int = 64) -> None:
        self.gate = Gate(limits, max_connections)
        self.evicted: list[int] = []
        self._count = 0

    def knock(self, ip: str, now: float = 0.0) -> Ticket | None:
        number, self._count = self._count, self._count + 1
        return self.gate.knock(ip, lambda: self.evicted.append(number), now)

    def enter(self, ip: str, now: float = 0.0) -> Ticket | None:
        ticket = self.knock(ip, now)
        return ticket if ticket is not None and self.gate.promote(ticket) else None


def test_the_oldest_pending_of_an_address_makes_room_for_the_newest() -> None:
    door = Door(Limits(pending_per_ip=3))
    for _ in range(5):
        assert door.knock(LOCAL) is not None
    assert door.evicted == [0, 1]
    assert door.gate.pending == 3


def test_over_all_addresses_the_fullest_one_makes_room() -> None:
    door = Door(Limits(pending_per_ip=10, pending_total=4))
    for ip in (PUBLIC, LOCAL, LOCAL, LOCAL):
        door.knock(ip)
    assert door.knock(OTHER_PUBLIC) is not None
    assert door.evicted == [1]
    assert door.gate.pending == 4


def test_a_public_address_holds_few_connections() -> None:
    door = Door(Limits(public_ip_connections=2))
    first = door.enter(PUBLIC)
    assert first is not None
    assert door.enter(PUBLIC) is not None
    refused = door.knock(PUBLIC)
    assert refused is not None
    assert not door.gate.promote(refused)
    door.gate.release(refused)
    assert door.enter(OTHER_PUBLIC) is not None
    door.gate.release(first)
    assert door.enter(PUBLIC) is not None


def test_local_addresses_are_bounded_by_all_connections_only() -> None:
    limits = Limits(public_ip_connections=2, outbound_reserve=4)
    door = Door(limits, max_connections=14)
    assert [door.enter(LOCAL) is not None for _ in range(12)] == [True] * 10 + [False] * 2
    assert door.gate.established == 10


def test_connects_are_rationed_by_address() -> None:
    limits = Limits(public_connect_rate=1, public_connect_burst=3, private_connect_rate=1, private_connect_burst=5)
    for ip, burst in ((PUBLIC, 3), (LOCAL, 5)):
        door = Door(limits)
        assert [door.knock(ip) is not None for _ in range(burst + 2)] == [True] * burst + [False] * 2
        assert door.knock(ip, now=1.0) is not None
        assert door.knock(ip, now=1.0) is None
        assert door.knock(OTHER_PUBLIC, now=1.0) is not None


def test_remembered_addresses_are_bounded() -> None:
    door = Door(Limits(tracked_addresses=10))
    for number in range(50):
        ticket = door.knock(f"8.8.{number}.1")
        assert ticket is not None
        door.gate.release(ticket)
    assert len(door.gate._rates) == 10
    assert door.gate._groups == {}


@given(st.lists(st.tuples(st.sampled_from(["knock", "promote", "release"]), st.integers(0, 5), st.integers(0, 30))))
def test_counts_are_right_after_any_history(history: list[tuple[str, int, int]]) -> None:
    limits = Limits(pending_per_ip=3, pending_total=6, public_ip_connections=2)
    gate = Gate(limits, max_connections=12)
    tickets: list[Ticket] = []
    evicted: list[Ticket] = []
    for action, address, index in history:
        if action == "knock":
            box: list[Ticket] = []
            ticket = gate.knock(f"8.8.8.{address}", lambda box=box: evicted.append(box[0]), 0.0)
            if ticket is not None:
                box.append(ticket)
                tickets.append(ticket)
        elif tickets:
            ticket = tickets[index % len(tickets)]
            if action == "release":
                gate.release(ticket)
                tickets.remove(ticket)
            elif not ticket.established and ticket not in evicted:
                gate.promote(ticket)
        pending = [ticket for ticket in tickets if not ticket.established and ticket not in evicted]
        established = [ticket for ticket in tickets if ticket.established]
        assert (gate.pending, gate.established) == (len(pending), len(established))
        assert gate.pending <= 6
        assert gate.established <= gate.max_inbound
    for ticket in tickets:
        gate.release(ticket)
    assert (gate.pending, gate.established, gate._groups) == (0, 0, {})


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
    ],
)
def test_groups(text: str, group: str) -> None:
    assert group_of(parse_ip(text)) == group


def test_two_hosts_of_one_ipv6_network_are_one_address() -> None:
    assert group_of(ip_address("2001:db8::1")) == group_of(ip_address("2001:db8::ffff"))
    assert group_of(ip_address("2001:db8::1")) != group_of(ip_address("2001:db8:0:1::1"))
