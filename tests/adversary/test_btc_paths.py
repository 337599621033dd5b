"""Messages through every entry path, made at random: announced and fetched headers, ``inv``, presync, and what the mesh
pushes, serves and a user imports. The store never grows by a header that breaks a rule, nor by one of too little work.

Some thousand messages each; a million under ``SPVNODE_TEST_PROFILE=fuzz``. A message has 20 headers here, not 2,000.
"""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import btc_peers as bp
import pytest
import trio
from btc_lines import one_order
from btc_net import WALL
from btc_sync import Node, node, one_clock, run, street_of, with_minimum_work
from mine import mine, mine_run, regtest_chain

from merkle.hashing import sha256d_headers
from p2p.bitcoin import messages as m
from p2p.faults import RemoteFault
from p2p.score import Action, Judgement
from spvnode.bitcoin.params import PresyncParams
from spvnode.bitcoin.stored import HEADER_TERMS, StoredChain
from spvnode.following import Outcome, Tip
from spvnode.sync import events as ev
from spvnode.sync import mesh_gate, prover, wire, wire_pump
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

__all__ = ["one_clock", "one_order"]
pytestmark = [pytest.mark.usefixtures("one_clock", "one_order", "short_messages"), pytest.mark.fuzz]

FUZZ = os.environ.get("SPVNODE_TEST_PROFILE") == "fuzz"
MESSAGES = 334_000 if FUZZ else 3_000
"""Of each of three tests."""
MESSAGE = 20
BELIEVED = 250
PARAMS = replace(with_minimum_work(BELIEVED), presync=PresyncParams(commitment_period=5, redownload_buffer=60))
HONEST = regtest_chain(300)


