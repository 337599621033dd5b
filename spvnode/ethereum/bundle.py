"""The beacon bundle: all that leads from a checkpoint to a finalized or optimistic header; bytes and JSON.

Version 2 of the proof bundle (``merkle/bundle.py`` is version 1), integers little-endian, hashes in natural order:

    version u8 = 2 | name length u8 | network name (ASCII) | genesis_validators_root 32 | checkpoint_root 32
    | made_at u32 | item count u16 | items

    item = n u32 | kind u8 | fork digest 4 | ssz          n counts kind, digest and ssz (``items.py``)

    first item     kind 0, LightClientBootstrap     of the block with ``checkpoint_root``
    then           kind 1, LightClientUpdate        one for each period from the bootstrap's, none left out
    at most one    kind 2, LightClientFinalityUpdate, or kind 3, LightClientOptimisticUpdate

Digests are those of the fork in force at the object's slot (attested; the bootstrap's own), SSZ is in that fork's
layout: the objects are byte for byte what beacon nodes serve. So every bundle has exactly one encoding. On mainnet it
has 26 kB, and 27 kB more for each period of 27 hours. ``made_at`` is its maker's claim. ``checkpoint_root`` is what it
rests on: whoever trusts that root, and nobody else, is shown something (``bundle_verify.py``).

The JSON form is one object with the same names: ``version``, ``network``, ``genesis_validators_root``,
``checkpoint_root``, ``made_at``, ``items``: a list of ``kind`` (bootstrap, update, finality, optimistic),
``fork_digest`` and ``ssz``; bytes as lower-case 0x hex.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

from merkle.bundle import MAX_NETWORK_NAME
from merkle.errors import ProofError
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
)
from spvnode.ethereum.containers import encode as encode_object
from spvnode.ethereum.items import DIGEST_SIZE, HEAD_SIZE, LENGTH_SIZE, MAX_ITEM, Item, Kind, join, split
from spvnode.ethereum.networks import Network
from spvnode.ethereum.received import CLASSES
from spvnode.ethereum.records import Kept, slot_of, wire_digest
from spvnode.ethereum.units import Slot, compute_sync_committee_period_at_slot

VERSION: Final = 2
ROOT_SIZE: Final = 32
MAX_PERIODS: Final = 512
"""Updates in one bundle: 19 months of mainnet, forty times the weak-subjectivity period. Its maker fills it."""
MAX_ITEMS: Final = MAX_PERIODS + 2
"""The bootstrap before the updates, and one live update after them."""
MAX_TIME: Final = (1 << 32) - 1
"""u32 Unix seconds: good until 2106."""

_FIXED = struct.Struct("<32s32sIH")
MAX_BUNDLE_BYTES: Final = 2 + MAX_NETWORK_NAME + _FIXED.size + MAX_ITEMS * (LENGTH_SIZE + MAX_ITEM)
"""16.8 MB: what the other limits allow. Read no more than this from a peer or a file."""
MAX_BUNDLE_JSON_BYTES: Final = 2 * MAX_BUNDLE_BYTES + (1 << 20)
"""Hex doubles the bytes; the rest is names, quotes and indentation."""
MAX_BRACKETS: Final = MAX_ITEMS + 2
"""Opening brackets of the JSON form: the object, the list, and one object an item. Text with more is not parsed: the
parser recurses, and where a library has raised the interpreter's limit (py_ecc does) it would overrun the stack."""
UPDATES_AT_ONCE: Final = 128
"""How many are asked of a store at once."""

_NAME = re.compile(r"[a-z0-9-]{1,%d}" % MAX_NETWORK_NAME)  # noqa: UP031 -- braces of the pattern itself
_HEX = re.compile(r"0x([0-9a-f]{2})*")
_ITEM_KEYS = {"kind", "fork_digest", "ssz"}
_KINDS = {kind.name.lower(): kind for kind in Kind}
_LIVE = (Kind.FINALITY, Kind.OPTIMISTIC)
_KIND_OF = {cls: kind for kind, cls in CLASSES.items()}


