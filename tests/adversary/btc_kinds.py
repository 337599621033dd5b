"""Every kind of liar, as eight of them would live in one street with honest peers; what each is expected to be charged
with, and how it is tried: ``trial``."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType

import btc_peers as bp
import trio
from btc_lines import CHANCE, LONG_WAY, QUICK
from btc_net import WALL, until
from btc_sync import Node, node, run, street_of, with_minimum_work
from mine import mine, mine_run, regtest_chain

from p2p.bitcoin import messages as m
from p2p.bitcoin.buckets import BUCKET_SIZE, NEW_BUCKETS_PER_SOURCE, TRIED_BUCKETS_PER_GROUP
from p2p.bitcoin.connect import MAX_READ
from p2p.bitcoin.payloads import MAX_UNASKED
from p2p.bitcoin.session import BUSY_OUTBOX
from p2p.bitcoin.v2 import V1Transport
from p2p.faults import FaultReason, RemoteFault
from p2p.score import Judgement
from spvnode.bitcoin.stored import RUN_ITEMS
from spvnode.sync.prover import MAX_PROVING, PIECE
from spvnode.sync.supply import MAX_SUPPLIES, MAX_SUPPLY
from spvnode.sync.window import MAX_WINDOW
from spvnode.types import HEADER_SIZE, Height

PEERS = 8
LENGTH = 100_000
BELIEVED = 90_000
"""Blocks of work that a chain needs: nine tenths of it go through presync, twice over the line."""
PARAMS = with_minimum_work(BELIEVED)
AFTERWARDS = 300.0
"""Simulated seconds for which a trial goes on when the honest chain is there."""
PATIENCE = 7_200.0

HELD_PRESYNC = 800_000
"""Bytes of one peer's, the promise."""
HELD_SUPPLIES = MAX_SUPPLIES + (MAX_SUPPLY + PEERS * PIECE) * HEADER_SIZE
"""Of all peers: the shelf, the one that a fetch waits for, and a release of each on top."""
HELD_WINDOW = MAX_WINDOW * RUN_ITEMS * HEADER_SIZE
HELD_SESSION = MAX_UNASKED + MAX_READ + BUSY_OUTBOX + m.MAX_HEADERS * 81
"""Of one peer: the greatest message in the making that nobody has asked for, and what waits to be sent."""
HELD_BOOK = (NEW_BUCKETS_PER_SOURCE + TRIED_BUCKETS_PER_GROUP) * BUCKET_SIZE * PEERS
"""Addresses: eight sources fill so many places of the book."""
BOOK_ENTRY = 400
"""Bytes of an address in the book, in round numbers."""


@cache
def honest_chain() -> bytes:
    return regtest_chain(LENGTH)


@cache
def other_chain() -> bytes:
    """Valid, from genesis on another, of less work than is believed."""
    return regtest_chain(BELIEVED - 10_000, seed=7)


def tip_of(chain: bytes) -> bytes:
    return bp.hash_of(chain[-80:])


# -- chains that break a rule somewhere


def broken_at(height: int) -> bytes:
    """The honest chain with a header of ``height`` whose hash misses its target."""
    headers = honest_chain()
    at = (height - 1) * 80
    header = bytearray(headers[at : at + 80])
    while bp.hash_of(header)[31] < 0x80:
        header[76:] = struct.pack("<I", struct.unpack("<I", header[76:])[0] + 1)
    return headers[:at] + bytes(header) + headers[at + 80 :]


def turned(height: int, shift: int, more: int = 3_000) -> bytes:
    """The honest chain up to ``height`` - 1; that header's time is ``shift`` seconds from the one before it."""
    kept = honest_chain()[: (height - 1) * 80]
    time = struct.unpack("<I", kept[-12:-8])[0] + shift
    raw, digest = mine(bp.hash_of(kept[-80:]), time=time)
    return kept + raw + mine_run(digest, time, more, seed=height)


def foreign(number: int) -> bytes:
    """From another genesis."""
    return mine_run(bytes((number,)) * 32, 1_300_000_000, 2_500)


# -- behaviours that only make sense here


async def stalling(remote: bp.Remote) -> None:
    """Answers once, as one that has a long chain, and nothing more."""
    request = await remote.wait_for(m.GetHeaders)
    await remote.answer(request)
    await bp.silent(remote)


async def mainnet(remote: bp.Remote) -> None:
    """Says who it is at once, to whoever is there."""
    await remote.raw(V1Transport(bytes.fromhex("f9beb4d9")).encode(remote.version()))
    await bp.silent(remote)


def flood(message: m.Spoken, each: int, pause: float) -> bp.Behaviour:
    """``each`` of them every ``pause`` seconds, for half a minute: it is our processor that runs both ends."""

    async def behaviour(remote: bp.Remote) -> None:
        with trio.move_on_at(30):
            while True:
                for _ in range(each):
                    await remote.send(message)
                await trio.sleep(pause)
        await bp.silent(remote)

    return behaviour


