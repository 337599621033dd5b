"""HeaderChain as the node uses it: opened, loaded, read, and asked for locators, bundles and proofs."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.hashing import sha256d_headers
from merkle.verify import verify
from native import kernels
from spvnode.bitcoin.chain import LOAD_HEADERS, HeaderChain, LoadReport
from spvnode.bitcoin.changes import Accepted, ExtendedFork, Rejected, Reorganization
from spvnode.bitcoin.header import Header, header_hash
from spvnode.bitcoin.locator import MAX_LOCATOR_HASHES, locator_heights
from spvnode.bitcoin.mainchain import MainChain, context_after
from spvnode.bitcoin.packing import RunContext, pack_params
from spvnode.bitcoin.params import BITCOIN, NETWORKS, REGTEST, SIGNET, TESTNET3, ChainParams
from spvnode.bitcoin.pow import block_proof
from spvnode.bitcoin.rules import NO_TIME_LIMIT, Reason, median_time_past
from spvnode.bitcoin.start import Checkpoint, genesis_of, start_context
from spvnode.bitcoin.validation import check_run
from spvnode.bitcoin.work import WORK_SPAN, bits_of, times_of
from spvnode.errors import InputError
from spvnode.types import CommitKind, Hash32, Height, SideBranch, Work
from spvnode.view import ChainView, TrustStart
from tests.support.headers_memory import MemoryHeaders, offer, open_chain
from tests.support.mine import mine_run, regtest_chain
from tests.support.vectors import table, unpacked

MAINNET = unpacked("mainnet_0-32259.bin")
LATE = unpacked("mainnet_150000-340000.bin")
BASE = regtest_chain(5000)
WORKS = {
    int(row["height"]): Work(int(row["chainwork_hex"], 16)) for row in table("mainnet_retarget_boundaries_0-832608.csv")
}


def late_checkpoint(**fields: object) -> Checkpoint:
    header = LATE[1200 * 80 : 1201 * 80]
    checkpoint = Checkpoint(Height(151_200), header_hash(header), header, WORKS[151_200])
    return replace(checkpoint, **fields)  # type: ignore[arg-type]


def mainnet(count: int) -> tuple[HeaderChain, MemoryHeaders]:
    """Genesis and ``count`` - 1 real headers."""
    chain, store = open_chain(BITCOIN)
    assert isinstance(offer(chain, store, MAINNET[80 : count * 80]), Accepted)
    return chain, store


# -- growing


@pytest.mark.parametrize("size", [1, 15, 16, 17, 2000, 8064])
def test_runs_of_any_size_give_the_same_chain(size: int) -> None:
    total = 200 if size == 1 else 5000
    chain, store = open_chain(REGTEST)
    nodes = b""
    for at in range(0, total, size):
        run = BASE[at * 80 : min(at + size, total) * 80]
        change = offer(chain, store, run)
        assert isinstance(change, Accepted)
        assert change.commit.kind is CommitKind.EXTEND
        assert (change.commit.fork_height, change.commit.headers) == (at, run)
        assert (change.commit.tip_hash, change.commit.chainwork) == (chain.tip_hash, chain.chainwork(chain.tip_height))
        nodes += change.commit.nodes
    whole, whole_store = open_chain(REGTEST)
    change = offer(whole, whole_store, BASE[: total * 80])
    assert isinstance(change, Accepted)
    assert nodes == change.commit.nodes
    assert len(nodes) == (total + 1) // 16 * 32
    for cp_height in (total, total // 2, 1):
        assert chain.root(Height(cp_height)) == whole.root(Height(cp_height))
    assert [chain.chainwork(Height(h)) for h in range(0, total, 97)] == [2 * (h + 1) for h in range(0, total, 97)]


@pytest.mark.parametrize(
    ("params", "file"),
    [(BITCOIN, "mainnet_0-32259.bin"), (TESTNET3, "testnet3_0-35141.bin"), (SIGNET, "signet_0-2015.bin")],
    ids=["bitcoin", "testnet3", "signet"],
)
def test_real_chains_from_genesis(params: ChainParams, file: str) -> None:
    headers = unpacked(file)
    chain, store = open_chain(params)
    for at in range(0, len(headers), 2000 * 80):  # the file begins with the genesis, which is known
        assert isinstance(offer(chain, store, headers[at : at + 2000 * 80]), Accepted)
    hashes = sha256d_headers(headers)
    assert (bytes(store.raw), chain.tip_hash) == (headers, hashes[-32:])
    total = len(headers) // 80
    bits, times = bits_of(headers), times_of(headers)
    for height in range(0, total, 1007):
        at = Height(height)
        assert chain.chainwork(at) == sum(map(block_proof, bits[: height + 1]))
        assert chain.median_time(at) == median_time_past(times[: height + 1])
        block_hash = Hash32(hashes[height * 32 :][:32])
        assert chain.block_hash(at) == block_hash
        assert chain.height_of(block_hash) == height


def test_real_chain_from_a_checkpoint() -> None:
    chain, store = open_chain(BITCOIN, late_checkpoint())
    for at in range(1200, 190_001, 8064):  # begins with the checkpoint's own header
        assert isinstance(offer(chain, store, LATE[at * 80 : (at + 8064) * 80]), Accepted)
    assert (chain.base, chain.tip_height, chain.tip_hash) == (151_200, 340_000, header_hash(LATE[-80:]))
    for height, work in WORKS.items():
        if 151_200 <= height <= 340_000:
            assert chain.chainwork(Height(height)) == work
    assert chain.start == TrustStart(Height(151_200), header_hash(LATE[96_000:96_080]), "checkpoint", False)
    with pytest.raises(KeyError):
        chain.header(Height(151_199))
    with pytest.raises(KeyError):
        chain.headers(Height(151_199), 5)


def test_a_checkpoint_does_not_ask_for_times_it_cannot_know() -> None:
    """The header after a checkpoint may be older than it: only the median of eleven counts, and ten are unknown."""
    headers = BASE[: 200 * 80]
    start = Header(headers[143 * 80 : 144 * 80])
    checkpoint = Checkpoint(Height(144), start.hash, start.raw)
    older = mine_run(start.hash, start.time - 5000, 6, spacing=1)
    chain, store = open_chain(REGTEST, checkpoint)
    assert isinstance(offer(chain, store, older), Accepted)
    # Six known times of eleven: now their least is the median.
    stale = mine_run(header_hash(older[-80:]), start.time - 5001, 1, spacing=1)
    change = offer(chain, store, stale)
    assert isinstance(change, Rejected)
    assert change.reason == Reason.TIME_TOO_OLD


@pytest.mark.parametrize("first", ["link", "bits"])
def test_another_chain_is_refused(first: str) -> None:
    """BSV has valid work and links, but is not bitcoin; nothing of it is taken."""
    headers = unpacked("negative_bsv_2025.bin")
    if first == "link":
        chain, store = mainnet(100)
        wanted = Reason.PREV_NOT_FOUND, 0
    else:
        start = Checkpoint(Height(440 * 2016), header_hash(headers[:80]), headers[:80])
        chain, store = open_chain(BITCOIN, start)
        wanted = Reason.BAD_DIFFBITS, 1
    tip = chain.tip_hash
    change = offer(chain, store, headers)
    assert isinstance(change, Rejected)
    assert (change.reason, change.index) == wanted
    assert chain.tip_hash == tip


# -- starting


def test_a_fresh_chain_is_its_start() -> None:
    for params in NETWORKS.values():
        chain, store = open_chain(params)
        assert (chain.base, chain.tip_height, chain.tip_hash) == (0, 0, params.genesis_hash)
        assert chain.header(Height(0)) == params.genesis_header
        assert chain.chainwork(Height(0)) == block_proof(params.pow_limit_bits)
        assert chain.start == TrustStart(Height(0), params.genesis_hash, "genesis", True)
        assert chain.root(Height(0)) == params.genesis_hash
        assert bytes(store.raw) == params.genesis_header


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"height": 151_201}, "checkpoint.height"),
        ({"height": -2016}, "checkpoint.height"),
        ({"height": 2016 << 32}, "checkpoint.height"),
        ({"header": bytes(79)}, "checkpoint.header"),
        ({"header": LATE[:80]}, "checkpoint.hash"),
        ({"hash": Hash32(bytes(32))}, "checkpoint.hash"),
        ({"height": 168_000 // 2016 * 2016, "peaks": (bytes(32),)}, "checkpoint.peaks"),
        ({"peaks": (bytes(31),) * (151_200).bit_count()}, "checkpoint.peaks"),
        ({"height": 0}, "checkpoint.hash"),
    ],
)
def test_checkpoints_that_cannot_be(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as error:
        open_chain(BITCOIN, late_checkpoint(**fields))
    assert error.value.field == field


def test_a_checkpoint_must_have_proof_of_work() -> None:
    for raw in (REGTEST.genesis_header, BITCOIN.genesis_header[:79] + b"\xff"):
        with pytest.raises(InputError, match=r"checkpoint.header: has no proof of work that bitcoin accepts"):
            open_chain(BITCOIN, Checkpoint(Height(2016), header_hash(raw), raw))


def test_a_checkpoint_may_not_contradict_a_built_in_one() -> None:
    header = LATE[1200 * 80 : 1201 * 80]
    params = replace(BITCOIN, checkpoints=((Height(151_200), Hash32(bytes(32))),))
    with pytest.raises(InputError, match="contradicts the built-in checkpoint at height 151200"):
        open_chain(params, Checkpoint(Height(151_200), header_hash(header), header))


def test_any_height_will_do_without_retargeting() -> None:
    start = Header(BASE[36 * 80 : 37 * 80])
    chain, store = open_chain(REGTEST, Checkpoint(Height(37), start.hash, start.raw))
    assert isinstance(offer(chain, store, BASE[37 * 80 : 400 * 80]), Accepted)
    assert isinstance(offer(chain, store, mine_run(start.hash, start.time, 3, seed=1)), ExtendedFork)
    assert chain.tip_height == 400
    assert chain.chainwork(Height(400)) == 2 * 364


def test_work_is_counted_from_what_a_checkpoint_gives() -> None:
    known, _ = open_chain(BITCOIN, late_checkpoint())
    unknown, _ = open_chain(BITCOIN, late_checkpoint(chainwork=Work(0)))
    assert known.chainwork(Height(151_200)) == WORKS[151_200]
    assert unknown.chainwork(Height(151_200)) == block_proof(Header(LATE[96_000:96_080]).bits)


def test_peaks_make_the_genesis_tree() -> None:
    """With the peaks below it, a checkpoint's tree has the roots of the tree from genesis."""
    full, _ = mainnet(8064)
    cut = Height(4032)
    start = Checkpoint(cut, full.block_hash(cut), full.header(cut), full.chainwork(cut), tuple(full.forest.peaks(cut)))
    with_peaks, store = open_chain(BITCOIN, start)
    offer(with_peaks, store, MAINNET[4033 * 80 : 8064 * 80])
    without, store = open_chain(BITCOIN, replace(start, peaks=()))
    offer(without, store, MAINNET[4033 * 80 : 8064 * 80])
    for cp_height in (4032, 5000, 8063):
        assert with_peaks.root(Height(cp_height)) == full.root(Height(cp_height)) != without.root(Height(cp_height))


