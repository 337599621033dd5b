"""Checks a proof bundle of any version, offline: the one door for ``spvnode verify`` and ``verifyheaderproof``.

The version is the first byte of the binary form, and the field ``version`` of the JSON form: 1 is a header tree's
(``merkle/bundle.py``), 2 a beacon chain's (``spvnode/ethereum/bundle.py``), 3 a transaction's, 4 one of ancestry, 5 and
6 of many headers (``merkle/proofs.py``; 6 has no JSON form). Every verdict has ``ok``, ``reason``, ``says``,
``rests_on``, ``claimed`` and ``fields``. The rules of Ethereum are loaded for version 2 only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from merkle.errors import ProofError
from merkle.verify import Verdict
from merkle.verify import verify as verify_header_tree
from merkle.verify_more import MAX_JSON_BYTES, VERSIONS
from merkle.verify_more import verify as verify_more
from spvnode.errors import InputError

if TYPE_CHECKING:
    from spvnode.ethereum.bundle_verify import BeaconVerdict
    from spvnode.ethereum.networks import Network

BEACON_VERSION: Final = 2
COLUMNS_VERSION: Final = 6
MAX_PROOF_BYTES: Final = 36 << 20
"""Of a file, either form of either version: 512 periods of a beacon chain as JSON. Read one byte more, to refuse it."""
ROOT_SIZE: Final = 32


def verify_any(
    data: bytes | str | Mapping[str, Any],
    now: float,
    *,
    trusted_root: bytes | str | None = None,
    trusted_tip: bytes | str | None = None,
    trusted_start: bytes | str | None = None,
    trusted_checkpoint: bytes | str | None = None,
    networks: Mapping[str, Network] | None = None,
) -> Verdict | BeaconVerdict:
    """Verdict on a bundle: canonical bytes, JSON text, bytes in hex, or parsed JSON. Never raises for what it holds.

    ``now``: Unix seconds. The first three trusted hashes are for header trees (``merkle.verify.verify`` says which
    forms they have; a root alone for versions 4 to 6), ``trusted_checkpoint`` for version 2: a block root, 32 bytes or
    hex with or without ``0x``. ``networks``: beacon chains by name, by default the public ones. ``InputError`` when a
    trusted hash is none, or is given for a bundle of the other version: it must not seem to have been compared.
    """
    form = _form(data)
    tree = {"trusted_root": trusted_root, "trusted_tip": trusted_tip, "trusted_start": trusted_start}
    version = _version(form)
    if version == BEACON_VERSION:
        _none_given(tree, "a beacon chain")
        return _verify_beacon(form, now, _root(trusted_checkpoint), networks)
    _none_given({"trusted_checkpoint": trusted_checkpoint}, "a header tree")
    if version == COLUMNS_VERSION and isinstance(form, bytes):
        _none_given({"trusted_tip": trusted_tip, "trusted_start": trusted_start}, "many headers")
        return _verify_columns(form, trusted_root)
    try:
        return (verify_more if version in VERSIONS else verify_header_tree)(form, **tree)
    except ValueError as error:
        raise InputError("trusted hash", str(error)) from error


def _verify_columns(form: bytes, trusted_root: bytes | str | None) -> Verdict:
    """A verdict as ``merkle.verify_more`` gives it for version 5, without the headers themselves."""
    from merkle.verify_columns import verify  # noqa: PLC0415 - the kernels, which no other version needs

    trusted = _hash(trusted_root)
    try:
        found = verify(form)
    except ProofError as error:
        return Verdict(False, error.field, f"Refused: {error}.")
    if trusted not in (None, found.root):
        return Verdict(False, "trusted-root", "Refused: its root is not the one that you trust.")
    fields = {
        "version": COLUMNS_VERSION,
        "network": found.network,
        "range_start": found.range_start,
        "cp_height": found.cp_height,
        "root": found.root[::-1].hex(),
        "tip_hash": found.tip_hash[::-1].hex(),
        "count": found.count,
    }
    rests_on, claimed = ("maker", ("root", "cp_height")) if trusted is None else ("trusted root", ())
    if found.range_start:  # a root tells how many blocks there are, not from where they are counted
        claimed = (*(("root",) if trusted is None else ()), "range_start", "cp_height")
    under = "the root you trust" if trusted else f"root {fields['root']}, the maker's word until you compare it"
    blocks = f"the {found.network} blocks up to {found.cp_height}"
    says = f"{found.count} headers are at their heights of {blocks} under {under}."
    return Verdict(True, "ok", says, rests_on, claimed, fields)


def _hash(given: bytes | str | None) -> bytes | None:
    """As ``merkle.verify`` reads a trusted hash."""
    try:
        found = bytes.fromhex(given)[::-1] if isinstance(given, str) else given
    except ValueError:
        found = b""
    if found is not None and len(found) != ROOT_SIZE:
        raise InputError("trusted hash", "is not 32 bytes, 64 digits in hex")
    return found


def _form(data: bytes | str | Mapping[str, Any]) -> bytes | Mapping[str, Any]:
    """Text that is JSON stays text here; hex becomes bytes."""
    if isinstance(data, str):
        try:
            return data.encode() if data.lstrip()[:1] == "{" else bytes.fromhex(data.strip().removeprefix("0x"))
        except ValueError:  # neither: no bundle begins like this, and the verdict will say so
            return b""
    return data


def _version(form: bytes | Mapping[str, Any]) -> object:
    if isinstance(form, Mapping):
        return form.get("version")
    if form.lstrip()[:1] != b"{":
        return form[0] if form else None
    if len(form) > MAX_JSON_BYTES:
        return BEACON_VERSION  # longer than any of the others
    try:
        parsed = json.loads(form)
    except (ValueError, RecursionError):  # whoever reads it next says what is wrong
        return None
    return parsed.get("version") if isinstance(parsed, dict) else None


def _verify_beacon(
    form: bytes | Mapping[str, Any], now: float, trusted: bytes | None, networks: Mapping[str, Network] | None
) -> BeaconVerdict:
    # A check of a header tree's bundle does not pay for loading Ethereum's rules.
    from spvnode.ethereum.bundle import decode, from_json  # noqa: PLC0415
    from spvnode.ethereum.bundle_verify import BeaconVerdict, verify  # noqa: PLC0415
    from spvnode.ethereum.networks import NETWORKS  # noqa: PLC0415

    try:
        bundle = decode(form) if isinstance(form, bytes) and form[0] == BEACON_VERSION else from_json(form)
    except ProofError as error:
        return BeaconVerdict(False, "format", f"Refused: {error}.")
    network = (NETWORKS if networks is None else networks).get(bundle.network)
    if network is None:
        return BeaconVerdict(False, "network", f"Refused: {bundle.network} is no beacon chain that is known here.")
    return verify(bundle, network, now, trusted)


def _root(given: bytes | str | None) -> bytes | None:
    try:
        root = bytes.fromhex(given.removeprefix("0x")) if isinstance(given, str) else given
    except ValueError:
        root = b""
    if root is not None and len(root) != ROOT_SIZE:
        raise InputError("trusted_checkpoint", f"is not the root of a block, {ROOT_SIZE} bytes")
    return root


def _none_given(trusted: Mapping[str, object], kind: str) -> None:
    for name, value in trusted.items():
        if value is not None:
            raise InputError(name, f"does not apply to a proof of {kind}")
