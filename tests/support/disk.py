"""What a process did to a folder, recorded by ``disk_log.c``, and the disks that a power cut may leave of it.

The model is a journaling file system, as ext4: a sync makes the synced file's bytes durable, and all directory changes
before it; of everything else any part may be lost, and a file may have its size without its bytes.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_log.c")


def build(folder: Path) -> Path:
    """Compiles the recorder, with the compiler that the kernels need too."""
    library = folder / "disk_log.so"
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def run_recorded(library: Path, script: str, under: Path, log: Path, *arguments: str, slow_tables: int = 0) -> str:
    """Runs Python code that works under a folder; returns its output. ``slow_tables``: microseconds more for a sync."""
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "DISK_LOG": str(log),
        "DISK_LOG_UNDER": str(under),
        "DISK_SLOW_TABLES": str(slow_tables),
    }
    command = [sys.executable, "-c", script, str(under), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, slots=True)
class Operation:
    """``kind``: c(reate), t(runcate or create), w(rite), s(ync), r(ename), u(nlink), n(ote)."""

    kind: str
    path: str
    data: bytes


def operations(log: Path) -> Iterator[Operation]:
    raw = log.read_bytes()
    at = 0
    while at < len(raw):
        path_size, data_size = struct.unpack_from("=II", raw, at + 1)
        path_at, data_at = at + 9, at + 9 + path_size
        end = data_at + data_size
        yield Operation(chr(raw[at]), raw[path_at:data_at].decode(), raw[data_at:end])
        at = end


@dataclass(slots=True)
class File:
    """Bytes written, and how many of them are durable."""

    data: bytearray = field(default_factory=bytearray)
    durable: int = 0


class Loss(Enum):
    """What a power cut does to the bytes that were not synced."""

    CUT = "cut"
    ZEROS = "zeros"
    TORN = "torn"
    """Cut at random, each file elsewhere."""
    DIRECTORY = "directory"
    """Cut, and the directory is as the last sync left it."""


class Disk:
    """Files and directory, following the operations one by one."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.synced_names: dict[str, File] = {}
        self.notes: list[str] = []

    def follow(self, operation: Operation) -> None:
        path = operation.path
        match operation.kind:
            case "c":
                self.names.setdefault(path, File())
            case "t":
                self.names[path] = File()
            case "w":
                self.names[path].data += operation.data
            case "s":
                if path in self.names:
                    self.names[path].durable = len(self.names[path].data)
                self.synced_names = dict(self.names)
            case "r":
                self.names[operation.data.decode()] = self.names.pop(path, File())
            case "u":
                self.names.pop(path, None)
            case _:
                self.notes.append(path)

    def after_power_cut(self, loss: Loss, rng: random.Random) -> Iterator[tuple[str, bytes]]:
        """Paths and what is left in them."""
        names = self.synced_names if loss is Loss.DIRECTORY else self.names
        for path, file in names.items():
            left = bytes(file.data[: file.durable])
            unsynced = len(file.data) - file.durable
            if loss is Loss.ZEROS:
                left += bytes(unsynced)
            elif loss is Loss.TORN:
                left = bytes(file.data[: file.durable + rng.randint(0, unsynced)])
            yield path, left
