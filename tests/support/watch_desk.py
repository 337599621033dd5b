"""Watches as callers make them, and what they were told."""

from __future__ import annotations

import json
from typing import Any

import trio
from event_node import EventNode

from spvnode.metrics import Metrics
from spvnode.rpc.caller import LOCAL, Caller, Kind, Scope
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.events.hub import Hub
from spvnode.rpc.services import Services
from spvnode.rpc.table import METHODS
from spvnode.types import hash_hex

ALICE, BOB = (Caller(Kind.TOKEN, f"token:{name}", frozenset({Scope.READ})) for name in ("alice", "bob"))


class Desk:
    """Calls methods, and reads what watches told."""

    def __init__(self, node: EventNode, hub: Hub) -> None:
        self.node = node
        self.hub = hub
        self._dispatcher = Dispatcher(node, METHODS, Metrics(), services=Services(hub=hub))

    async def reply(self, method: str, *, caller: Caller = LOCAL, **params: object) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        found: dict[str, Any] = json.loads((await self._dispatcher.answer(body, caller=caller)).body)
        return found

    async def call(self, method: str, *, caller: Caller = LOCAL, **params: object) -> Any:
        return (await self.reply(method, caller=caller, **params))["result"]

    def told(self) -> list[dict[str, Any]]:
        entries = self.hub.read("node", 0, 1_000)
        return [json.loads(entry.data) for entry in entries if entry.kind == "watch"]

    async def looked(self) -> None:
        """Returns when the hub has looked at everything that has happened."""
        with trio.fail_after(10):
            while any(  # noqa: ASYNC110 - nothing tells that there was nothing to tell
                self.hub.watches.cursors.get(watch.network, 0) < self.node.last_event(watch.network)
                for watch in self.hub.watches.watches.values()
            ):
                await trio.sleep(0.01)

    def hash_at(self, height: int) -> str:
        return hash_hex(self.node.real["regtest"].block_hash(height))  # type: ignore[arg-type]
