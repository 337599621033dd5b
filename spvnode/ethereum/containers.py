"""The light client's containers: one Python class each, and per fork a table of which fields it has.

A value knows its ``fork``: the one that introduced its layout (``forks.LAYOUTS``); two values are equal only in the
same layout. Fields that a layout does not have are None, or empty. Branches are their siblings in a row, bottom up;
public keys are n * 48 bytes in a row.
Source: consensus-specs ``{altair,capella,electra,gloas}/light-client/sync-protocol.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

from merkle.ssz_types import Container
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.presets import PRESETS, Preset
from spvnode.ethereum.schema import Schema
from spvnode.ethereum.units import Root, Slot
from spvnode.types import Hash32


@dataclass(frozen=True, slots=True)
class BeaconBlockHeader:
    """phase0; the same in every fork."""

    slot: Slot
    proposer_index: int
    parent_root: Root
    state_root: Root
    body_root: Root


@dataclass(frozen=True, slots=True)
class SyncCommittee:
    """``pubkeys``: ``SYNC_COMMITTEE_SIZE`` * 48 bytes."""

    pubkeys: bytes
    aggregate_pubkey: bytes


@dataclass(frozen=True, slots=True)
class SyncAggregate:
    """``sync_committee_bits``: one bit per member, the first in the lowest bit of the first byte."""

    sync_committee_bits: bytes
    sync_committee_signature: bytes

    @property
    def participants(self) -> int:
        """``sum(sync_committee_bits)``."""
        return int.from_bytes(self.sync_committee_bits, "little").bit_count()


@dataclass(frozen=True, slots=True)
class ExecutionPayloadHeader:
    """Capella's; the last two fields from deneb on, 0 before (as ``upgrade_lc_header_to_deneb`` has it)."""

    parent_hash: Hash32
    fee_recipient: bytes
    state_root: Hash32
    receipts_root: Hash32
    logs_bloom: bytes
    prev_randao: bytes
    block_number: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    base_fee_per_gas: int
    block_hash: Hash32
    transactions_root: Hash32
    withdrawals_root: Hash32
    blob_gas_used: int = 0
    excess_blob_gas: int = 0


@dataclass(frozen=True, slots=True)
class LightClientHeader:
    """``execution`` from capella to fulu; ``execution_block_hash`` in its place from gloas on."""

    fork: Fork
    beacon: BeaconBlockHeader
    execution: ExecutionPayloadHeader | None = None
    execution_block_hash: Hash32 | None = None
    execution_branch: bytes = b""


@dataclass(frozen=True, slots=True)
class LightClientBootstrap:
    """The committee of ``header``'s state: where a client with a trusted root begins."""

    fork: Fork
    header: LightClientHeader
    current_sync_committee: SyncCommittee
    current_sync_committee_branch: bytes


@dataclass(frozen=True, slots=True)
class LightClientUpdate:
    """A signed header, and of its state: the next committee and the finalized header, each all zeros where absent."""

    fork: Fork
    attested_header: LightClientHeader
    next_sync_committee: SyncCommittee
    next_sync_committee_branch: bytes
    finalized_header: LightClientHeader
    finality_branch: bytes
    sync_aggregate: SyncAggregate
    signature_slot: Slot


@dataclass(frozen=True, slots=True)
class LightClientFinalityUpdate:
    """An update without committees."""

    fork: Fork
    attested_header: LightClientHeader
    finalized_header: LightClientHeader
    finality_branch: bytes
    sync_aggregate: SyncAggregate
    signature_slot: Slot


@dataclass(frozen=True, slots=True)
class LightClientOptimisticUpdate:
    """A signed header alone."""

    fork: Fork
    attested_header: LightClientHeader
    sync_aggregate: SyncAggregate
    signature_slot: Slot


LightClientObject = (
    LightClientHeader
    | LightClientBootstrap
    | LightClientUpdate
    | LightClientFinalityUpdate
    | LightClientOptimisticUpdate
)
"""What has a layout that changes with forks."""

