"""Checks proofs without a daemon, for Python programs.

::

    from spvnode import verify

    result = verify.verify(Path("proof.json").read_bytes(), trusted_root=ROOT)
    if result.ok and isinstance(result, verify.Header):
        print(result.height, result.hash, result.rests_on)

Nothing here reads a file, asks anybody, or keeps anything. A result says what its proof shows and what it rests on: a
proof alone shows work, or signatures, and not that this is the chain that others follow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any

from merkle.errors import ProofError
from merkle.verify import Verdict
from spvnode.envelopes import opened
from spvnode.errors import InputError
from spvnode.proofs import NOT_A_PROOF, verify_any

if TYPE_CHECKING:
    from spvnode.ethereum.accounts import Account
    from spvnode.ethereum.bundle_verify import BeaconVerdict
    from spvnode.ethereum.networks import Network

__all__ = [
    "AccountResult",
    "Ancestry",
    "Beacon",
    "Header",
    "Headers",
    "NotAProof",
    "NotProven",
    "Result",
    "Transaction",
    "verify",
    "verify_account",
]


@dataclass(frozen=True, slots=True)
class Result:
    """``ok``: the proof holds. ``reason``: ``ok``, or a short name of what does not hold. ``says``: in words.
    ``rests_on``: whose word it takes. ``claimed``: the fields that nothing proves. ``fields``: all of it for JSON.
    Hashes are hex as explorers show them; Ethereum's with 0x."""

    ok: bool
    reason: str
    says: str
    rests_on: str
    claimed: tuple[str, ...]
    fields: Mapping[str, Any]

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, slots=True)
class NotProven(Result):
    """The proof does not hold: ``reason`` and ``says`` tell."""


@dataclass(frozen=True, slots=True)
class NotAProof(NotProven):
    """What was given is no proof, or one of a version that is not known here."""


@dataclass(frozen=True, slots=True)
class Header(Result):
    """One header is at its height in a tree that ends with ``tip_hash`` (version 1)."""

    network: str
    height: int
    hash: str
    header: bytes
    cp_height: int
    tip_hash: str
    root: str


@dataclass(frozen=True, slots=True)
class Transaction(Header):
    """A transaction is in the block that the header is of (version 3). ``transaction``: without its witnesses."""

    txid: str
    position: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class Ancestry(Result):
    """The old tip is an ancestor of the new one (version 7, or 4)."""

    network: str
    old_height: int
    old_hash: str
    old_root: str
    new_height: int
    new_hash: str
    new_root: str


@dataclass(frozen=True, slots=True)
class Headers(Result):
    """Many headers are at their heights (versions 5 and 8, or 6). ``hashes`` by rising height; empty for 8 and 6, whose
    columns ``merkle.verify_columns`` gives."""

    network: str
    count: int
    cp_height: int
    tip_hash: str
    root: str
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beacon(Result):
    """A header of a beacon chain (version 2). ``header``: ``finalized``, ``optimistic``, or ``checkpoint``, the start
    itself. ``state_root``: of the execution block, for ``verify_account``; None before capella."""

    network: str
    header: str
    slot: int
    root: str
    checkpoint_root: str
    checkpoint_is_recent: bool
    participants: int | None
    committee_size: int
    block_number: int | None
    block_hash: str | None
    state_root: str | None


def verify(
    proof: bytes | str | Mapping[str, Any],
    *,
    now: float | None = None,
    trusted_root: bytes | str | None = None,
    trusted_tip: bytes | str | None = None,
    trusted_start: bytes | str | None = None,
    trusted_checkpoint: bytes | str | None = None,
    network: str | None = None,
    networks: Mapping[str, Network] | None = None,
) -> Result:
    """What ``proof`` shows: canonical bytes, their hex, JSON text, or parsed JSON, of any version; also inside a
    method's result or a JSON-RPC reply. Never raises for what it holds.

    ``now``: Unix seconds, for proofs of a beacon chain (default: this machine's clock). Trusted hashes as
    ``spvnode.proofs.verify_any`` takes them; InputError for one that is none, or that does not apply. ``network``: a
    proof of another one is refused, with reason ``network``.
    """
    found = verify_any(
        _opened(proof),
        time.time() if now is None else now,
        trusted_root=trusted_root,
        trusted_tip=trusted_tip,
        trusted_start=trusted_start,
        trusted_checkpoint=trusted_checkpoint,
        network=network,
        networks=networks,
    )
    common = (found.ok, found.reason, found.says, found.rests_on, tuple(found.claimed), found.fields)
    if not found.ok:
        return (NotAProof if found.reason == NOT_A_PROOF else NotProven)(*common)
    if not isinstance(found, Verdict):
        return Beacon(*common, **_beacon(found))
    return _of_tree(found.fields, common)


def _opened(proof: bytes | str | Mapping[str, Any]) -> bytes | Mapping[str, Any]:
    """The bundle; what holds none stays as it is, for the verdict to say so."""
    data = proof.encode(errors="replace") if isinstance(proof, str) else proof
    try:
        return opened(data, "proof")
    except InputError:
        return data


@dataclass(frozen=True, slots=True)
class AccountResult:
    """``account`` where ``ok``; else ``reason`` names the first field that does not hold."""

    ok: bool
    reason: str
    account: Account | None

    def __bool__(self) -> bool:
        return self.ok


def verify_account(
    answer: Mapping[str, Any], under: Beacon | bytes | str, *, address: bytes | None = None
) -> AccountResult:
    """What an answer of ``eth_getProof`` (its ``result``, parsed) proves of an account and its storage.

    ``under``: a proven header, or the state root of an execution block, 32 bytes or hex. ``address``: 20 bytes, what
    was asked for: by itself an answer about another account is sound. Never raises for what the answer holds;
    ValueError for a root that is none.
    """
    from spvnode.ethereum.accounts import verify_account_proof  # noqa: PLC0415 - 50 ms, for Keccak-256 alone

    root = under.state_root if isinstance(under, Beacon) else under
    if isinstance(root, str):
        root = bytes.fromhex(root.removeprefix("0x"))
    if root is None or len(root) != 32:
        raise ValueError("under: no state root of an execution block, 32 bytes")
    try:
        return AccountResult(True, "", verify_account_proof(answer, root, address))
    except ProofError as error:
        return AccountResult(False, str(error), None)


def _of_tree(fields: Mapping[str, Any], common: tuple[Any, ...]) -> Result:
    """The result of a version, its fields by their names in the proof."""
    kind = _KINDS[fields["version"]]
    values = {one.name: fields[one.name] for one in dataclass_fields(kind) if one.name in fields}
    for name in ("header", "transaction"):
        if name in values:
            values[name] = bytes.fromhex(values[name])
    if kind is Headers:
        values["hashes"] = tuple(values.get("hashes", ()))
    return kind(*common, **values)


_KINDS: Mapping[int, type[Result]] = {
    1: Header,
    3: Transaction,
    4: Ancestry,
    5: Headers,
    6: Headers,
    7: Ancestry,
    8: Headers,
}


def _beacon(found: BeaconVerdict) -> dict[str, Any]:
    names = ("network", "header", "checkpoint_root", "checkpoint_is_recent", "participants", "committee_size")
    fields = found.fields
    shown = fields["optimistic" if found.header == "optimistic" else "finalized"]
    execution = shown["execution"] or {}

    def value(name: str) -> Any:
        return execution.get(name, {}).get("value")

    return {
        **{name: fields[name] for name in names},
        "slot": shown["slot"],
        "root": shown["root"],
        "block_number": value("block_number"),
        "block_hash": value("block_hash"),
        "state_root": value("state_root"),
    }
