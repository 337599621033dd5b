"""Container tables of beacon blocks and states (``schema.py`` reads them): what light-client data is derived from.

Only what changes in a fork is in its table. Source: consensus-specs v1.7.0-alpha.13, ``*/beacon-chain.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from spvnode.ethereum.beacon_tables_gloas import GLOAS_TABLE, HEZE_TABLE, gloas_state
from spvnode.ethereum.containers import ALTAIR_TABLE, BELLATRIX_TABLE, CAPELLA_TABLE, DENEB_TABLE, PLAIN
from spvnode.ethereum.presets import PRESETS
from spvnode.ethereum.schema import Schema

_STATE_HEAD = """
BeaconState
genesis_time: Uint64
genesis_validators_root: Root
slot: Slot
fork: Fork
latest_block_header: BeaconBlockHeader
block_roots: Vector[Root, SLOTS_PER_HISTORICAL_ROOT]
state_roots: Vector[Root, SLOTS_PER_HISTORICAL_ROOT]
historical_roots: List[Root, HISTORICAL_ROOTS_LIMIT]
eth1_data: Eth1Data
eth1_data_votes: List[Eth1Data, ETH1_DATA_VOTES]
eth1_deposit_index: Uint64
validators: List[Validator, VALIDATOR_REGISTRY_LIMIT]
balances: List[Gwei, VALIDATOR_REGISTRY_LIMIT]
randao_mixes: Vector[Bytes32, EPOCHS_PER_HISTORICAL_VECTOR]
slashings: Vector[Gwei, EPOCHS_PER_SLASHINGS_VECTOR]
previous_epoch_participation: List[Uint8, VALIDATOR_REGISTRY_LIMIT]
current_epoch_participation: List[Uint8, VALIDATOR_REGISTRY_LIMIT]
justification_bits: BitVector[JUSTIFICATION_BITS_LENGTH]
previous_justified_checkpoint: Checkpoint
current_justified_checkpoint: Checkpoint
finalized_checkpoint: Checkpoint
inactivity_scores: List[Uint64, VALIDATOR_REGISTRY_LIMIT]
current_sync_committee: SyncCommittee
next_sync_committee: SyncCommittee
"""
_STATE_BELLATRIX = _STATE_HEAD + "latest_execution_payload_header: ExecutionPayloadHeader\n"
_STATE_CAPELLA = (
    _STATE_BELLATRIX
    + """next_withdrawal_index: Uint64
next_withdrawal_validator_index: ValidatorIndex
historical_summaries: List[HistoricalSummary, HISTORICAL_ROOTS_LIMIT]
"""
)
_STATE_ELECTRA = (
    _STATE_CAPELLA
    + """deposit_requests_start_index: Uint64
deposit_balance_to_consume: Gwei
exit_balance_to_consume: Gwei
earliest_exit_epoch: Epoch
consolidation_balance_to_consume: Gwei
earliest_consolidation_epoch: Epoch
pending_deposits: List[PendingDeposit, PENDING_DEPOSITS_LIMIT]
pending_partial_withdrawals: List[PendingPartialWithdrawal, PENDING_PARTIAL_WITHDRAWALS_LIMIT]
pending_consolidations: List[PendingConsolidation, PENDING_CONSOLIDATIONS_LIMIT]
"""
)
_STATE_FULU = _STATE_ELECTRA + "proposer_lookahead: Vector[ValidatorIndex, PROPOSER_LOOKAHEAD]\n"
_BODY_HEAD = """
BeaconBlockBody
randao_reveal: BLSSignature
eth1_data: Eth1Data
graffiti: Bytes32
proposer_slashings: List[ProposerSlashing, MAX_PROPOSER_SLASHINGS]
attester_slashings: List[AttesterSlashing, MAX_ATTESTER_SLASHINGS]
attestations: List[Attestation, MAX_ATTESTATIONS]
deposits: List[Deposit, MAX_DEPOSITS]
voluntary_exits: List[SignedVoluntaryExit, MAX_VOLUNTARY_EXITS]
sync_aggregate: SyncAggregate
"""
_BODY_BELLATRIX = _BODY_HEAD + "execution_payload: ExecutionPayload\n"
_BODY_CAPELLA = (
    _BODY_BELLATRIX + "bls_to_execution_changes: List[SignedBLSToExecutionChange, MAX_BLS_TO_EXECUTION_CHANGES]\n"
)
_BODY_DENEB = _BODY_CAPELLA + "blob_kzg_commitments: List[KZGCommitment, MAX_BLOB_COMMITMENTS_PER_BLOCK]\n"
_BODY_ELECTRA = (
    _BODY_DENEB.replace("MAX_ATTESTER_SLASHINGS]", "MAX_ATTESTER_SLASHINGS_ELECTRA]").replace(
        "MAX_ATTESTATIONS]", "MAX_ATTESTATIONS_ELECTRA]"
    )
    + "execution_requests: ExecutionRequests\n"
)

_PAYLOAD_BELLATRIX = """
ExecutionPayload
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
transactions: List[ByteList[MAX_BYTES_PER_TRANSACTION], MAX_TRANSACTIONS_PER_PAYLOAD]
"""
_PAYLOAD_CAPELLA = _PAYLOAD_BELLATRIX + "withdrawals: List[Withdrawal, MAX_WITHDRAWALS_PER_PAYLOAD]\n"
_PAYLOAD_DENEB = _PAYLOAD_CAPELLA + "blob_gas_used: Uint64\nexcess_blob_gas: Uint64\n"

_ALTAIR = """
Fork
previous_version: Version
current_version: Version
epoch: Epoch