@pytest.fixture
def short_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few hundred headers are many messages."""
    for module in (wire, wire_pump, prover):
        monkeypatch.setattr(module, "FULL", MESSAGE * 80)
    monkeypatch.setattr(bp, "FULL", MESSAGE)
    monkeypatch.setattr(mesh_gate, "MAX_HEADERS", MESSAGE)
    monkeypatch.setattr(StoredChain, "terms", replace(HEADER_TERMS, run_items=2 * MESSAGE))


def upto(chain: bytes, height: int) -> bytes:
    return chain[: height * 80]


def grown(chain: bytes, count: int, seed: int) -> bytes:
    return chain + mine_run(bp.hash_of(chain[-80:]), struct.unpack("<I", chain[-12:-8])[0], count, seed=seed)


def spoilt(chain: bytes, height: int) -> bytes:
    """The hash of one header misses its target."""
    at = (height - 1) * 80
    header = bytearray(chain[at : at + 80])
    while bp.hash_of(header)[31] < 0x80:
        header[76:] = struct.pack("<I", (struct.unpack("<I", header[76:])[0] + 1) % 2**32)
    return chain[:at] + bytes(header) + chain[at + 80 :]


def against(chain: bytes, height: int, *, shift: int = 600, bits: int = 0x207FFFFF) -> bytes:
    """A header with proof of work that breaks another rule, at ``height``, and ten more on top of it."""
    kept = upto(chain, height - 1)
    raw, _ = mine(bp.hash_of(kept[-80:]), time=struct.unpack("<I", kept[-12:-8])[0] + shift, bits=bits)
    return grown(kept + raw, 10, height)


GOOD = [HONEST, grown(upto(HONEST, 280), 15, 1), grown(upto(HONEST, 290), 20, 2)]
LOW = [
    *(regtest_chain(length, seed=length) for length in (10, 19, 100, 248)),
    grown(upto(HONEST, 3), 240, 3),
    grown(upto(HONEST, 40), 100, 4),
]
"""Valid, of less work than is believed; genesis counts, too."""
BROKEN = [
    *(spoilt(HONEST, height) for height in (1, 2, 20, 21, 130, 260, 295)),
    *(against(HONEST, height, shift=-36_000) for height in (30, 270)),
    *(against(HONEST, height, shift=int(WALL)) for height in (25, 275, 299)),
    *(against(HONEST, height, bits=0x207FFFFE) for height in (5, 285)),
    mine_run(b"\x77" * 32, 1_300_000_000, 60),
]
CHAINS = [*GOOD, *LOW, *BROKEN]


def hashes_of(chain: bytes) -> set[bytes]:
    digests = sha256d_headers(chain)
    return {digests[at : at + 32] for at in range(0, len(digests), 32)}


BELIEVABLE = {one for chain in GOOD for one in hashes_of(chain)}
VALID = BELIEVABLE | {one for chain in LOW for one in hashes_of(chain)}


class Chaos:
    """What is sent, and how much of it by which path."""

    def __init__(self, seed: int, *, imports: bool = False) -> None:
        self.imports = imports
        self.rng = random.Random(seed)
        self.followed: dict[str, bytes] = {}
        self.sent: Counter[str] = Counter()

    def some(self, most: int) -> bytes:
        """A piece of some chain."""
        chain = self.rng.choice(CHAINS)
        start = self.rng.randrange(len(chain) // 80)
        return chain[start * 80 : (start + self.rng.randint(1, most)) * 80]

    async def peer(self, remote: bp.Remote) -> None:
        """Follows one chain for most of the time, and says whatever it likes between."""
        remote.chain = self.rng.choice(CHAINS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._talk, remote)
            while True:
                message = await remote.receive()
                if not isinstance(message, m.GetHeaders):
                    await remote.answer(message)
                    continue
                self.sent["fetched"] += 1
                match self.rng.random():
                    case chance if chance < 0.04:
                        raise bp.Left
                    case chance if chance < 0.08:
                        remote.chain = self.rng.choice(CHAINS)
                    case chance if chance < 0.16:
                        await remote.send(m.Headers(self.some(MESSAGE)))
                        continue
                    case _:
                        pass
                await remote.answer(message)

    async def _talk(self, remote: bp.Remote) -> None:
        while True:
            await trio.sleep(self.rng.uniform(0.05, 1.0))
            if self.rng.random() < 0.7:
                self.sent["announced"] += 1
                await remote.send(m.Headers(self.some(8)))
            else:
                self.sent["inv"] += 1
                block_hash = bp.hash_of(self.some(1))
                await remote.send(m.Inv(m.inventory_row(m.InvKind.BLOCK, block_hash)))

    # The mesh, as its source is asked.

    def _follows(self, peer: str) -> bytes:
        """One chain for most of the time."""
        if peer not in self.followed or self.rng.random() < 0.08:
            self.followed[peer] = self.rng.choice(CHAINS)
        return self.followed[peer]

    async def fetch_after(self, peer: str, locator: object, count: int) -> Items | RemoteFault:
        await trio.sleep(self.rng.uniform(0, 0.2))
        self.sent["mesh fetched"] += 1
        chain = self._follows(peer)
        places = bp.places_of(chain)
        after = next((places[one] for one in cast(Sequence[Hash32], locator) if one in places), 0)
        given = count if self.rng.random() < 0.8 else self.rng.randint(1, count)
        return Items(Height(after + 1), chain[after * 80 : (after + given) * 80])

    async def fetch_range(self, peer: str, start: Height, count: int) -> Items | RemoteFault:
        await trio.sleep(self.rng.uniform(0, 0.2))
        self.sent["mesh range"] += 1
        chain = self._follows(peer)
        return Items(start, chain[(start - 1) * 80 : (start - 1 + count) * 80])

    async def announce(self, tip: Tip) -> None:
        pass

    async def report(self, fault: RemoteFault) -> None:
        pass

    def useful(self, peer: str) -> None:
        pass

    async def mesh(self, made: Node) -> None:
        """Claims and pushes of mesh peers, and a user who imports what he finds."""
        ear = made.mesh
        assert ear is not None
        while True:
            await trio.sleep(self.rng.uniform(0.05, 0.5))
            peer = f"mesh-{self.rng.randrange(4)}"
            height = Height(self.rng.randrange(400))
            match self.rng.randrange(4 if self.imports else 3):
                case 0:
                    tip = Tip(height, Hash32(self.rng.randbytes(32)), Work(self.rng.randrange(1_000)))
                    await ear.post(ev.PeerTip(peer, tip, Height(0)))
                case 1:
                    await ear.post(ev.PeerLeft(peer))
                case 2:
                    self.sent["pushed"] += 1
                    await ear.post(ev.Pushed(peer, min(height, Height(made.height + 1)), self.some(8)))
                case _:
                    self.sent["imported"] += 1
                    await self._import(made)

    async def _import(self, made: Node) -> None:
        before = made.height, made.tip
        verdict = await made.driver.import_items(self.some(60))
        if verdict.outcome is Outcome.REJECTED:
            assert (made.height, made.tip) == before or made.tip in VALID


def stored(made: Node) -> set[bytes]:
    """Hashes of all that the store holds, the main chain's and the side branches', without genesis."""
    sides = [branch.headers for branch in made.chain.store.side_branches()]
    return set().union(*(hashes_of(one) for one in (made.headers.headers(Height(1), 1_000), *sides) if one))


def unpunished(
    fault: RemoteFault, now: float, *, connected: int, static: bool = False, last: bool = False
) -> Judgement:
    """Liars stay, so that they can say more."""
    return Judgement(Action.KEEP, 0.0, 0.0)


def test_by_the_wire_nothing_invalid_and_nothing_of_low_work_is_stored() -> None:
    chaos = Chaos(1)

    async def main() -> None:
        async with node(street_of(*(bp.House(chaos.peer) for _ in range(8))), PARAMS) as made:
            made.scores.report = unpunished  # type: ignore[method-assign]
            while chaos.sent.total() < MESSAGES:
                await trio.sleep(0.5)
                assert stored(made) <= BELIEVABLE
            assert made.height >= BELIEVED, "what is believable came through"
            assert made.pump.prover.low_work >= 8, "presync has met them all"

    run(main)
    assert set(chaos.sent) == {"announced", "fetched", "inv"}


def test_by_the_mesh_beside_the_wire_nothing_invalid_and_nothing_of_low_work_is_stored() -> None:
    chaos = Chaos(2)

    async def main() -> None:
        street = street_of(*(bp.House(chaos.peer) for _ in range(4)))
        async with node(street, PARAMS, mesh=chaos) as made:
            made.scores.report = unpunished  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chaos.mesh, made)
                nursery.start_soon(chaos.mesh, made)
                while chaos.sent.total() < MESSAGES:
                    await trio.sleep(0.5)
                    assert stored(made) <= BELIEVABLE
                nursery.cancel_scope.cancel()
            assert made.height >= BELIEVED, "what is believable came through"
            assert made.mesh is not None
            assert made.mesh.prover.low_work >= 4, "presync has met the mesh's, too"

    run(main)
    paths = {"announced", "fetched", "inv", "pushed", "mesh fetched", "mesh range"}
    assert set(chaos.sent) >= paths, sorted(paths - set(chaos.sent))


def test_by_no_path_anything_invalid_is_stored_and_the_main_chain_never_loses_work() -> None:
    """What a user imports may be a branch of less work: it is kept beside, bounded."""
    chaos = Chaos(3, imports=True)

    async def main() -> None:
        street = street_of(*(bp.House(chaos.peer) for _ in range(4)))
        async with node(street, PARAMS, mesh=chaos) as made:
            made.scores.report = unpunished  # type: ignore[method-assign]
            await made.driver.import_items(upto(HONEST, 260))
            work = made.chain.tip.work
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chaos.mesh, made)
                nursery.start_soon(chaos.mesh, made)
                while chaos.sent.total() < MESSAGES:
                    await trio.sleep(0.5)
                    assert stored(made) <= VALID
                    assert made.chain.tip.work >= work >= PARAMS.minimum_chain_work
                    assert hashes_of(made.headers.headers(Height(1), 1_000)) <= BELIEVABLE
                    work = made.chain.tip.work
                nursery.cancel_scope.cancel()

    run(main)
    paths = {"announced", "fetched", "inv", "pushed", "mesh fetched", "mesh range", "imported"}
    assert set(chaos.sent) >= paths, sorted(paths - set(chaos.sent))
