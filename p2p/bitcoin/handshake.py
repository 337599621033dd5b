"""The handshake of two Bitcoin nodes, sans-IO: from the first ``version`` to the moment when both sides may talk.

We dial: VERSION → ; their VERSION ← ; SENDADDRV2, VERACK → ; VERACK ← ; SENDHEADERS →.
They dial: VERSION ← ; VERSION, SENDADDRV2, VERACK → ; VERACK ← ; SENDHEADERS →.

``handle`` takes each message of the remote and says what to do. What is wrong with a peer that is no offence (too old,
ourselves, lacks a service) is refused without a fault. Deadlines are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Final, TypeAlias

from p2p.bitcoin import messages as m
from p2p.bitcoin.netaddr import Endpoint, Network
from p2p.bitcoin.payloads import NOWHERE
from p2p.faults import FaultReason, RemoteFault

MAX_EARLY: Final = 32
"""Messages other than the handshake's that are passed over before it ends. Honest nodes send a few (``feefilter``,
``sendcmpct``, ``getheaders`` behind their ``verack``); a remote could fill the deadline with them."""

ADDR_V2_VERSION: Final = 70_016
"""From here on ``sendaddrv2`` is sent: older software may drop whoever sends what it does not know (as Core found)."""


HEADERS_SERVICES: Final = m.Services.NETWORK | m.Services.NETWORK_LIMITED
"""Without either of these services a node keeps no headers for others (BIP159)."""


class Refusal(StrEnum):
    """Why a connection is not wanted."""

    SELF = "self"
    """It leads back to ourselves."""
    OBSOLETE = "obsolete"
    """Speaks a protocol below ``MIN_PROTOCOL_VERSION``."""
    SERVICES = "services"
    """Does not offer what we dialed it for."""
    FAULT = "fault"
    """It broke the protocol."""
    CROWDED = "crowded"
    """All places are taken, and others deserve theirs more."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this."""

    message: m.Spoken


