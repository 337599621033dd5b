"""Sessions of Node Discovery v5.1 (devp2p, discv5-theory.md, "Sessions"): handshakes, keys, and who gets a challenge.

Sans-IO: datagrams in, datagrams and messages out; the clock is an argument, randomness is injected. Every container is
bounded. To a packet that proves nothing, the only answer is WHOAREYOU: 63 bytes, less than any packet that asks for it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from p2p.bucket import TokenBucket
from p2p.discv5 import crypto, packet
from p2p.discv5.endpoint import Endpoint, machine
from p2p.discv5.enr import Enr, EnrError
from p2p.discv5.enr import decode as decode_enr

MAX_SESSIONS: Final = 512
"""Sessions at a time, least recently used out. 2 KB each. Whoever answers challenges fills it."""
MAX_SESSIONS_PER_MACHINE: Final = 16
"""Of these, with one address: one machine with many keys must not push out all others."""
SESSION_LIFE_S: Final = 12 * 3_600.0
"""After which keys are dropped, so that a stolen one is of use for half a day."""
MAX_KEPT_KEYS: Final = 2
"""Key pairs of a session: where both sides begin at once, each ends with the other's keys as its older ones."""
MAX_SEEN_NONCES: Final = 32
"""Nonces a session remembers against replays. More packets than a sender may have in flight."""

MAX_CHALLENGES: Final = 256
"""Challenges waiting for their answer. Twice what ``CHALLENGE_RATE`` and its burst make in ``CHALLENGE_LIFE_S``."""
CHALLENGE_RATE: Final = 50.0
CHALLENGE_BURST: Final = 75.0
"""Challenges a second and at once, to all: what forged senders can make us send, 5 KB/s, and what handshakes can
cost, 60 ms of CPU a second where every try is used up."""
CHALLENGE_LIFE_S: Final = 1.0
"""As the protocol recommends for a handshake."""
CHALLENGE_TRIES: Final = 3
"""Answers to one challenge that are looked at. A forged one must not end an honest handshake; each costs 0.4 ms."""

MAX_SENT: Final = 256
"""Own requests remembered by nonce, in case that a challenge comes back; ours alone."""
SENT_LIFE_S: Final = 1.5
"""Half a second more than a request waits."""
MAX_HELD: Final = 4
"""Requests to one node that wait for its handshake; ours alone."""
OPENING_LIFE_S: Final = 1.0
"""For a handshake that we have begun; the next request after it begins another."""

_NOISE_SIZE: Final = 44
"""Random bytes in the place of a message: about a FINDNODE, so that it does not look special."""


K = TypeVar("K")
V = TypeVar("V")


class Outgoing(NamedTuple):
    """A datagram to send."""

    data: bytes
    to: Endpoint


class Delivered(NamedTuple):
    """A decrypted message of a node that has proven its key and that it receives at this endpoint."""

    node_id: bytes
    at: Endpoint
    message: bytes


class Opened(NamedTuple):
    """A node has answered our challenge: this record is its newest that we know."""

    enr: Enr
    at: Endpoint


Event = Outgoing | Delivered | Opened
Key = tuple[bytes, Endpoint]
"""Sessions are tied to node id and endpoint ("Handshake Implementation Considerations")."""


class _KeyPair(NamedTuple):
    write: bytes
    read: bytes


@dataclass(slots=True)
class _Session:
    keys: deque[_KeyPair]
    until: float
    count: int = 0
    seen: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_SEEN_NONCES))


@dataclass(slots=True)
class _Challenge:
    data: bytes
    packet: bytes
    known: Enr | None
    until: float
    tries: int = CHALLENGE_TRIES


class _Sent(NamedTuple):
    enr: Enr
    at: Endpoint
    message: bytes
    until: float


class _Opening(NamedTuple):
    """Requests that wait for a handshake which we have begun."""

    held: list[bytes]
    until: float