# -- loading


@pytest.mark.parametrize("size", [1, 16, 5000, 20_000])
def test_load(size: int) -> None:
    chain, store = mainnet(20_000 if size > 1 else 300)
    again = HeaderChain(BITCOIN, store)
    assert again.load(store.runs(size)) == LoadReport(chain.tip_height, None)
    assert (again.tip_height, again.tip_hash) == (chain.tip_height, chain.tip_hash)
    assert again.chainwork(Height(299)) == chain.chainwork(Height(299))
    assert again.root(again.tip_height) == chain.root(chain.tip_height)
    assert again.locator() == chain.locator()
    assert LOAD_HEADERS < 20_000  # so that the biggest run here is more than one batch holds


def test_load_from_a_checkpoint() -> None:
    chain, store = open_chain(BITCOIN, late_checkpoint())
    offer(chain, store, LATE[1201 * 80 : 20_000 * 80])
    again = HeaderChain(BITCOIN, store, late_checkpoint())
    assert again.load(store.runs()) == LoadReport(chain.tip_height, None)
    assert again.chainwork(again.tip_height) == chain.chainwork(chain.tip_height)


def test_load_does_not_ask_the_clock() -> None:
    chain, store = open_chain(REGTEST)
    far = mine_run(REGTEST.genesis_hash, 4_294_000_000, 5)
    assert isinstance(offer(chain, store, far, 4_294_960_000), Accepted)
    assert HeaderChain(REGTEST, store).load(store.runs()).last_good == 5


