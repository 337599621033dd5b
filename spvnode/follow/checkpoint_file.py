"""A checkpoint that the operator brings in a file: a block root in text, or a whole bootstrap.

    0x<64 hex digits>[:epoch]         text; lines that begin with # are comments
    {"version": ..., "data": {...}}   a bootstrap as the Beacon API gives it
    SSZ of a bootstrap                of any fork that the network knows

A bootstrap names its own root, so whoever made the file is trusted with both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from p2p.faults import RemoteFault
from p2p.rest.api import Reply
from spvnode.errors import InputError
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.items import Kind
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import Root
from spvnode.sync.rest_items import Decoded, decode_one

MAX_FILE = 1 << 20
"""Bytes: a bootstrap takes 55 kB of JSON. The operator names the file, perhaps the wrong one."""
FIELD = "checkpoint file"
_ROOT = re.compile(r"0x([0-9a-fA-F]{64})(:[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class FileCheckpoint:
    """What a file names. ``bootstrap`` is not checked yet."""

    root: Root
    bootstrap: Decoded | None


def read_checkpoint_file(path: Path, network: Network) -> FileCheckpoint:
    """Blocking. InputError where the file cannot be read or holds none of the forms."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(FIELD, f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise InputError(FIELD, f"{path}: more than {MAX_FILE} bytes")
    root = _root(data)
    if root is not None:
        return FileCheckpoint(root, None)
    # The same decoder as for servers: a file is no more careful.
    decoded = decode_one(network, Kind.BOOTSTRAP, Reply(data.lstrip()[:1] != b"{", "", data), path.name)
    if isinstance(decoded, RemoteFault):
        raise InputError(FIELD, f"{path}: neither a root (0x and 64 hex digits) nor a bootstrap: {decoded.evidence}")
    return FileCheckpoint(beacon_root(decoded.value.header.beacon), decoded)


def _root(data: bytes) -> Root | None:
    try:
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        return None
    lines = [line for line in lines if line and not line.startswith("#")]
    found = _ROOT.fullmatch(lines[0]) if len(lines) == 1 else None
    return Root(bytes.fromhex(found[1])) if found else None