@dataclass(frozen=True, slots=True)
class Remote:
    """A node that has introduced itself. All but ``version``'s effect is its own word."""

    version: int
    """The protocol that both speak: the lower of the two."""
    services: int
    user_agent: str
    start_height: int
    clock_offset: int
    """Seconds that its clock says more than ours."""
    sees_us_at: Endpoint
    wants_addr_v2: bool
    wants_headers: bool
    """It has asked for announcements by ``headers`` already. It may still do so later."""
    relays: bool


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is over."""

    remote: Remote


@dataclass(frozen=True, slots=True)
class Refuse:
    """Hang up. ``fault`` is there when it is to be scored."""

    why: Refusal
    text: str
    fault: RemoteFault | None = None


Action: TypeAlias = Send | Established | Refuse


@dataclass(frozen=True, slots=True)
class Introduction:
    """What we say of ourselves, and ask of others."""

    services: int
    user_agent: str
    start_height: int
    required: int = 0
    """Service bits that a peer which we dialed must have, all of them."""
    one_of: int = HEADERS_SERVICES
    """Service bits of which it must have one. 0: none."""
    relay: bool = False
    """True asks for transactions; we never look at one."""


class _State(Enum):
    VERSION = auto()
    VERACK = auto()
    DONE = auto()
    REFUSED = auto()


class Handshake:
    """One connection. ``nonce`` is random, of 64 bits; ``is_ours`` tells the nonces of our own open connections;
    ``now`` is Unix seconds; ``receiver`` the peer's endpoint, told it where there is a legacy form."""

    def __init__(
        self,
        introduction: Introduction,
        *,
        outbound: bool,
        nonce: int,
        now: int,
        is_ours: Callable[[int], bool],
        receiver: Endpoint = NOWHERE,
        peer: str = "",
        network: str = "",
    ) -> None:
        self._introduction = introduction
        self._outbound = outbound
        self._nonce = nonce
        self._now = now
        self._is_ours = is_ours
        self._receiver = receiver if receiver.network in (Network.IPV4, Network.IPV6) else NOWHERE
        self._peer = peer
        self._network = network
        self._state = _State.VERSION
        self._remote: Remote | None = None
        self._early = 0

    @property
    def done(self) -> bool:
        return self._state is _State.DONE

    def start(self) -> list[Action]:
        """What to do as soon as bytes can be sent."""
        return [Send(self._version())] if self._outbound else []

    def handle(self, message: m.Message) -> list[Action]:
        """What to do about a message. Once ``done``, it still refuses what may not come any more, and is silent about
        all else."""
        match self._state:
            case _State.VERSION:
                return self._before_version(message)
            case _State.VERACK:
                return self._before_verack(message)
            case _State.DONE:
                return self._afterwards(message)
            case _State.REFUSED:
                return []

    def _before_version(self, message: m.Message) -> list[Action]:
        if not isinstance(message, m.Version):
            return self._pass_over(message)
        if self._is_ours(message.nonce):
            return self._refuse(Refusal.SELF, "the connection leads back to ourselves")
        if message.version < m.MIN_PROTOCOL_VERSION:
            text = f"speaks protocol {message.version}; {m.MIN_PROTOCOL_VERSION} is the least"
            return self._refuse(Refusal.OBSOLETE, text)
        if self._outbound and (lack := self._lacks(message.services)):
            return self._refuse(Refusal.SERVICES, lack)
        self._remote = _remote(message, self._now)
        self._state = _State.VERACK
        actions: list[Action] = [] if self._outbound else [Send(self._version())]
        if message.version >= ADDR_V2_VERSION:
            actions.append(Send(m.SendAddrV2()))
        return [*actions, Send(m.Verack())]

    def _lacks(self, services: int) -> str:
        missing = self._introduction.required & ~services
        if missing:
            return f"lacks services {missing:#x} of {services:#x}"
        if self._introduction.one_of and not self._introduction.one_of & services:
            return f"has none of services {self._introduction.one_of:#x}"
        return ""

    def _before_verack(self, message: m.Message) -> list[Action]:
        remote = self._known()
        match message:
            case m.Verack():
                self._state = _State.DONE
                return [Send(m.SendHeaders()), Established(remote)]
            case m.SendAddrV2():
                self._remote = replace(remote, wants_addr_v2=True)
                return []
            case m.SendHeaders():
                self._remote = replace(remote, wants_headers=True)
                return []
            case m.WtxidRelay():
                return []
            case m.Version():
                return self._offence("a second version")
            case _:
                return self._pass_over(message)

    def _afterwards(self, message: m.Message) -> list[Action]:
        """BIP155 and BIP339: not after ``verack``; and nobody introduces himself twice. A second ``verack`` is passed
        over, as Core does: it says nothing new."""
        if isinstance(message, m.Version | m.SendAddrV2 | m.WtxidRelay):
            return self._offence(f"{message.command} after verack")
        return []

    def _known(self) -> Remote:
        if self._remote is None:
            raise RuntimeError("no version yet")
        return self._remote

    def _pass_over(self, message: m.Message) -> list[Action]:
        self._early += 1
        if self._early > MAX_EARLY:
            return self._offence(f"more than {MAX_EARLY} messages before the handshake has ended")
        if isinstance(message, m.Verack):
            return self._offence("verack before version")
        return []

    def _offence(self, text: str) -> list[Action]:
        fault = RemoteFault(FaultReason.PROTOCOL, self._peer, text, self._network)
        return self._refuse(Refusal.FAULT, text, fault)

    def _refuse(self, why: Refusal, text: str, fault: RemoteFault | None = None) -> list[Action]:
        self._state = _State.REFUSED
        return [Refuse(why, text, fault)]

    def _version(self) -> m.Version:
        """Our own address is not told: it is of use to nobody but observers (as Core does)."""
        us = self._introduction
        return m.Version(
            version=m.PROTOCOL_VERSION,
            services=us.services,
            timestamp=self._now,
            receiver=self._receiver,
            receiver_services=0,
            sender=NOWHERE,
            sender_services=us.services,
            nonce=self._nonce,
            user_agent=us.user_agent,
            start_height=us.start_height,
            relay=us.relay,
        )


def _remote(version: m.Version, now: int) -> Remote:
    return Remote(
        version=min(version.version, m.PROTOCOL_VERSION),
        services=version.services,
        user_agent=version.user_agent,
        start_height=version.start_height,
        clock_offset=version.timestamp - now,
        sees_us_at=version.receiver,
        wants_addr_v2=False,
        wants_headers=False,
        relays=version.relay,
    )