FORKED: tuple[type, ...] = (
    LightClientHeader,
    LightClientBootstrap,
    LightClientUpdate,
    LightClientFinalityUpdate,
    LightClientOptimisticUpdate,
)
PLAIN: tuple[type, ...] = (BeaconBlockHeader, SyncCommittee, SyncAggregate, ExecutionPayloadHeader)

ALTAIR_TABLE = """
BeaconBlockHeader
slot: Slot
proposer_index: ValidatorIndex
parent_root: Root
state_root: Root
body_root: Root

SyncCommittee
pubkeys: Vector[BLSPubkey, SYNC_COMMITTEE_SIZE]
aggregate_pubkey: BLSPubkey

SyncAggregate
sync_committee_bits: BitVector[SYNC_COMMITTEE_SIZE]
sync_committee_signature: BLSSignature

ForkData
current_version: Version
genesis_validators_root: Root

SigningData
object_root: Root
domain: Domain

LightClientHeader
beacon: BeaconBlockHeader

LightClientBootstrap
header: LightClientHeader
current_sync_committee: SyncCommittee
current_sync_committee_branch: Vector[Bytes32, COMMITTEE_DEPTH]

LightClientUpdate
attested_header: LightClientHeader
next_sync_committee: SyncCommittee
next_sync_committee_branch: Vector[Bytes32, COMMITTEE_DEPTH]
finalized_header: LightClientHeader
finality_branch: Vector[Bytes32, FINALITY_DEPTH]
sync_aggregate: SyncAggregate
signature_slot: Slot

LightClientFinalityUpdate
attested_header: LightClientHeader
finalized_header: LightClientHeader
finality_branch: Vector[Bytes32, FINALITY_DEPTH]
sync_aggregate: SyncAggregate
signature_slot: Slot

LightClientOptimisticUpdate
attested_header: LightClientHeader
sync_aggregate: SyncAggregate
signature_slot: Slot
"""
BELLATRIX_TABLE = """
ExecutionPayloadHeader
parent_hash: Hash32
fee_recipient: ExecutionAddress
state_root: Bytes32
receipts_root: Bytes32
logs_bloom: ByteVector[BYTES_PER_LOGS_BLOOM]
prev_randao: Bytes32
block_number: Uint64
gas_limit: Uint64
gas_used: Uint64
timestamp: Uint64
extra_data: ByteList[MAX_EXTRA_DATA_BYTES]
base_fee_per_gas: Uint256
block_hash: Hash32
transactions_root: Root
"""
CAPELLA_TABLE = (
    BELLATRIX_TABLE.rstrip()
    + """
withdrawals_root: Root

LightClientHeader
beacon: BeaconBlockHeader
execution: ExecutionPayloadHeader
execution_branch: Vector[Bytes32, EXECUTION_DEPTH]
"""
)
DENEB_TABLE = CAPELLA_TABLE.replace(
    "withdrawals_root: Root\n", "withdrawals_root: Root\nblob_gas_used: Uint64\nexcess_blob_gas: Uint64\n"
)
GLOAS_TABLE = """
LightClientHeader
beacon: BeaconBlockHeader
execution_block_hash: Hash32
execution_branch: Vector[Bytes32, EXECUTION_DEPTH]
"""
TABLES: Mapping[Fork, str] = {
    Fork.ALTAIR: ALTAIR_TABLE,
    Fork.BELLATRIX: BELLATRIX_TABLE,
    Fork.CAPELLA: CAPELLA_TABLE,
    Fork.DENEB: DENEB_TABLE,
    Fork.GLOAS: GLOAS_TABLE,
}
"""What each fork changes, oldest first; electra changes only the depths of branches (``gindices.GINDICES``)."""


@cache
def schema_for(preset_name: str, fork: Fork) -> Schema:
    """The containers of a preset (by name, from ``PRESETS``) at ``fork``, altair or later."""
    layout = LAYOUTS[fork]
    order = list(Fork)
    tables = [table for since, table in TABLES.items() if order.index(since) <= order.index(fork)]
    forked: dict[str, Callable[..., object]] = {cls.__name__: partial(cls, layout) for cls in FORKED}
    plain: dict[str, Callable[..., object]] = {cls.__name__: cls for cls in PLAIN}
    if fork is Fork.BELLATRIX:
        del plain["ExecutionPayloadHeader"]  # it lacks withdrawals_root, and no light-client data holds it
    sizes = {**PRESETS[preset_name].limits, **GINDICES[layout].depths}
    return Schema(tables, sizes, {**forked, **plain})


