"""From a stream to a peer that has introduced itself: transport (v2, or v1 where the remote speaks nothing else), then
``version`` and ``verack``, all under one deadline."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio
from trio.abc import Stream

from p2p.bitcoin import ellswift
from p2p.bitcoin.dialing import Dial, Target
from p2p.bitcoin.framing import Fed
from p2p.bitcoin.handshake import Action, Established, Handshake, Introduction, Refusal, Refuse, Remote, Send
from p2p.bitcoin.netaddr import Endpoint
from p2p.bitcoin.payloads import NOWHERE
from p2p.bitcoin.v2 import Transport, V1Transport, V2Transport
from p2p.faults import FaultReason, RemoteFault

HANDSHAKE_S: Final = 30.0
"""Seconds from the connection to ``verack``; Core gives 60. Whoever dials us costs a task and a socket so long."""
V2_PATIENCE_S: Final = 8.0
"""Seconds for the first byte of an answer to our v2 key. Most v1 nodes hang up on it, some wait for the rest of what
they take for a frame."""
MAX_READ: Final = 65_536
"""Bytes of one read from a stream."""
MAX_OUR_GARBAGE: Final = 128
"""Bytes of garbage that we send, less than this: enough that our keys have no size by which they are known. Not every
v1 node hangs up on a wrong magic: bcoin counts it, anew every 24 bytes, and bans the address for a day at ten. Our key
and garbage are to stay below 240 bytes."""


class Link:
    """A stream with its transport, and what has gone through it."""

    def __init__(self, stream: Stream, transport: Transport, peer: str, network: str) -> None:
        self.transport = transport
        self.peer = peer
        self.network = network
        self.bytes_in = 0
        self.bytes_out = 0
        self._stream = stream

    async def receive(self) -> list[Fed] | None:
        """What the next bytes complete, possibly nothing; None at the end of the stream."""
        try:
            data = await self._stream.receive_some(MAX_READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        if not data:
            return None
        self.bytes_in += len(data)
        return self.transport.feed(bytes(data))

    async def send(self, data: bytes) -> bool:
        """False when the remote is gone."""
        if data:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            self.bytes_out += len(data)
        return True

    async def flush(self) -> bool:
        """Sends what the transport has to say of its own."""
        return await self.send(self.transport.outgoing())

    async def close(self) -> None:
        """At once."""
        await trio.aclose_forcefully(self._stream)

    def fault(self, reason: FaultReason, evidence: str) -> RemoteFault:
        return RemoteFault(reason, self.peer, evidence, self.network)


@dataclass(frozen=True, slots=True)
class Connected:
    """The handshake is over. ``early``: what came behind it already."""

    link: Link
    remote: Remote
    handshake: Handshake
    nonce: int
    """Of our ``version``; see ``Greeter.forget``."""
    early: list[Fed]


@dataclass(frozen=True, slots=True)
class NotWanted:
    """There is somebody, but not for us. ``fault`` is there when it is to be scored."""

    why: Refusal
    text: str
    fault: RemoteFault | None = None


@dataclass(frozen=True, slots=True)
class _SpeaksV1:
    """The remote does not know v2: to be dialed again."""


Outcome: TypeAlias = Connected | NotWanted


@dataclass(slots=True)
class Greeter:
    """Makes links of one network. ``introduce`` says what we tell of ourselves now, and whether we ask for services;
    ``wall`` gives Unix seconds."""

    magic: bytes
    network: str
    introduce: Callable[[bool], Introduction]
    wall: Callable[[], float]
    _nonces: set[int] = field(default_factory=set)  # of handshakes and connections that stand
    _met: set[int] = field(default_factory=set)  # those of them that came back to us

    async def dial(self, target: Target, dial: Dial, *, v2: bool = True, named: bool = False) -> Outcome:
        """Connects to ``target``; once more with v1 where v2 met a node without it. DialFailed where nobody answers.
        One that the operator has ``named`` may have no services: he knows why."""
        name, where = target.peer, target.endpoint or NOWHERE
        if v2:
            link = Link(await dial(target), self._v2(name, initiator=True), name, self.network)
            ended = await self._greet(link, outbound=True, receiver=where, asking=not named)
            if not isinstance(ended, _SpeaksV1):
                return ended
        link = Link(await dial(target), V1Transport(self.magic, name, self.network), name, self.network)
        return _final(await self._greet(link, outbound=True, receiver=where, asking=not named))

    async def answer(self, stream: Stream, peer: str) -> Outcome:
        """Somebody has dialed us."""
        link = Link(stream, self._v2(peer, initiator=False), peer, self.network)
        return _final(await self._greet(link, outbound=False, receiver=NOWHERE, asking=False))

    def forget(self, nonce: int) -> None:
        """The connection whose ``version`` bore this nonce has ended."""
        self._nonces.discard(nonce)
        self._met.discard(nonce)

    def _v2(self, peer: str, *, initiator: bool) -> V2Transport:
        return V2Transport(
            self.magic,
            initiator=initiator,
            secret=ellswift.new_secret(),
            randomness=secrets.token_bytes(32),
            garbage=secrets.token_bytes(secrets.randbelow(MAX_OUR_GARBAGE)),
            peer=peer,
            network=self.network,
        )

    async def _greet(self, link: Link, *, outbound: bool, receiver: Endpoint, asking: bool) -> Outcome | _SpeaksV1:
        """Unless Connected comes of it the stream is closed."""
        ended: Outcome | _SpeaksV1 = _offence(link, FaultReason.TIMEOUT, f"no handshake in {HANDSHAKE_S:g} s")
        nonce = secrets.randbits(64)
        self._nonces.add(nonce)
        shake = Handshake(
            self.introduce(asking),
            outbound=outbound,
            nonce=nonce,
            now=int(self.wall()),
            is_ours=self._is_ours,
            receiver=receiver,
            peer=link.peer,
            network=self.network,
        )
        try:
            with trio.move_on_after(HANDSHAKE_S):
                ended = await _Greeting(link, shake, nonce).run()
            if nonce in self._met:  # the end that answered saw it first, and hung up
                ended = NotWanted(Refusal.SELF, "the connection leads back to ourselves")
        finally:
            if not isinstance(ended, Connected):
                self.forget(nonce)
                await link.close()
        return ended

    def _is_ours(self, nonce: int) -> bool:
        ours = nonce in self._nonces
        if ours:
            self._met.add(nonce)
        return ours


@dataclass(slots=True)
class _Greeting:
    link: Link
    shake: Handshake
    nonce: int

    async def run(self) -> Outcome | _SpeaksV1:
        transport, started = self.link.transport, False
        sent = await self.link.flush()
        while sent:
            if transport.ready and not started:
                started = True
                if not await self._act(self.shake.start()):
                    break
            fed = await self._receive()
            if fed is None:
                break
            sent = await self.link.flush()
            ended = await self._take(fed)
            if ended is not None:
                return ended
        return self._left()

    async def _receive(self) -> list[Fed] | None:
        """A v2 initiator does not wait long for a first word: see ``V2_PATIENCE_S``."""
        if not _deaf_to_v2(self.link.transport):
            return await self.link.receive()
        with trio.move_on_after(V2_PATIENCE_S):
            return await self.link.receive()
        return None

    async def _take(self, fed: list[Fed]) -> Outcome | _SpeaksV1 | None:
        """None while there is more to come."""
        for at, one in enumerate(fed):
            if isinstance(one, RemoteFault):
                if _deaf_to_v2(self.link.transport) and one.reason is FaultReason.REFUSED:
                    return _SpeaksV1()
                return NotWanted(Refusal.FAULT, one.evidence, one)
            actions = self.shake.handle(one)
            if not await self._act(actions):
                return self._left()
            match actions[-1:]:
                case [Refuse(why, text, fault)]:
                    return NotWanted(why, text, fault)
                case [Established(remote)]:
                    return Connected(self.link, remote, self.shake, self.nonce, fed[at + 1 :])
        return None

    async def _act(self, actions: list[Action]) -> bool:
        """False when the remote is gone."""
        for action in actions:
            if isinstance(action, Send) and not await self.link.send(self.link.transport.encode(action.message)):
                return False
        return True

    def _left(self) -> Outcome | _SpeaksV1:
        if _deaf_to_v2(self.link.transport):
            return _SpeaksV1()
        return _offence(self.link, FaultReason.DISCONNECTED, "hung up during the handshake")


def _deaf_to_v2(transport: Transport) -> bool:
    return isinstance(transport, V2Transport) and transport.speaks_v1


def _final(ended: Outcome | _SpeaksV1) -> Outcome:
    if isinstance(ended, _SpeaksV1):
        raise RuntimeError("only an initiator of v2 falls back")  # noqa: TRY004 - our bug, nobody's argument
    return ended


def _offence(link: Link, reason: FaultReason, evidence: str) -> NotWanted:
    return NotWanted(Refusal.FAULT, evidence, link.fault(reason, evidence))
