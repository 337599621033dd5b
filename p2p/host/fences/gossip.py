"""Gossip without authors: no ``from``, no sequence number, no signature; a message is its topic and its data.

Upstream cannot do that:
    pubsub/gossipsub.py:2915 tells messages apart by author and sequence number, so the second one is "equivocation"
    pubsub/mcache.py:73      keys its cache by the same, whatever ``msg_id_constructor`` says
    pubsub/pubsub.py:1584    sets both on what we publish
    pubsub/pubsub.py:1745    takes signed messages when it does not sign itself
and cannot be left alone with strangers:
    pubsub/pubsub.py:1641    an exception in our validator ends all of gossip
    pubsub/pubsub.py:562     so does a frame that is no protobuf
    pubsub/validators.py:63  and a signed message with a malformed key
    pubsub/pubsub.py:586     starts a task for every message of a frame of up to 1 MiB
    pubsub/utils.py:44       stores signed addresses of every peer it ever met, for ever
    pubsub/pubsub.py:1683    remembers for 300 s that a message was invalid, though it may only have been early
    pubsub/gossipsub.py:1627 remembers any topic name that a PRUNE invents
    pubsub/pubsub.py:1135    keeps peers in the mesh that asked for a place and left: a dozen of them fill it
    pubsub/gossipsub.py:1925 dials the peers that a PRUNE lists
    pubsub/gossipsub.py:1089 records the time of each delivery and forgets it only in a mode that is off
    pubsub/gossipsub.py:1256 sends each peer the GRAFTs meant for the peers before it
    tools/timed_cache/base_timed_cache.py:26 starts a thread that nothing ends
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict, defaultdict
from typing import Any

import structlog
import trio
from google.protobuf.message import DecodeError
from libp2p.io.exceptions import IOException
from libp2p.network.stream.exceptions import StreamError
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.exceptions import MuxedStreamError

from p2p.bucket import TokenBucket
from p2p.host.limits import Limits
from p2p.port import MESH_GOSSIP, GossipProfile, MessageId, content_id

log = structlog.get_logger(__name__)

MAX_TOPIC = 128
"""Characters of a topic that a peer says it follows; with upstream's 100 topics per peer, 13 kB a peer."""
MAX_BACKOFF = 3600
"""Seconds for which a peer may keep us from grafting it; we remember that for as long."""
REOPEN_PAUSE = 5.0
"""Seconds before a gossip stream that a connected peer ended is opened again."""


def message_id(message: Any, name: MessageId = content_id) -> bytes:
    """``name`` of a message's topic and data: the same for everybody who sends the same."""
    return name("".join(message.topicIDs), message.data)


class SeenIds:
    """Ids of messages that were taken, the latest ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[bytes, None] = OrderedDict()

    def has(self, key: bytes) -> bool:
        """Whether a message of this id was taken."""
        return key in self._ids

    def add(self, key: bytes) -> bool:
        """Remember an id as the latest; True when it is new."""
        new = key not in self._ids
        self._ids[key] = None
        self._ids.move_to_end(key)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)
        return new


class ContentCache(MessageCache):  # type: ignore[misc]
    """Recent messages under their content's id."""

    def __init__(self, window: int, history: int, name: MessageId = content_id) -> None:
        super().__init__(window, history)
        self._name = name

    def put(self, msg: Any) -> None:
        """Keep a message for the heartbeats to come; the same content only once."""
        key = message_id(msg, self._name)
        if key not in self.msgs:
            self.msgs[key] = msg
            self.history[0].append(CacheEntry(key, msg.topicIDs))


class AnonymousPubsub(Pubsub):  # type: ignore[misc]
    """Mixin over Pubsub: StrictNoSign, both ways."""

    async def publish(self, topic_id: str, data: bytes) -> None:
        """Send a message without author or signature, unless we relayed the same content already."""
        message = rpc_pb2.Message(data=data, topicIDs=[topic_id])
        if self.seen_messages.add(self.get_message_id(message)):
            await self.router.publish(self.my_id, message)
        # The queue of a peer drops what it has no room for: let its sender run before the next message.
        await trio.lowlevel.checkpoint()

    async def push_msg(self, msg_forwarder: Any, msg: Any) -> None:
        """Take a message, unless it names an author: those are not for a node that does not sign."""
        if not (msg.from_id or msg.seqno or msg.signature or msg.key):
            await super().push_msg(msg_forwarder, msg)


