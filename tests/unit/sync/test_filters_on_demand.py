"""Compact filters on demand, over a made chain with a checkpoint: agreement, disputes, and every kind of liar."""

from __future__ import annotations

from functools import cache

import pytest
import trio
from blocks import In, MadeChain, Tx, key, push, signature
from demand_peers import NETWORK, Ledger, Peer, Peers, refuse
from trio.testing import MockClock

from merkle.pure import sha256d
from p2p.faults import FaultReason, RemoteFault
from spvnode.bitcoin import gcs
from spvnode.bitcoin.basicfilter import elements, values
from spvnode.bitcoin.filters import FilterHashes
from spvnode.bitcoin.prevouts import hash160
from spvnode.sync.blocks import BlockFetcher, Unfetched
from spvnode.sync.filters import ASK_SECONDS, FETCH_SECONDS, MAX_ASKED, AgreedFilter, FilterFetcher
from spvnode.types import Hash32, Height

SPENT = b"\x00\x14" + hash160(key(1))
LENGTH = 1_012
RICH = (40, 1_005)
"""Heights of blocks that spend something: in the first interval of checkpoints, and after the last."""
OPEN = 1_008
"""Height of a block whose spend shows nothing: lies about it cannot be told from the truth."""


@cache
def ledger() -> Ledger:
    made = MadeChain()
    for height in range(1, LENGTH + 1):
        if height in RICH:
            made.extend([Tx((In(b"\x11" * 32, 0, b"", (signature(1), key(1))),), (b"\x51",))], [SPENT])
        elif height == OPEN:
            made.extend([Tx((In(b"\x12" * 32, 0, push(signature(2))),), (b"\x52",))], [b"\x53"])
        else:
            made.extend()
    return Ledger(made)


def without(height: int, script: bytes | None = None) -> bytes:
    """The block's filter short of one script (of an output, where none is named)."""
    block = ledger().blocks[height]
    scripts = elements(block, [SPENT] if height in RICH else [])
    chosen = scripts - {script if script is not None else min(elements(block, []))}
    return gcs.encode(values(block.hash, chosen, len(chosen)))


def fetch(peers: Peers, height: int, *, blocks: Peers | None = None, jumps: bool = False) -> AgreedFilter | Unfetched:
    async def main() -> AgreedFilter | Unfetched:
        fetcher = BlockFetcher(blocks or Peers({"block peer": Peer(ledger())}), NETWORK)
        reply = await FilterFetcher(peers, fetcher, ledger(), NETWORK).fetch(Height(height))
        assert trio.current_time() - begun <= FETCH_SECONDS + 1
        return reply

    clock = MockClock(autojump_threshold=0.5 if jumps else float("inf"))
    begun = clock.current_time()
    return trio.run(main, clock=clock)


def agreed(reply: AgreedFilter | Unfetched, height: int) -> AgreedFilter:
    """It is the honest filter with its header."""
    assert isinstance(reply, AgreedFilter)
    assert reply.filter == ledger().filters[height]
    assert reply.header == Peer(ledger()).chain()[1][height]
    return reply


@pytest.mark.parametrize("height", [0, 1, 999, 1_000, 1_001, LENGTH])
def test_where_all_agree_one_is_asked_for_the_filter(height: int) -> None:
    peers = Peers({name: Peer(ledger()) for name in "abc"})
    reply = agreed(fetch(peers, height), height)
    assert (reply.vouched_by, reply.disbelieved, peers.faults) == (("a", "b", "c"), (), [])
    assert sorted(peers.asked) == [("a", "filter"), *((name, "hashes") for name in "abc")]


@pytest.mark.parametrize("lied_at", [0, 1, 40, 999, 1_000, 1_001, 1_005, LENGTH])
def test_a_lie_is_found_where_it_was_told(lied_at: int) -> None:
    """At every place beside checkpoints: the header of the last block depends on all filters before it."""
    peers = Peers(
        {"liar": Peer(ledger(), filters={lied_at: without(lied_at)}), "a": Peer(ledger()), "b": Peer(ledger())}
    )
    reply = agreed(fetch(peers, LENGTH), LENGTH)
    assert (reply.vouched_by, reply.disbelieved) == (("a", "b"), ("liar",))
    (fault,) = peers.faults
    assert (fault.peer, fault.reason) == ("liar", FaultReason.BAD_FILTER)
    assert fault.evidence == f"output-missing at height {lied_at}"


