"""Every fence around libp2p 0.8.1: its name, the defects it is for, and how it is put up.

A node is built from ``Parts``; stock parts are upstream's own classes. Each fence replaces some of them by subclasses,
and nothing of the library is patched in place. ``build_parts`` takes the fences to apply: all of them, but for the
tests that show an attack succeeding with a fence left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service.trio_manager import TrioManager
from libp2p.transport.tcp.tcp import TCP

from p2p.host.defects import DEFECTS, Defect
from p2p.host.fences.gossip import AnonymousPubsub, ContentGossipSub, GuardedGossipSub, GuardedPubsub
from p2p.host.fences.guard import firewalled
from p2p.host.fences.listener import MeshTCP
from p2p.host.fences.mplex import MeshMplex
from p2p.host.fences.negotiation import BoundedMultiselect, EagerMultiselectClient
from p2p.host.fences.security import noise_and_plaintext, noise_only
from p2p.host.fences.services import FirewalledManager
from p2p.host.fences.swarm import Admitting, DirectDialing, MeshSwarm
from p2p.host.fences.wire import NoiseWire
from p2p.host.fences.yamux import MeshYamux
from p2p.host.limits import Limits
from p2p.host.unread import UnreadBudget
from p2p.port import MESH_GOSSIP, GossipProfile

StreamHandler = Callable[[Any], Awaitable[None]]


def stock_mplex(session: Any, peer_id: Any, budget: UnreadBudget) -> Any:
    """Upstream's mplex, unfenced."""
    from libp2p.stream_muxer.mplex.mplex import Mplex  # noqa: PLC0415 - a node behind its fences never loads it

    return Mplex(session, peer_id)


@dataclass
class Parts:
    """The classes and functions that a node is made of."""

    limits: Limits
    manager: Any = TrioManager
    swarm: Any = MeshSwarm
    security: Any = noise_and_plaintext
    multiselect: Any = Multiselect
    multiselect_client: Any = MultiselectClient
    muxer: Any = lambda session, peer_id, budget: Yamux(session, peer_id, is_initiator=session.is_initiator)
    mplex: Any = stock_mplex
    transport: Any = TCP
    pubsub: Any = Pubsub
    pubsub_options: dict[str, Any] = field(default_factory=dict)
    gossipsub: Any = GossipSub
    gossip: GossipProfile = MESH_GOSSIP
    guard: Callable[[StreamHandler], StreamHandler] = lambda handler: handler


@dataclass(frozen=True, slots=True)
class Fence:
    """``apply`` replaces what ``DEFECTS[name]`` shows to be wrong."""

    name: str
    apply: Callable[[Parts], None]

    @property
    def defects(self) -> tuple[Defect, ...]:
        """The evidence."""
        return DEFECTS[self.name]


def _over(mixin: type, stock: type, **members: Any) -> type:
    return type(f"{mixin.__name__}Over{stock.__name__}", (mixin, stock), members)


def _task_firewall(parts: Parts) -> None:
    parts.manager = FirewalledManager


def _stream_firewall(parts: Parts) -> None:
    parts.guard = firewalled


def _noise_only(parts: Parts) -> None:
    parts.security = noise_only


def _negotiation(parts: Parts) -> None:
    parts.multiselect = _over(BoundedMultiselect, parts.multiselect, limits=parts.limits)
    parts.multiselect_client = _over(EagerMultiselectClient, parts.multiselect_client, limits=parts.limits)


def _yamux(parts: Parts) -> None:
    def muxer(session: Any, peer_id: Any, budget: UnreadBudget) -> MeshYamux:
        return MeshYamux(session, peer_id, NoiseWire(session), parts.limits, budget)

    parts.muxer = muxer


def _mplex(parts: Parts) -> None:
    def muxer(session: Any, peer_id: Any, budget: UnreadBudget) -> MeshMplex:
        return MeshMplex(session, peer_id, NoiseWire(session), parts.limits, budget)

    parts.mplex = muxer


def _listener(parts: Parts) -> None:
    parts.transport = lambda: MeshTCP(parts.limits.accept_backlog)


def _admission(parts: Parts) -> None:
    parts.swarm = _over(Admitting, parts.swarm)


def _dialing(parts: Parts) -> None:
    parts.swarm = _over(DirectDialing, parts.swarm)


def _no_authors(parts: Parts) -> None:
    parts.pubsub = _over(AnonymousPubsub, parts.pubsub)
    parts.pubsub_options = {"strict_signing": False}


def _content_ids(parts: Parts) -> None:
    parts.gossipsub = _over(ContentGossipSub, parts.gossipsub, profile=parts.gossip)


def _guarded_gossip(parts: Parts) -> None:
    parts.pubsub = _over(GuardedPubsub, parts.pubsub, limits=parts.limits, profile=parts.gossip)
    parts.gossipsub = _over(GuardedGossipSub, parts.gossipsub, profile=parts.gossip)


FENCES: tuple[Fence, ...] = (
    Fence("task-firewall", _task_firewall),
    Fence("stream-firewall", _stream_firewall),
    Fence("noise-only", _noise_only),
    Fence("negotiation", _negotiation),
    Fence("yamux", _yamux),
    Fence("mplex", _mplex),
    Fence("listener", _listener),
    Fence("admission", _admission),
    Fence("dialing", _dialing),
    Fence("no-authors", _no_authors),
    Fence("content-ids", _content_ids),
    Fence("guarded-gossip", _guarded_gossip),
)
ALL = frozenset(fence.name for fence in FENCES)


def _gossip_limits(limits: Limits, gossip: GossipProfile) -> Limits:
    """The host's limits, but for those that the profile sets itself."""
    own = {
        "gossip_message": gossip.max_message,
        "gossip_rpc": gossip.max_rpc,
        "gossip_rate": gossip.rate,
        "gossip_burst": gossip.burst,
    }
    return replace(limits, **{name: value for name, value in own.items() if value is not None})  # type: ignore[arg-type]


def build_parts(limits: Limits, fences: Collection[str] = ALL, gossip: GossipProfile = MESH_GOSSIP) -> Parts:
    """Stock parts with ``fences`` applied in the order of the table."""
    parts = Parts(_gossip_limits(limits, gossip), gossip=gossip)
    for fence in FENCES:
        if fence.name in fences:
            fence.apply(parts)
    return parts
