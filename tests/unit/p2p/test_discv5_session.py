"""Handshakes and sessions without a network: honest ones, lost ones, and everything that a stranger can send."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from p2p.discv5 import crypto, packet
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.enr import Enr
from p2p.discv5.packet import MIN_PACKET, PacketError
from p2p.discv5.session import (
    CHALLENGE_BURST,
    CHALLENGE_LIFE_S,
    CHALLENGE_RATE,
    CHALLENGE_TRIES,
    MAX_CHALLENGES,
    MAX_HELD,
    MAX_SEEN_NONCES,
    MAX_SENT,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_MACHINE,
    OPENING_LIFE_S,
    SENT_LIFE_S,
    SESSION_LIFE_S,
    Delivered,
    Event,
    Opened,
    Outgoing,
    Sessions,
)
from tests.support.discv5_nodes import record, secret

PING = b"\x01\xc2\x01\x01"
NOW = 1_000.0


class Side:
    """One end of a conversation."""

    def __init__(self, number: int, host: str, *, seq: int = 1) -> None:
        self.at = Endpoint(host, 9_000)
        self.secret = secret(number)
        self.enr = record(number, host, seq=seq)
        self.known: dict[bytes, Enr] = {}
        self.restart(number)

    def restart(self, seed: int) -> None:
        """Lose all sessions."""
        rng = random.Random(seed)
        self.sessions = Sessions(self.secret, lambda: self.enr, self.known.get, rng.randbytes, NOW)

    def ask(self, other: Side, message: bytes = PING, now: float = NOW) -> list[bytes]:
        return [out.data for out in self.sessions.request(other.enr, other.at, message, now)]

    def take(self, data: bytes, sender: Side, now: float = NOW) -> list[Event]:
        return self.sessions.receive(data, sender.at, now)


def pair() -> tuple[Side, Side]:
    return Side(1, "192.0.2.1"), Side(2, "198.51.100.2")


def carry(to: Side, datagrams: list[bytes], sender: Side, now: float = NOW) -> list[Event]:
    """Deliver datagrams, and what they are answered with, until nothing is sent any more; what both sides were told."""
    told: list[Event] = []
    for data in datagrams:
        events = to.take(data, sender, now)
        told += [event for event in events if not isinstance(event, Outgoing)]
        told += carry(sender, [event.data for event in events if isinstance(event, Outgoing)], to, now)
    return told


def connected() -> tuple[Side, Side]:
    a, b = pair()
    assert carry(b, a.ask(b), a) == [Opened(a.enr, a.at), Delivered(a.enr.node_id, a.at, PING)]
    return a, b


def answers_to(a: Side, b: Side, message: bytes = b"answer") -> list[Event]:
    """What ``a`` hears when ``b`` answers it."""
    return carry(a, [out.data for out in b.sessions.answer(a.enr.node_id, a.at, message, NOW)], b)


def test_a_handshake_opens_a_session_in_both_directions() -> None:
    a, b = connected()
    assert answers_to(a, b) == [Delivered(b.enr.node_id, b.at, b"answer")]
    for n in range(50):
        message = bytes([n])
        assert carry(b, a.ask(b, message), a) == [Delivered(a.enr.node_id, a.at, message)], "no second handshake"
        assert carry(a, b.ask(a, message), b) == [Delivered(b.enr.node_id, b.at, message)]


def test_nothing_is_answered_where_there_is_no_session() -> None:
    a, b = pair()
    assert b.sessions.answer(a.enr.node_id, a.at, b"answer", NOW) == []


def test_the_record_comes_along_only_where_it_is_news() -> None:
    for known, size in ((None, True), (record(1, "192.0.2.1"), False), (record(1, "192.0.2.1", seq=0), True)):
        a, b = pair()
        if known is not None:
            b.known[a.enr.node_id] = known
        [challenge] = b.take(a.ask(b)[0], a)
        assert isinstance(challenge, Outgoing)
        [answer] = a.take(challenge.data, b)
        assert isinstance(answer, Outgoing)
        shake = packet.decode(answer.data, b.enr.node_id)
        assert isinstance(shake, packet.Handshake)
        assert bool(shake.record) == size
        assert b.take(answer.data, a)[0] == Opened(a.enr, a.at)


def test_a_newer_record_that_we_have_is_kept() -> None:
    a, b = pair()
    newer = record(1, "203.0.113.9", seq=7)
    b.known[a.enr.node_id] = newer
    assert carry(b, a.ask(b), a)[0] == Opened(newer, a.at)


def test_both_may_begin_at_once() -> None:
    a, b = pair()
    [from_a], [from_b] = a.ask(b, b"from a"), b.ask(a, b"from b")
    [to_a], [to_b] = b.take(from_a, a), a.take(from_b, b)
    assert isinstance(to_a, Outgoing)
    assert isinstance(to_b, Outgoing)
    [shake_a], [shake_b] = a.take(to_a.data, b), b.take(to_b.data, a)
    assert isinstance(shake_a, Outgoing)
    assert isinstance(shake_b, Outgoing)
    assert Delivered(a.enr.node_id, a.at, b"from a") in b.take(shake_a.data, a)
    assert Delivered(b.enr.node_id, b.at, b"from b") in a.take(shake_b.data, b)
    assert carry(b, a.ask(b), a) == [Delivered(a.enr.node_id, a.at, PING)]
    assert carry(a, b.ask(a), b) == [Delivered(b.enr.node_id, b.at, PING)]


def test_a_node_that_lost_its_sessions_gets_a_new_one() -> None:
    a, b = connected()
    b.restart(77)
    assert carry(b, a.ask(b), a) == [Opened(a.enr, a.at), Delivered(a.enr.node_id, a.at, PING)]
    a.restart(78)
    assert Delivered(a.enr.node_id, a.at, PING) in carry(b, a.ask(b), a)


def test_requests_wait_for_the_handshake_and_go_out_after_it() -> None:
    a, b = pair()
    first = a.ask(b, b"0")
    held = [a.ask(b, bytes([48 + n])) for n in range(1, MAX_HELD + 3)]
    assert held == [[]] * (MAX_HELD + 2)
    told = [event.message for event in carry(b, first, a) if isinstance(event, Delivered)]
    assert told == [bytes([48 + n]) for n in range(MAX_HELD + 1)], "what is above the limit was not kept"


def test_a_handshake_that_nobody_answers_is_begun_again() -> None:
    a, b = pair()
    assert len(a.ask(b)) == 1
    assert a.ask(b, now=NOW + OPENING_LIFE_S / 2) == []
    assert len(a.ask(b, now=NOW + OPENING_LIFE_S)) == 1


def test_a_session_ends_with_its_time() -> None:
    a, b = connected()
    later = NOW + SESSION_LIFE_S
    assert b.sessions.answer(a.enr.node_id, a.at, b"answer", later) == []
    assert Opened(a.enr, a.at) in carry(b, a.ask(b, now=later), a, later)


def test_a_session_belongs_to_its_endpoint() -> None:
    a, b = connected()
    [data] = a.ask(b)
    elsewhere = Side(1, "192.0.2.99")
    [out] = b.take(data, elsewhere)
    assert isinstance(out, Outgoing)
    assert isinstance(packet.decode(out.data, a.enr.node_id), packet.WhoAreYou)


# What strangers send.


def test_junk_is_a_packet_error_and_changes_nothing() -> None:
    a, b = connected()
    rng = random.Random(3)
    for size in range(0, 1_400, 7):
        with pytest.raises(PacketError):
            b.take(rng.randbytes(size), a)
    assert (b.sessions.count, b.sessions.challenges) == (1, 0)


def test_the_only_answer_to_a_packet_that_proves_nothing_is_a_smaller_challenge() -> None:
    _, b = pair()
    rng = random.Random(4)
    for noise in (0, 1, 16, 44, 1_100):
        data = packet.random_packet(
            b.enr.node_id, rng.randbytes(32), rng.randbytes(16), rng.randbytes(12), bytes(noise)
        )
        outs = b.take(data, Side(3, "203.0.113.1"))
        assert [len(out.data) for out in outs if isinstance(out, Outgoing)] == [MIN_PACKET]
        assert len(outs) == 1
        assert len(data) > MIN_PACKET


def test_challenges_have_a_rate_and_a_bound() -> None:
    _, b = pair()
    rng = random.Random(5)
    sent = 0
    for step in range(4 * MAX_CHALLENGES):
        data = packet.random_packet(b.enr.node_id, rng.randbytes(32), bytes(16), rng.randbytes(12), b"")
        sent += len(b.sessions.receive(data, Endpoint(f"192.0.2.{step % 250}", step), NOW + step / 1_000))
    assert CHALLENGE_BURST <= sent <= CHALLENGE_BURST + 1 + CHALLENGE_RATE * 4 * MAX_CHALLENGES / 1_000
    assert b.sessions.challenges <= MAX_CHALLENGES
    for step in range(3 * MAX_CHALLENGES):
        data = packet.random_packet(b.enr.node_id, rng.randbytes(32), bytes(16), rng.randbytes(12), b"")
        b.sessions.receive(data, Endpoint("192.0.2.1", 1), NOW + 10 + step / CHALLENGE_RATE)
    assert b.sessions.challenges == MAX_CHALLENGES


def test_a_message_replayed_is_delivered_once() -> None:
    a, b = connected()
    datagrams = [a.ask(b, bytes([n]))[0] for n in range(MAX_SEEN_NONCES)]
    assert len(carry(b, datagrams, a)) == len(datagrams)
    assert carry(b, datagrams * 3, a) == []


def test_a_handshake_replayed_is_nothing() -> None:
    a, b = pair()
    [challenge] = b.take(a.ask(b)[0], a)
    assert isinstance(challenge, Outgoing)
    [answer] = a.take(challenge.data, b)
    assert isinstance(answer, Outgoing)
    assert len(b.take(answer.data, a)) == 2
    assert b.take(answer.data, a) == []
    assert a.take(challenge.data, b) == [], "a challenge is answered once"


def test_an_opening_packet_replayed_gets_the_same_challenge_again() -> None:
    a, b = pair()
    [opening] = a.ask(b)
    first, second = b.take(opening, a), b.take(opening, a)
    assert first == second
    assert b.sessions.challenges == 1
    assert b.take(opening, a, NOW + CHALLENGE_LIFE_S) != first


def test_a_forger_cannot_make_an_honest_handshake_fail() -> None:
    """Packets in the name of ``a``, and answers to its challenge that are not its."""
    a, b = pair()
    [challenge] = b.take(a.ask(b)[0], a)
    assert isinstance(challenge, Outgoing)
    for _ in range(20):
        b.take(packet.random_packet(b.enr.node_id, a.enr.node_id, bytes(16), bytes(12), bytes(44)), a)
    [answer] = a.take(challenge.data, b)
    assert isinstance(answer, Outgoing)
    for n in range(CHALLENGE_TRIES - 1):
        assert b.take(forged(b, a.enr, bytes([n]) * 64), a) == []
    assert Opened(a.enr, a.at) in b.take(answer.data, a)


def test_tries_at_a_challenge_are_counted() -> None:
    a, b = pair()
    [challenge] = b.take(a.ask(b)[0], a)
    assert isinstance(challenge, Outgoing)
    for n in range(CHALLENGE_TRIES):
        b.take(forged(b, a.enr, bytes([n]) * 64), a)
    assert b.sessions.challenges == 0
    [answer] = a.take(challenge.data, b)
    assert isinstance(answer, Outgoing)
    assert b.take(answer.data, a) == []


def forged(to: Side, sender: Enr, signature: bytes, *, record: bytes = b"", ephemeral: bytes | None = None) -> bytes:
    """A handshake packet in the name of ``sender``."""
    public = crypto.public_of(secret(99)) if ephemeral is None else ephemeral
    proof = packet.Proof(sender.node_id, signature, public, record or sender.encoded)
    return packet.handshake(to.enr.node_id, bytes(16), bytes(12), proof, bytes(16), PING)


def answered_with(change: Callable[[packet.Proof, bytes], packet.Proof]) -> list[Event]:
    """What ``b`` makes of the answer to its challenge, changed; ``change`` gets the honest proof and the challenge."""
    a, b = pair()
    [challenge] = b.take(a.ask(b)[0], a)
    assert isinstance(challenge, Outgoing)
    one = packet.decode(challenge.data, a.enr.node_id)
    assert isinstance(one, packet.WhoAreYou)
    ephemeral_secret = secret(50)
    ephemeral = crypto.public_of(ephemeral_secret)
    digest = crypto.proof_digest(one.challenge, ephemeral, b.enr.node_id)
    honest = packet.Proof(a.enr.node_id, crypto.sign(a.secret, digest), ephemeral, a.enr.encoded)
    keys = crypto.derive_keys(crypto.ecdh(b.enr.public, ephemeral_secret), a.enr.node_id, b.enr.node_id, one.challenge)
    proof = change(honest, one.challenge)
    return b.take(packet.handshake(b.enr.node_id, bytes(16), bytes(12), proof, keys.initiator, PING), a)


def test_an_honest_answer_built_by_hand_is_taken() -> None:
    assert len(answered_with(lambda proof, _: proof)) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p, c: packet.Proof(p.src, bytes(64), p.ephemeral, p.record), id="no signature"),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(9), crypto.proof_digest(c, p.ephemeral, record(2).node_id)),
                p.ephemeral,
                p.record,
            ),
            id="another key's signature",
        ),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(1), crypto.proof_digest(c[:-1], p.ephemeral, record(2).node_id)),
                p.ephemeral,
                p.record,
            ),
            id="a signature over another challenge",
        ),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(1), crypto.proof_digest(c, p.ephemeral, record(3).node_id)),
                p.ephemeral,
                p.record,
            ),
            id="a signature for another recipient",
        ),
        pytest.param(
            lambda p, c: packet.Proof(p.src, p.signature, p.ephemeral, record(9).encoded), id="another's record"
        ),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(9), crypto.proof_digest(c, p.ephemeral, record(2).node_id)),
                p.ephemeral,
                record(9).encoded,
            ),
            id="another's record and signature",
        ),
        pytest.param(lambda p, c: packet.Proof(p.src, p.signature, p.ephemeral, b"\xc0"), id="a record that is none"),
        pytest.param(
            lambda p, c: packet.Proof(p.src, p.signature, p.ephemeral, b""), id="no record where none is known"
        ),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(1), crypto.proof_digest(c, b"\x05" * 33, record(2).node_id)),
                b"\x05" * 33,
                p.record,
            ),
            id="an ephemeral key that is no point",
        ),
        pytest.param(
            lambda p, c: packet.Proof(
                p.src,
                crypto.sign(secret(1), crypto.proof_digest(c, crypto.public_of(secret(51)), record(2).node_id)),
                crypto.public_of(secret(51)),
                p.record,
            ),
            id="keys that do not open the message",
        ),
        pytest.param(
            lambda p, c: packet.Proof(record(9).node_id, p.signature, p.ephemeral, record(9).encoded),
            id="another's name",
        ),
    ],
)
def test_a_false_answer_to_a_challenge_opens_nothing(change: Callable[[packet.Proof, bytes], packet.Proof]) -> None:
    assert answered_with(change) == []


def test_a_handshake_that_nobody_asked_for_is_nothing() -> None:
    a, b = pair()
    assert b.take(forged(b, a.enr, bytes(64)), a) == []


def test_challenges_that_answer_no_request_of_ours_are_nothing() -> None:
    a, b = pair()
    stranger = Side(3, "203.0.113.1")
    [opening] = a.ask(b)
    nonce = packet.decode(opening, b.enr.node_id).nonce
    unknown, _ = packet.whoareyou(a.enr.node_id, bytes(16), bytes(12), bytes(16), 0)
    right, _ = packet.whoareyou(a.enr.node_id, bytes(16), nonce, bytes(16), 0)
    assert a.take(unknown, b) == []
    assert a.take(right, stranger) == [], "from elsewhere than we sent to"
    assert a.take(right, b, NOW + SENT_LIFE_S) == [], "too late"
    assert len(a.take(right, b)) == 1


def test_a_packet_in_our_own_name_is_nothing() -> None:
    a, b = pair()
    assert b.take(packet.random_packet(b.enr.node_id, b.enr.node_id, bytes(16), bytes(12), bytes(44)), a) == []


def test_sessions_are_bounded_in_all_and_per_machine() -> None:
    _, b = pair()
    for n in range(MAX_SESSIONS + 40):
        now = NOW + n / CHALLENGE_RATE
        a = Side(10 + n, f"10.{n // 250}.{n % 250}.1")
        assert Opened(a.enr, a.at) in carry(b, a.ask(b, now=now), a, now)
    assert b.sessions.count == MAX_SESSIONS
    before = b.sessions.count
    for n in range(MAX_SESSIONS_PER_MACHINE + 10):
        now = NOW + 60 + n / CHALLENGE_RATE
        a = Side(2_000 + n, "203.0.113.7")
        assert Opened(a.enr, a.at) in carry(b, a.ask(b, now=now), a, now)
    assert b.sessions.count == before
    kept = [n for n in range(MAX_SESSIONS + 40) if answers_from(b, Side(10 + n, f"10.{n // 250}.{n % 250}.1"))]
    assert len(kept) == MAX_SESSIONS - MAX_SESSIONS_PER_MACHINE


def answers_from(side: Side, other: Side) -> bool:
    return bool(side.sessions.answer(other.enr.node_id, other.at, b"answer", NOW + 120))


def test_requests_remembered_are_bounded() -> None:
    """The oldest are forgotten, so a challenge for one of them is not answered; the newest are."""
    a, _ = pair()
    others = [Side(10 + n, f"10.0.{n // 250}.{n % 250 + 1}") for n in range(MAX_SENT + 1)]
    openings = [a.ask(other)[0] for other in others]
    for other, opening, answered in ((others[0], openings[0], 0), (others[-1], openings[-1], 1)):
        challenge, _ = packet.whoareyou(
            a.enr.node_id, bytes(16), packet.decode(opening, other.enr.node_id).nonce, bytes(16), 0
        )
        assert len(a.take(challenge, other)) == answered


def test_secrets_outside_the_order_are_drawn_again() -> None:
    a, b = pair()
    drawn = iter([b"\xff" * 32, b"\xff" * 32])
    rng = random.Random(8)
    a.sessions = Sessions(
        a.secret,
        lambda: a.enr,
        a.known.get,
        lambda n: next(drawn, rng.randbytes(n)) if n == 32 else rng.randbytes(n),
        NOW,
    )
    assert Opened(a.enr, a.at) in carry(b, a.ask(b), a)
    assert next(drawn, None) is None