def test_the_majority_can_lie() -> None:
    """One honest among eight: what the block shows outweighs any number."""
    liars = {f"liar {i}": Peer(ledger(), filters={40: without(40)}) for i in range(MAX_ASKED - 1)}
    peers = Peers({**liars, "honest": Peer(ledger())})
    reply = agreed(fetch(peers, 1_003), 1_003)
    assert reply.vouched_by == ("honest",)
    assert set(reply.disbelieved) == set(liars)
    assert peers.reasons == dict.fromkeys(liars, FaultReason.BAD_FILTER)


def test_liars_at_different_heights_fall_one_after_the_other() -> None:
    lies = {f"liar {at}": Peer(ledger(), filters={at: without(at)}) for at in (3, 40, 700, 1_001, 1_002)}
    peers = Peers({**lies, "honest": Peer(ledger())})
    reply = agreed(fetch(peers, LENGTH), LENGTH)
    assert reply.vouched_by == ("honest",)
    assert list(reply.disbelieved) == list(lies)  # lowest first


@pytest.mark.parametrize("height", RICH)
def test_a_spent_script_left_out_is_believed_of_nobody_and_punished_in_nobody(height: int) -> None:
    """Only likely, so no fault: the spend could be of a script of one's own making."""
    peers = Peers({"liar": Peer(ledger(), filters={height: without(height, SPENT)}), "honest": Peer(ledger())})
    reply = agreed(fetch(peers, LENGTH), LENGTH)
    assert (reply.vouched_by, reply.disbelieved, peers.faults) == (("honest",), ("liar",), [])


def test_what_the_block_does_not_settle_is_not_answered() -> None:
    block = ledger().blocks[OPEN]
    scripts = elements(block, [b"\x54\x54"])
    other = gcs.encode(values(block.hash, scripts, len(scripts)))
    peers = Peers({"one": Peer(ledger(), filters={OPEN: other}), "two": Peer(ledger()), "three": Peer(ledger())})
    reply = fetch(peers, OPEN)
    assert isinstance(reply, Unfetched)
    assert "disagree" in str(reply)
    assert peers.faults == []
    agreed(fetch(peers, OPEN - 1), OPEN - 1)
    for height in (OPEN + 1, LENGTH):  # the filters there are not disputed, only their headers
        later = agreed(fetch(peers, height), height)
        assert (later.vouched_by, later.disputed_by) == (("two", "three"), ("one",))
    assert peers.faults == []
    peers.peers["one"].give = {LENGTH: b"\0"}
    peers.peers["two"].give = {LENGTH: b"\0"}
    assert agreed(fetch(peers, LENGTH), LENGTH).vouched_by == ("three",)
    assert peers.reasons == {"two": FaultReason.BAD_FILTER}


def test_no_block_no_verdict() -> None:
    async def deny(peer: str, block_hash: Hash32) -> bytes | RemoteFault:
        return refuse(peer)

    peers = Peers({"liar": Peer(ledger(), filters={40: without(40)}), "honest": Peer(ledger())})
    reply = fetch(peers, 40, blocks=Peers({"x": Peer(ledger(), block=deny)}))
    assert isinstance(reply, Unfetched)
    assert "disagree" in str(reply)
    assert peers.faults == []


def test_headers_that_do_not_link() -> None:
    """The checkpoint is forged and the hashes below it are honest: it contradicts itself."""
    for at in (1_000, 1_004):
        peers = Peers({"liar": Peer(ledger(), headers={at: sha256d(b"forged")}), "honest": Peer(ledger())})
        height = at + 1 if at == 1_004 else LENGTH
        reply = fetch(peers, height)
        if at == 1_004:
            agreed(reply, height)
            assert peers.reasons == {"liar": FaultReason.BAD_FILTER}
            assert peers.faults[0].evidence == "contradicts-itself"
        else:
            agreed(reply, height)  # nobody asked about the checkpoint: what was said about the block is right


def test_a_forged_checkpoint_shows_when_it_is_asked_for() -> None:
    """A dispute brings it up: who forged it falls with the other liar."""
    forger = Peer(ledger(), headers={1_000: sha256d(b"forged")})
    peers = Peers({"forger": forger, "liar": Peer(ledger(), filters={1_002: without(1_002)}), "a": Peer(ledger())})
    reply = agreed(fetch(peers, LENGTH), LENGTH)
    assert reply.vouched_by == ("a",)
    assert peers.reasons == {"forger": FaultReason.BAD_FILTER, "liar": FaultReason.BAD_FILTER}


