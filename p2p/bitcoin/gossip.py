"""Addresses that peers tell each other: taken in a bounded number, passed on to two, and told to whoever asks from one
sample a day, so that nobody can read the whole book or see with whom we are connected."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import trio

from p2p.bitcoin import messages as m
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.netaddr import Network
from p2p.bitcoin.peer import ADDRESSES_BURST, Peer

RELAY_MAX: Final = 10
"""Only messages with so few addresses are news; longer ones are answers (as Core has it)."""
RELAY_AGE_S: Final = 600
"""Seconds since an address was seen, for it to be passed on."""
RELAY_TO: Final = 2
"""Peers that hear of one, the same for a day: telling it again does not spread it further."""
FLUSH_S: Final = 30.0
"""Between two messages to one peer (Core's mean AVG_ADDRESS_BROADCAST_INTERVAL)."""
SAMPLE_S: Final = 86_400
"""Seconds for which everybody gets the same sample."""
_DAY: Final = 86_400


class AddressGossip:
    """``run`` passes on; the rest is called by whoever reads."""

    def __init__(
        self,
        book: AddrMan,
        peers: Mapping[str, Peer],
        *,
        wall: Callable[[], float],
        rng: random.Random,
        changed: Callable[[], None],
    ) -> None:
        self._book = book
        self._peers = peers
        self._wall = wall
        self._salt = rng.randbytes(16)
        self._changed = changed
        self._sample: tuple[int, list[m.Address]] = (-SAMPLE_S, [])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(FLUSH_S)
            for peer in list(self._peers.values()):
                if peer.relay:
                    self._tell(peer, list(peer.relay))
                    peer.relay.clear()

    def ask(self, peer: Peer) -> None:
        """Asks ``peer`` for addresses, which lets it tell as many as an answer may hold."""
        if peer.session is not None:
            peer.allowance.addresses.give(ADDRESSES_BURST)
            peer.session.send(m.GetAddr())

    def heard(self, peer: Peer, addresses: tuple[m.Address, ...]) -> None:
        """What a peer tells; what goes beyond its allowance is dropped."""
        if not peer.kind.gossips or peer.line is None:
            return
        now = trio.current_time()
        taken = [address for address in addresses if peer.allowance.addresses.take(1, now)]
        if taken and self._book.add(taken, peer.line.target.group, int(self._wall())):
            self._changed()
        if len(addresses) <= RELAY_MAX:
            self._pass_on(peer, taken)

    def asked(self, peer: Peer) -> None:
        """``getaddr``: answered once a connection, and only to those who dialed us (as Core: who is dialed could be
        fingerprinted by it)."""
        if peer.inbound and not peer.answered_addresses:
            peer.answered_addresses = True
            self._tell(peer, self._todays(int(self._wall())))

    def _todays(self, now: int) -> list[m.Address]:
        made, sample = self._sample
        if not made <= now < made + SAMPLE_S or not sample:
            sample = self._book.answer(now)
            self._sample = (now, sample)
        return sample

    def _pass_on(self, source: Peer, addresses: Iterable[m.Address]) -> None:
        now = int(self._wall())
        for address in addresses:
            if address.endpoint.dialable and now - RELAY_AGE_S <= address.time <= now + RELAY_AGE_S:
                for peer in self._chosen(source, address, now // _DAY):
                    peer.relay.append(address)

    def _chosen(self, source: Peer, address: m.Address, day: int) -> list[Peer]:
        def rank(peer: Peer) -> bytes:
            seed = self._salt + day.to_bytes(8, "little") + address.endpoint.key + peer.id.encode()
            return hashlib.blake2b(seed, digest_size=8).digest()

        able = [peer for peer in self._peers.values() if peer is not source and peer.kind.gossips and peer.session]
        return sorted(able, key=rank)[:RELAY_TO]

    def _tell(self, peer: Peer, addresses: list[m.Address]) -> None:
        if peer.session is None or not addresses:
            return
        if peer.session.remote.wants_addr_v2:
            peer.session.send(m.AddrV2(tuple(addresses)), news=True)
            return
        legacy = tuple(one for one in addresses if one.endpoint.network in (Network.IPV4, Network.IPV6))
        if legacy:
            peer.session.send(m.Addr(legacy), news=True)
