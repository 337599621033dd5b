"""What the operator may do to the peers of one libp2p wire: the mesh and the beacon wire alike."""

from __future__ import annotations

from typing import Any

from p2p.addresses import parse_address
from p2p.dialer import Dialer
from p2p.roster import Roster
from p2p.troubles import Missing


class Control:
    """All methods belong to the trio thread. Addresses are multiaddrs with ``/p2p/PEER``; AddressError for others."""

    def __init__(self, dialer: Dialer, roster: Roster[Any, Any]) -> None:
        self._dialer = dialer
        self._roster = roster

    def takes(self, address: str) -> bool:
        """Whether ``address`` is one of this wire's, by its look."""
        return address.startswith("/")

    def add(self, address: str) -> bool:
        """Keep connected to it from now on, until the daemon ends; False where that is so already."""
        return self._dialer.keep(parse_address(address))

    def remove(self, address: str) -> bool:
        """Keep no longer; the connection stays. False where it was not added."""
        return self._dialer.leave(parse_address(address))

    def once(self, address: str) -> None:
        """Try it once, soon."""
        self._dialer.once(parse_address(address))

    def missing(self) -> list[Missing]:
        """Those kept that are not connected, and why."""
        return self._dialer.missing()

    def disconnect(self, peer: str) -> bool:
        """Part from whom ``peer`` names: an id, a multiaddr, or an address as it is listed. False where nobody is."""
        found = [one for one in self._roster.peers.values() if peer in (one.id, one.addr, f"{one.addr}/p2p/{one.id}")]
        for one in found:
            self._roster.drop(one)
        return bool(found)