Forked = TypeVar("Forked", bound=LightClientObject)


def container(preset: Preset, fork: Fork, cls: type) -> Container:
    """The SSZ type of ``cls`` at ``fork``."""
    return schema_for(preset.name, fork)[cls.__name__]


def decode(preset: Preset, fork: Fork, cls: type[Forked], data: bytes) -> Forked:
    """The object that a peer's ``data`` encodes at ``fork``; ``ProofError`` when it encodes none.

    Takes as long as copying the bytes. Bound ``data`` by ``max_size`` before reading it.
    """
    value = container(preset, fork, cls).decode(data)
    if not isinstance(value, cls):
        raise TypeError(f"{cls.__name__}: its table makes {type(value).__name__}")
    return value


def encode(preset: Preset, value: LightClientObject) -> bytes:
    """The SSZ encoding, in the value's own layout."""
    return container(preset, value.fork, type(value)).encode(value)


def hash_tree_root(preset: Preset, value: LightClientObject | SyncCommittee) -> Root:
    """Of an object in its own layout, or of a committee; headers have ``beacon_root`` and ``execution_root``."""
    fork = Fork.ALTAIR if isinstance(value, SyncCommittee) else value.fork
    return Root(container(preset, fork, type(value)).hash_tree_root(value))


def beacon_root(header: BeaconBlockHeader) -> Root:
    """The block's root: ``hash_tree_root(header)``."""
    return Root(_BEACON_BLOCK_HEADER.hash_tree_root(header))


def execution_root(fork: Fork, execution: ExecutionPayloadHeader) -> Root:
    """``hash_tree_root`` of an execution header in the layout of ``fork`` (capella, or deneb and later)."""
    return Root(schema_for("mainnet", fork)["ExecutionPayloadHeader"].hash_tree_root(execution))


@cache
def default_execution_header(fork: Fork) -> ExecutionPayloadHeader:
    """``ExecutionPayloadHeader()``: all zeros, in the layout of ``fork``."""
    return schema_for("mainnet", fork)["ExecutionPayloadHeader"].default()  # type: ignore[no-any-return]


@cache
def execution_block_hash_gindex(fork: Fork) -> int:
    """Generalized index of ``block_hash`` in an execution header in the layout of ``fork``."""
    return schema_for("mainnet", fork)["ExecutionPayloadHeader"].field_gindex("block_hash")


def execution_block_hash_branch(fork: Fork, execution: ExecutionPayloadHeader) -> bytes:
    """Siblings of ``block_hash`` in an execution header in the layout of ``fork``."""
    return schema_for("mainnet", fork)["ExecutionPayloadHeader"].field_branch(execution, "block_hash")


@cache
def default_header(fork: Fork) -> LightClientHeader:
    """``LightClientHeader()``: all zeros, in the layout of ``fork``. The presets agree on it."""
    return schema_for("mainnet", fork)["LightClientHeader"].default()  # type: ignore[no-any-return]


@cache
def default_committee(size: int) -> SyncCommittee:
    """``SyncCommittee()``: all zeros."""
    return SyncCommittee(bytes(48 * size), bytes(48))


@cache
def max_size(preset_name: str, fork: Fork, name: str) -> int:
    """Bytes of the longest encoding of a light-client container: all are of fixed size but for ``extra_data``."""
    kind = schema_for(preset_name, fork)[name]
    size = len(kind.encode(kind.default()))
    headers = sum("header" in field for field in kind.fields) or int(name == "LightClientHeader")
    has_extra_data = "execution" in schema_for(preset_name, fork)["LightClientHeader"].fields
    return size + headers * has_extra_data * PRESETS[preset_name].limits["MAX_EXTRA_DATA_BYTES"]


_BEACON_BLOCK_HEADER = schema_for("mainnet", Fork.ALTAIR)["BeaconBlockHeader"]
