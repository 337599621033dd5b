"""Chains of headers with their forests, and the bundles made of them."""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

from merkle.bundle import HeaderBundle, make_bundle
from merkle.forest import Forest
from merkle.hashing import sha256d_headers
from merkle.proofs import (
    AncestryProof,
    ColumnsProof,
    HeadersProof,
    at_once,
    headers_proof_steps,
    make_ancestry_proof,
    make_columns_proof,
)
from merkle.verify import NETWORKS
from tests.support.mine import mine_run
from tests.support.naive_tree import peaks

BITCOIN = Path(__file__).parents[1] / "vectors" / "bitcoin"
GENESIS = {name: bytes.fromhex(genesis)[::-1] for name, (genesis, _) in NETWORKS.items()}
MADE_AT = 1_700_000_000


class Maker:
    """A node that holds ``headers`` from height ``base`` on; with ``below`` (hashes under it) it has their peaks."""

    def __init__(self, network: str, headers: bytes, base: int = 0, below: bytes = b"") -> None:
        self.network, self.raw, self.base = network, headers, base
        self.hashes = sha256d_headers(headers)
        known = peaks([below[at : at + 32] for at in range(0, len(below), 32)])
        self.forest = Forest(
            lambda start, count: self.hashes[(start - base) * 32 :][: count * 32], base=base, peaks=known
        )
        self.forest.append(self.hashes)
        self.tip = self.forest.end - 1

    def header(self, height: int) -> bytes:
        return self.raw[(height - self.base) * 80 :][:80]

    def hash(self, height: int) -> bytes:
        return self.hashes[(height - self.base) * 32 :][:32]

    def start(self, height: int | None = None) -> tuple[int, bytes]:
        """The block that its checks begin at."""
        at = self.base if height is None else height
        return at, self.hash(at)

    def bundle(self, height: int, cp_height: int | None = None, chainwork: int = 2**70 + 5) -> HeaderBundle:
        tip = self.tip if cp_height is None else cp_height
        return make_bundle(
            self.forest,
            network=self.network,
            genesis=GENESIS[self.network],
            start=(self.base, self.hash(self.base)),
            height=height,
            header=self.header(height),
            cp_height=tip,
            tip_header=self.header(tip),
            chainwork=chainwork,
            made_at=MADE_AT,
        )


@cache
def real(file: str, network: str, count: int) -> Maker:
    """The first ``count`` headers of a vector that begins at genesis."""
    return Maker(network, lzma.decompress((BITCOIN / file).read_bytes())[: count * 80])


def mainnet() -> Maker:
    return real("mainnet_0-32259.bin.xz", "bitcoin", 32_260)


@cache
def regtest(count: int, base: int = 0, with_peaks: bool = False) -> Maker:
    """Made-up headers from a made-up block at ``base``, not from genesis: only ``base`` > 0 makes a true bundle."""
    below = mine_run(bytes(32), 1_600_000_000, base, seed=9)
    hashes = sha256d_headers(below)
    run = mine_run(hashes[-32:] if below else bytes(32), 1_600_000_000 + 600 * base, count, seed=9)
    return Maker("regtest", run, base, hashes if with_peaks else b"")


def ancestry(maker: Maker, old: int, new: int, start_height: int | None = None) -> AncestryProof:
    start, genesis = maker.start(start_height), GENESIS[maker.network]
    return make_ancestry_proof(
        maker.forest, maker.header, network=maker.network, genesis=genesis, start=start, old=old, new=new
    )


def headers(maker: Maker, heights: list[int], cp_height: int) -> HeadersProof:
    start, genesis = maker.start(), GENESIS[maker.network]
    return at_once(
        headers_proof_steps(
            maker.forest, maker.header, heights, cp_height, network=maker.network, genesis=genesis, start=start
        )
    )


def columns_proof(maker: Maker, heights: list[int], cp_height: int, start_height: int | None = None) -> ColumnsProof:
    start, genesis = maker.start(start_height), GENESIS[maker.network]
    return make_columns_proof(
        maker.forest, maker.header, heights, cp_height, network=maker.network, genesis=genesis, start=start
    )