@pytest.mark.parametrize("at", [0, 1, 15, 16, 100, 2015, 2016, 16_127, 16_128, 16_129, 19_999])
def test_load_stops_at_damage_and_goes_on_from_there(at: int) -> None:
    chain, store = mainnet(20_000)
    whole = bytes(store.raw)
    store.raw[at * 80 + 70] ^= 0x10
    again = HeaderChain(BITCOIN, store)
    report = again.load(store.runs())
    assert report.last_good == at - 1
    assert report.fault == (Reason.CHECKPOINT_MISMATCH if at == 0 else Reason.HIGH_HASH)
    # What is told to be done then: cut the store there, and fetch the rest again.
    del store.raw[at * 80 :]
    if at == 0:
        store.commit(again.initial_commit())
    assert again.tip_height == max(at - 1, 0)
    assert isinstance(offer(again, store, whole), Accepted)
    assert (bytes(store.raw), again.tip_hash) == (whole, chain.tip_hash)


def test_load_of_rows_that_do_not_follow() -> None:
    chain, store = mainnet(200)
    runs = list(store.runs())
    missing = HeaderChain(BITCOIN, store)
    assert missing.load([*runs[:5], *runs[6:]]) == LoadReport(Height(79), Reason.PREV_NOT_FOUND)
    late = HeaderChain(BITCOIN, store)
    assert late.load(runs[1:]) == LoadReport(Height(-1), Reason.PREV_NOT_FOUND)
    # An old record written over a new one, height and all.
    twice = HeaderChain(BITCOIN, store)
    swapped = [*runs[:5], (runs[5][0], runs[4][1]), *runs[6:]]
    assert twice.load(swapped) == LoadReport(Height(79), Reason.PREV_NOT_FOUND)
    again, _ = mainnet(LOAD_HEADERS)
    repeated = HeaderChain(BITCOIN, store)
    rows = [(Height(0), MAINNET[: LOAD_HEADERS * 80]), (Height(LOAD_HEADERS), MAINNET[100 * 80 : 200 * 80])]
    assert repeated.load(rows) == LoadReport(again.tip_height, Reason.PREV_NOT_FOUND)
    empty = HeaderChain(BITCOIN, store)
    assert empty.load([]) == LoadReport(Height(-1), None)
    assert chain.tip_height == 199