INV_FLOOD = flood(m.Inv(m.inventory_row(m.InvKind.TX, bytes(32)) * m.MAX_INVENTORY), 1, 2)
PING_FLOOD = flood(m.Ping(1), 1_000, 1)


def mirror(victim: Callable[[], Node], address: str) -> bp.Behaviour:
    """Leads back to the node itself."""

    async def behaviour(remote: bp.Remote) -> None:
        await victim().net.accept(remote.stream, address, 40_000)

    return behaviour


# -- the table

Victim = Callable[[], Node]
MakeHouse = Callable[[int, Victim], bp.House]


@dataclass(frozen=True)
class Kind:
    """``house`` makes the n-th liar. ``reasons``: what it is charged with, at least one of them; none where nothing can
    be told from an honest peer's doing, or where it costs nothing."""

    what: str
    house: MakeHouse
    reasons: frozenset[FaultReason] = frozenset()
    quick: bool = True
    """It costs our processor little; the others have the whole trial in the long runs only."""


def _of(behaviour: bp.Behaviour, **how: object) -> MakeHouse:
    return lambda number, victim: bp.House(behaviour, claims=LENGTH + 5_000, **how)  # type: ignore[arg-type]


def _with(chain: Callable[[int], bytes], claims: int = LENGTH + 5_000) -> MakeHouse:
    return lambda number, victim: bp.House(bp.honest, chain=chain(number), claims=claims)


def _height(number: int) -> int:
    """Of the header that is broken: anywhere, the same each time."""
    return 1 + (number * 7_919_101 + 31_337) % (LENGTH - 1)


R = FaultReason
KINDS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        "silent": Kind("takes all, says nothing", _of(bp.silent), frozenset({R.TIMEOUT, R.STALLED})),
        "stalling": Kind(
            "answers once, then nothing",
            lambda number, victim: bp.House(stalling, chain=honest_chain(), claims=LENGTH),
            frozenset({R.TIMEOUT, R.DRIP, R.STALLED}),
        ),
        "dripping bytes": Kind(
            "a byte a second",
            lambda number, victim: bp.House(bp.dripping_bytes, chain=honest_chain()),
            frozenset({R.TIMEOUT, R.STALLED, R.DRIP}),
        ),
        "dripping headers": Kind(
            "a header an answer", lambda number, victim: bp.House(bp.dripping_headers, chain=honest_chain())
        ),
        "slow": Kind(
            "half a minute late", lambda number, victim: bp.House(bp.slow, chain=honest_chain()), frozenset({R.TIMEOUT})
        ),
        "another network": Kind(
            "speaks with mainnet's magic",
            lambda number, victim: bp.House(mainnet, shakes=False),
            frozenset({R.WRONG_NETWORK}),
        ),
        "another genesis": Kind("a chain that begins elsewhere", _with(foreign)),
        "unconnected": Kind(
            "announces headers that connect to nothing",
            _of(bp.announcing(mine_run(b"\x55" * 32, 1_700_000_000, 3))),
            frozenset({R.FALSE_CLAIM}),
        ),
        "low-work flood": Kind(
            "a long chain of too little work", _with(lambda number: other_chain()), frozenset({R.LOW_WORK})
        ),
        "presync switch": Kind(
            "enough work first, another chain the second time",
            lambda number, victim: bp.House(
                bp.switching(honest_chain(), other_chain(), 46 + number), chain=honest_chain(), claims=LENGTH
            ),
            frozenset({R.UNLINKED}),
        ),
        "invalid work": Kind(
            "one header misses its target",
            _with(lambda number: broken_at(_height(number))),
            frozenset({R.INVALID_HEADER}),
        ),
        "timewarp": Kind(
            "a period begins before the last ended",
            _with(lambda number: turned(2_016 * (3 + number), -700)),
            frozenset({R.INVALID_HEADER}),
        ),
        "from the past": Kind(
            "not above the median of eleven",
            _with(lambda number: turned(5_000 + number, -36_000)),
            frozenset({R.INVALID_HEADER}),
        ),
        "from the future": Kind(
            "a header of next year",
            _with(lambda number: turned((30_001 if number % 2 else 95_001) + number, int(WALL) - 1_200_000_000)),
            frozenset({R.TIME_TOO_NEW, R.LOW_WORK, R.DRIP}),
        ),
        "fake invs": Kind("announces blocks that nobody has", _of(bp.fake_invs), frozenset({R.FALSE_CLAIM})),
        "oversized": Kind("4 GiB of headers", _of(bp.oversized), frozenset({R.OVERSIZED})),
        "truncated": Kind(
            "hangs up in the middle of a frame",
            lambda number, victim: bp.House(bp.truncated, chain=honest_chain()),
            frozenset({R.DISCONNECTED}),
        ),
        "garbage": Kind("another protocol", _of(bp.garbage), frozenset({R.BAD_FRAME, R.WRONG_NETWORK})),
        "addr flood": Kind("a thousand addresses a second", _of(bp.addr_flood), quick=False),
        "inv flood": Kind("fifty thousand rows at a time", _of(INV_FLOOD), frozenset({R.FLOOD}), quick=False),
        "ping flood": Kind("a thousand pings a second", _of(PING_FLOOD), frozenset({R.FLOOD}), quick=False),
        "self-connection": Kind(
            "leads back to ourselves",
            lambda number, victim: bp.House(mirror(victim, f"{11 + number}.1.1.1"), shakes=False),
        ),
        "disconnect loop": Kind("hangs up after each handshake", _of(bp.leaving), frozenset({R.DISCONNECTED})),
        "equivocating": Kind(
            "another chain each time, and hangs up",
            lambda number, victim: bp.House(
                _fickle(
                    other_chain()[: (number + 3) * 80_000],
                    honest_chain()[: (number + 2) * 400_000],
                    other_chain()[:2_400_000],
                )
            ),
            frozenset({R.LOW_WORK}),
            quick=False,
        ),
    }
)


