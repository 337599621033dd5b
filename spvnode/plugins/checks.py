"""New headers of Bitcoin networks, shown to the plugins that want to see them; what they object to becomes an event.

A header is shown once it is committed: no plugin changes what is believed. Where it got to is written with the event,
in one file, so that a restart tells nothing twice and forgets nothing but what ``NEAR_TIP`` leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from spvnode.errors import StoreError
from spvnode.logs import get_logger
from spvnode.plugins.faults import PluginFault
from spvnode.plugins.host import Window
from spvnode.plugins.room import Outcome, Room
from spvnode.rpc.events.hub import BATCH, Hub
from spvnode.rpc.events.journal import State
from spvnode.types import Hash32, Height, hash_hex
from spvnode.view import ChainView, NodeView

NEAR_TIP = 144
"""Headers below the tip that are shown, a day of Bitcoin's. A chain that moved by more since the last look is being
synchronised, and nothing is shown until it has settled: 900,000 headers would take a core three minutes."""
BELOW = 144
"""Headers below the lowest that is shown, for a plugin that may ask for others."""
LOOK_SECONDS = 1.0
"""Between two looks; one at a network that stands still costs a few us."""
MAX_TOLD = 16
"""Events of one look of a plugin at a network, so that it cannot push all others out of the node's log: the first ones,
and the last, which tells how many are left out."""
_MOVES = ("extend", "reorg")

log = get_logger("plugins")


@dataclass(slots=True)
class HeaderChecks:
    """One daemon's. ``run`` it."""

    node: NodeView
    hub: Hub
    room: Room
    _tips: dict[str, int] = field(default_factory=dict)
    """By plugin and network: the height of the tip at the last look."""

    async def run(self) -> None:
        """Until cancelled. What cannot be written is shown again with the next look."""
        while True:
            changed = self.room.changed
            try:
                for plugin, network in self.room.checks:
                    await self.look(plugin, network)
            except StoreError as error:
                log.warning("checks not written; tried again", error=str(error))
            with trio.move_on_after(LOOK_SECONDS if self.room.checks else float("inf")):
                await changed.wait()

    async def look(self, plugin: str, network: str) -> None:
        """Shows the plugin what is new in the network. Raises StoreError."""
        chain, place = self.node.chains.get(network), f"{plugin}/{network}"
        if chain is None:  # it does not run here, or has not begun
            return
        moved = chain.tip_height - self._tips.get(place, chain.tip_height)
        self._tips[place] = chain.tip_height
        last, seen = self.node.last_event(network), self.hub.watches.checked.get(place)
        if seen == last:
            return
        if seen is None or seen > last:  # it begins now, or a power cut took what it had seen
            await self.hub.change(partial(self._mark, place, last))
            return
        if abs(moved) > NEAR_TIP:
            return
        lowest, tip, last = await self._moves(network, seen, last)
        if tip is not None and tip != hash_hex(chain.tip_hash):
            return  # a commit is between the log and the view; the next look sees both
        first = Height(max(lowest, chain.base, chain.tip_height - NEAR_TIP + 1))
        told = [] if tip is None else await self._show(plugin, chain, first)
        if first > lowest and tip is not None:
            log.info("headers not shown", plugin=plugin, network=network, count=first - lowest)
        await self.hub.change(partial(self._write, place, network, last, told), only_if_told=True)

    async def _moves(self, network: str, seen: int, last: int) -> tuple[int, str | None, int]:
        """Of the events after ``seen``: the lowest height that is new, the tip's hash after them (None where it has not
        moved), and the number of the newest."""
        lowest, tip = 1 << 62, None
        while seen < last:
            events = self.node.events(network, seen, BATCH)
            if not events:
                break
            for event in events:
                if event["kind"] in _MOVES:
                    lowest, tip = min(lowest, int(event["fork_height"]) + 1), str(event["to"]["hash"])
            seen = int(events[-1]["seq"])
            await trio.lowlevel.checkpoint()
        return lowest, tip, max(seen, last)

    async def _show(self, plugin: str, chain: ChainView, first: Height) -> list[Mapping[str, Any]]:
        """Shows the headers from ``first`` to the tip; what is to be told of them."""
        start = Height(max(int(chain.base), first - BELOW))
        window = Window(start, chain.headers(start, chain.tip_height - start + 1))
        shown = {height: window.header(height) for height in range(first, chain.tip_height + 1)}
        hashes = {height: chain.block_hash(Height(height)) for height in shown}
        data = [height.to_bytes(4, "little") + header for height, header in shown.items()]
        found = await self.room.check(plugin, data, window)
        told = [
            _objection(plugin, height, hashes[height], outcome)
            for height, outcome in zip(shown, found, strict=False)  # fewer, where it was switched off
            if outcome != 0
        ]
        if told and self.room.is_off(plugin):
            told[-1] = {**told[-1], "off": True}
        return told

    def _write(self, place: str, network: str, seq: int, told: Sequence[Mapping[str, Any]], state: State) -> None:
        state.checked[place] = seq
        if len(told) > MAX_TOLD:
            told = [*told[: MAX_TOLD - 1], {**told[-1], "left_out": len(told) - MAX_TOLD}]
        for data in told:
            state.tell("check", network, self.node.now(), data)

    def _mark(self, place: str, seq: int, state: State) -> None:
        """Where it begins; places of plugins that are gone are forgotten."""
        known = {f"{plugin}/{network}" for plugin, network in self.room.checks}
        state.checked = {name: at for name, at in state.checked.items() if name in known} | {place: seq}


def _objection(plugin: str, height: int, block_hash: Hash32, outcome: Outcome) -> Mapping[str, Any]:
    verdict = {"fault": str(outcome.reason)} if isinstance(outcome, PluginFault) else {"code": outcome}
    return {"plugin": plugin, "height": height, "hash": hash_hex(block_hash), **verdict}
