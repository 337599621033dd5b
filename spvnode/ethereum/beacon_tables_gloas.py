"""Container tables of beacon blocks and states from gloas on: progressive lists and containers (EIP-7688), payload bids
in place of payloads (EIP-7732). heze's block body is here, its light-client data is not specified yet.

Source: consensus-specs v1.7.0-alpha.13, ``gloas/beacon-chain.md``, ``heze/beacon-chain.md``.
"""

from __future__ import annotations


def gloas_state(fulu_state: str) -> str:
    """gloas's ``BeaconState`` table, out of fulu's."""
    progressive = {
        "List[Validator, VALIDATOR_REGISTRY_LIMIT]": "ProgressiveList[Validator]",
        "List[Gwei, VALIDATOR_REGISTRY_LIMIT]": "ProgressiveList[Gwei]",
        "List[Uint8, VALIDATOR_REGISTRY_LIMIT]": "ProgressiveList[Uint8]",
        "List[Uint64, VALIDATOR_REGISTRY_LIMIT]": "ProgressiveList[Uint64]",
        "List[PendingDeposit, PENDING_DEPOSITS_LIMIT]": "ProgressiveList[PendingDeposit]",
        "List[PendingPartialWithdrawal, PENDING_PARTIAL_WITHDRAWALS_LIMIT]": (
            "ProgressiveList[PendingPartialWithdrawal]"
        ),
        "List[PendingConsolidation, PENDING_CONSOLIDATIONS_LIMIT]": "ProgressiveList[PendingConsolidation]",
        "latest_execution_payload_header: ExecutionPayloadHeader": "latest_block_hash: Hash32",
        "BeaconState": "BeaconState progressive",
    }
    for old, new in progressive.items():
        fulu_state = fulu_state.replace(old, new)
    return fulu_state + _STATE_TAIL


_STATE_TAIL = """builders: ProgressiveList[Builder]
next_withdrawal_builder_index: Uint64
execution_payload_availability: BitVector[SLOTS_PER_HISTORICAL_ROOT]
builder_pending_payments: Vector[BuilderPendingPayment, BUILDER_PENDING_PAYMENTS]
builder_pending_withdrawals: ProgressiveList[BuilderPendingWithdrawal]
latest_execution_payload_bid: ExecutionPayloadBid
payload_expected_withdrawals: ProgressiveList[Withdrawal]
ptc_window: Vector[Vector[ValidatorIndex, PTC_SIZE], PTC_WINDOW]
"""
_BID = """
ExecutionPayloadBid progressive
parent_block_hash: Hash32
parent_block_root: Root
block_hash: Hash32
prev_randao: Bytes32
fee_recipient: ExecutionAddress
gas_limit: Uint64
builder_index: Uint64
slot: Slot
value: Gwei
execution_payment: Gwei
blob_kzg_commitments: ProgressiveList[KZGCommitment]
execution_requests_root: Root
"""
GLOAS_TABLE = (
    _BID
    + """
SignedExecutionPayloadBid
message: ExecutionPayloadBid
signature: BLSSignature

IndexedAttestation progressive
attesting_indices: ProgressiveList[ValidatorIndex]
data: AttestationData
signature: BLSSignature

Attestation progressive
aggregation_bits: ProgressiveBitList
data: AttestationData
signature: BLSSignature
committee_bits: BitVector[MAX_COMMITTEES_PER_SLOT]

PayloadAttestationData
beacon_block_root: Root
slot: Slot
payload_present: Boolean
blob_data_available: Boolean

PayloadAttestation progressive
aggregation_bits: BitVector[PTC_SIZE]
data: PayloadAttestationData
signature: BLSSignature

Builder
pubkey: BLSPubkey
version: Uint8
execution_address: ExecutionAddress
balance: Gwei
deposit_epoch: Epoch
withdrawable_epoch: Epoch

BuilderPendingWithdrawal
fee_recipient: ExecutionAddress
amount: Gwei
builder_index: Uint64

BuilderPendingPayment
weight: Gwei
withdrawal: BuilderPendingWithdrawal
proposer_index: ValidatorIndex

BuilderDepositRequest
pubkey: BLSPubkey
withdrawal_credentials: Bytes32
amount: Gwei
signature: BLSSignature

BuilderExitRequest
source_address: ExecutionAddress
pubkey: BLSPubkey

ExecutionRequests progressive
deposits: ProgressiveList[DepositRequest]
withdrawals: ProgressiveList[WithdrawalRequest]
consolidations: ProgressiveList[ConsolidationRequest]
builder_deposits: ProgressiveList[BuilderDepositRequest]
builder_exits: ProgressiveList[BuilderExitRequest]

BeaconBlockBody progressive
randao_reveal: BLSSignature
eth1_data: Eth1Data
graffiti: Bytes32
proposer_slashings: ProgressiveList[ProposerSlashing]
attester_slashings: ProgressiveList[AttesterSlashing]
attestations: ProgressiveList[Attestation]
deposits: ProgressiveList[Deposit]
voluntary_exits: ProgressiveList[SignedVoluntaryExit]
sync_aggregate: SyncAggregate
bls_to_execution_changes: ProgressiveList[SignedBLSToExecutionChange]
signed_execution_payload_bid: SignedExecutionPayloadBid
payload_attestations: ProgressiveList[PayloadAttestation]
parent_execution_requests: ExecutionRequests
"""
)
HEZE_TABLE = _BID + "inclusion_list_bits: BitVector[INCLUSION_LIST_COMMITTEE_SIZE]\n"
