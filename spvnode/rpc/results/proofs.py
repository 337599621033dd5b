"""Of methods that make and check portable proofs."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from spvnode.rpc.results.beacon import ExecutionField
from spvnode.rpc.results.bundles import AncestryBundle, HeaderBundle, HeaderRow, HeadersBundle, TxBundle
from spvnode.rpc.results.standing import Freshness, Grounds, HeaderStanding, Hex, Start, note


class Named(TypedDict):
    """A block."""

    height: int
    hash: Hex


class _OneHeader(HeaderStanding):
    """A block under the root of a header tree."""

    height: int
    hash: Hex
    confirmations: int
    cp_height: Annotated[int, note("Height that the tree ends at.")]
    root: Annotated[Hex, note("Of the tree: what the proof is worth to who trusts it.")]
    hex: Annotated[Hex, note("The bundle's bytes, enough for `spvnode verify`.")]


class HeaderProof(_OneHeader):
    """``getheaderproof``'s."""

    bundle: Annotated[HeaderBundle, note("The same as JSON.")]


class TxProof(_OneHeader):
    """``gettxproof``'s."""

    txid: Hex
    position: Annotated[int, note("In its block.")]
    tx_count: Annotated[int, note("Transactions in the block.")]
    bundle: Annotated[TxBundle, note("The same as JSON.")]


class HeaderProofs(HeaderStanding):
    """``getheaderproofs``'s: one of the last three, by ``format``."""

    cp_height: Annotated[int, note("Height that the tree ends at.")]
    root: Hex
    count: Annotated[int, note("Headers that are proven.")]
    bundle: NotRequired[Annotated[HeadersBundle, note("With `json`.")]]
    hex: NotRequired[Annotated[Hex, note("With `hex`: the bundle's bytes.")]]
    columns: NotRequired[Annotated[list[Hex], note("With `columns`: bundles that are quick to check.")]]


class AncestryProof(HeaderStanding):
    """``getancestryproof``'s."""

    ancestor: Named
    descendant: Named
    old_root: Annotated[Hex, note("Of the tree that ends with the ancestor.")]
    new_root: Annotated[Hex, note("Of the tree that ends with the descendant.")]
    hex: Annotated[Hex, note("The bundle's bytes, enough for `spvnode verify`.")]
    bundle: Annotated[AncestryBundle, note("The same as JSON.")]


class Checkpoint(HeaderStanding):
    """``getcheckpoint``'s."""

    height: int
    hash: Hex
    header: Annotated[Hex, note("80 bytes.")]
    chainwork: Annotated[Hex | None, note("Null where this node does not know the chain from genesis.")]
    peaks: Annotated[list[Hex], note("Of the header tree below it, internal byte order; empty likewise.")]


class ProvenHeader(TypedDict):
    """A beacon header that a bundle shows."""

    slot: int
    root: Hex
    age: Annotated[int, note("Seconds.")]
    proposer_index: int
    parent_root: Hex
    state_root: Hex
    body_root: Hex
    execution: Annotated[dict[str, ExecutionField] | None, note("Fields of the execution block by name.")]


class Verdict(TypedDict):
    """``verifyheaderproof``'s: the verdict, the bundle's own fields where it holds, and what this node knows of it."""

    valid: bool
    reason: Annotated[str, note("`ok`, or what does not hold.")]
    says: Annotated[str, note("What it proves, in words.")]
    rests_on: Annotated[str, note("`trusted root`, `trusted checkpoint`, `maker` (his word alone), or `nothing`.")]
    claimed: Annotated[list[str], note("Fields that nothing proves.")]
    root_matches: NotRequired[Annotated[bool | None, note("Header trees: it is this node's own root; null: unknown.")]]
    checkpoint_matches: NotRequired[Annotated[bool, note("Beacon chains: this node began at the same checkpoint.")]]
    in_active_chain: NotRequired[Annotated[bool | None, note("Its blocks are in this node's chain; null: unknown.")]]
    freshness: NotRequired[Annotated[Freshness, note("Where this node follows the bundle's network.")]]
    ready: NotRequired[bool]
    start: NotRequired[Start]
    grounds: NotRequired[Grounds]
    version: NotRequired[Annotated[int, note("Of the bundle; what follows is by its kind.")]]
    network: NotRequired[str]
    genesis: NotRequired[Hex]
    range_start: NotRequired[Annotated[int, note("Height of the tree's first leaf.")]]
    start_height: NotRequired[int]
    start_hash: NotRequired[Hex]
    height: NotRequired[int]
    hash: NotRequired[Hex]
    header: NotRequired[Annotated[str, note("80 bytes in hex; of a beacon chain which header it is.")]]
    cp_height: NotRequired[int]
    tip_header: NotRequired[Hex]
    tip_hash: NotRequired[Hex]
    root: NotRequired[Hex]
    chainwork: NotRequired[Hex]
    made_at: NotRequired[int]
    nodes: NotRequired[list[Hex]]
    txid: NotRequired[Annotated[Hex, note("Transactions.")]]
    position: NotRequired[int]
    tx_count: NotRequired[int]
    transaction: NotRequired[Hex]
    old_height: NotRequired[Annotated[int, note("Ancestry.")]]
    old_hash: NotRequired[Hex]
    old_header: NotRequired[Hex]
    old_root: NotRequired[Hex]
    old_peaks: NotRequired[list[Hex]]
    old_path: NotRequired[list[Hex]]
    new_height: NotRequired[int]
    new_hash: NotRequired[Hex]
    new_header: NotRequired[Hex]
    new_root: NotRequired[Hex]
    new_peaks: NotRequired[list[Hex]]
    new_path: NotRequired[list[Hex]]
    start_path: NotRequired[list[Hex]]
    proof: NotRequired[list[Hex]]
    count: NotRequired[Annotated[int, note("Many headers.")]]
    headers: NotRequired[list[HeaderRow]]
    hashes: NotRequired[list[Hex]]
    genesis_validators_root: NotRequired[Annotated[Hex, note("Beacon chains.")]]
    checkpoint_root: NotRequired[Hex]
    checkpoint_slot: NotRequired[int]
    checkpoint_is_recent: NotRequired[Annotated[bool, note("Within the weak-subjectivity period.")]]
    updates: NotRequired[int]
    finalized: NotRequired[ProvenHeader]
    optimistic: NotRequired[ProvenHeader]
    participants: NotRequired[int | None]
    committee_size: NotRequired[int]
    signature_slot: NotRequired[int | None]
