"""Damage over which LevelDB ends the whole process: fenced where known, survived at the second start where not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spvnode.errors import StoreError
from spvnode.store.audit import audit
from spvnode.store.tables import FOOTER_SIZE, MAGIC, unusable_tables
from tests.support.stored import GENESIS, GENESIS_HASH, fast_folder, fill, linked, open_store

HEIGHT = 3000
MAIN = GENESIS + linked(GENESIS_HASH, 1, HEIGHT)
HUGE = b"\xff" * 8 + b"\x3f"
"""2**62 - 1 as a varint: more than any machine can allocate."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as place:
        with open_store(place / "store") as store:
            fill(store, HEIGHT)
        with open_store(place / "store"):
            pass
        yield place / "store"


def a_table(folder: Path) -> Path:
    """One in the middle of the chain."""
    return sorted(folder.glob("*.ldb"))[3]


def varint(number: int) -> bytes:
    low = bytearray()
    while number >= 0x80:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number])


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 0x80:
            return number, at


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """As LevelDB stores it (crc32c.h)."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def forge_index(table: Path) -> None:
    """Puts a well-sealed index into the table whose only block is bigger than memory."""
    raw = table.read_bytes()
    footer = raw[-FOOTER_SIZE:]
    _, at = read_varint(footer, 0)
    _, index_at = read_varint(footer, at)
    index_offset, _ = read_varint(footer, index_at)
    handle = varint(0) + HUGE
    block = bytes([0, 5, len(handle)]) + b"c\xff\xff\xff\xff" + handle + bytes(4) + (1).to_bytes(4, "little")
    sealed = block + b"\0" + masked(crc32c(block + b"\0")).to_bytes(4, "little")
    handles = footer[:index_at] + varint(index_offset) + varint(len(block))
    new_footer = handles.ljust(FOOTER_SIZE - len(MAGIC), b"\0") + MAGIC
    table.write_bytes(raw[:index_offset] + sealed + raw[index_offset + len(sealed) : -FOOTER_SIZE] + new_footer)


def open_elsewhere(folder: Path) -> int:
    """Opens the store in another process; returns its exit code."""
    code = "import sys, pathlib, tests.support.stored as s; s.open_store(pathlib.Path(sys.argv[1])).close()"
    return subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    "footer",
    [
        HUGE + b"\0" + b"\0\0",
        b"\0\0" + b"\0" + HUGE,
        b"\0\0" + HUGE + b"\0",
        varint(1 << 20) + b"\0\0\0",
        b"\xff" * 40,
        b"\0" * 20 + b"\xff" * 20,
    ],
)
def test_a_garbled_footer_is_damage_and_no_death(folder: Path, footer: bytes) -> None:
    table = a_table(folder)
    table.write_bytes(table.read_bytes()[:-FOOTER_SIZE] + footer[:40].ljust(40, b"\0") + MAGIC)
    assert open_elsewhere(folder) == 0
    with open_store(folder) as store:
        assert store.faults == ()  # the other process has healed it
        assert 0 < store.tip_height < HEIGHT
        assert store.headers(0, HEIGHT + 1) == MAIN[: (store.tip_height + 1) * 80]
        assert audit(store).good


def test_good_tables_are_usable(folder: Path) -> None:
    assert len(list(folder.glob("*.ldb"))) > 3
    assert unusable_tables(folder) == unusable_tables(folder, whole=True) == []


def test_a_table_that_cannot_be_read_is_unusable(folder: Path) -> None:
    table = a_table(folder)
    table.unlink()
    table.mkdir()  # reading it is an error, as on a bad sector
    assert unusable_tables(folder) == unusable_tables(folder, whole=True) == [table]
    with open_store(folder) as store:
        assert store.faults
        assert 0 < store.tip_height < HEIGHT


@pytest.mark.parametrize("size", [0, 7, 8, 47, 48])
def test_a_short_table_is_left_to_leveldb(tmp_path: Path, size: int) -> None:
    (tmp_path / "000005.ldb").write_bytes(bytes(size))
    assert unusable_tables(tmp_path) == []


@pytest.mark.parametrize("size", [8, 20])
def test_a_table_that_is_all_magic_has_no_footer(tmp_path: Path, size: int) -> None:
    (tmp_path / "000005.ldb").write_bytes(MAGIC.rjust(size, b"\x80"))
    assert unusable_tables(tmp_path) == [tmp_path / "000005.ldb"]


def test_a_store_that_kills_does_so_once(folder: Path) -> None:
    forge_index(a_table(folder))
    assert open_elsewhere(folder) == -signal.SIGABRT
    with open_store(folder) as store:
        assert "opening it ended the process by SIGABRT" in store.faults[0]
        assert store.tip_height == 0
        fill(store, HEIGHT)
    with open_store(folder) as store:
        assert (store.faults, store.headers(0, HEIGHT + 1)) == ((), MAIN)
    assert len(list(folder.parent.glob("store.damaged-*"))) == 1


def test_a_mark_left_by_a_kill_costs_only_a_trial(folder: Path) -> None:
    (folder.parent / "store.opening").touch()
    with open_store(folder) as store:
        assert (store.faults, store.headers(0, HEIGHT + 1)) == ((), MAIN)
    assert not (folder.parent / "store.opening").exists()


def test_what_a_trial_heals_is_told(folder: Path) -> None:
    table = a_table(folder)
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 2] ^= 1
    table.write_bytes(raw)
    (folder.parent / "store.opening").touch()
    with open_store(folder) as store:
        assert "checksum mismatch" in store.faults[0]
        assert "rows are missing" in store.faults[-1]
        assert audit(store).good


def test_a_trial_that_is_refused_says_nothing(folder: Path) -> None:
    (folder.parent / "store.opening").touch()
    shutil.rmtree(folder)
    os.mkfifo(folder)
    with pytest.raises(StoreError, match="File exists"):
        open_store(folder)
    assert not (folder.parent / "store.opening").exists()
