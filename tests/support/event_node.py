"""A node whose chain is real and whose event log is a list; and a running hub over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from mine import regtest_chain
from rpc_live import Live, live
from small_node import SmallNode

from spvnode.rpc.events.filters import NO_FILTERS, Filters
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.events.journal import Journal
from spvnode.rpc.services import Services
from spvnode.rpc.settings import Desk


class EventNode(SmallNode):
    """``commit`` adds headers to a regtest chain, and their event."""

    def __init__(self, *networks: str) -> None:
        super().__init__(*(networks or ("regtest",)))
        self.log: dict[str, list[Mapping[str, Any]]] = {name: [] for name in self.networks}
        self.next_seq = dict.fromkeys(self.networks, 1)

    def happen(self, network: str = "regtest", kind: str = "extend", **more: Any) -> int:
        """Appends an event; its number."""
        seq = self.next_seq[network]
        tip = {"height": self.real[network].tip_height, "hash": self.real[network].tip_hash[::-1].hex()}
        event = {"seq": seq, "time": self.clock, "kind": kind, "fork_height": 0, "from": tip, "to": tip,
                 "undo_count": 0, "redo_count": 0, "undo": [], "redo": [], **more}  # fmt: skip
        self.log[network].append(event)
        self.next_seq[network] = seq + 1
        return seq

    def commit(self, headers: bytes, network: str = "regtest") -> None:
        """Offers headers to the chain; a reorganization gives its event."""
        chain = self.real[network]
        before = [chain.block_hash(height)[::-1].hex() for height in range(chain.tip_height + 1)]
        self.add(network, headers)
        after = [chain.block_hash(height)[::-1].hex() for height in range(chain.tip_height + 1)]
        fork = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
        if fork is None:
            self.happen(network, fork_height=len(before) - 1, redo_count=len(after) - len(before))
        else:
            undo, redo = before[fork:][::-1], after[fork:]
            self.happen(network, "reorg", fork_height=fork - 1, undo=undo, redo=redo,
                        undo_count=len(undo), redo_count=len(redo))  # fmt: skip

    def events(self, network: str, cursor: int, limit: int) -> Sequence[Mapping[str, Any]]:
        return [event for event in self.log[network] if event["seq"] > cursor][:limit]

    def last_event(self, network: str) -> int:
        return self.next_seq[network] - 1


@asynccontextmanager
async def with_hub(
    node: EventNode, folder: Path, desk: Desk | None = None, filters: Filters = NO_FILTERS
) -> AsyncIterator[Hub]:
    """A running hub with its journal in ``folder``."""
    hub = Hub(node, Journal(folder / "watches.json", node.now), desk, filters)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        yield hub
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def live_events(node: EventNode, folder: Path, desk: Desk | None = None) -> AsyncIterator[Live]:
    """A server with a hub."""
    desk = desk or Desk()
    async with with_hub(node, folder, desk) as hub, live(folder, node, desk=desk, services=Services(hub=hub)) as server:
        yield server


def chain_of(count: int, seed: int = 0) -> bytes:
    """``count`` headers above regtest's genesis; branches of different seeds have nothing in common."""
    return regtest_chain(count, spacing=60, seed=seed)
