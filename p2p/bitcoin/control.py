"""What the operator may do to the peers of Bitcoin's own network."""

from __future__ import annotations

from typing import Any

from p2p.bitcoin.dialing import PREFIX, parse_target
from p2p.bitcoin.peers import Population
from p2p.roster import Roster
from p2p.troubles import Missing


class WireControl:
    """As ``p2p.control.Control``, for addresses ``HOST[:PORT]``; NetAddressError for others. ``static`` are the peers
    that the scores spare, which grows and shrinks with what is kept."""

    def __init__(self, population: Population, roster: Roster[Any, Any], static: set[str], port: int) -> None:
        self._population = population
        self._roster = roster
        self.static = static
        self._port = port

    def takes(self, address: str) -> bool:
        """Whether ``address`` is one of this wire's, by its look."""
        return not address.startswith("/")

    def add(self, address: str) -> bool:
        """Keep connected to it from now on, until the daemon ends; False where that is so already."""
        target = parse_target(address.removeprefix(PREFIX), self._port)
        kept = self._population.keep(target)
        self.static.add(target.peer)
        return kept

    def remove(self, address: str) -> bool:
        """Keep no longer; the connection stays. False where it was not added."""
        target = parse_target(address.removeprefix(PREFIX), self._port)
        self.static.discard(target.peer)
        return self._population.leave(target)

    def once(self, address: str) -> None:
        """Try it once, soon."""
        self._population.once(parse_target(address.removeprefix(PREFIX), self._port))

    def missing(self) -> list[Missing]:
        """Those kept that are not connected, and why."""
        return self._population.missing()

    def disconnect(self, peer: str) -> bool:
        """Part from whom ``peer`` names, an id or an address as it is listed. False where nobody is."""
        found = [one for one in self._roster.peers.values() if peer in (one.id, one.addr, one.id.removeprefix(PREFIX))]
        for one in found:
            self._roster.drop(one)
        return bool(found)
