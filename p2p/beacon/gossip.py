"""Gossip of finality and optimistic updates: topics by fork digest, message ids, and our part in them.

Topics are ``/eth2/<digest>/light_client_{finality,optimistic}_update/ssz_snappy``; the data is block snappy. Sources:
consensus-specs ``phase0/p2p-interface.md`` ("The gossip domain"), ``altair/p2p-interface.md`` (message id),
``altair/light-client/p2p-interface.md``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Final

import structlog
import trio

from p2p.beacon.allowance import Allowance
from p2p.beacon.events import EventQueue, Gossiped
from p2p.beacon.peer import Peer
from p2p.beacon.provider import Chunk, Gossip, GossipName, Provider
from p2p.beacon.snappy import decode_block, encode_block, max_compressed_len
from p2p.faults import FaultReason, Malformed, RemoteFault
from p2p.port import GossipProfile, Host
from p2p.roster import Roster

NAMES: Final[tuple[GossipName, ...]] = ("finality", "optimistic")

MAX_GOSSIP: Final = 16_384
"""Bytes of SSZ of a gossiped object. A finality update of any fork has 2.3 kB at most; the peers in a topic fill it.
The specs' own limit, 10 MiB, is that of blocks, whose topics we do not join."""

MAX_RPC: Final = 1 << 20
"""Bytes of a gossipsub frame: a full node's subscriptions (64 subnets, 128 columns, two digests) are 30 kB, and offers
of message ids reach 100 kB."""

MAX_TOLD: Final = 16
"""Objects remembered as published or heard: those of the last slots."""

LOOK_S: Final = 6.0
"""Between two looks at which digests are of use: half a slot of the public networks."""

PUBLISH_INTERVAL_S: Final = 1.0
"""Least seconds between two rounds of publishing; what changes in between is folded into the latest."""

_VALID: Final = bytes((1, 0, 0, 0))
_INVALID: Final = bytes((0, 0, 0, 0))
_ID_SIZE: Final = 20

log = structlog.get_logger(__name__)


def topic_of(digest: bytes, name: GossipName) -> str:
    return f"/eth2/{digest.hex()}/light_client_{name}_update/ssz_snappy"


def message_id(topic: str, data: bytes) -> bytes:
    """20 bytes (altair p2p, "Transitioning the gossip"). One that claims to be longer than any of ours counts as
    invalid snappy: it is not decompressed to be named, and refused anyway."""
    ssz = decode_block(data, MAX_GOSSIP)
    domain, content = (_INVALID, data) if isinstance(ssz, Malformed) else (_VALID, ssz)
    name = topic.encode()
    return hashlib.sha256(domain + len(name).to_bytes(8, "little") + name + content).digest()[:_ID_SIZE]


def beacon_profile() -> GossipProfile:
    """Gossipsub's parameters (phase0 p2p, "The gossip domain")."""
    return GossipProfile(
        degree=8,
        degree_low=6,
        degree_high=12,
        degree_lazy=6,
        heartbeat=0.7,
        history=6,
        history_gossip=3,
        message_id=message_id,
        max_message=max_compressed_len(MAX_GOSSIP) + 1024,
        max_rpc=MAX_RPC,
    )


class Topics:
    """Our part in one network's topics: the right ones are joined, what passes is told, what we have is published."""

    def __init__(
        self, host: Host, network: str, provider: Provider, roster: Roster[Peer, Allowance], events: EventQueue
    ) -> None:
        self._host = host
        self._network = network
        self._provider = provider
        self._roster = roster
        self._events = events
        self._news = trio.Event()
        self._told: OrderedDict[bytes, None] = OrderedDict()
        self.joined: dict[str, bytes] = {}
        """Digest by topic."""

    def notify(self) -> None:
        """We have committed something."""
        self._news.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish_changes)
            while True:
                self._join()
                await trio.sleep(LOOK_S)

    def _join(self) -> None:
        """Joins and leaves topics as the provider's digests have it: at forks, and at blob-parameter forks, too."""
        try:
            digests = list(self._provider.topic_digests())
        except Exception:  # firewall around the provider: the topics stay as they are; nothing is hidden
            log.exception("provider failed", network=self._network)
            return
        wanted = {topic_of(digest, name): (digest, name) for digest in digests for name in NAMES}
        for topic in self.joined.keys() - wanted.keys():
            self._host.unsubscribe(topic)
            del self.joined[topic]
        for topic in wanted.keys() - self.joined.keys():
            digest, name = wanted[topic]
            self.joined[topic] = digest
            self._host.subscribe(topic, partial(self._validate, digest, name), partial(self._received, digest, name))

    async def _publish_changes(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            for name, chunk in self._ours():
                topic = topic_of(chunk.digest, name)
                if topic in self.joined and self._remember(name, chunk.ssz):
                    await self._host.publish(topic, encode_block(chunk.ssz))
            await trio.sleep(PUBLISH_INTERVAL_S)

    def _ours(self) -> Iterator[tuple[GossipName, Chunk]]:
        try:
            chunks = self._provider.finality_update(), self._provider.optimistic_update()
        except Exception:  # firewall around the provider: it costs one round of publishing; nothing is hidden
            log.exception("provider failed", network=self._network)
            return
        yield from ((name, chunk) for name, chunk in zip(NAMES, chunks, strict=True) if chunk is not None)

    def _remember(self, name: GossipName, ssz: bytes) -> bool:
        """True the first time: then it has neither been published nor heard."""
        mark = hashlib.sha256(name.encode() + ssz).digest()
        new = mark not in self._told
        self._told[mark] = None
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        return new

    def _validate(self, digest: bytes, name: GossipName, forwarder: str, data: bytes) -> bool:
        peer = self._roster.peers.get(forwarder)
        if peer is None or peer.leaving or not peer.gossip.take(1, trio.current_time()):
            return False
        try:
            limit = self._provider.max_size(name, digest)
            ssz = decode_block(data, min(limit or 0, MAX_GOSSIP))
            verdict = Gossip.IGNORE if limit is None else self._judge(forwarder, name, digest, ssz)
        except Exception:  # firewall around the provider: it costs one message; nothing is hidden
            log.exception("provider failed", network=self._network)
            return False
        if verdict is Gossip.ACCEPT and not isinstance(ssz, Malformed):
            self._remember(name, ssz)
            return True
        return False

    def _judge(self, forwarder: str, name: GossipName, digest: bytes, ssz: bytes | Malformed) -> Gossip:
        if isinstance(ssz, Malformed):
            self._roster.judge(RemoteFault(ssz.reason, forwarder, f"gossip: {ssz.evidence}", self._network))
            return Gossip.REJECT
        verdict = self._provider.judge(name, digest, ssz)
        if verdict is Gossip.REJECT:
            evidence = f"gossiped a {name} update that breaks a rule: {ssz[:64].hex()}"
            self._roster.judge(RemoteFault(FaultReason.INVALID_HEADER, forwarder, evidence, self._network))
        return verdict

    def _received(self, digest: bytes, name: GossipName, forwarder: str, data: bytes) -> None:
        ssz = decode_block(data, MAX_GOSSIP)
        if not isinstance(ssz, Malformed):
            self._events.publish(Gossiped(forwarder, name, digest, ssz))