def test_load_brings_side_branches_back() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, BASE[: 100 * 80])
    at = Header(BASE[49 * 80 : 50 * 80])
    branch = mine_run(at.hash, at.time, 10, seed=1)
    offer(chain, store, branch)
    stray = SideBranch(Height(5), bytes(80), Hash32(b"\x05" * 32))
    again = HeaderChain(REGTEST, store)
    report = again.load(store.runs(), [stray, *store.sides.values()])
    assert report == LoadReport(Height(100), None, (stray.tip_hash,))
    assert again.branches() == chain.branches()
    assert again.side_header(header_hash(branch[240:320])) == (54, branch[240:320])


# -- reading


def test_it_is_a_chain_view_and_a_main_chain() -> None:
    chain, _ = mainnet(50)
    view: ChainView = chain
    main: MainChain = chain
    assert (view.network, view.genesis_hash, main.base) == ("bitcoin", BITCOIN.genesis_hash, 0)
    assert view.minimum_chain_work == BITCOIN.minimum_chain_work
    assert view.branches() == []


def test_reads_are_bounded_by_the_chain() -> None:
    chain, _ = mainnet(50)
    for height in (-1, 50, 10**9):
        for read in (chain.header, chain.block_hash, chain.chainwork, chain.median_time):
            with pytest.raises(KeyError):
                read(Height(height))
    assert chain.headers(Height(45), 100) == MAINNET[45 * 80 : 50 * 80]
    assert chain.headers(Height(49), 1) == MAINNET[49 * 80 : 50 * 80]
    assert chain.headers(Height(50), 1) == chain.headers(Height(7), 0) == b""
    assert chain.height_of(Hash32(bytes(32))) is None
    assert chain.side_header(chain.tip_hash) is None


