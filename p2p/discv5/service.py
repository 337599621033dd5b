"""Node discovery on one UDP socket: finds nodes of our network, and is a good neighbour to the others.

What is bounded by what: ``fence`` (packets), ``session`` (sessions, challenges), ``table`` (nodes), ``walk`` (a
lookup), ``candidates`` (nodes handed on), ``exchange`` (an answer), ``asking`` (requests). Here: lookups.
"""

from __future__ import annotations

import os
import random as pseudorandom
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio

from p2p.backoff import Backoff
from p2p.discv5 import book
from p2p.discv5.asking import REQUEST_S, Asker
from p2p.discv5.candidates import Candidates
from p2p.discv5.distance import distances_to_ask
from p2p.discv5.endpoint import FIRST_PORT, Endpoint, host_of, is_one_machine, relayable
from p2p.discv5.enr import Enr
from p2p.discv5.fence import Fence
from p2p.discv5.inbound import Inbound
from p2p.discv5.messages import Pong
from p2p.discv5.neighbours import Neighbours
from p2p.discv5.own import OwnRecord
from p2p.discv5.session import Sessions
from p2p.discv5.socket import UdpSocket
from p2p.discv5.table import BUCKET_SIZE, Node, Table
from p2p.discv5.walk import MAX_ASKED, Walk
from p2p.faults import FaultReason, RemoteFault

LOOKUP_S: Final = 30.0
"""For one lookup. 64 requests, three at a time and each in vain, take 22 s."""
MAX_LOOKUPS: Final = 2
"""Lookups under way at a time; ours alone."""

EAGER_S: Final = 5.0
"""Between lookups while peers are wanted, or the table is nearly empty."""
CALM_S: Final = 60.0
"""Between lookups otherwise."""
LONELY_MAX_S: Final = 60.0
"""Longest wait between lookups that nobody answers: the network is down, or the bootnodes are."""
TEND_S: Final = 2.0
"""Between looks at the oldest node, at newer records and at our own."""
CHECK_S: Final = 60.0
"""A node unheard of for so long is asked whether it is there."""
SAVE_S: Final = 600.0
"""Between writes of the file."""

log = structlog.get_logger(__name__)


