"""The handshake: its order in both directions, whom it refuses and why, and that no order of messages breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from btc_messages import FUZZ, SPOKEN
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.bitcoin import messages as m
from p2p.bitcoin.handshake import (
    MAX_EARLY,
    Action,
    Established,
    Handshake,
    Introduction,
    Refusal,
    Refuse,
    Send,
)
from p2p.bitcoin.netaddr import Endpoint, Network
from p2p.bitcoin.payloads import NOWHERE
from p2p.faults import FaultReason

CASES = 20_000 if FUZZ else 500
NOW = 1_700_000_000
US = Introduction(services=0, user_agent="/spvnode:0.1/", start_height=7)
FULL = m.Services.NETWORK | m.Services.WITNESS
THEIRS = m.Version(70_016, FULL, NOW + 3, NOWHERE, 0, NOWHERE, 0, 99, "/Satoshi:28.1.0/", 800_000, True)
IPV4 = Endpoint(Network.IPV4, bytes((1, 2, 3, 4)), 8_333)


def handshake(*, outbound: bool = True, us: Introduction = US, nonce: int = 5, ours: tuple[int, ...] = ()) -> Handshake:
    return Handshake(
        us,
        outbound=outbound,
        nonce=nonce,
        now=NOW,
        is_ours=lambda number: number in ours,
        receiver=IPV4,
        peer="peer",
        network="bitcoin",
    )


def refusal(actions: list[Action]) -> Refuse:
    assert len(actions) == 1
    assert isinstance(actions[0], Refuse)
    return actions[0]


def test_we_dial() -> None:
    ours = handshake()
    (hello,) = ours.start()
    assert isinstance(hello, Send)
    assert isinstance(hello.message, m.Version)
    assert (hello.message.version, hello.message.nonce, hello.message.timestamp) == (70_016, 5, NOW)
    assert (hello.message.receiver, hello.message.sender) == (IPV4, NOWHERE)
    assert not hello.message.relay
    assert ours.handle(THEIRS) == [Send(m.SendAddrV2()), Send(m.Verack())]
    assert ours.handle(m.WtxidRelay()) == ours.handle(m.SendAddrV2()) == []
    assert not ours.done
    headers, established = ours.handle(m.Verack())
    assert headers == Send(m.SendHeaders())
    assert isinstance(established, Established)
    assert ours.done
    remote = established.remote
    assert (remote.version, remote.services, remote.start_height, remote.clock_offset) == (70_016, FULL, 800_000, 3)
    assert remote.wants_addr_v2
    assert not remote.wants_headers


def test_they_dial() -> None:
    ours = handshake(outbound=False)
    assert ours.start() == []
    actions = ours.handle(THEIRS)
    assert [type(action.message) for action in actions if isinstance(action, Send)] == [
        m.Version,
        m.SendAddrV2,
        m.Verack,
    ]
    assert ours.handle(m.SendHeaders()) == []
    established = ours.handle(m.Verack())[1]
    assert isinstance(established, Established)
    assert established.remote.wants_headers
    assert not established.remote.wants_addr_v2


def test_two_of_us_come_together() -> None:
    full = replace(US, services=FULL)
    first, second = handshake(nonce=1, ours=(1,)), handshake(outbound=False, us=full, nonce=2, ours=(2,))
    queues = {id(first): [a.message for a in first.start() if isinstance(a, Send)], id(second): []}
    while queues[id(first)] or queues[id(second)]:
        for one, other in ((first, second), (second, first)):
            waiting, queues[id(one)] = queues[id(one)], []
            for message in waiting:
                queues[id(other)] += [a.message for a in other.handle(message) if isinstance(a, Send)]
    assert first.done
    assert second.done


def test_software_from_before_bip155_is_not_asked_for_it() -> None:
    ours = handshake()
    assert ours.handle(replace(THEIRS, version=70_015)) == [Send(m.Verack())]
    established = ours.handle(m.Verack())[1]
    assert isinstance(established, Established)
    assert established.remote.version == 70_015


def test_a_later_protocol_is_spoken_as_ours() -> None:
    ours = handshake()
    ours.handle(replace(THEIRS, version=80_000))
    established = ours.handle(m.Verack())[1]
    assert isinstance(established, Established)
    assert established.remote.version == 70_016


@pytest.mark.parametrize("outbound", [True, False])
@pytest.mark.parametrize("version", [70_012, 31_800, 0, -1])
def test_old_protocols_are_refused_with_a_reason(outbound: bool, version: int) -> None:
    refused = refusal(handshake(outbound=outbound).handle(replace(THEIRS, version=version)))
    assert (refused.why, refused.fault) == (Refusal.OBSOLETE, None)
    assert str(version) in refused.text
    assert "70013" in refused.text


def test_the_least_protocol_is_enough() -> None:
    assert handshake().handle(replace(THEIRS, version=70_013)) == [Send(m.Verack())]


@pytest.mark.parametrize("outbound", [True, False])
def test_our_own_nonce_means_ourselves(outbound: bool) -> None:
    refused = refusal(handshake(outbound=outbound, ours=(99,)).handle(THEIRS))
    assert (refused.why, refused.fault) == (Refusal.SELF, None)


@pytest.mark.parametrize(
    ("services", "required", "one_of", "well"),
    [
        (1, 0, 1 | 1024, True),
        (1024, 0, 1 | 1024, True),
        (8, 0, 1 | 1024, False),
        (0, 0, 0, True),
        (1 | 64, 64, 1, True),
        (1, 64, 1, False),
        (64, 64 | 8, 0, False),
        (2**64 - 1, 64, 1, True),
    ],
)
def test_services_are_asked_of_whom_we_dial(services: int, required: int, one_of: int, well: bool) -> None:
    us = replace(US, required=required, one_of=one_of)
    theirs = replace(THEIRS, services=services)
    actions = handshake(us=us).handle(theirs)
    if well:
        assert actions[-1] == Send(m.Verack())
    else:
        assert (refusal(actions).why, refusal(actions).fault) == (Refusal.SERVICES, None)
    assert handshake(outbound=False, us=us).handle(theirs)[-1] == Send(m.Verack())


@pytest.mark.parametrize("late", [THEIRS, m.SendAddrV2(), m.WtxidRelay()])
def test_what_belongs_before_verack_is_an_offence_after_it(late: m.Message) -> None:
    ours = handshake()
    ours.handle(THEIRS)
    ours.handle(m.Verack())
    refused = refusal(ours.handle(late))
    assert refused.why is Refusal.FAULT
    assert refused.fault is not None
    assert (refused.fault.reason, refused.fault.peer, refused.fault.network) == (
        FaultReason.PROTOCOL,
        "peer",
        "bitcoin",
    )
    assert ours.handle(THEIRS) == []


def test_a_second_version_is_an_offence() -> None:
    ours = handshake()
    ours.handle(THEIRS)
    assert refusal(ours.handle(THEIRS)).why is Refusal.FAULT


def test_a_verack_before_the_version_is_an_offence() -> None:
    assert refusal(handshake().handle(m.Verack())).why is Refusal.FAULT


def test_after_the_handshake_all_else_is_the_sessions() -> None:
    ours = handshake()
    ours.handle(THEIRS)
    ours.handle(m.Verack())
    for message in (m.Ping(1), m.Headers(b""), m.SendHeaders(), m.Verack(), m.Unknown("sendcmpct", 9)):
        assert ours.handle(message) == []
    assert ours.done


@pytest.mark.parametrize("introduced", [False, True])
def test_early_messages_are_passed_over_up_to_a_bound(introduced: bool) -> None:
    ours = handshake()
    if introduced:
        ours.handle(THEIRS)
    for _ in range(MAX_EARLY):
        assert ours.handle(m.Unknown("sendcmpct", 9)) == []
    assert refusal(ours.handle(m.Ping(1))).why is Refusal.FAULT


def test_an_onion_peer_is_not_told_its_address() -> None:
    onion = Endpoint(Network.TORV3, bytes(32), 8_333)
    ours = Handshake(US, outbound=True, nonce=1, now=NOW, is_ours=lambda _: False, receiver=onion)
    (hello,) = ours.start()
    assert isinstance(hello, Send)
    assert isinstance(hello.message, m.Version)
    assert hello.message.receiver == NOWHERE


INTRODUCING = st.sampled_from(
    [THEIRS, replace(THEIRS, version=1), m.Verack(), m.SendAddrV2(), m.SendHeaders(), m.WtxidRelay(), m.Ping(1)]
)


@pytest.mark.fuzz
@settings(max_examples=CASES, deadline=None)
@given(st.booleans(), st.lists(st.one_of(INTRODUCING, SPOKEN), max_size=12))
def test_any_messages_in_any_order(outbound: bool, script: list[m.Message]) -> None:
    ours = handshake(outbound=outbound)
    actions = [action for message in script for action in ours.handle(message)]
    established = [action for action in actions if isinstance(action, Established)]
    refused = [action for action in actions if isinstance(action, Refuse)]
    assert len(established) <= 1
    assert len(refused) <= 1
    assert not refused or actions[-1] is refused[0]
    assert ours.done == (bool(established) and not refused)
    sent = [action.message.command for action in actions if isinstance(action, Send)]
    assert len(sent) == len(set(sent))
    if established:
        kinds = [message.command for message in script if not isinstance(message, m.Unknown)]
        assert kinds.index("version") < kinds.index("verack")