class Sessions:
    """All sessions of one node. ``own`` is its record as it is now; ``known`` the newest record of another one that we
    have, or None; ``random`` gives that many unpredictable bytes."""

    def __init__(
        self,
        secret: bytes,
        own: Callable[[], Enr],
        known: Callable[[bytes], Enr | None],
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        self._secret = secret
        self._id = crypto.node_id_of(crypto.public_of(secret))
        self._own = own
        self._known = known
        self._random = random
        self._sessions: OrderedDict[Key, _Session] = OrderedDict()
        self._challenges: OrderedDict[Key, _Challenge] = OrderedDict()
        self._challenge_rate = TokenBucket(CHALLENGE_RATE, CHALLENGE_BURST, now)
        self._sent: OrderedDict[bytes, _Sent] = OrderedDict()
        self._opening: OrderedDict[Key, _Opening] = OrderedDict()

    @property
    def count(self) -> int:
        """Sessions held."""
        return len(self._sessions)

    @property
    def challenges(self) -> int:
        """Challenges held."""
        return len(self._challenges)

    def request(self, enr: Enr, at: Endpoint, message: bytes, now: float) -> list[Outgoing]:
        """Send a request; without a session, open one first. An empty list means that it waits for a handshake."""
        key = (enr.node_id, at)
        session = self._live(key, now)
        if session is not None:
            return [self._sealed(key, session, message, now, enr)]
        opening = self._opening.get(key)
        if opening is not None and opening.until > now:
            if len(opening.held) < MAX_HELD:
                opening.held.append(message)
            return []
        self._opening[key] = _Opening([], now + OPENING_LIFE_S)
        self._opening.move_to_end(key)
        _trim(self._opening, MAX_SENT)
        nonce = self._random(packet.NONCE_SIZE)
        self._remember(nonce, _Sent(enr, at, message, now + SENT_LIFE_S))
        noise = self._random(_NOISE_SIZE)
        return [Outgoing(packet.random_packet(enr.node_id, self._id, self._iv(), nonce, noise), at)]

    def answer(self, node_id: bytes, at: Endpoint, message: bytes, now: float) -> list[Outgoing]:
        """Send an answer; an empty list when there is no session any more."""
        session = self._live((node_id, at), now)
        return [] if session is None else [self._sealed((node_id, at), session, message, now, None)]

    def receive(self, data: bytes, at: Endpoint, now: float) -> list[Event]:
        """What a datagram makes us do. Raise PacketError when it is none of this protocol, or not for us."""
        match packet.decode(data, self._id):
            case packet.Ordinary() as one:
                return self._ordinary(one, at, now)
            case packet.WhoAreYou() as one:
                return list(self._challenged(one, at, now))
            case packet.Handshake() as one:
                return self._handshake(one, at, now)

    def _ordinary(self, one: packet.Ordinary, at: Endpoint, now: float) -> list[Event]:
        key = (one.src, at)
        session = self._live(key, now)
        if session is None:
            return list(self._challenge(one, at, now))
        if one.nonce in session.seen:
            return []  # a replay: what it asks for was answered
        plain = (crypto.unseal(keys.read, one.nonce, one.sealed, one.ad) for keys in session.keys)
        message = next((text for text in plain if text is not None), None)
        if message is None:
            return list(self._challenge(one, at, now))
        session.seen.append(one.nonce)
        return [Delivered(one.src, at, message)]

    def _challenge(self, one: packet.Ordinary, at: Endpoint, now: float) -> list[Outgoing]:
        """WHOAREYOU. While one waits for its answer, it is the same one again: whoever forges packets of an honest
        node must not make its handshake fail."""
        if one.src == self._id or not self._challenge_rate.take(1, now):
            return []
        key = (one.src, at)
        pending = self._challenges.get(key)
        if pending is None or pending.until <= now:
            known = self._known(one.src)
            seq = 0 if known is None else known.seq
            sent, data = packet.whoareyou(one.src, self._iv(), one.nonce, self._random(packet.ID_NONCE_SIZE), seq)
            pending = self._challenges[key] = _Challenge(data, sent, known, now + CHALLENGE_LIFE_S)
            self._challenges.move_to_end(key)
            _trim(self._challenges, MAX_CHALLENGES)
        return [Outgoing(pending.packet, at)]

    def _challenged(self, one: packet.WhoAreYou, at: Endpoint, now: float) -> list[Outgoing]:
        """Answer a challenge, if it is for a request of ours and from where that went; once."""
        sent = self._sent.get(one.nonce)
        if sent is None or sent.at != at or sent.until <= now:
            return []
        del self._sent[one.nonce]
        key = (sent.enr.node_id, at)
        ephemeral_secret = self._new_secret()
        ephemeral = crypto.public_of(ephemeral_secret)
        shared = crypto.ecdh(sent.enr.public, ephemeral_secret)
        keys = crypto.derive_keys(shared, self._id, sent.enr.node_id, one.challenge)
        digest = crypto.proof_digest(one.challenge, ephemeral, sent.enr.node_id)
        own = self._own()
        record = own.encoded if one.enr_seq < own.seq else b""
        proof = packet.Proof(self._id, crypto.sign(self._secret, digest), ephemeral, record)
        session = self._open(key, _KeyPair(keys.initiator, keys.recipient), now)
        nonce = self._nonce(session)
        data = packet.handshake(sent.enr.node_id, self._iv(), nonce, proof, keys.initiator, sent.message)
        opening = self._opening.pop(key, None)
        held = opening.held if opening is not None else []
        return [Outgoing(data, at), *(self._sealed(key, session, message, now, sent.enr) for message in held)]

    def _handshake(self, one: packet.Handshake, at: Endpoint, now: float) -> list[Event]:
        key = (one.src, at)
        pending = self._challenges.get(key)
        if pending is None or pending.until <= now:
            return []
        pending.tries -= 1
        if pending.tries == 0:
            del self._challenges[key]
        enr = _sender(one, pending.known)
        if enr is None:
            return []
        digest = crypto.proof_digest(pending.data, one.ephemeral, self._id)
        if not crypto.verify(enr.public, digest, one.signature):
            return []
        try:
            shared = crypto.ecdh(one.ephemeral, self._secret)
        except ValueError:
            return []  # no point of the curve
        keys = crypto.derive_keys(shared, one.src, self._id, pending.data)
        message = crypto.unseal(keys.initiator, one.nonce, one.sealed, one.ad)
        if message is None:
            return []
        self._challenges.pop(key, None)
        self._open(key, _KeyPair(keys.recipient, keys.initiator), now).seen.append(one.nonce)
        return [Opened(enr, at), Delivered(one.src, at, message)]

    def _open(self, key: Key, keys: _KeyPair, now: float) -> _Session:
        """New keys for ``key``; its older ones go on being read with."""
        session = self._sessions.get(key)
        if session is None:
            self._make_room(key[1].host)
            session = self._sessions[key] = _Session(deque(maxlen=MAX_KEPT_KEYS), now + SESSION_LIFE_S)
        session.keys.appendleft(keys)
        session.until = now + SESSION_LIFE_S
        self._sessions.move_to_end(key)
        return session

    def _make_room(self, host: str) -> None:
        """For one more session with ``host``."""
        own_kind = machine(host)
        same = [key for key in self._sessions if machine(key[1].host) == own_kind]
        if len(same) >= MAX_SESSIONS_PER_MACHINE:
            del self._sessions[same[0]]
        _trim(self._sessions, MAX_SESSIONS - 1)

    def _live(self, key: Key, now: float) -> _Session | None:
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.until <= now:
            del self._sessions[key]
            return None
        self._sessions.move_to_end(key)
        return session

    def _sealed(self, key: Key, session: _Session, message: bytes, now: float, enr: Enr | None) -> Outgoing:
        """A message under the newest keys; remembered when it is a request, for which ``enr`` is given."""
        node_id, at = key
        nonce = self._nonce(session)
        if enr is not None:
            self._remember(nonce, _Sent(enr, at, message, now + SENT_LIFE_S))
        write = session.keys[0].write
        return Outgoing(packet.ordinary(node_id, self._id, self._iv(), nonce, write, message), at)

    def _nonce(self, session: _Session) -> bytes:
        """A counter and 8 random bytes: AES-GCM loses its key when a nonce comes twice."""
        session.count = (session.count + 1) & 0xFFFFFFFF
        return session.count.to_bytes(4, "big") + self._random(packet.NONCE_SIZE - 4)

    def _remember(self, nonce: bytes, sent: _Sent) -> None:
        self._sent[nonce] = sent
        _trim(self._sent, MAX_SENT)

    def _iv(self) -> bytes:
        return self._random(packet.IV_SIZE)

    def _new_secret(self) -> bytes:
        """A key outside the order, which 1 in 2**128 is, is drawn again."""
        while True:
            secret = self._random(crypto.SECRET_SIZE)
            try:
                crypto.public_of(secret)
            except ValueError:
                continue
            return secret


def _sender(one: packet.Handshake, known: Enr | None) -> Enr | None:
    """The newer of the record that came along and the one that we had; None when neither is the sender's."""
    if not one.record:
        return known
    try:
        sent = decode_enr(one.record)
    except EnrError:
        return None
    if sent.node_id != one.src:
        return None
    return known if known is not None and known.seq > sent.seq else sent


def _trim(kept: OrderedDict[K, V], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