Checkpoint
epoch: Epoch
root: Root

Validator
pubkey: BLSPubkey
withdrawal_credentials: Bytes32
effective_balance: Gwei
slashed: Boolean
activation_eligibility_epoch: Epoch
activation_epoch: Epoch
exit_epoch: Epoch
withdrawable_epoch: Epoch

AttestationData
slot: Slot
index: Uint64
beacon_block_root: Root
source: Checkpoint
target: Checkpoint

IndexedAttestation
attesting_indices: List[ValidatorIndex, MAX_VALIDATORS_PER_COMMITTEE]
data: AttestationData
signature: BLSSignature

Eth1Data
deposit_root: Root
deposit_count: Uint64
block_hash: Hash32

SignedBeaconBlockHeader
message: BeaconBlockHeader
signature: BLSSignature

ProposerSlashing
signed_header_1: SignedBeaconBlockHeader
signed_header_2: SignedBeaconBlockHeader

AttesterSlashing
attestation_1: IndexedAttestation
attestation_2: IndexedAttestation

Attestation
aggregation_bits: BitList[MAX_VALIDATORS_PER_COMMITTEE]
data: AttestationData
signature: BLSSignature

DepositData
pubkey: BLSPubkey
withdrawal_credentials: Bytes32
amount: Gwei
signature: BLSSignature

Deposit
proof: Vector[Bytes32, DEPOSIT_PROOF_LENGTH]
data: DepositData

VoluntaryExit
epoch: Epoch
validator_index: ValidatorIndex

SignedVoluntaryExit
message: VoluntaryExit
signature: BLSSignature

BeaconBlock
slot: Slot
proposer_index: ValidatorIndex
parent_root: Root
state_root: Root
body: BeaconBlockBody

SignedBeaconBlock
message: BeaconBlock
signature: BLSSignature
"""
_CAPELLA = """
Withdrawal
index: Uint64
validator_index: ValidatorIndex
address: ExecutionAddress
amount: Gwei

HistoricalSummary
block_summary_root: Root
state_summary_root: Root

BLSToExecutionChange
validator_index: ValidatorIndex
from_bls_pubkey: BLSPubkey
to_execution_address: ExecutionAddress

SignedBLSToExecutionChange
message: BLSToExecutionChange
signature: BLSSignature
"""
_ELECTRA = """
IndexedAttestation
attesting_indices: List[ValidatorIndex, MAX_VALIDATORS_PER_SLOT]
data: AttestationData
signature: BLSSignature

Attestation
aggregation_bits: BitList[MAX_VALIDATORS_PER_SLOT]
data: AttestationData
signature: BLSSignature
committee_bits: BitVector[MAX_COMMITTEES_PER_SLOT]

DepositRequest
pubkey: BLSPubkey
withdrawal_credentials: Bytes32
amount: Gwei
signature: BLSSignature
index: Uint64

WithdrawalRequest
source_address: ExecutionAddress
validator_pubkey: BLSPubkey
amount: Gwei

ConsolidationRequest
source_address: ExecutionAddress
source_pubkey: BLSPubkey
target_pubkey: BLSPubkey

ExecutionRequests
deposits: List[DepositRequest, MAX_DEPOSIT_REQUESTS_PER_PAYLOAD]
withdrawals: List[WithdrawalRequest, MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD]
consolidations: List[ConsolidationRequest, MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD]

PendingDeposit
pubkey: BLSPubkey
withdrawal_credentials: Bytes32
amount: Gwei
signature: BLSSignature
slot: Slot

PendingPartialWithdrawal
validator_index: ValidatorIndex
amount: Gwei
withdrawable_epoch: Epoch

PendingConsolidation
source_index: ValidatorIndex
target_index: ValidatorIndex
"""
BEACON_TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "altair": (ALTAIR_TABLE, _ALTAIR, _STATE_HEAD, _BODY_HEAD),
        "bellatrix": (BELLATRIX_TABLE, _STATE_BELLATRIX, _BODY_BELLATRIX, _PAYLOAD_BELLATRIX),
        "capella": (CAPELLA_TABLE, _CAPELLA, _STATE_CAPELLA, _BODY_CAPELLA, _PAYLOAD_CAPELLA),
        "deneb": (DENEB_TABLE, _BODY_DENEB, _PAYLOAD_DENEB),
        "electra": (_ELECTRA, _STATE_ELECTRA, _BODY_ELECTRA),
        "fulu": (_STATE_FULU,),
        "gloas": (GLOAS_TABLE, gloas_state(_STATE_FULU)),
        "heze": (HEZE_TABLE,),
    }
)
"""By fork, oldest first."""


@cache
def beacon_schema(preset_name: str, fork_name: str) -> Schema:
    """Blocks and states of a preset (by name) at a fork, altair to heze. Light-client containers are elsewhere."""
    forks = list(BEACON_TABLES)
    tables = [table for name in forks[: forks.index(fork_name) + 1] for table in BEACON_TABLES[name]]
    plain = {cls.__name__: cls for cls in PLAIN if fork_name != "bellatrix" or cls.__name__ != "ExecutionPayloadHeader"}
    return Schema(tables, PRESETS[preset_name].limits, plain)