class Started(Protocol):
    """What ``nursery.start`` passes in (``trio.TaskStatus``)."""

    def started(self) -> None:
        """The socket is bound, and ``own`` says where."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the socket was opened, and what is held now."""

    nodes: int = 0
    sessions: int = 0
    found: int = 0
    """Records handed on."""
    packets_read: int = 0
    packets_dropped: int = 0
    """Above the rates of ``fence``."""
    packets_junk: int = 0
    """Not of this protocol, not for us, or not understood once decrypted."""
    send_errors: int = 0


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is only while the socket is open."""

    socket: UdpSocket
    sessions: Sessions
    fence: Fence
    asker: Asker
    inbound: Inbound


class Discovery:
    """Discovery v5.1 for the key ``secret``, listening on ``bind`` (IP address, UDP port; ``::`` is both families).

    ``eth2`` gives our ENRForkID (16 bytes) as it is now; ``accepts`` says whether a fork digest (4 bytes) is of our
    network; ``found`` is called with every record that is. ``tcp`` is libp2p's port, ``advertise`` the IP address under
    which others reach us where that is not the one bound to. With a ``path``, living nodes are kept in that file.
    ``hungry`` says whether more peers are wanted. ``wall`` is Unix seconds.
    """

    def __init__(
        self,
        secret: bytes,
        bind: tuple[str, int],
        bootnodes: Sequence[Enr],
        *,
        eth2: Callable[[], bytes],
        accepts: Callable[[bytes], bool],
        found: Callable[[Enr], None],
        tcp: int | None = None,
        advertise: str | None = None,
        path: Path | None = None,
        hungry: Callable[[], bool] = lambda: True,
        wall: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._secret = secret
        self._bind = bind
        self._bootnodes = tuple(bootnodes)
        self._saved: list[Enr] = []
        self._eth2 = eth2
        self._advertise = advertise
        self._path = path
        self._hungry = hungry
        self._random = random
        self._own = OwnRecord(secret, tcp, eth2(), wall)
        self._id = self._own.enr.node_id
        self._table = Table(self._id)
        self._candidates = Candidates(self._id, accepts, found)
        self._neighbours = Neighbours(self._table, self._candidates)
        self._lookups = trio.CapacityLimiter(MAX_LOOKUPS)
        self._running: _Running | None = None

    @property
    def own(self) -> Enr:
        """Our record as it is now."""
        return self._own.enr

    def nodes(self) -> list[Enr]:
        """The records of the nodes that we know to live."""
        return [node.enr for node in self._table.nodes()]

    def statistics(self) -> Statistics:
        """For status and metrics."""
        running = self._running
        if running is None:
            return Statistics()
        return Statistics(
            nodes=len(self._table),
            sessions=running.sessions.count,
            found=self._candidates.handed_on,
            packets_read=running.inbound.read,
            packets_dropped=running.fence.dropped,
            packets_junk=running.inbound.junk,
            send_errors=running.socket.errors,
        )

    async def run(self, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        """Discover until cancelled. Raise OSError when the socket cannot be bound or the file not be read."""
        if self._path is not None:
            self._saved = await trio.to_thread.run_sync(book.load, self._path)
        async with UdpSocket.bound(*self._bind) as socket:
            self._running = running = self._start(socket)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(running.inbound.receive, socket)
                    nursery.start_soon(self._seek)
                    nursery.start_soon(self._tend)
                    task_status.started()
            finally:
                await self._save()
                self._running = None

    async def lookup(self, target: bytes | None = None) -> list[Enr]:
        """The living nodes nearest to ``target`` (32 bytes; random by default), at most 16, nearest first."""
        wanted = target if target is not None else self._random(32)
        async with self._lookups:
            walk = Walk(wanted, self._id, self._seeds(wanted))
            with trio.move_on_after(LOOKUP_S):
                await self._all_steps(walk)
        return [node.enr for node in walk.closest()]

    async def ping(self, enr: Enr) -> Pong | RemoteFault:
        """Ask a node whether it is there."""
        node = self._contact(enr, None)
        return _unreachable(enr) if node is None else await self._ping(node)

    async def find_node(self, enr: Enr, distances: Sequence[int]) -> list[Enr] | RemoteFault:
        """Ask a node for those it knows at logarithmic ``distances`` from it; 0 is itself."""
        node = self._contact(enr, None)
        return _unreachable(enr) if node is None else await self._find(node, tuple(distances))

    def _start(self, socket: UdpSocket) -> _Running:
        now = trio.current_time()
        host = self._advertise or socket.local.host
        if is_one_machine(host):
            self._own.set_endpoint(Endpoint(host, socket.local.port))
        fence = Fence(now)
        sessions = Sessions(self._secret, lambda: self.own, self._neighbours.record_of, self._random, now)
        asker = Asker(socket, sessions, fence, self._random)
        inbound = Inbound(sessions, fence, asker, self._neighbours, lambda: self.own)
        return _Running(socket, sessions, fence, asker, inbound)

    async def _ping(self, node: Node) -> Pong | RemoteFault:
        waiting = await self._require_running().asker.ping(node, self.own.seq)
        if waiting.pong is None:
            return self._missed(node)
        self._neighbours.answered(node, trio.current_time())
        self._neighbours.has_seq(node.node_id, node.at, waiting.pong.enr_seq)
        seen_from = host_of(waiting.pong.host)
        if seen_from is not None:
            self._own.vote(node.at.host, Endpoint(seen_from, waiting.pong.port))
        return waiting.pong

    async def _find(self, node: Node, distances: tuple[int, ...]) -> list[Enr] | RemoteFault:
        waiting = await self._require_running().asker.find_node(node, distances)
        if not waiting.answered:
            return self._missed(node)
        now = trio.current_time()
        self._neighbours.answered(node, now)
        self._neighbours.heard(waiting.records, node.at.host, now)
        return waiting.records

    def _missed(self, node: Node) -> RemoteFault:
        self._table.failed(node, trio.current_time())
        evidence = f"no answer from {node.at.host} within {REQUEST_S:g} s"
        return RemoteFault(FaultReason.TIMEOUT, node.node_id.hex(), evidence)

    async def _all_steps(self, walk: Walk) -> None:
        """Run a lookup to its end."""
        send, receive = trio.open_memory_channel[None](MAX_ASKED)
        async with trio.open_nursery() as nursery:
            while not walk.done:
                node = walk.next()
                if node is None:
                    await receive.receive()
                else:
                    nursery.start_soon(self._step, walk, node, send)

    async def _step(self, walk: Walk, node: Node, done: trio.MemorySendChannel[None]) -> None:
        answer = await self._nearest(node, walk.target)
        if answer is None:
            walk.failed(node)
        else:
            contacts = [self._contact(record, node.at.host) for record in answer]
            walk.answered(node, [contact for contact in contacts if contact is not None])
        done.send_nowait(None)  # one place for each node that a lookup may ask

    async def _nearest(self, node: Node, target: bytes) -> list[Enr] | None:
        """What a node knows near to ``target``; None when it does not answer. A full answer is enough, and so is the
        first one once we know many nodes; in a network of a few, more is asked for."""
        records: list[Enr] = []
        for distances in distances_to_ask(node.node_id, target):
            answer = await self._find(node, distances)
            if isinstance(answer, RemoteFault):
                return records or None
            records += answer
            if len(records) >= BUCKET_SIZE or len(self._table) >= BUCKET_SIZE:
                break
        return records

    def _seeds(self, target: bytes) -> list[Node]:
        """Where a lookup begins. Bootnodes serve everybody: they are asked only while we know too few others."""
        near = self._table.closest(target, BUCKET_SIZE)
        if len(near) >= BUCKET_SIZE:
            return near
        others = [self._contact(enr, None) for enr in (*self._saved, *self._bootnodes)]
        return near + [node for node in others if node is not None]

    def _contact(self, enr: Enr, told_by: str | None) -> Node | None:
        """How to reach a node. What a stranger (at ``told_by``) tells us must not send us to places of his choice."""
        socket = self._require_running().socket
        for at in enr.udp_endpoints():
            believed = told_by is None or (at.port >= FIRST_PORT and relayable(told_by, at.host))
            if believed and enr.node_id != self._id and socket.reaches(at.host):
                return Node(enr, at)
        return None

    async def _seek(self) -> None:
        """Lookups, one after the other: our own neighbourhood first, then anywhere."""
        lonely = Backoff(EAGER_S, LONELY_MAX_S, pseudorandom.Random())  # noqa: S311  spreads load
        target: bytes | None = self._id
        while True:
            if await self.lookup(target):
                lonely.reset()
                target = None
                eager = self._hungry() or len(self._table) < BUCKET_SIZE
                await trio.sleep(EAGER_S if eager else CALM_S)
            else:
                await trio.sleep(lonely.next())

    async def _tend(self) -> None:
        saved = trio.current_time()
        while True:
            await trio.sleep(TEND_S)
            self._own.set_eth2(self._eth2())
            stale = self._neighbours.next_stale()
            if stale is not None:
                await self._renew(stale)
            oldest = self._table.longest_unchecked()
            if oldest is not None and trio.current_time() - oldest[1] >= CHECK_S:
                await self._ping(oldest[0])
            if trio.current_time() - saved >= SAVE_S:
                saved = trio.current_time()
                await self._save()

    async def _renew(self, node: Node) -> None:
        """Ask a node for its newest record; where that names another endpoint, see whether it is there."""
        answer = await self._find(node, (0,))
        if isinstance(answer, RemoteFault) or not answer:
            return
        newer = self._contact(answer[0], node.at.host)
        if newer is None or newer.enr.seq <= node.enr.seq:
            return
        if newer.at == node.at:
            self._neighbours.answered(newer, trio.current_time())
        else:
            await self._ping(newer)

    async def _save(self) -> None:
        """Living nodes into the file; what was there before stays while we know of none."""
        nodes = self.nodes()
        if self._path is None or not nodes:
            return
        try:
            with trio.CancelScope(shield=True):  # one small file
                await trio.to_thread.run_sync(book.save, self._path, nodes)
        except OSError as error:
            log.warning("known nodes not saved", path=str(self._path), problem=str(error))

    def _require_running(self) -> _Running:
        if self._running is None:
            raise RuntimeError("discovery does not run")
        return self._running


def _unreachable(enr: Enr) -> RemoteFault:
    evidence = "its record names no UDP endpoint that we can reach"
    return RemoteFault(FaultReason.NOT_FOUND, enr.node_id.hex(), evidence)
