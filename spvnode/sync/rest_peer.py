"""One endpoint as the REST source sees it: its claim, its health, and whether it is of our network."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import msgspec
import trio

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import BeaconApi
from p2p.rest.endpoint import Endpoint
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Slot
from spvnode.following import Tip
from spvnode.sync.rest_items import Decoded

PAGE = 32
"""Periods asked for in one request, of the 128 that the API allows: 860 kB of SSZ, or 2.6 MB of JSON, held at once."""
PAGE_S = 2.5
"""Seconds that a page may take before the next one is half as long, and a fetch before it hands over what it has: with
the time of one more such page it stays below ``driver.FETCH_DEADLINE``, which would throw all of it away."""
REMEMBERED = 8
"""Hashes of updates that a peer has sent, so that a poll and an event of the same one are pushed once."""


@dataclass(frozen=True, slots=True)
class RestTiming:
    """Seconds, unless it says otherwise."""

    poll: float = 12.0
    """Between polls of the optimistic update: one slot."""
    finality_every: int = 4
    """Polls for each of the finality update, which changes once an epoch."""
    live_factor: float = 8.0
    """How many times longer between polls while events come."""
    silence: float = 60.0
    """An event stream without a byte for so long is hung: an event comes each slot."""
    no_events: float = 3_600.0
    """Before an endpoint without event stream is asked for one again."""
    retry_first: float = 1.0
    retry_cap: float = 120.0
    """First and longest pause after failures."""
    patience: int = 2
    """Failed polls in a row after which the claim is withdrawn."""
    events: bool = True

    @classmethod
    def of(cls, network: Network) -> RestTiming:
        """At the pace of the network's slots."""
        slot = network.slot_duration_ms / 1000
        return cls(poll=slot, silence=max(5 * slot, 10.0))


@dataclass(slots=True)
class RestPeer:
    """Held by ``RestSource``, one for each endpoint."""

    endpoint: Endpoint
    claim: Tip | None = None
    """What the listener was told; None while it counts as gone."""
    finalized: Slot | None = None
    live: bool = False
    """Its event stream delivers."""
    brought: bool = False
    """It has delivered something good, since it began."""
    same_network: bool = False
    risen: trio.Event = field(default_factory=trio.Event)
    """Set while it has a claim."""
    rest_until: float = 0.0
    """trio time before which it is left alone."""
    polls: int = 0
    useful: int = 0
    streak: int = 0
    """Failed polls since the last good one."""
    last_good: float | None = None
    latency: float = 0.0
    page: int = PAGE
    """Periods that its line, or ours, carries in one answer."""
    fault: RemoteFault | None = None
    _sent: deque[bytes] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def name(self) -> str:
        """What the rest of the node calls it."""
        return peer_name(self.endpoint)

    def own(self, fault: RemoteFault, network: str) -> RemoteFault:
        """A fault that the HTTP client found, under the peer's name."""
        return replace(fault, peer=self.name, network=network)

    def paged(self, asked: int, took: float) -> None:
        """A page of ``asked`` periods came in ``took`` seconds: how long the next one may be. Infinite: it did not."""
        if took > PAGE_S:
            self.page = max(1, asked // 2)
        elif took < PAGE_S / 4 and asked >= self.page:
            self.page = min(PAGE, 2 * self.page)

    def answered(self, now: float, took: float) -> None:
        """A poll went well."""
        self.polls += 1
        self.streak = 0
        self.last_good = now
        self.latency = took

    def failed(self, fault: RemoteFault) -> None:
        """A poll did not."""
        self.streak += 1
        self.fault = fault

    def is_new(self, decoded: Decoded) -> bool:
        """Whether it has not sent this very update lately."""
        digest = sha256(decoded.item.ssz).digest()
        if digest in self._sent:
            return False
        self._sent.append(digest)
        return True

    def info(self, now: float) -> dict[str, Any]:
        """Its health, JSON-ready; ages in seconds."""
        fault = None if self.fault is None else {"reason": str(self.fault.reason), "evidence": self.fault.evidence}
        return {
            "peer": self.name,
            "up": self.claim is not None,
            "events": self.live,
            "finalized_slot": self.finalized,
            "age": None if self.last_good is None else round(now - self.last_good, 1),
            "latency": round(self.latency, 3),
            "polls": self.polls,
            "useful": self.useful,
            "failures_in_a_row": self.streak,
            "resting": round(max(0.0, self.rest_until - now), 1),
            "last_fault": fault,
        }


class _Genesis(msgspec.Struct, frozen=True):
    genesis_validators_root: str


class _GenesisReply(msgspec.Struct, frozen=True):
    data: _Genesis


def peer_name(endpoint: Endpoint) -> str:
    """``rest:<host[:port]>``."""
    return f"rest:{endpoint.name}"


async def is_of_network(network: Network, api: BeaconApi, endpoint: Endpoint) -> RemoteFault | None:
    """The fault of an endpoint that serves another chain, or does not answer. One that only has light-client routes is
    judged by its updates instead."""
    name = peer_name(endpoint)
    reply = await api.genesis(endpoint)
    if isinstance(reply, RemoteFault):
        silent = reply.reason in (FaultReason.NOT_FOUND, FaultReason.REFUSED)
        return None if silent else replace(reply, peer=name, network=network.name)
    try:
        root = msgspec.json.decode(reply.body, type=_GenesisReply).data.genesis_validators_root
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RemoteFault(FaultReason.BAD_FRAME, name, "genesis: is no JSON that fits", network.name)
    if root.lower() != "0x" + network.genesis_validators_root.hex():
        return RemoteFault(FaultReason.WRONG_NETWORK, name, f"genesis validators root {root[:80]}", network.name)
    return None
