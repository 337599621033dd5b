"""Of methods about a beacon chain. Hashes and roots are ``0x`` hex in their natural order."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from spvnode.rpc.results.bundles import BeaconBundle
from spvnode.rpc.results.chain import Participation
from spvnode.rpc.results.standing import BeaconStanding, Hex, note


class Execution(TypedDict):
    """The execution block's header. Of an older block the first six; from gloas on the hash, and what was kept."""

    block_hash: Hex
    block_number: NotRequired[int]
    state_root: NotRequired[Hex]
    receipts_root: NotRequired[Hex]
    transactions_root: NotRequired[Hex]
    timestamp: NotRequired[Annotated[int, note("Unix seconds.")]]
    parent_hash: NotRequired[Hex]
    withdrawals_root: NotRequired[Hex]
    prev_randao: NotRequired[Hex]
    fee_recipient: NotRequired[Hex]
    extra_data: NotRequired[Hex]
    gas_limit: NotRequired[int]
    gas_used: NotRequired[int]
    base_fee_per_gas: NotRequired[Annotated[int, note("Wei.")]]
    blob_gas_used: NotRequired[int]
    excess_blob_gas: NotRequired[int]


class FinalizedHeader(BeaconStanding):
    """``getfinalizedheader``'s."""

    slot: int
    epoch: int
    time: Annotated[int, note("When the slot began, Unix seconds.")]
    age: Annotated[float, note("Seconds since then.")]
    root: Annotated[Hex, note("Of the beacon block.")]
    execution: Annotated[Execution | None, note("Null before capella.")]
    finalized: Annotated[bool, note("False: it may still be left behind by another.")]
    parent_root: NotRequired[Annotated[Hex, note("This and the next six not of an older block, asked for by `block`.")]]
    state_root: NotRequired[Hex]
    body_root: NotRequired[Hex]
    proposer_index: NotRequired[int]
    participation: NotRequired[
        Annotated[
            Participation | None, note("Of the sync committee; this and the next two null right after the start.")
        ]
    ]
    attested_slot: NotRequired[int | None]
    signature_slot: NotRequired[int | None]


class OptimisticHeader(FinalizedHeader):
    """``getoptimisticheader``'s."""

    finalized_slot: Annotated[int, note("How far finality has come.")]


class ExecutionField(TypedDict):
    """A field of the execution block with its branch to the beacon block's root."""

    value: Hex | int
    leaf: Annotated[Hex, note("Its SSZ chunk.")]
    gindex: Annotated[int, note("Generalized index of the leaf in the beacon block header.")]
    branch: Annotated[list[Hex], note("Siblings, bottom up.")]


class BeaconHeaderProof(BeaconStanding):
    """``getbeaconheaderproof``'s: ``hex`` or ``bundle``, by ``format``."""

    header: Literal["finalized", "optimistic"]
    slot: int
    root: Annotated[Hex, note("Of the beacon block.")]
    checkpoint_root: Annotated[Hex, note("All that the proof rests on.")]
    updates: Annotated[int, note("Committee periods between.")]
    bytes: Annotated[int, note("Of the bundle.")]
    execution: Annotated[dict[str, ExecutionField], note("Fields of the execution block by name.")]
    hex: NotRequired[Annotated[Hex, note("The bundle's bytes, enough for `spvnode verify`.")]]
    bundle: NotRequired[Annotated[BeaconBundle, note("The same as JSON.")]]


class StorageSlot(TypedDict):
    """A slot of an account's storage."""

    key: Hex
    value: Hex


class Account(TypedDict):
    """What a state root says of an address."""

    address: Hex
    exists: bool
    nonce: int
    balance: Annotated[str, note("Wei, in decimal digits.")]
    storage_root: Hex
    code_hash: Hex
    storage: Annotated[list[StorageSlot], note("What the answer proves of it.")]


class StateBlock(TypedDict):
    """The execution block that a proof was checked against."""

    state_root: Hex
    block_number: int
    block_hash: Hex
    slot: int
    finalized: bool


class AccountVerdict(BeaconStanding):
    """``verifyaccountproof``'s."""

    valid: bool
    reason: Annotated[str, note("The first field that does not hold; empty where all do.")]
    says: Annotated[str, note("What it proves, in words.")]
    account: Annotated[Account | None, note("Null unless valid.")]
    block: StateBlock