def test_the_store_may_be_ahead_by_an_extension() -> None:
    """Between the store's write and the apply, readers see the applied state."""
    chain, store = mainnet(50)
    change = chain.plan(MAINNET[50 * 80 : 60 * 80], 2_000_000_000)
    assert isinstance(change, Accepted)
    store.commit(change.commit)
    assert chain.tip_height == 49
    assert chain.headers(Height(45), 100) == MAINNET[45 * 80 : 50 * 80]
    with pytest.raises(KeyError):
        chain.header(Height(50))
    assert chain.height_of(header_hash(MAINNET[50 * 80 : 51 * 80])) is None
    chain.apply(change)
    assert chain.height_of(header_hash(MAINNET[50 * 80 : 51 * 80])) == 50


@pytest.mark.parametrize("start", [None, late_checkpoint()], ids=["genesis", "checkpoint"])
def test_bundles_verify_offline(start: Checkpoint | None) -> None:
    headers = LATE[1200 * 80 :] if start else MAINNET
    chain, store = open_chain(BITCOIN, start)
    offer(chain, store, headers[80 : 3000 * 80])
    base = chain.base
    for height, cp_height in ((base, base), (base + 5, base + 2999), (base + 1234, base + 2000)):
        bundle = chain.bundle(Height(height), Height(cp_height), made_at=1_700_000_000)
        verdict = verify(bundle, trusted_root=chain.root(Height(cp_height)))
        assert verdict.ok, verdict
    with pytest.raises(KeyError):
        chain.bundle(Height(base), Height(base + 3000), made_at=0)


# -- contexts


@pytest.mark.parametrize("network", ["testnet3", "checkpoint", "regtest"])
def test_context_after_any_header(network: str) -> None:
    """What is read back from the committed chain is what checking up to there leaves behind: across retargets, behind
    twenty-minute blocks, and close to a checkpoint."""
    params, start, headers, heights = {
        "testnet3": (TESTNET3, None, unpacked("testnet3_0-35141.bin")[80:], [*range(40), *range(30_200, 32_300, 7)]),
        "checkpoint": (BITCOIN, late_checkpoint(), LATE[1201 * 80 : 9000 * 80], [*range(40), *range(40, 6100, 61)]),
        "regtest": (REGTEST, None, BASE, range(400)),
    }[network]
    chain, store = open_chain(params, start)
    offer(chain, store, headers)
    packed, context = pack_params(params), start_context(params, start or genesis_of(params))
    done = 0
    for count in heights:
        context = check_run(packed, context, headers[done * 80 : count * 80], NO_TIME_LIMIT).context
        done = count
        after = RunContext.unpack(context_after(params, chain, Height(chain.base + count)))
        assert after == RunContext.unpack(context)