def test_a_block_at_a_checkpoint_with_two_answers() -> None:
    """Says one header for the block, another in its checkpoints, of the same block."""

    class TwoFaced(Peers):
        async def ask_filter_checkpoints(self, peer: str, stop: Hash32) -> bytes | RemoteFault:
            return await super().ask_filter_checkpoints("honest", stop)

    peers = TwoFaced({"liar": Peer(ledger(), filters={40: without(40)}), "honest": Peer(ledger())})
    reply = agreed(fetch(peers, 1_000), 1_000)
    assert reply.disbelieved == ("liar",)
    assert peers.faults[0].evidence == "contradicts-itself"


def test_another_filter_than_named() -> None:
    peers = Peers({"liar": Peer(ledger(), give={7: b"\0"}), "honest": Peer(ledger())})
    reply = agreed(fetch(peers, 7), 7)
    assert reply.vouched_by == ("honest",)
    assert peers.reasons == {"liar": FaultReason.BAD_FILTER}


@pytest.mark.parametrize("question", ["checkpoints", "hashes"])
def test_replies_that_are_too_short(question: str) -> None:
    short = Peer(ledger(), short=frozenset({question}), filters={40: without(40)})
    peers = Peers({"short": short, "a": Peer(ledger()), "b": Peer(ledger())})
    agreed(fetch(peers, LENGTH), LENGTH)
    assert peers.reasons == {"short": FaultReason.PROTOCOL}


@pytest.mark.parametrize("question", ["hashes", "checkpoints", "filter"])
def test_silence_costs_one_deadline(question: str) -> None:
    silent = Peer(ledger(), silent=frozenset({question}), filters={40: without(40)})
    peers = Peers({"silent": silent, "honest": Peer(ledger())})
    reply = agreed(fetch(peers, 60, jumps=True), 60)
    assert reply.vouched_by == ("honest",)
    assert peers.reasons["silent"] is FaultReason.TIMEOUT
    assert ASK_SECONDS < FETCH_SECONDS / 2


def test_nobody_answers_or_nobody_is_there() -> None:
    peers = Peers({name: Peer(ledger(), silent=frozenset({"hashes"})) for name in "abcdefghij"})
    reply = fetch(peers, 5, jumps=True)
    assert isinstance(reply, Unfetched)
    assert len(reply.faults) == MAX_ASKED
    assert isinstance(fetch(Peers({}), 5), Unfetched)


@pytest.mark.parametrize("liars", [0, 1])
def test_a_reorganization_of_ours_between_two_questions_is_nobody_s_fault(liars: int) -> None:
    """Its peers speak of the block that they were asked for, which is another one the second time."""
    before, after = (Ledger(_short(script)) for script in (b"\x51", b"\x52"))
    assert before.block_hash(Height(6)) == after.block_hash(Height(6))
    now = [before]

    class Ours:
        def header(self, height: Height) -> bytes:
            return now[0].header(height)

        def block_hash(self, height: Height) -> Hash32:
            return now[0].block_hash(height)

    class Both(Peers):
        """They have both chains."""

        async def ask_filter_hashes(self, peer: str, start: Height, stop: Hash32) -> FilterHashes | RemoteFault:
            ledger = before if stop in before.heights else after
            self.peers[peer].ledger = ledger
            reply = await super().ask_filter_hashes(peer, start, stop)
            now[0] = after  # from here on our chain is the other one
            return reply

        async def ask_filter(self, peer: str, height: Height, block_hash: Hash32) -> bytes | RemoteFault:
            self.peers[peer].ledger = before if block_hash in before.heights else after
            return await super().ask_filter(peer, height, block_hash)

        async def ask_filter_checkpoints(self, peer: str, stop: Hash32) -> bytes | RemoteFault:
            self.peers[peer].ledger = before if stop in before.heights else after
            return await super().ask_filter_checkpoints(peer, stop)

    lie = {7: before.filters[6]}
    peers = Both({name: Peer(before, filters=lie if number < liars else {}) for number, name in enumerate("abc")})

    async def main() -> AgreedFilter | Unfetched:
        return await FilterFetcher(peers, BlockFetcher(peers, NETWORK), Ours(), NETWORK).fetch(Height(7))

    reply = trio.run(main)
    assert isinstance(reply, Unfetched)
    assert "reorganized" in str(reply)
    assert peers.faults == []


def _short(script: bytes) -> MadeChain:
    made = MadeChain()
    for _ in range(6):
        made.extend()
    made.extend(pays=script)
    return made
