"""BIP158's basic filter of a block: what is in it, its hash and header, and which filters hold watched scripts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import Final

from merkle.hashing import sha256d
from spvnode.bitcoin import gcs
from spvnode.bitcoin.block import Block
from spvnode.types import Hash32

BASIC: Final = 0
"""The filter type on the wire."""
MAX_FILTER: Final = 524_288
"""Bytes of one filter: a block holds under 130,000 scripts, each under 24 bits. A peer sends it."""
MAX_WATCHED: Final = 100_000
"""Scripts looked for at once: 2 MB to work in, 5 ms a filter. Our own user fills it."""
MAX_SCRIPT: Final = 10_000
"""Bytes of a script that can be spent (Core's MAX_SCRIPT_SIZE)."""
GENESIS_PREVIOUS: Final = Hash32(bytes(32))
"""The filter header before genesis (BIP157)."""

_OP_RETURN = 0x6A


class Match(IntEnum):
    """What a filter says of watched scripts."""

    NO = gcs.ABSENT
    """None of them is in the block: certain, where the filter is honest."""
    YES = gcs.PRESENT
    """One of them may be: the block tells."""
    MALFORMED = gcs.MALFORMED
    """No filter at all."""


def output_elements(block: Block) -> set[bytes]:
    """Scripts of outputs that are in the block's filter."""
    scripts = (script for tx in block.transactions for script in tx.outputs)
    return {script for script in scripts if script and script[0] != _OP_RETURN}


def elements(block: Block, prevout_scripts: Iterable[bytes]) -> set[bytes]:
    """All scripts in a block's filter; ``prevout_scripts`` are those that its inputs spend."""
    return output_elements(block) | {script for script in prevout_scripts if script}


def build(block: Block, prevout_scripts: Iterable[bytes]) -> bytes:
    """The serialized filter."""
    items = elements(block, prevout_scripts)
    return gcs.encode(values(block.hash, items, len(items)))


def values(block_hash: Hash32, items: Iterable[bytes], count: int) -> list[int]:
    """What ``items`` are in a filter of ``count`` values of that block, in their order."""
    raw = gcs.siphash_scaled(block_hash[: gcs.KEY_SIZE], gcs.pack(items), count * gcs.INVERSE_RATE)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]


def held_scripts(data: bytes, block_hash: Hash32, scripts: Collection[bytes]) -> frozenset[bytes] | None:
    """Those of ``scripts`` that the filter of that block holds (one in ``gcs.INVERSE_RATE`` by chance); None where
    ``data`` is no filter."""
    held = gcs.values_of(data)
    if held is None:
        return None
    if not held or not scripts:
        return frozenset()
    known, ordered = set(held), list(scripts)
    pairs = zip(ordered, values(block_hash, ordered, len(held)), strict=True)
    return frozenset(script for script, value in pairs if value in known)


def filter_hash(data: bytes) -> Hash32:
    """SHA-256d of a serialized filter."""
    return Hash32(sha256d(data))


def filter_header(hash_of_filter: bytes, previous: bytes) -> Hash32:
    """BIP157: commits to a filter and to all before it."""
    return Hash32(sha256d(hash_of_filter + previous))


class Watch:
    """Scripts to look for. ValueError where there are too many, or one that no filter holds."""

    def __init__(self, scripts: Iterable[bytes]) -> None:
        distinct = sorted(set(scripts))
        if len(distinct) > MAX_WATCHED:
            raise ValueError(f"{len(distinct)} scripts are above {MAX_WATCHED}")
        if any(not 0 < len(script) <= MAX_SCRIPT or script[0] == _OP_RETURN for script in distinct):
            raise ValueError(f"a script is empty, above {MAX_SCRIPT} bytes, or begins with OP_RETURN")
        self._packed = gcs.pack(distinct)
        self._workspace = gcs.gcs_workspace(len(distinct))

    def match(self, block_hashes: Sequence[bytes], filters: Sequence[bytes]) -> list[Match]:
        """What each of ``filters``, of these blocks, says. May run in several threads at once."""
        keys = b"".join([block_hash[: gcs.KEY_SIZE] for block_hash in block_hashes])
        out = bytearray(len(filters))
        gcs.gcs_match(gcs.pack(filters), keys, self._packed, bytearray(self._workspace), out)
        return [Match(byte) for byte in out]