class ContentGossipSub(GossipSub):  # type: ignore[misc]
    """Mixin over GossipSub: messages differ when their content does."""

    profile: GossipProfile = MESH_GOSSIP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mcache: Any = ContentCache(self.profile.history_gossip, self.profile.history, self.profile.message_id)

    def _check_equivocation(self, msg: Any) -> bool:
        return True


class GuardedPubsub(Pubsub):  # type: ignore[misc]
    """Mixin over Pubsub: one peer's frames cost that peer, and only what they may cost."""

    limits: Limits
    profile: GossipProfile = MESH_GOSSIP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stock: Any = self.seen_messages
        stock.stop()
        self.seen_messages: Any = SeenIds(self.limits.gossip_seen)

    async def continuously_read_stream(self, stream: Any) -> None:
        """Read frames until the remote ends; each is handled before the next one is read."""
        peer = stream.muxed_conn.peer_id
        bucket = TokenBucket(self.limits.gossip_rate, self.limits.gossip_burst, trio.current_time())
        try:
            while True:
                frame = rpc_pb2.RPC()
                frame.ParseFromString(await read_frame(stream, self.limits.gossip_rpc))
                # A remote that sends frames faster than it may waits for us, by its send window.
                await trio.sleep(bucket.charge(1, trio.current_time()))
                await self._handle_frame(peer, frame, bucket)
        except (DecodeError, FrameTooLong) as error:
            log.debug("gossip stream reset", peer=str(peer), error=str(error))
            await stream.reset()
        except (IOException, MuxedStreamError):
            pass  # its end is no news: the connection's end is told by the swarm

    async def _handle_new_peer(self, peer_id: Any) -> None:
        await super()._handle_new_peer(peer_id)
        if not self._peer_is_connected(peer_id):  # it left meanwhile, and nobody would tell us again
            self._handle_dead_peer(peer_id)

    def _handle_dead_peer(self, peer_id: Any) -> None:
        """Upstream returns early for a peer that never let us open a stream to it, and leaves it in the mesh."""
        super()._handle_dead_peer(peer_id)
        if not self._peer_is_connected(peer_id):
            self.router.remove_peer(peer_id)

    async def _handle_frame(self, peer: Any, frame: Any, bucket: TokenBucket) -> None:
        if not self._peer_is_connected(peer):
            return  # read from a stream that outlived its connection: what it said last is forgotten already
        for message in frame.publish:
            if bucket.take(1, trio.current_time()) and self._is_ours(message):
                await self.push_msg(peer, message)
        for subscription in frame.subscriptions[: self.limits.gossip_subscriptions]:
            if self._is_of_interest(subscription.topicid) and bucket.take(1, trio.current_time()):
                self.handle_subscription(peer, subscription)
        if frame.HasField("control"):
            reduced = rpc_pb2.RPC(control=reduce_control(frame.control, self.topic_ids, self.limits))
            await self.router.handle_rpc(reduced, peer)

    async def _peer_stream_retry_task(self, peer_id: Any) -> None:
        """A remote that resets our stream as often as we open it does not get to choose how often that is."""
        await trio.sleep(REOPEN_PAUSE)
        await super()._peer_stream_retry_task(peer_id)

    def _is_of_interest(self, topic: str) -> bool:
        return len(topic) <= MAX_TOPIC and (self.profile.topics is None or self.profile.topics(topic))

    def _is_ours(self, message: Any) -> bool:
        return (
            len(message.topicIDs) == 1
            and message.topicIDs[0] in self.topic_ids
            and len(message.data) <= self.limits.gossip_message
        )

    async def push_msg(self, msg_forwarder: Any, msg: Any) -> None:
        """Take a message; whatever that raises ends here."""
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception:
            # Firewall: a validator is ours, but what it is fed is not; a message that breaks it is not passed on.
            log.exception("gossip message could not be handled", peer=str(msg_forwarder))

    async def validate_msg(self, msg_forwarder: Any, msg: Any) -> None:
        """Ask our validator each time, also about a message that it refused before."""
        self.validation_cache.cache.clear()
        self.validation_cache.access_order.clear()
        await super().validate_msg(msg_forwarder, msg)

    def notify_subscriptions(self, publish_message: Any) -> None:
        """Messages reach their subscribers from the validator; upstream's queue of 32 has no reader."""


