"""Where addresses come from while the book has none that answer: DNS seeds, and fixed addresses when they are silent.
All of them may be dead, for ever; then they are asked again and again, ever more rarely."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog
import trio

from p2p.backoff import Backoff
from p2p.bitcoin.addrman import AddrMan
from p2p.bitcoin.dialing import Target
from p2p.bitcoin.messages import Address, Services
from p2p.bitcoin.netaddr import NetAddressError, endpoint_of_ip, parse_endpoint
from p2p.bitcoin.seeds import Seeds

GRACE_S: Final = 11.0
"""Seconds that the book gets first: who has addresses that work need not tell a DNS server that he is there (as
Core)."""
ENOUGH: Final = 2
"""Outbound connections with which nobody needs a seed."""
DNS_S: Final = 20.0
"""Seconds for one name."""
MAX_ANSWERS: Final = 32
"""Addresses taken of one name; whoever runs it, or spoofs it, fills it (Core's limit of a lookup)."""
AGAIN_FIRST_S: Final = 60.0
AGAIN_CAP_S: Final = 3_600.0
"""Until seeds are asked again, if that did not help."""
_AGE_S: Final = (3 * 86_400, 7 * 86_400)
"""What an address of a seed is said to be old (as Core): whatever a peer tells is fresher."""

log = structlog.get_logger(__name__)


class Resolve(Protocol):
    """Looks a name up."""

    async def __call__(self, name: str) -> Sequence[str]:
        """IP addresses in text; OSError."""


async def system_resolve(name: str) -> Sequence[str]:
    """By the system's resolver."""
    found = await trio.socket.getaddrinfo(name, None, type=trio.socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


class Seeder:
    """``run`` it. ``outbound`` counts our connections; ``fetch`` asks a seed for addresses as a peer, through the proxy
    (then nothing is looked up here); ``found`` hears that the book has grown."""

    def __init__(
        self,
        book: AddrMan,
        seeds: Seeds,
        port: int,
        *,
        outbound: Callable[[], int],
        found: Callable[[], None],
        wall: Callable[[], float],
        rng: random.Random,
        resolve: Resolve = system_resolve,
        fetch: Callable[[Target], Awaitable[object]] | None = None,
    ) -> None:
        self._book = book
        self._seeds = seeds
        self._port = port
        self._outbound = outbound
        self._found = found
        self._wall = wall
        self._rng = rng
        self._resolve = resolve
        self._fetch = fetch

    async def run(self) -> None:
        """Until cancelled."""
        if not (self._seeds.dns or self._seeds.fixed):
            return
        backoff = Backoff(AGAIN_FIRST_S, AGAIN_CAP_S, self._rng)
        if len(self._book):
            await trio.sleep(GRACE_S)
        while True:
            if self._outbound() >= ENOUGH:
                backoff.reset()
                await trio.sleep(AGAIN_FIRST_S)
                continue
            if not await self._names():
                self._fixed()
            self._found()
            await trio.sleep(GRACE_S)
            if self._outbound() < ENOUGH:
                self._fixed()  # names that answer, with nobody there
                self._found()
                await trio.sleep(backoff.next())

    async def _names(self) -> int:
        """How many addresses the names have brought."""
        before = len(self._book)
        names = list(self._seeds.dns)
        self._rng.shuffle(names)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._name, name)
        if not len(self._book):
            log.warning("no DNS seed answers", names=len(names))
        return len(self._book) - before

    async def _name(self, name: str) -> None:
        if self._fetch is not None:
            await self._fetch(Target(name, self._port))
            return
        answers: Sequence[str] = ()
        with trio.move_on_after(DNS_S):
            try:
                answers = await self._resolve(name)
            except OSError as error:
                log.debug("DNS seed is silent", name=name, problem=str(error))
        self._take(list(answers)[:MAX_ANSWERS], b"dns:" + name.encode())

    def _fixed(self) -> None:
        self._take(self._seeds.fixed, b"fixed")

    def _take(self, texts: Sequence[str], source: bytes) -> None:
        now = int(self._wall())
        addresses = []
        for text in texts:
            try:
                endpoint = parse_endpoint(text) if source == b"fixed" else endpoint_of_ip(text, self._port)
            except NetAddressError:
                continue
            addresses.append(Address(now - self._rng.randrange(*_AGE_S), Services.NETWORK, endpoint))
        self._book.add(addresses, source, now, penalty=0)
