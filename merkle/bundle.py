"""The proof bundle: a header, its place in a header tree, and what the tree's root rests on; bytes and JSON.

Version 1, integers little-endian, hashes in internal byte order:

    version u8 = 1 | name length u8 | network name (ASCII) | genesis hash 32 | range_start u32 | start_height u32
    | start_hash 32 | height u32 | header 80 | cp_height u32 | tip_header 80 | root 32 | chainwork 32 | made_at u32
    | nodes, 32 each

The tree covers heights ``range_start`` .. ``cp_height``. ``start`` is the block from which the maker checked the
chain: genesis, or a checkpoint. ``range_start`` is 0 (genesis tree) or ``start_height`` (a tree that begins at the
checkpoint). ``nodes`` joins the leaves start, header and tip to ``root`` in one minimal multiproof (order:
``merkle.shape.multiproof_nodes``): smaller than three branches, and nothing in it can contradict itself. Its length
follows from the heights, so it is not written, and a bundle has exactly one encoding: 1.9 KB at most for 900,000
headers. ``chainwork`` at the tip and ``made_at`` are the maker's claims; nothing in the bundle proves them.

The JSON form is one object with the same names, hashes and chainwork in reversed hex as explorers print them, headers
in plain hex. ``merkle.verify`` checks either form and shares no code with this module.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from merkle.errors import ProofError
from merkle.forest import Forest
from merkle.pure import HEADER_SIZE
from merkle.shape import HASH_SIZE, MAX_DEPTH, check_nodes, multiproof_nodes

VERSION: Final = 1
MAX_NETWORK_NAME: Final = 32
"""Bytes; "testnet4" has 8. A peer fills it; printed in messages, so lower-case ASCII letters, digits and - only."""
MAX_HEIGHT: Final = (1 << MAX_DEPTH) - 1
"""u32, as every height on the wire."""
MAX_TIME: Final = (1 << 32) - 1
"""u32 Unix seconds, as in a block header: good until 2106."""
MAX_CHAINWORK: Final = (1 << 256) - 1
MAX_NODES: Final = 3 * MAX_DEPTH
"""Three leaves, each with at most one node a level."""

_FIXED = struct.Struct("<32sII32sI80sI80s32s32sI")
MAX_BUNDLE_BYTES: Final = 2 + MAX_NETWORK_NAME + _FIXED.size + MAX_NODES * HASH_SIZE
"""3,414: what the other limits allow. Read no more than this from a peer or a file."""
MAX_BUNDLE_JSON_BYTES: Final = 4 * MAX_BUNDLE_BYTES
"""Hex doubles the bytes; the rest is names, quotes and indentation."""

_NAME = re.compile(r"[a-z0-9-]{1,%d}" % MAX_NETWORK_NAME)  # noqa: UP031 -- braces of the pattern itself
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class HeaderBundle:
    """One header proof, fields as in the module's table. Raises ``ProofError`` when a field is out of its bounds.

    Well-formed does not mean true: ``merkle.verify.verify`` decides that.
    """

    network: str
    genesis: bytes
    range_start: int
    start_height: int
    start_hash: bytes
    height: int
    header: bytes
    cp_height: int
    tip_header: bytes
    root: bytes
    chainwork: int
    made_at: int
    nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.network):
            raise ProofError("network", "is not 1 to 32 characters out of a-z, 0-9 and -", MAX_NETWORK_NAME)
        for field in ("genesis", "start_hash", "root"):
            _check_size(field, getattr(self, field), HASH_SIZE)
        for field in ("header", "tip_header"):
            _check_size(field, getattr(self, field), HEADER_SIZE)
        _check_number("cp_height", self.cp_height, MAX_HEIGHT)
        _check_number("height", self.height, self.cp_height)
        _check_number("start_height", self.start_height, self.height)
        _check_number("chainwork", self.chainwork, MAX_CHAINWORK)
        _check_number("made_at", self.made_at, MAX_TIME)
        if self.range_start not in (0, self.start_height):
            raise ProofError("range_start", "is neither 0 nor the start height", self.start_height)
        check_nodes("nodes", self.nodes, _node_count(self.range_start, self.start_height, self.height, self.cp_height))


_KEYS = {"version", *(field.name for field in fields(HeaderBundle))}


def _node_count(range_start: int, start_height: int, height: int, cp_height: int) -> int:
    positions = [start_height - range_start, height - range_start, cp_height - range_start]
    return sum(1 for _ in multiproof_nodes(positions[-1] + 1, positions))


def _check_size(field: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ProofError(field, f"is not {size} bytes", size)


def _check_number(field: str, value: int, limit: int) -> None:
    if not 0 <= value <= limit:
        raise ProofError(field, f"is not in 0..{limit}", limit)


def make_bundle(
    forest: Forest,
    *,
    network: str,
    genesis: bytes,
    start: tuple[int, bytes],
    height: int,
    header: bytes,
    cp_height: int,
    tip_header: bytes,
    chainwork: int,
    made_at: int,
) -> HeaderBundle:
    """The bundle of ``header`` at ``height`` in the tree up to ``cp_height``, whose header is ``tip_header``.

    ``start``: height and hash of genesis or of the checkpoint that the maker's checks begin at; ``forest`` must hold
    it. ``chainwork``: cumulative at ``cp_height``. ``made_at``: Unix seconds. Raises ``ProofError`` when a height is
    not start <= height <= cp_height < end.
    """
    return HeaderBundle(
        network=network,
        genesis=genesis,
        range_start=forest.range_start,
        start_height=start[0],
        start_hash=start[1],
        height=height,
        header=header,
        cp_height=cp_height,
        tip_header=tip_header,
        root=forest.root(cp_height),
        chainwork=chainwork,
        made_at=made_at,
        nodes=tuple(forest.prove((start[0], height, cp_height), cp_height)),
    )


def encode(bundle: HeaderBundle) -> bytes:
    """Canonical bytes of ``bundle``."""
    name = bundle.network.encode("ascii")
    fixed = _FIXED.pack(
        bundle.genesis,
        bundle.range_start,
        bundle.start_height,
        bundle.start_hash,
        bundle.height,
        bundle.header,
        bundle.cp_height,
        bundle.tip_header,
        bundle.root,
        bundle.chainwork.to_bytes(32, "little"),
        bundle.made_at,
    )
    return bytes([VERSION, len(name)]) + name + fixed + b"".join(bundle.nodes)


def decode(data: bytes) -> HeaderBundle:
    """Reads canonical bytes. Raises ``ProofError`` for anything that ``encode`` does not produce."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise ProofError("bundle", "is too long", MAX_BUNDLE_BYTES)
    if data[:1] != bytes([VERSION]):
        raise ProofError("version", "is not one that this software knows", VERSION)
    end = 2 + (data[1] if len(data) > 1 else 0)
    body = data[end:]
    if len(body) < _FIXED.size:
        raise ProofError("bundle", "is cut short")
    *values, work, made_at = _FIXED.unpack_from(body)
    nodes = tuple(body[at : at + HASH_SIZE] for at in range(_FIXED.size, len(body), HASH_SIZE))
    # A byte that is no ASCII becomes a character that no network name has, and is refused with the rest of them.
    name = data[2:end].decode("ascii", "replace")
    in_order: list[Any] = [name, *values, int.from_bytes(work, "little"), made_at, nodes]
    return HeaderBundle(*in_order)


