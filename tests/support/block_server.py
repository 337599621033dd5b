"""A peer of Bitcoin's network on loopback, on the real wire, that serves a made chain: headers, blocks, filters."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Queue
from threading import Thread

import trio
from blocks import MadeChain
from btc_peers import MAGIC, Left, Remote
from demand_peers import Ledger, Peer

from p2p.bitcoin import ellswift
from p2p.bitcoin import messages as m
from p2p.bitcoin.v2 import V2Transport
from spvnode.bitcoin.basicfilter import GENESIS_PREVIOUS
from spvnode.bitcoin.filters import CHECKPOINT_INTERVAL

SERVICES = int(m.Services.NETWORK | m.Services.WITNESS | m.Services.COMPACT_FILTERS)


class BlockServer:
    """``follow`` a chain; who is connected is told."""

    def __init__(self, lies: Mapping[int, bytes] | None = None) -> None:
        self.address = ""
        self.served: list[str] = []
        """Commands answered."""
        self.lies = lies or {}
        """Filters by height that it gives and commits to in the place of the honest ones."""
        self._peer = Peer(Ledger(MadeChain()), filters=self.lies)
        self._remotes: list[Remote] = []
        self._began: Queue[trio.lowlevel.TrioToken] = Queue()
        self._over = trio.Event()

    def follow(self, made: MadeChain) -> None:
        """From another thread."""
        ledger = Ledger(made)
        trio.from_thread.run(self._follow, ledger, trio_token=self._token)

    async def _follow(self, ledger: Ledger) -> None:
        self._peer.ledger = ledger
        headers = b"".join(raw[:80] for raw in ledger.raw[1:])
        for remote in self._remotes:
            remote.chain = headers
            try:
                await remote.send(m.Headers(headers[-2_000 * 80 :]))
            except Left:
                continue

    @contextmanager
    def running(self) -> Iterator[BlockServer]:
        """In a thread of its own."""
        thread = Thread(target=trio.run, args=(self._main,))
        thread.start()
        self._token = self._began.get(timeout=30)
        try:
            yield self
        finally:
            self._token.run_sync_soon(self._over.set)
            thread.join(30)

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
            nursery.start_soon(trio.serve_listeners, self._live, [listener])
            self._began.put(trio.lowlevel.current_trio_token())
            await self._over.wait()
            nursery.cancel_scope.cancel()

    async def _live(self, stream: trio.SocketStream) -> None:
        secret, randomness = ellswift.new_secret(), secrets.token_bytes(32)
        transport = V2Transport(MAGIC, initiator=False, secret=secret, randomness=randomness)
        chain = b"".join(raw[:80] for raw in self._peer.ledger.raw[1:])
        remote = Remote(stream, transport, chain, services=SERVICES)
        try:
            await remote.shake()
            self._remotes.append(remote)
            while True:
                await self._answer(remote, await remote.receive())
        except Left:
            pass
        finally:
            if remote in self._remotes:
                self._remotes.remove(remote)
            await trio.aclose_forcefully(stream)

    async def _answer(self, remote: Remote, message: m.Message) -> None:
        self.served.append(message.command)
        ledger = self._peer.ledger
        heights: dict[bytes, int] = {bytes(key): int(at) for key, at in ledger.heights.items()}
        match message:
            case m.GetData():
                for _, wanted in message:
                    known = heights.get(wanted)
                    missing = m.NotFound(m.inventory_row(m.InvKind.WITNESS_BLOCK, wanted))
                    await remote.send(missing if known is None else m.Block(ledger.raw[known]))
            case m.GetCFHeaders(kind, start, stop) if stop in heights:
                hashes, headers = self._peer.chain()
                previous = headers[start - 1] if start else GENESIS_PREVIOUS
                await remote.send(m.CFHeaders(kind, stop, previous, b"".join(hashes[start : heights[stop] + 1])))
            case m.GetCFilters(kind, start, stop) if stop in heights:
                for height in range(start, heights[stop] + 1):
                    given = self.lies.get(height, ledger.filters[height])
                    await remote.send(m.CFilter(kind, ledger.hashes[height], given))
            case m.GetCFCheckpt(kind, stop) if stop in heights:
                rows = self._peer.chain()[1][CHECKPOINT_INTERVAL : heights[stop] + 1 : CHECKPOINT_INTERVAL]
                await remote.send(m.CFCheckpt(kind, stop, b"".join(rows)))
            case _:
                await remote.answer(message)
