"""The mesh as a source of items, and its news as events for the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import trio

from p2p.faults import RemoteFault, gone
from p2p.mesh.codec import Headers, Hello
from p2p.mesh.events import PeerDown, PeerTip, PeerUp, TipGossip
from p2p.mesh.service import Mesh
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

FAREWELL = 1.0
"""Seconds to tell the drivers, at the end of the mesh, that its peers are gone."""


class Listener(Protocol):
    """Who wants to hear about a network's peers."""

    async def post(self, event: ev.Event) -> None:
        """Takes an event; may wait."""


class MeshSource:
    """``Source`` over one network of the mesh. ``mesh`` is looked up at each call: the mesh may be restarted, and
    without it nobody is asked (the machine knows no peer then)."""

    def __init__(self, network: str, mesh: Callable[[], Mesh | None]) -> None:
        self._network = network
        self._mesh = mesh

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        mesh = self._mesh()
        if mesh is None:
            return gone(peer, self._network, "the mesh is down")
        return items(await mesh.get_headers_by_locator(peer, self._network, cast(Sequence[Hash32], locator), count))

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        """See ``Source``."""
        mesh = self._mesh()
        if mesh is None:
            return gone(peer, self._network, "the mesh is down")
        return items(await mesh.get_headers_by_range(peer, self._network, start, count))

    async def announce(self, tip: Tip) -> None:
        """See ``Source``. The mesh reads the tip itself, from what is committed."""
        mesh = self._mesh()
        if mesh is not None:
            await mesh.announce(self._network)

    async def report(self, fault: RemoteFault) -> None:
        """See ``Source``."""
        mesh = self._mesh()
        if mesh is not None:
            await mesh.report(fault)

    def useful(self, peer: str) -> None:
        """See ``Source``."""
        mesh = self._mesh()
        if mesh is not None:
            mesh.useful(peer)


async def pump(mesh: Mesh, drivers: Mapping[str, Listener]) -> None:
    """Hands the mesh's news to the drivers, until cancelled. When it ends, so do all claims of the mesh's peers."""
    present: set[tuple[str, str]] = set()
    try:
        async for event in mesh.events:
            driver = drivers.get(event.network)
            if driver is None:
                continue
            match event:
                case PeerUp() | PeerTip():
                    present.add((event.peer, event.network))
                    await driver.post(claim(event.peer, event.hello))
                case PeerDown():
                    present.discard((event.peer, event.network))
                    await driver.post(ev.PeerLeft(event.peer))
                case TipGossip():
                    # The header itself first: where it fits our tip no further round trip is needed.
                    await driver.post(ev.Pushed(event.peer, Height(event.height), event.header))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL):
            for peer, network in present:
                await drivers[network].post(ev.PeerLeft(peer))


def claim(peer: str, hello: Hello) -> ev.PeerTip:
    """A hello or announcement as the machine hears it."""
    tip = Tip(Height(hello.tip_height), Hash32(hello.tip_hash), Work(hello.chainwork))
    return ev.PeerTip(peer, tip, Height(hello.base))


def items(reply: Headers | RemoteFault) -> Items | RemoteFault:
    """A mesh reply as the driver takes it."""
    return reply if isinstance(reply, RemoteFault) else Items(Height(reply.start), reply.headers)