# -- locators


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_locator_heights(one: int, other: int) -> None:
    base, tip = min(one, other), max(one, other)
    heights = locator_heights(tip, base)
    assert (heights[0], heights[-1]) == (tip, base)
    gaps = [upper - lower for upper, lower in pairwise(heights)]
    assert all(gap > 0 for gap in gaps)
    assert all(gap == 1 for gap in gaps[:11])
    assert all(gap == 2 * before for before, gap in pairwise(gaps[11:-1]))
    assert len(heights) <= 44 < MAX_LOCATOR_HASHES


def test_locator_of_a_million() -> None:
    assert len(locator_heights(1_000_000, 0)) == 31


@pytest.mark.parametrize("depth", [0, 1, 5, 20, 300])
def test_a_locator_finds_the_fork(depth: int) -> None:
    ours, ours_store = open_chain(REGTEST)
    offer(ours, ours_store, BASE[: 1000 * 80])
    theirs, their_store = open_chain(REGTEST)
    offer(theirs, their_store, BASE[: (1000 - depth) * 80])
    last = Header(BASE[(999 - depth) * 80 : (1000 - depth) * 80])
    offer(theirs, their_store, mine_run(last.hash, last.time, depth + 1, seed=3))
    start, headers = theirs.headers_after_locator(ours.locator(), 2000) or (0, b"")
    assert start <= 1000 - depth + 1
    assert 1000 - depth + 1 - start <= depth * 2
    assert isinstance(offer(ours, ours_store, headers), Reorganization if depth else Accepted)
    assert ours.tip_hash == theirs.tip_hash


def test_headers_after_locator() -> None:
    chain, _ = mainnet(100)
    known = chain.block_hash(Height(40))
    unknown = Hash32(b"\x01" * 32)
    assert chain.headers_after_locator([unknown, known], 10) == (41, MAINNET[41 * 80 : 51 * 80])
    assert chain.headers_after_locator([chain.tip_hash], 10) == (100, b"")
    assert chain.headers_after_locator([unknown], 10) == (1, MAINNET[80 : 11 * 80])
    assert chain.headers_after_locator([], 10) == (1, MAINNET[80 : 11 * 80])
    # Only so many of a peer's hashes are looked up.
    padded = [unknown] * MAX_LOCATOR_HASHES
    assert chain.headers_after_locator([*padded, known], 10) == (1, MAINNET[80 : 11 * 80])
    assert (chain.headers_after_locator([*padded[1:], known], 10) or (0, b""))[0] == 41


def test_a_checkpoint_has_nothing_for_a_locator_below_it() -> None:
    chain, store = open_chain(BITCOIN, late_checkpoint())
    offer(chain, store, LATE[1201 * 80 : 1300 * 80])
    assert chain.headers_after_locator([BITCOIN.genesis_hash], 10) is None
    assert chain.headers_after_locator([chain.block_hash(chain.base)], 2) == (151_201, LATE[1201 * 80 : 1203 * 80])


# -- memory


def test_memory_per_header() -> None:
    """No Python object per header: index, tree and work table are flat buffers where the kernels are built."""
    chain, store = open_chain(REGTEST)
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        offer(chain, store, BASE)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    keep = ("headers_memory.py", "hashindex.py")  # the test's own store, and the index's Python twin
    growth = sum(
        entry.size_diff
        for entry in after.compare_to(before, "filename")
        if not entry.traceback[0].filename.endswith(keep)
    )
    assert growth < 5000 * 16
    assert chain.nbytes < 5000 * (32 if kernels is not None else 260)


def test_the_work_table_has_a_mark_per_span() -> None:
    chain, store = open_chain(REGTEST)
    offer(chain, store, BASE)
    for height in (0, WORK_SPAN - 1, WORK_SPAN, WORK_SPAN + 1, 2 * WORK_SPAN, 5000):
        marked, work = chain._works.below(height)
        assert (marked, work) == (height // WORK_SPAN * WORK_SPAN, 2 * (marked + 1))


def test_genesis_is_a_checkpoint_like_any_other() -> None:
    assert open_chain(SIGNET, genesis_of(SIGNET))[0].start == open_chain(SIGNET)[0].start