def to_json(bundle: HeaderBundle) -> dict[str, Any]:
    """The JSON form, ready for ``json.dumps``."""
    return {
        "version": VERSION,
        "network": bundle.network,
        "genesis": bundle.genesis[::-1].hex(),
        "range_start": bundle.range_start,
        "start_height": bundle.start_height,
        "start_hash": bundle.start_hash[::-1].hex(),
        "height": bundle.height,
        "header": bundle.header.hex(),
        "cp_height": bundle.cp_height,
        "tip_header": bundle.tip_header.hex(),
        "root": bundle.root[::-1].hex(),
        "chainwork": f"{bundle.chainwork:064x}",
        "made_at": bundle.made_at,
        "nodes": [node[::-1].hex() for node in bundle.nodes],
    }


def from_json(form: str | bytes | Mapping[str, Any]) -> HeaderBundle:
    """Reads the JSON form, as text or already parsed. Raises ``ProofError`` on a missing, unknown or bad value."""
    if not isinstance(form, Mapping):
        form = _parse(form)
    if set(form) != _KEYS:
        raise ProofError("bundle", "the JSON object does not have exactly the fields of version 1")
    if type(form["version"]) is not int or form["version"] != VERSION:
        raise ProofError("version", "is not one that this software knows", VERSION)
    if not isinstance(form["network"], str):
        raise ProofError("network", "is not a string")
    if type(form["nodes"]) is not list or len(form["nodes"]) > MAX_NODES:
        raise ProofError("nodes", "is not a list of hashes", MAX_NODES)
    return HeaderBundle(
        network=form["network"],
        genesis=_hash(form, "genesis"),
        range_start=_number(form, "range_start"),
        start_height=_number(form, "start_height"),
        start_hash=_hash(form, "start_hash"),
        height=_number(form, "height"),
        header=_raw("header", form["header"], HEADER_SIZE),
        cp_height=_number(form, "cp_height"),
        tip_header=_raw("tip_header", form["tip_header"], HEADER_SIZE),
        root=_hash(form, "root"),
        chainwork=int.from_bytes(_hash(form, "chainwork"), "little"),
        made_at=_number(form, "made_at"),
        nodes=tuple(_raw("nodes", node, HASH_SIZE)[::-1] for node in form["nodes"]),
    )


def _parse(text: str | bytes) -> Mapping[str, Any]:
    if len(text) > MAX_BUNDLE_JSON_BYTES:
        raise ProofError("bundle", "is too long", MAX_BUNDLE_JSON_BYTES)
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError; deep nesting recurses
        raise ProofError("bundle", "is not JSON") from error
    if not isinstance(pairs, _Pairs) or len(form := dict(pairs)) != len(pairs):
        raise ProofError("bundle", "is not one JSON object that names each field once")
    return form


class _Pairs(list[tuple[str, Any]]):
    """A JSON object before duplicate names are lost."""


def _raw(field: str, value: object, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or not _HEX.fullmatch(value):
        raise ProofError(field, f"is not {size} bytes in lower-case hex", size)
    return bytes.fromhex(value)


def _hash(form: Mapping[str, Any], field: str) -> bytes:
    return _raw(field, form[field], HASH_SIZE)[::-1]


def _number(form: Mapping[str, Any], field: str) -> int:
    value = form[field]
    if type(value) is not int:  # True is an int, and 1.0 equals one
        raise ProofError(field, "is not a whole number")
    return value
