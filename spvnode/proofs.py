"""Checks a proof bundle of any version, offline: the one door for ``spvnode verify`` and ``verifyheaderproof``.

The version is the first byte of the binary form, and the field ``version`` of the JSON form: 1 is a header tree's
(``merkle/bundle.py``), 2 a beacon chain's (``spvnode/ethereum/bundle.py``), 3 a transaction's, 7 (formerly 4) one
of ancestry, 5 and 8 (formerly 6) of many headers (``merkle/proofs.py``; 6 and 8 have no JSON form). Every verdict has
``ok``, ``reason``, ``says``, ``rests_on``, ``claimed`` and ``fields``. The rules of Ethereum are loaded for version 2
only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from merkle.errors import ProofError
from merkle.verify import Verdict, trusted_hashes
from merkle.verify import verify as verify_header_tree
from merkle.verify_more import MAX_JSON_BYTES, VERSIONS
from merkle.verify_more import verify as verify_more
from spvnode.errors import InputError

if TYPE_CHECKING:
    from spvnode.ethereum.bundle_verify import BeaconVerdict
    from spvnode.ethereum.networks import Network

BEACON_VERSION: Final = 2
COLUMNS_VERSIONS: Final = (6, 8)
KNOWN_VERSIONS: Final = frozenset(range(1, 9))
NOT_A_PROOF: Final = "not-a-proof"
"""Reason of a verdict on what has no version that is known: nothing was there to be refused."""
UNCOUNTED_COLUMNS: Final = 6
"""Names no start block, so that none can be compared."""
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
    network: str | None = None,
    networks: Mapping[str, Network] | None = None,
) -> Verdict | BeaconVerdict:
    """Verdict on a bundle: canonical bytes, JSON text, bytes in hex, or parsed JSON. Never raises for what it holds.

    ``now``: Unix seconds. The first three trusted hashes are for header trees (``merkle.verify.verify`` says which
    forms they have; a tip for versions 1 and 3, a start for all but 4 and 6), ``trusted_checkpoint`` for version 2: a
    block root, 32 bytes or hex. Hex with or without ``0x``. ``network``: a proof of another one is refused, with reason
    ``network``. ``networks``: beacon chains by name, by default the public ones. ``InputError`` when a trusted hash is
    none, or is given for a bundle of another version: it must not seem to have been compared.
    """
    found = _verify_any(
        data, now, (trusted_root, trusted_tip, trusted_start), trusted_checkpoint=trusted_checkpoint, networks=networks
    )
    its = found.fields.get("network")
    if found.ok and network is not None and its != network:
        return Verdict(False, "network", f"Refused: it is a proof of {its}, and one of {network} was asked for.")
    return found


def _verify_any(
    data: bytes | str | Mapping[str, Any],
    now: float,
    trusted: tuple[bytes | str | None, ...],
    *,
    trusted_checkpoint: bytes | str | None,
    networks: Mapping[str, Network] | None,
) -> Verdict | BeaconVerdict:
    trusted_root, trusted_tip, trusted_start = trusted
    form = _form(data)
    hashes, checkpoint = _hashes(trusted_root, trusted_tip, trusted_start), _root(trusted_checkpoint)
    tree = {"trusted_root": trusted_root, "trusted_tip": trusted_tip, "trusted_start": trusted_start}
    version = _version(form)
    if type(version) is not int or version not in KNOWN_VERSIONS:
        return Verdict(False, NOT_A_PROOF, "Refused: it is no proof, or one of a version that is not known here.")
    if version == BEACON_VERSION:
        _none_given(tree, "a beacon chain")
        return _verify_beacon(form, now, checkpoint, networks)
    _none_given({"trusted_checkpoint": trusted_checkpoint}, "a header tree")
    if version in COLUMNS_VERSIONS and isinstance(form, bytes):
        _none_given({"trusted_tip": trusted_tip}, "many headers")
        if version == UNCOUNTED_COLUMNS:
            _none_given({"trusted_start": trusted_start}, "many headers without a start block, of version 6")
        return _verify_columns(form, hashes)
    try:
        return (verify_more if version in VERSIONS else verify_header_tree)(form, **tree)
    except ValueError as error:  # one of them does not apply
        raise InputError("trusted hash", str(error)) from error


def _hashes(root: bytes | str | None, tip: bytes | str | None, start: bytes | str | None) -> Mapping[str, Any]:
    try:
        return trusted_hashes(root, tip, start)
    except ValueError as error:
        raise InputError("trusted hash", str(error)) from error


def _verify_columns(form: bytes, trusted: Mapping[str, Any]) -> Verdict:
    """A verdict as ``merkle.verify_more`` gives it for version 5, without the headers themselves."""
    from merkle.verify_columns import verify  # noqa: PLC0415 - the kernels, which no other version needs

    try:
        found = verify(form)
    except ProofError as error:
        return Verdict(False, error.field, f"Refused: {error}.")
    for name, its in (("root", found.root), ("start", found.start_hash), ("height", found.start_height)):
        if trusted[name] not in (None, its):
            return Verdict(False, f"trusted-{name}", f"Refused: its {name} is not the one that you trust.")
    hashes = {"root": found.root, "tip_hash": found.tip_hash, "start_hash": found.start_hash}
    plain = ("version", "network", "range_start", "start_height", "cp_height", "count")
    fields = {name: getattr(found, name) for name in plain} | {
        name: value and value[::-1].hex() for name, value in hashes.items()
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    rooted, counted = trusted["root"] is not None, found.start_height == 0 or trusted["height"] is not None
    claimed: tuple[str, ...] = () if rooted else ("root",)
    if not (rooted and counted):  # a root tells how many blocks there are, not from where they are counted
        claimed += ("range_start" if found.start_height is None else "start_height", "cp_height")
    says = _told(fields, rooted=rooted) + (f". Claimed, not proven: {', '.join(claimed)}." if claimed else ".")
    return Verdict(True, "ok", says, "trusted root" if rooted else "maker", claimed, fields)


def _told(fields: Mapping[str, Any], *, rooted: bool) -> str:
    under = "the root you trust" if rooted else f"root {fields['root']}, the maker's word until you compare it"
    blocks = f"the {fields['network']} blocks up to {fields['cp_height']}"
    counted = "heights by the maker's word: a proof of version 6 does not show which block they count from"
    if "start_hash" in fields:
        counted = f"heights counted from block {fields['start_hash']} at {fields['start_height']}"
    return f"{fields['count']} headers are at their heights of {blocks} under {under}, {counted}"


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
