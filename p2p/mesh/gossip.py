"""Gossip topic ``/spvnode/<network>/tip/1``: a new tip's height, header and chainwork, spread beyond direct
peers.

The payload is ``u32 height | 80 header | 32 chainwork``, big-endian integers, 116 bytes. A message is
relayed only when it has that size and the application's check (proof of work) lets its header pass.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog
import trio

from p2p.faults import FaultReason, Malformed, RemoteFault
from p2p.mesh.codec import HEADER_SIZE
from p2p.mesh.events import EventQueue, TipGossip
from p2p.mesh.peer import Peer
from p2p.mesh.serving import Allowance, Provider
from p2p.port import Host
from p2p.roster import Roster

GOSSIP_INTERVAL_S: Final = 1.0
"""Least seconds between our own messages on a topic; those in between are folded into the latest."""

TipCheck: TypeAlias = Callable[[str, int, bytes], bool | None]
"""(network, height, header) of a gossiped tip -> True: good, pass it on. False: nobody honest sends this.
None: cannot be told from where our chain ends, so it is neither passed on nor held against the peer that
forwarded it."""

log = structlog.get_logger(__name__)

_TIP: Final = struct.Struct(f">I{HEADER_SIZE}s32s")


@dataclass(frozen=True, slots=True)
class GossipTip:
    height: int
    header: bytes
    chainwork: int
    """Claimed cumulative work, never a fact."""


def tip_topic(network: str) -> str:
    return f"/spvnode/{network}/tip/1"


def encode_tip(tip: GossipTip) -> bytes:
    return _TIP.pack(tip.height, tip.header, tip.chainwork.to_bytes(32, "big"))


def decode_tip(data: bytes) -> GossipTip | Malformed:
    if len(data) != _TIP.size:
        return Malformed(FaultReason.BAD_FRAME, f"gossip tip of {len(data)} bytes, not {_TIP.size}")
    height, header, work = _TIP.unpack(data)
    return GossipTip(height, header, int.from_bytes(work, "big"))


class TipTopic:
    """Our part in one network's topic."""

    def __init__(
        self,
        host: Host,
        network: str,
        provider: Provider,
        roster: Roster[Peer, Allowance],
        events: EventQueue,
        check: TipCheck,
    ) -> None:
        self._host = host
        self._network = network
        self._provider = provider
        self._roster = roster
        self._events = events
        self._check = check
        self._news = trio.Event()

    def notify(self) -> None:
        """We have a new committed tip."""
        self._news.set()

    async def run(self) -> None:
        """Publish our tip after each change, paced."""
        self._host.subscribe(tip_topic(self._network), self._validate, self._received)
        while True:
            await self._news.wait()
            self._news = trio.Event()
            tip = self._own_tip()
            if tip is not None:
                await self._host.publish(tip_topic(self._network), encode_tip(tip))
            await trio.sleep(GOSSIP_INTERVAL_S)

    def _own_tip(self) -> GossipTip | None:
        """What we have to tell. Firewall around the provider: a failing store must not end the mesh."""
        try:
            hello = self._provider.hello()
            header = self._provider.headers_range(hello.tip_height, 1)
        except Exception:  # see above; nothing is hidden
            log.exception("provider failed", network=self._network)
            return None
        return GossipTip(hello.tip_height, header, hello.chainwork) if header else None

    def _validate(self, forwarder: str, data: bytes) -> bool:
        peer = self._roster.peers.get(forwarder)
        if peer is None or not peer.gossip.take(1, trio.current_time()):
            return False
        tip = decode_tip(data)
        if isinstance(tip, Malformed):
            self._roster.judge(RemoteFault(tip.reason, forwarder, tip.evidence, self._network))
            return False
        good = self._check(self._network, tip.height, tip.header)
        if good is False:
            evidence = f"gossiped a header without proof of work: {tip.header.hex()}"
            self._roster.judge(RemoteFault(FaultReason.INVALID_HEADER, forwarder, evidence, self._network))
        return good is True

    def _received(self, forwarder: str, data: bytes) -> None:
        tip = decode_tip(data)
        if isinstance(tip, GossipTip):
            self._events.publish(TipGossip(forwarder, self._network, tip.height, tip.header, tip.chainwork))