def _fickle(*chains: bytes) -> bp.Behaviour:
    tell = bp.equivocating(*chains)

    async def behaviour(remote: bp.Remote) -> None:
        with trio.move_on_after(60):
            await tell(remote)

    return behaviour


# -- one trial


@dataclass
class Result:
    """What was seen. ``seconds``: simulated, until the honest chain was there. ``charged``: faults of liars, by reason;
    ``wronged``: those of honest peers. ``held``: the most bytes of anything that peers fill."""

    seconds: float = 0.0
    held: int = 0
    charged: Counter[FaultReason] = field(default_factory=Counter)
    wronged: Counter[FaultReason] = field(default_factory=Counter)
    stored_bad: int = 0
    connected: bool = False
    """Whether an honest peer is there at the end, and has no points."""


def held(made: Node) -> int:
    """Bytes of what peers make the node keep."""
    sessions = [peer.session for peer in made.net._roster.peers.values() if peer.session is not None]
    links = sum(one.link.transport.buffered + one._outbox_size for one in sessions)
    window = sum(len(job.items or b"") for job in made.driver.machine.window)
    return made.pump.prover.nbytes + made.source.nbytes + links + window + made.net.addresses * BOOK_ENTRY


def most_held() -> int:
    """The bound of ``held``, by the parts of which it is made."""
    proving = min(MAX_PROVING, PEERS)
    held_peers = proving * HELD_PRESYNC + PEERS * HELD_SESSION
    return held_peers + HELD_SUPPLIES + HELD_WINDOW + HELD_BOOK * BOOK_ENTRY


def trial(kind: Kind | None, liars: int) -> Result:
    """``liars`` of ``kind``, the nearest and first, and honest peers up to ``PEERS``, until the honest chain has been
    here for ``AFTERWARDS``."""
    CHANCE.seed(1)
    result, nodes = Result(), list[Node]()
    houses = [replace(kind.house(n, lambda: nodes[0]), pace=QUICK) for n in range(liars)] if kind is not None else []
    honest = [bp.House(bp.honest, chain=honest_chain(), pace=LONG_WAY) for _ in range(PEERS - liars)]
    street = street_of(*houses, *honest)
    bad = {f"btc:{address}" for address in list(street.houses)[:liars]}

    async def main() -> None:
        async with node(street, PARAMS) as made:
            nodes.append(made)
            _note(made, bad, result)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_measure, made, result)
                await until(lambda: made.tip == tip_of(honest_chain()), PATIENCE)
                result.seconds = trio.current_time()
                await trio.sleep(AFTERWARDS)
                nursery.cancel_scope.cancel()
            result.stored_bad = _stored_bad(made)
            points = {peer.id: peer.score for peer in made.net.peers() if peer.id not in bad}
            result.connected = bool(points) and not any(points.values())

    run(main)
    return result


def _note(made: Node, bad: Collection[str], result: Result) -> None:
    report, hosts = made.scores.report, {_host(peer) for peer in bad}

    def noted(fault: RemoteFault, now: float, *, connected: int, static: bool = False, last: bool = False) -> Judgement:
        (result.charged if _host(fault.peer) in hosts else result.wronged)[fault.reason] += 1
        return report(fault, now, connected=connected, static=static, last=last)

    made.scores.report = noted  # type: ignore[method-assign]


def _host(peer: str) -> str:
    """Of a name: one who dials us (or leads us back) has another port each time."""
    return peer.removeprefix("btc:").rpartition(":")[0]


async def _measure(made: Node, result: Result) -> None:
    while True:
        result.held = max(result.held, held(made))
        await trio.sleep(0.1)


def _stored_bad(made: Node) -> int:
    """Headers in the store that are not the honest chain's: on the main chain, above it, or on side branches."""
    stored, chain = made.headers.headers(Height(1), LENGTH + 10_000), honest_chain()
    main = 0 if stored == chain else abs(len(stored) - len(chain)) // 80 or 1
    return main + sum(len(branch.headers) // 80 for branch in made.chain.store.side_branches())