class GuardedGossipSub(GossipSub):  # type: ignore[misc]
    """Mixin over GossipSub: forgets what it need not know."""

    profile: GossipProfile = MESH_GOSSIP

    async def publish(self, msg_forwarder: Any, pubsub_msg: Any) -> None:
        """Pass a message on, and forget when that was."""
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()

    def gossip_heartbeat(self) -> dict[Any, dict[str, list[bytes]]]:
        """Ids of recent messages for some peers of each topic that are outside our mesh (libp2p specs,
        gossipsub-v1.0, "Gossip emission"), also for those that pruned us (pubsub/gossipsub.py:1511 leaves them out)."""
        told: dict[Any, dict[str, list[bytes]]] = defaultdict(dict)
        for topic, mesh in (self.fanout | self.mesh).items():
            ids = self.mcache.window(topic)
            outside = [peer for peer in self.pubsub.peer_topics.get(topic, ()) if peer not in mesh] if ids else []
            for peer in random.sample(outside, min(len(outside), max(self.profile.degree_lazy, len(outside) // 4))):
                told[peer][topic] = ids
        return told

    async def _emit_idontwant_for_message(self, msg_id: bytes, topic_ids: Any) -> None:
        """Not for messages as short as ours (libp2p specs, gossipsub-v1.2, "IDONTWANT"): it would be as long as they
        are, and take their place in queues of 32 (pubsub/rpc_queue.py:39)."""

    async def _emit_control_msgs(self, peers_to_graft: Any, peers_to_prune: Any, peers_to_gossip: Any) -> None:
        tables = (peers_to_graft, peers_to_prune, peers_to_gossip)
        for peer in set().union(*tables):
            await super()._emit_control_msgs(*({peer: table[peer]} if peer in table else {} for table in tables))

    def _prune_idontwant_entries(self) -> None:
        """Every heartbeat."""
        super()._prune_idontwant_entries()
        now = int(time.time())
        for topic, until in list(self.back_off.items()):
            self.back_off[topic] = {peer: at for peer, at in until.items() if at > now}


class FrameTooLong(Exception):
    """A gossip frame announces more bytes than we take."""


async def read_frame(stream: Any, longest: int) -> bytes:
    """One length-prefixed frame; raise FrameTooLong, or StreamError at the end of the stream."""
    size = shift = 0
    while True:
        byte = (await _read_exactly(stream, 1))[0]
        size |= (byte & 127) << shift
        if size > longest:
            raise FrameTooLong(f"frame of {size} bytes or more, limit {longest}")
        if byte < 128:
            return await _read_exactly(stream, size)
        shift += 7
        if shift > 28:
            raise FrameTooLong("length of more than five bytes")


async def _read_exactly(stream: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await stream.read(count - len(data))
        if not piece:
            raise StreamError("ended within a frame")
        data += piece
    return data


def reduce_control(control: Any, topics: Any, limits: Limits) -> Any:
    """The part of a control message that is about our topics, of bounded size, and tells us nobody to dial."""
    keep = limits.gossip_control
    reduced = rpc_pb2.ControlMessage(
        graft=[graft for graft in control.graft[:keep] if graft.topicID in topics],
        prune=[
            rpc_pb2.ControlPrune(topicID=prune.topicID, backoff=min(prune.backoff, MAX_BACKOFF))
            for prune in control.prune[:keep]
            if prune.topicID in topics
        ],
    )
    for ihave in control.ihave[:keep]:
        if ihave.topicID in topics:
            reduced.ihave.add(topicID=ihave.topicID, messageIDs=ihave.messageIDs[:keep])
    for iwant in control.iwant[:1]:
        reduced.iwant.add(messageIDs=set(iwant.messageIDs[:keep]))
    for idontwant in control.idontwant[:keep]:
        reduced.idontwant.add(messageIDs=idontwant.messageIDs[:keep])
    return reduced
