"""Importing real headers: whole files or nothing, from genesis or a checkpoint, resumed, and refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mine import mine_run
from small_node import vector

from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import NETWORKS
from spvnode.errors import InputError
from spvnode.importer import Checked, HeaderFile, Imported, StoreTarget, check_file, store_file
from spvnode.inputs import CheckpointInput
from spvnode.opening import open_stored
from spvnode.types import Hash32, Height

BITCOIN = NETWORKS["bitcoin"]


def quiet(what: str, done: int, total: int) -> None:
    """No progress."""


def write(folder: Path, raw: bytes, name: str = "headers") -> HeaderFile:
    path = folder / name
    path.write_bytes(raw)
    return HeaderFile(path)


def check(file: HeaderFile, network: str = "bitcoin", begin: CheckpointInput | None = None) -> Checked:
    return check_file(file, NETWORKS[network], begin, time.time(), quiet)


def load(datadir: Path, file: HeaderFile, network: str = "bitcoin", begin: CheckpointInput | None = None) -> Imported:
    """Both passes into the store of ``datadir``."""
    checked = check(file, network, begin)
    with open_stored(NETWORKS[network], datadir, checked.start) as chain:
        return store_file(file, checked, StoreTarget(chain), quiet)


def checkpoint(raw: bytes, height: int) -> CheckpointInput:
    """The first header of ``raw`` as the user would name it."""
    return CheckpointInput(None, Height(height), Hash32(header_hash(raw[:80])))


@pytest.mark.parametrize(
    ("name", "network", "count"), [("mainnet_0-32259", "bitcoin", 32_260), ("signet_0-2015", "signet", 2_016)]
)
def test_real_files_from_genesis(tmp_path: Path, name: str, network: str, count: int) -> None:
    done = load(tmp_path, write(tmp_path, vector(name)), network)
    assert (done.checked.count, done.accepted, done.known, done.tip_height) == (count, count - 1, 1, count - 1)


def test_real_headers_from_a_checkpoint(tmp_path: Path) -> None:
    raw = vector("mainnet_150000-340000")[(151_200 - 150_000) * 80 : (160_000 - 150_000) * 80]
    done = load(tmp_path, write(tmp_path, raw), begin=checkpoint(raw, 151_200))
    assert (done.checked.first, done.tip_height, done.accepted) == (151_200, 159_999, 8_799)
    again = load(tmp_path, write(tmp_path, raw), begin=checkpoint(raw, 151_200))
    assert (again.known, again.accepted) == (8_800, 0)


def test_a_cut_file_is_taken_to_its_last_whole_header_and_resumed(tmp_path: Path) -> None:
    raw = vector("mainnet_0-32259")
    for size, known, accepted, rest in (
        (1_000 * 80 + 79, 1, 999, 79),
        (1_000 * 80, 1_000, 0, 0),
        (8_064 * 80 + 1, 1_000, 7_064, 1),
        (16_128 * 80, 8_064, 8_064, 0),
        (20_001 * 80, 16_128, 3_873, 0),
    ):
        done = load(tmp_path, write(tmp_path, raw[:size]))
        assert (done.known, done.accepted, done.checked.rest) == (known, accepted, rest)
        assert done.tip_height == size // 80 - 1


def test_a_file_may_begin_right_after_the_genesis(tmp_path: Path) -> None:
    raw = vector("mainnet_0-32259")[80 : 500 * 80]
    done = load(tmp_path, write(tmp_path, raw))
    assert (done.checked.first, done.known, done.accepted, done.tip_height) == (1, 0, 499, 499)
    assert load(tmp_path, write(tmp_path, raw)).known == 499


@pytest.mark.parametrize("seed", range(12))
def test_one_flipped_bit_refuses_the_whole_file(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(vector("mainnet_0-32259")[: 12_000 * 80])
    bad = rng.randrange(1, 12_000)
    raw[bad * 80 + rng.randrange(80)] ^= 1 << rng.randrange(8)
    with pytest.raises(InputError) as caught:
        load(tmp_path, write(tmp_path, bytes(raw)))
    assert caught.value.field == "FILE"
    assert f"header {bad} (" in caught.value.problem
    assert "breaks the rule " in caught.value.problem
    assert not (tmp_path / "bitcoin").exists()


def test_another_chains_headers_are_refused(tmp_path: Path) -> None:
    foreign = vector("negative_bsv_2025")
    with pytest.raises(InputError, match=r"FILE: .*/headers: its first header is not bitcoin's genesis; name where"):
        check(write(tmp_path, foreign))
    with pytest.raises(InputError, match=r"FILE: header .* breaks the rule "):
        check(write(tmp_path, foreign), begin=checkpoint(foreign, 2016 * 440))
    told = "begins with testnet3's genesis, not signet's; is it --network testnet3"
    for begin in (0, 80):
        with pytest.raises(InputError, match=told):
            check(write(tmp_path, vector("testnet3_0-35141")[begin:]), "signet")


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (lzma.compress, "is an xz archive; unpack it first"),
        (gzip.compress, "is a gzip archive; unpack it first"),
        (bz2.compress, "is a bzip2 archive; unpack it first"),
        (lambda raw: raw.hex().encode(), "is hex text; raw headers of 80 bytes are wanted"),
    ],
)
def test_a_packed_file_is_told_as_such(tmp_path: Path, pack: Callable[[bytes], bytes], told: str) -> None:
    with pytest.raises(InputError, match=f"^FILE: {tmp_path}/headers: {told}"):
        check(write(tmp_path, pack(vector("mainnet_0-32259")[: 100 * 80])))


def test_a_checkpoint_must_be_the_files_first_header_and_begin_a_period(tmp_path: Path) -> None:
    raw = vector("mainnet_150000-340000")[1_200 * 80 : 1_300 * 80]
    file = write(tmp_path, raw)
    wrong = CheckpointInput(None, Height(151_200), Hash32(bytes(32)))
    with pytest.raises(InputError, match=r"^--checkpoint: the file's first header has the hash 0000000000000"):
        check(file, begin=wrong)
    with pytest.raises(InputError, match=r"^--checkpoint: 151201 is not a multiple of 2016"):
        check(file, begin=checkpoint(raw, 151_201))
    assert check(file, begin=checkpoint(raw, 151_200)).count == 100
    assert check(write(tmp_path, raw[:80]), begin=checkpoint(raw, 151_200)).count == 1


def test_built_in_checkpoints_hold(tmp_path: Path) -> None:
    # Testnet3 as it is passes its own checkpoint at 546; a regtest chain may not replace block 0's.
    assert check(write(tmp_path, vector("testnet3_0-35141")[: 600 * 80]), "testnet3").count == 600
    fake = mine_run(NETWORKS["regtest"].genesis_hash, 1_296_688_602, 3)
    with pytest.raises(InputError, match="contradicts the built-in checkpoint at height 0"):
        check(write(tmp_path, fake), "regtest", checkpoint(fake, 0))


@pytest.mark.parametrize("size", [0, 1, 79])
def test_a_file_without_a_header(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match=f"{size} bytes hold no header of 80"):
        check(write(tmp_path, bytes(size)))


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="is a pipe or device, which cannot be read twice"):
        check(HeaderFile(tmp_path / "fifo"))


def test_file_and_store_must_meet(tmp_path: Path) -> None:
    raw = vector("mainnet_150000-340000")
    early, late = raw[1_200 * 80 : 1_300 * 80], raw[(153_216 - 150_000) * 80 : (153_300 - 150_000) * 80]
    load(tmp_path, write(tmp_path, early), begin=checkpoint(early, 151_200))
    with pytest.raises(
        InputError, match="holds heights 153216 to 153299, the store 151200 to 151299: they do not meet"
    ):
        load(tmp_path, write(tmp_path, late), begin=checkpoint(late, 153_216))
    genesis = vector("mainnet_0-32259")[: 100 * 80]
    with pytest.raises(InputError, match="holds heights 0 to 99, the store 151200 to 151299: they do not meet"):
        load(tmp_path, write(tmp_path, genesis))


def test_a_longer_fork_reorganizes_and_a_shorter_one_does_not(tmp_path: Path) -> None:
    regtest = NETWORKS["regtest"]
    main = mine_run(regtest.genesis_hash, 1_296_688_602, 20)
    fork_point = header_hash(main[9 * 80 : 10 * 80])
    time_10 = int.from_bytes(main[9 * 80 + 68 : 9 * 80 + 72], "little")
    shorter = main[: 10 * 80] + mine_run(fork_point, time_10, 5, seed=1)
    longer = main[: 10 * 80] + mine_run(fork_point, time_10, 15, seed=2)
    load(tmp_path, write(tmp_path, main), "regtest")
    done = load(tmp_path, write(tmp_path, shorter), "regtest")
    assert (done.known, done.accepted, done.tip_hash) == (10, 5, header_hash(main[-80:]))
    done = load(tmp_path, write(tmp_path, longer), "regtest")
    assert (done.known, done.tip_height, done.tip_hash) == (10, 25, header_hash(longer[-80:]))


def test_progress_counts_up_to_the_whole(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    file = write(tmp_path, vector("mainnet_0-32259")[: 10_000 * 80])
    checked = check_file(file, BITCOIN, None, time.time(), lambda *step: seen.append(step))
    with open_stored(BITCOIN, tmp_path, checked.start) as chain:
        store_file(file, checked, StoreTarget(chain), lambda *step: seen.append(step))
    assert seen == [
        ("checking", 8_064, 10_000),
        ("checking", 10_000, 10_000),
        ("storing", 8_065, 10_000),
        ("storing", 10_000, 10_000),
    ]