@dataclass(frozen=True, slots=True)
class BeaconBundle:
    """Fields as in the module's table. Raises ``ProofError`` when one is out of its bounds or an item out of its place.

    Well-formed does not mean true: ``bundle_verify.verify`` decides that.
    """

    network: str
    genesis_validators_root: bytes
    checkpoint_root: bytes
    made_at: int
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.network):
            raise ProofError("network", "is not 1 to 32 characters out of a-z, 0-9 and -", MAX_NETWORK_NAME)
        for field in ("genesis_validators_root", "checkpoint_root"):
            if len(getattr(self, field)) != ROOT_SIZE:
                raise ProofError(field, f"is not {ROOT_SIZE} bytes", ROOT_SIZE)
        if not 0 <= self.made_at <= MAX_TIME:
            raise ProofError("made_at", f"is not in 0..{MAX_TIME}", MAX_TIME)
        if len(self.items) > MAX_ITEMS:
            raise ProofError("items", f"are {len(self.items)}", MAX_ITEMS)
        if any(len(item.digest) != DIGEST_SIZE or len(item.ssz) > MAX_ITEM - HEAD_SIZE for item in self.items):
            raise ProofError("items", "has one that is too long", MAX_ITEM)
        kinds = [item.kind for item in self.items]
        updates = kinds[1:-1] if kinds[-1:] and kinds[-1] in _LIVE else kinds[1:]
        if kinds[:1] != [Kind.BOOTSTRAP] or any(kind is not Kind.UPDATE for kind in updates):
            raise ProofError("items", "are not a bootstrap, updates, and at most one live update after them")
        if len(updates) > MAX_PERIODS:
            raise ProofError("items", f"have {len(updates)} updates", MAX_PERIODS)


_KEYS = {"version", *(field.name for field in fields(BeaconBundle))}


class BundleSource(Protocol):
    """What a bundle is made of: the part of ``spvnode.view.BeaconView`` that is needed here."""

    @property
    def params(self) -> Network:
        """The network."""

    @property
    def bootstrap(self) -> LightClientBootstrap:
        """The trusted start."""

    @property
    def finality_update(self) -> LightClientFinalityUpdate | None:
        """The newest one, if any."""

    @property
    def optimistic_update(self) -> LightClientOptimisticUpdate | None:
        """The newest one, if any."""

    def updates(self, start_period: int, count: int) -> Sequence[LightClientUpdate]:
        """Best updates of up to ``count`` periods from ``start_period``, up to the first gap."""


def make_bundle(source: BundleSource, header: str, made_at: int) -> BeaconBundle:
    """The shortest bundle of what ``source`` holds, to its newest ``"finalized"`` or ``"optimistic"`` header.

    Where nothing newer is known, the bundle shows the checkpoint's own header. All objects are in the layout of their
    own slot, as a store keeps them. ValueError for another ``header``, or where a period is missing on the way.
    """
    if header not in ("finalized", "optimistic"):
        raise ValueError(f"header: {header!r} is neither finalized nor optimistic")
    network, bootstrap = source.params, source.bootstrap
    values = [bootstrap, *_after_bootstrap(source, header, bootstrap.header.beacon.slot)]
    return BeaconBundle(
        network=network.name,
        genesis_validators_root=network.genesis_validators_root,
        checkpoint_root=beacon_root(bootstrap.header.beacon),
        made_at=made_at,
        items=tuple(_item(network, value) for value in values),
    )


def _after_bootstrap(source: BundleSource, header: str, start_slot: int) -> list[Kept]:
    first = _period(source.params, start_slot)
    updates = _updates(source, first)
    shown = [_shown_slot(update, header) for update in updates]
    newest = max([start_slot, *shown])
    live = _newest_live(source, header)
    if live is not None and _shown_slot(live, header) >= newest:
        # The committee that signed it is named by the update of the period before.
        needed = _period(source.params, live.signature_slot) - first
        if needed > len(updates):
            raise ValueError(f"updates: {len(updates)} from period {first}, {needed} are needed")
        if _shown_slot(live, header) > max([start_slot, *shown[:needed]]):
            return [*updates[:needed], live]
    return [*updates[: shown.index(newest) + 1]] if newest in shown else []


def encode(bundle: BeaconBundle) -> bytes:
    """Canonical bytes of ``bundle``."""
    name = bundle.network.encode("ascii")
    fixed = _FIXED.pack(bundle.genesis_validators_root, bundle.checkpoint_root, bundle.made_at, len(bundle.items))
    return bytes([VERSION, len(name)]) + name + fixed + join(bundle.items)


