"""What a liar can put into a bundle, and why the offline verifier does not believe it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from merkle.bundle import HeaderBundle, encode
from merkle.verify import verify
from tests.support import naive_tree as naive
from tests.support.mine import mine, mine_run
from tests.support.proof_maker import GENESIS, MADE_AT, Maker, mainnet, regtest

BUNDLE = mainnet().bundle(12_345, 32_255)
RAW = encode(BUNDLE)


def reason(bundle: HeaderBundle | bytes, **trusted: bytes) -> str:
    return verify(encode(bundle) if isinstance(bundle, HeaderBundle) else bundle, **trusted).reason


def lying(
    leaves: list[bytes], header: bytes, height: int, tip: bytes, size: int, start: bytes, base: int = 0
) -> HeaderBundle:
    """A bundle over any ``leaves``, whatever they are."""
    positions = [0, height - base, size - 1]
    return HeaderBundle(
        network="regtest",
        genesis=GENESIS["regtest"],
        range_start=base,
        start_height=base,
        start_hash=start,
        height=height,
        header=header,
        cp_height=base + size - 1,
        tip_header=tip,
        root=naive.root(leaves),
        chainwork=0,
        made_at=MADE_AT,
        nodes=tuple(naive.multiproof(leaves, positions)),
    )


def test_a_higher_cp_height_cannot_be_claimed_for_a_true_root() -> None:
    """CVE-2012-2459 on a real chain: 6 leaves, and the same with the last two again, have one root."""
    maker = regtest(6, 1_000)
    leaves = [maker.hash(1_000 + i) for i in range(6)]
    root = naive.root(leaves)
    longer = [*leaves, *leaves[4:]]
    assert naive.root(longer) == root
    last = maker.header(1_005)
    for height, header in ((1_000, maker.header(1_000)), (1_006, maker.header(1_004)), (1_007, last)):
        lie = lying(longer, header, height, last, 8, leaves[0], 1_000)
        assert reason(lie, trusted_root=root) == "proof"
    assert reason(lying(leaves, last, 1_005, last, 6, leaves[0], 1_000), trusted_root=root) == "ok"


def opened(rows: list[list[bytes]], positions: list[int], size: int) -> tuple[dict[int, bytes], list[bytes]] | None:
    """What must be supplied so that a claimed tree of ``size`` leaves has the root of the true tree ``rows``.

    SHA-256d has no known collision, so from the root down each node has one opening: its two true children. None
    where there is no opening. Returns the leaves at ``positions`` and the proof's nodes.
    """
    children = {
        rows[k + 1][i]: tuple((rows[k] + rows[k][-1:])[2 * i :][:2])
        for k in range(len(rows) - 1)
        for i in range(len(rows[k + 1]))
    }
    levels = (size - 1).bit_length()
    known = {(levels, 0): rows[-1][0]}
    supplied: list[tuple[int, int, bytes]] = []
    for level in range(levels - 1, -1, -1):
        path = {position >> level for position in positions}
        width = -(-size >> level)
        for parent in {index >> 1 for index in path}:
            if known[level + 1, parent] not in children:
                return None
            pair = children[known[level + 1, parent]]
            if 2 * parent + 1 == width and pair[0] != pair[1]:
                return None
            for index, node in zip((2 * parent, 2 * parent + 1), pair, strict=True):
                known[level, index] = node
                if index not in path and index < width:
                    supplied.append((level, index, node))
    return {p: known[0, p] for p in positions}, [node for _, _, node in sorted(supplied)]


def test_no_other_size_or_position_fits_a_true_root() -> None:
    """Exhaustive in small: every claimed size, height and tip that any opening of a true root could support."""
    maker = regtest(13, 1_000)
    headers = {maker.hash(h): maker.header(h) for h in range(1_000, 1_013)}
    ambiguous = 0
    for true_size in range(1, 14):
        rows = naive.rows([maker.hash(1_000 + i) for i in range(true_size)])
        for size in range(1, 18):
            for position in range(size):
                opening = opened(rows, [0, position, size - 1], size)
                if opening is None or any(leaf not in headers for leaf in opening[0].values()):
                    continue
                leaves, nodes = opening
                lie = replace(
                    maker.bundle(1_000, 1_000),
                    height=1_000 + position,
                    header=headers[leaves[position]],
                    cp_height=1_000 + size - 1,
                    tip_header=headers[leaves[size - 1]],
                    start_hash=leaves[0],
                    root=rows[-1][0],
                    nodes=tuple(nodes),
                )
                believed = verify(encode(lie), trusted_root=rows[-1][0]).ok
                assert believed == (size == true_size)
                assert not believed or headers[leaves[position]] == maker.header(1_000 + position)
                ambiguous += size != true_size
    assert ambiguous > 50


def test_an_inner_node_is_no_start_block() -> None:
    """A start given by hash alone could be an inner node, were the depth not fixed by the tip."""
    maker = regtest(10, 1_000)
    leaves = [maker.hash(1_000 + i) for i in range(10)]
    inner, last = naive.rows(leaves)[1], maker.header(1_009)
    lie = replace(lying(inner, last, 1_004, last, 5, inner[0], 1_000), root=naive.root(leaves))
    assert naive.root(inner) == naive.root(leaves)
    assert reason(lie, trusted_root=lie.root) == "root"


def test_blocks_in_another_order_are_refused_where_a_neighbour_shows() -> None:
    maker = regtest(9, 1_000)
    order = [maker.hash(1_000 + i) for i in (0, 1, 2, 3, 5, 4, 6, 7, 8)]
    for height, true in ((1_004, 1_005), (1_005, 1_004)):
        lie = lying(order, maker.header(true), height, maker.header(1_008), 9, order[0], 1_000)
        assert reason(lie) == ("link" if height == 1_005 else "ok")
    # Of 1,004 only the neighbour after it shows, whose header is not there: ok, and on its maker's word alone.
    assert verify(encode(lying(order, maker.header(1_005), 1_004, maker.header(1_008), 9, order[0], 1_000))).claimed
    two = [maker.hash(1_000), maker.hash(1_002)]
    assert reason(lying(two, maker.header(1_002), 1_001, maker.header(1_002), 2, two[0], 1_000)) == "link"


def test_two_blocks_at_one_height_are_refused() -> None:
    assert reason(replace(mainnet().bundle(9, 9), header=mainnet().header(8))) == "proof"
    assert reason(replace(regtest(9, 50).bundle(50), start_hash=bytes(32))) == "proof"
    assert reason(replace(mainnet().bundle(0, 5), header=mainnet().header(1))) == "proof"


def test_genesis_must_be_the_networks() -> None:
    assert reason(replace(BUNDLE, genesis=GENESIS["signet"])) == "genesis"
    assert reason(replace(BUNDLE, network="testnet3")) == "genesis"
    assert reason(replace(BUNDLE, network="dogecoin")) == "format"
    assert reason(replace(BUNDLE, start_hash=GENESIS["testnet3"])) == "genesis"
    assert reason(Maker("regtest", mine_run(bytes(32), 1_600_000_000, 5)).bundle(3)) == "genesis"


def test_heights_out_of_order_are_refused() -> None:
    def packed(first: int, start: int, height: int, tip: int) -> bytes:
        raw = bytearray(RAW)
        for at, value in ((41, first), (45, start), (81, height), (165, tip)):
            raw[at : at + 4] = value.to_bytes(4, "little")
        return bytes(raw)

    for heights in ((0, 0, 9, 8), (0, 10, 9, 12), (5, 10, 11, 12), (10, 0, 11, 12), (0, 13, 13, 12)):
        assert reason(packed(*heights)) == "range"
    assert reason(packed(0, 0, 2**32 - 1, 2**32 - 1)) in {"proof", "link"}


@pytest.mark.parametrize(
    "bits", [0x1D00FFFF + 1, 0x1E00FFFF, 0x01003456, 0x04923456, 0x207FFFFF, 0xFF123456, 0, 0x1D800000]
)
def test_targets_that_the_network_does_not_allow(bits: int) -> None:
    header = mainnet().header(12_345)
    easy = header[:72] + bits.to_bytes(4, "little") + header[76:]
    assert reason(replace(BUNDLE, header=easy)) == "bad-diffbits"
    assert reason(replace(BUNDLE, tip_header=easy)) == "bad-diffbits"


def test_proof_of_work_must_meet_the_claimed_target() -> None:
    header = mainnet().header(12_345)
    assert reason(replace(BUNDLE, header=header[:76] + bytes(4))) == "high-hash"
    assert reason(replace(BUNDLE, tip_header=header[:76] + bytes(4))) == "high-hash"
    raw, _ = mine(bytes(32), time=5, good=False)
    assert reason(replace(regtest(9, 50).bundle(53), header=raw)) == "high-hash"
