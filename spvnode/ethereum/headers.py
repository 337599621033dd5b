"""Light-client headers: what execution data they must prove, and the generalized indices that hold at their slot.

Source: consensus-specs ``{altair,capella,deneb,electra,gloas}/light-client/sync-protocol.md``, Helpers. Each function
behaves as the one of the fork in whose layout the header is.
"""

from __future__ import annotations

from merkle.ssz import (
    CHUNK,
    compute_merkle_branch_root,
    floorlog2,
    get_subtree_index,
    is_valid_merkle_branch,
    is_valid_normalized_merkle_branch,
)
from spvnode.ethereum.containers import (
    ExecutionPayloadHeader,
    LightClientHeader,
    default_execution_header,
    default_header,
    execution_block_hash_gindex,
    execution_root,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.gindices import (
    EXECUTION_BLOCK_HASH_GINDEX,
    EXECUTION_BLOCK_HASH_GINDEX_DENEB,
    GINDICES,
    Gindices,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import GENESIS_SLOT, Root, Slot, compute_epoch_at_slot

EXECUTION_PAYLOAD_GINDEX = GINDICES[Fork.CAPELLA].execution
_NO_ROOT = Root(bytes(CHUNK))
_ORDER = {fork: rank for rank, fork in enumerate(Fork)}


def fork_at_slot(network: Network, slot: Slot) -> Fork | None:
    """The fork in force at ``slot``; None where it is one that we do not understand."""
    return network.schedule.entry_at(compute_epoch_at_slot(network.preset, slot)).fork


def gindices_at_slot(network: Network, slot: Slot, layout: Fork) -> Gindices:
    """``finalized_root_gindex_at_slot`` and its two sisters, as the fork of ``layout`` knows them."""
    fork = fork_at_slot(network, slot)
    at_slot = layout if fork is None else LAYOUTS.get(fork, Fork.ALTAIR)
    return GINDICES[min(at_slot, layout, key=_ORDER.__getitem__)]


def is_valid_light_client_header(network: Network, header: LightClientHeader) -> bool:
    """Whether the execution data holds, for the header's layout and slot."""
    if header.fork is Fork.ALTAIR:
        return True
    if header.fork is Fork.GLOAS:
        return _is_valid_gloas_header(network, header)
    epoch = compute_epoch_at_slot(network.preset, header.beacon.slot)
    execution = _execution(header)
    before_deneb = epoch < network.schedule.epoch_of(Fork.DENEB)
    if before_deneb and (execution.blob_gas_used or execution.excess_blob_gas):
        return False
    if epoch < network.schedule.epoch_of(Fork.CAPELLA):
        empty = default_header(header.fork)
        return header.execution == empty.execution and header.execution_branch == empty.execution_branch
    return is_valid_merkle_branch(
        get_lc_execution_root(network, header),
        header.execution_branch,
        floorlog2(EXECUTION_PAYLOAD_GINDEX),
        get_subtree_index(EXECUTION_PAYLOAD_GINDEX),
        header.beacon.body_root,
    )


def _is_valid_gloas_header(network: Network, header: LightClientHeader) -> bool:
    schedule = network.schedule
    epoch = compute_epoch_at_slot(network.preset, header.beacon.slot)
    block_hash = header.execution_block_hash or _NO_ROOT
    if epoch < schedule.epoch_of(Fork.CAPELLA):
        return block_hash == _NO_ROOT and not any(header.execution_branch)
    gindex = EXECUTION_BLOCK_HASH_GINDEX
    if epoch >= schedule.epoch_of(Fork.GLOAS):
        gindex = GINDICES[Fork.GLOAS].execution
    elif epoch >= schedule.epoch_of(Fork.DENEB):
        gindex = EXECUTION_BLOCK_HASH_GINDEX_DENEB
    return is_valid_normalized_merkle_branch(block_hash, header.execution_branch, gindex, header.beacon.body_root)


def get_lc_execution_root(network: Network, header: LightClientHeader) -> Root:
    """Root of the block's execution header; from gloas on its execution block hash; zeros before capella."""
    schedule = network.schedule
    epoch = compute_epoch_at_slot(network.preset, header.beacon.slot)
    if header.fork is Fork.ALTAIR or epoch < schedule.epoch_of(Fork.CAPELLA):
        return _NO_ROOT
    layout = Fork.DENEB if epoch >= schedule.epoch_of(Fork.DENEB) else Fork.CAPELLA
    if header.fork is not Fork.GLOAS:
        return execution_root(min_layout(layout, header.fork), _execution(header))
    block_hash = header.execution_block_hash or _NO_ROOT
    if epoch >= schedule.epoch_of(Fork.GLOAS):
        return Root(block_hash)
    if header.beacon.slot == GENESIS_SLOT:
        return execution_root(layout, default_execution_header(layout))
    # A gloas header keeps an older block's branch from its block hash up; the root is on the way.
    gindex = execution_block_hash_gindex(layout)
    inner = header.execution_branch[: -floorlog2(EXECUTION_PAYLOAD_GINDEX) * CHUNK]
    inner = inner[len(inner) - floorlog2(gindex) * CHUNK :]
    return Root(compute_merkle_branch_root(block_hash, inner, get_subtree_index(gindex)))


def min_layout(wanted: Fork, header_fork: Fork) -> Fork:
    """The execution header's own layout: a capella header stays one, whatever its epoch claims."""
    return Fork.CAPELLA if header_fork is Fork.CAPELLA else wanted


def _execution(header: LightClientHeader) -> ExecutionPayloadHeader:
    if header.execution is None:
        raise TypeError(f"a {header.fork} light-client header has no execution header")
    return header.execution