def decode(data: bytes) -> BeaconBundle:
    """Reads canonical bytes. Raises ``ProofError`` for anything that ``encode`` does not produce."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise ProofError("bundle", "is too long", MAX_BUNDLE_BYTES)
    if data[:1] != bytes([VERSION]):
        raise ProofError("version", "is not one that this software knows", VERSION)
    end = 2 + (data[1] if len(data) > 1 else 0)
    if len(data) < end + _FIXED.size:
        raise ProofError("bundle", "is cut short")
    genesis_validators_root, checkpoint_root, made_at, count = _FIXED.unpack_from(data, end)
    try:
        items = split(data[end + _FIXED.size :])
    except ValueError as error:  # numbers of ours only: see ``items.split``
        raise ProofError("items", "are no run of items") from error
    if len(items) != count:
        raise ProofError("items", f"are {len(items)} and not as many as announced")
    # A byte that is no ASCII becomes a character that no network name has, and is refused with the rest of them.
    name = data[2:end].decode("ascii", "replace")
    return BeaconBundle(name, genesis_validators_root, checkpoint_root, made_at, tuple(items))


def to_json(bundle: BeaconBundle) -> dict[str, Any]:
    """The JSON form, ready for ``json.dumps``."""
    return {
        "version": VERSION,
        "network": bundle.network,
        "genesis_validators_root": _hex(bundle.genesis_validators_root),
        "checkpoint_root": _hex(bundle.checkpoint_root),
        "made_at": bundle.made_at,
        "items": [
            {"kind": item.kind.name.lower(), "fork_digest": _hex(item.digest), "ssz": _hex(item.ssz)}
            for item in bundle.items
        ],
    }


def from_json(form: str | bytes | Mapping[str, Any]) -> BeaconBundle:
    """Reads the JSON form, as text or already parsed. Raises ``ProofError`` on a missing, unknown or bad value."""
    if not isinstance(form, Mapping):
        form = parse_json(form)
    if set(form) != _KEYS:
        raise ProofError("bundle", "the JSON object does not have exactly the fields of version 2")
    for field in ("version", "made_at"):
        if type(form[field]) is not int:  # True is an int, and 1.0 equals one
            raise ProofError(field, "is not a whole number")
    if form["version"] != VERSION:
        raise ProofError("version", "is not one that this software knows", VERSION)
    if not isinstance(form["network"], str):
        raise ProofError("network", "is not a string")
    if type(form["items"]) is not list or len(form["items"]) > MAX_ITEMS:
        raise ProofError("items", "is not a list of items", MAX_ITEMS)
    return BeaconBundle(
        network=form["network"],
        genesis_validators_root=_raw("genesis_validators_root", form["genesis_validators_root"]),
        checkpoint_root=_raw("checkpoint_root", form["checkpoint_root"]),
        made_at=form["made_at"],
        items=tuple(_item_from_json(item) for item in form["items"]),
    )


def parse_json(text: str | bytes) -> Mapping[str, Any]:
    """The JSON object of a proof bundle; ``ProofError`` when it is none, or names a field twice."""
    if len(text) > MAX_BUNDLE_JSON_BYTES:
        raise ProofError("bundle", "is too long", MAX_BUNDLE_JSON_BYTES)
    data = text.encode(errors="replace") if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") > MAX_BRACKETS:
        raise ProofError("bundle", "has more brackets than a bundle needs", MAX_BRACKETS)
    try:
        form = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError; deep nesting recurses
        raise ProofError("bundle", "is not JSON that names each field once") from error
    if not isinstance(form, dict):
        raise ProofError("bundle", "is not a JSON object")
    return form


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    form = dict(pairs)
    if len(form) != len(pairs):
        raise ValueError("a field is named twice")
    return form


def _item_from_json(form: Any) -> Item:
    if not isinstance(form, Mapping) or set(form) != _ITEM_KEYS:
        raise ProofError("items", "has one that is not exactly kind, fork_digest and ssz")
    kind = _KINDS.get(form["kind"]) if isinstance(form["kind"], str) else None
    if kind is None:
        raise ProofError("items", "has one of an unknown kind")
    return Item(kind, _raw("fork_digest", form["fork_digest"]), _raw("ssz", form["ssz"]))


def _raw(field: str, value: object) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * (1 + MAX_ITEM) or not _HEX.fullmatch(value):
        raise ProofError(field, "is not lower-case 0x hex of that length", MAX_ITEM)
    return bytes.fromhex(value[2:])


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _item(network: Network, value: Kept) -> Item:
    return Item(_KIND_OF[type(value)], wire_digest(network, slot_of(value)), encode_object(network.preset, value))


def _updates(source: BundleSource, first: int) -> list[LightClientUpdate]:
    found: list[LightClientUpdate] = []
    while len(found) < MAX_PERIODS:
        more = source.updates(first + len(found), min(UPDATES_AT_ONCE, MAX_PERIODS - len(found)))
        if not more:
            break
        found += more
    return found


def _newest_live(source: BundleSource, header: str) -> LightClientFinalityUpdate | LightClientOptimisticUpdate | None:
    finality, optimistic = source.finality_update, source.optimistic_update
    if header == "finalized" or optimistic is None:
        return finality
    if finality is None or optimistic.attested_header.beacon.slot >= finality.attested_header.beacon.slot:
        return optimistic
    return finality


def _shown_slot(
    update: LightClientUpdate | LightClientFinalityUpdate | LightClientOptimisticUpdate, header: str
) -> int:
    if header == "finalized" and not isinstance(update, LightClientOptimisticUpdate):
        return update.finalized_header.beacon.slot
    return update.attested_header.beacon.slot


def _period(network: Network, slot: int) -> int:
    return compute_sync_committee_period_at_slot(network.preset, Slot(slot))
