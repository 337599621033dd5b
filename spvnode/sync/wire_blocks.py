"""Bitcoin's own peers as those that serve blocks (``blocks.BlockPeers``) and filters (``filters.FilterPeers``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from p2p.bitcoin import messages as m
from p2p.bitcoin.net import BitcoinNet
from p2p.bitcoin.peer import Kind, PeerInfo
from p2p.faults import FaultReason, RemoteFault, gone
from spvnode.bitcoin.filters import FilterHashes
from spvnode.types import Hash32, Height

BASIC = 0
"""The one filter type there is (BIP158)."""
SERVES_BLOCKS = m.Services.NETWORK | m.Services.WITNESS
SERVES_FILTERS = m.Services.COMPACT_FILTERS

A = TypeVar("A")


class WirePeers:
    """``net`` is looked up at each call: the wire may be restarted."""

    def __init__(self, network: str, net: Callable[[], BitcoinNet | None]) -> None:
        self._network = network
        self._net = net

    def block_peers(self) -> Sequence[str]:
        """See ``BlockPeers``."""
        return self._serving(SERVES_BLOCKS)

    def filter_peers(self) -> Sequence[str]:
        """See ``FilterPeers``."""
        return self._serving(SERVES_FILTERS)

    async def ask_block(self, peer: str, block_hash: Hash32) -> bytes | RemoteFault:
        """See ``BlockPeers``."""
        row = m.inventory_row(m.InvKind.WITNESS_BLOCK, block_hash)

        def take(message: m.Message) -> bytes | None:
            """The block, whichever it is (its hash is checked by who asked), or b"" where it is not found."""
            if isinstance(message, m.Block):
                return message.raw
            return b"" if isinstance(message, m.NotFound) and block_hash in dict(message).values() else None

        reply = await self._ask(peer, m.GetData(row), take, large=True)
        return self._fault(peer, FaultReason.NOT_FOUND, "does not have the block") if reply == b"" else reply

    async def ask_filter_checkpoints(self, peer: str, stop: Hash32) -> bytes | RemoteFault:
        """See ``FilterPeers``."""

        def take(message: m.Message) -> bytes | None:
            fits = isinstance(message, m.CFCheckpt) and (message.filter_type, message.stop_hash) == (BASIC, stop)
            return message.filter_headers if fits and isinstance(message, m.CFCheckpt) else None

        return await self._ask(peer, m.GetCFCheckpt(BASIC, stop), take, large=True)

    async def ask_filter_hashes(self, peer: str, start: Height, stop: Hash32) -> FilterHashes | RemoteFault:
        """See ``FilterPeers``."""

        def take(message: m.Message) -> FilterHashes | None:
            if not isinstance(message, m.CFHeaders) or (message.filter_type, message.stop_hash) != (BASIC, stop):
                return None
            return FilterHashes(Hash32(message.previous_header), message.filter_hashes)

        return await self._ask(peer, m.GetCFHeaders(BASIC, start, stop), take)

    async def ask_filter(self, peer: str, height: Height, block_hash: Hash32) -> bytes | RemoteFault:
        """See ``FilterPeers``."""

        def take(message: m.Message) -> bytes | None:
            fits = isinstance(message, m.CFilter) and (message.filter_type, message.block_hash) == (BASIC, block_hash)
            return message.filter if fits and isinstance(message, m.CFilter) else None

        return await self._ask(peer, m.GetCFilters(BASIC, height, block_hash), take, large=True)

    async def report(self, fault: RemoteFault) -> None:
        """See ``BlockPeers``."""
        net = self._net()
        if net is not None:
            await net.report(fault)

    def _serving(self, services: m.Services) -> list[str]:
        """Those whose good replies are latest first."""
        net = self._net()
        rows = net.peers() if net is not None else []
        able = [row for row in rows if row.services & services == services and row.kind is not Kind.FEELER]
        return [row.id for row in sorted(able, key=_order)]

    async def _ask(
        self, peer: str, message: m.Spoken, take: Callable[[m.Message], A | None], *, large: bool = False
    ) -> A | RemoteFault:
        net = self._net()
        if net is None:
            return gone(peer, self._network, "the wire is down")
        reply = await net.ask(peer, message, take, large=large)
        return self._fault(peer, FaultReason.REFUSED, f"no answer to {message.command}") if reply is None else reply

    def _fault(self, peer: str, reason: FaultReason, evidence: str) -> RemoteFault:
        return RemoteFault(reason, peer, evidence, self._network)


def _order(row: PeerInfo) -> tuple[float, float]:
    return row.score, -(row.last_useful or 0.0)
