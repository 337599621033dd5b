"""Derives light-client data from beacon blocks and states, as a full node does.

Names are the consensus specs' (``{altair,capella,deneb,gloas}/light-client/full-node.md``). A daemon that follows
headers has no states: it uses the two functions that cut an update down to what it gossips. The rest is for makers of
chains: tests, simulated networks, tools that read a full node's database. Blocks and states come from
``beacon_tables``; wrong input from there is a ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from merkle.ssz_types import Container, path_branch
from spvnode.ethereum.beacon_tables import beacon_schema
from spvnode.ethereum.containers import (
    BeaconBlockHeader,
    ExecutionPayloadHeader,
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    beacon_root,
    default_committee,
    default_header,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.networks import Network
from spvnode.ethereum.presets import MIN_SYNC_COMMITTEE_PARTICIPANTS, Preset
from spvnode.ethereum.units import (
    GENESIS_SLOT,
    Root,
    Slot,
    compute_epoch_at_slot,
    compute_sync_committee_period_at_slot,
)
from spvnode.ethereum.upgrade import upgrade_lc_header

CURRENT_SYNC_COMMITTEE_PATH = ("current_sync_committee",)
NEXT_SYNC_COMMITTEE_PATH = ("next_sync_committee",)
FINALIZED_ROOT_PATH = ("finalized_checkpoint", "root")
EXECUTION_PAYLOAD_PATH = ("execution_payload",)
EXECUTION_BLOCK_HASH_PATH = ("signed_execution_payload_bid", "message", "parent_block_hash")
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Block:
    """A ``BeaconBlock`` (``message``, without its signature) and the fork it is of."""

    fork: Fork
    message: Any

    @property
    def slot(self) -> Slot:
        """The block's slot."""
        return Slot(self.message.slot)


@dataclass(frozen=True, slots=True)
class State:
    """A ``BeaconState`` and the fork it is of: a block's post-state, before any empty slot."""

    fork: Fork
    data: Any


def _container(preset: Preset, fork: Fork, name: str) -> Container:
    return beacon_schema(preset.name, fork.value)[name]


def compute_merkle_proof(preset: Preset, state: State, path: tuple[str, ...]) -> bytes:
    """Siblings, bottom up, of the field of the state that ``path`` leads to."""
    return path_branch(_container(preset, state.fork, "BeaconState"), state.data, path)[1]


def block_header(preset: Preset, block: Block) -> BeaconBlockHeader:
    """The header that stands for the block: the same root."""
    body_root = _container(preset, block.fork, "BeaconBlockBody").hash_tree_root(block.message.body)
    message = block.message
    return BeaconBlockHeader(
        block.slot, message.proposer_index, message.parent_root, message.state_root, Root(body_root)
    )


def state_header(preset: Preset, state: State) -> BeaconBlockHeader:
    """The header of the block that made the state. ValueError when empty slots came after it."""
    header = state.data.latest_block_header
    if state.data.slot != header.slot:
        raise ValueError(f"state: at slot {state.data.slot}, its block at {header.slot}")
    root = Root(_container(preset, state.fork, "BeaconState").hash_tree_root(state.data))
    return BeaconBlockHeader(header.slot, header.proposer_index, header.parent_root, root, header.body_root)


def block_to_light_client_header(preset: Preset, block: Block) -> LightClientHeader:
    """In the layout of the block's fork. Bellatrix payloads are left out, as light-client data always did."""
    layout = LAYOUTS[block.fork]
    beacon = block_header(preset, block)
    if layout is Fork.ALTAIR:
        return LightClientHeader(layout, beacon)
    body = block.message.body
    body_kind = _container(preset, block.fork, "BeaconBlockBody")
    if layout is Fork.GLOAS:
        block_hash, branch = path_branch(body_kind, body, EXECUTION_BLOCK_HASH_PATH)
        return LightClientHeader(layout, beacon, execution_block_hash=Root(block_hash), execution_branch=branch)
    _, branch = path_branch(body_kind, body, EXECUTION_PAYLOAD_PATH)
    execution = _execution_header(_container(preset, block.fork, "ExecutionPayload"), body.execution_payload)
    return LightClientHeader(layout, beacon, execution, execution_branch=branch)


def _execution_header(kind: Container, payload: Any) -> ExecutionPayloadHeader:
    """The payload with its two lists replaced by their roots."""
    roots: dict[str, Any] = {
        f"{name}_root": kind.fields[name].hash_tree_root(getattr(payload, name))
        for name in ("transactions", "withdrawals")
    }
    plain = {name: getattr(payload, name) for name in kind.fields if f"{name}_root" not in roots}
    return ExecutionPayloadHeader(**plain, **roots)


def create_light_client_bootstrap(preset: Preset, state: State, block: Block) -> LightClientBootstrap:
    """From the post-state of ``block``."""
    header = block_to_light_client_header(preset, block)
    if state_header(preset, state) != header.beacon:
        raise ValueError("state: not the post-state of the block")
    return LightClientBootstrap(
        fork=header.fork,
        header=header,
        current_sync_committee=state.data.current_sync_committee,
        current_sync_committee_branch=compute_merkle_proof(preset, state, CURRENT_SYNC_COMMITTEE_PATH),
    )


def create_light_client_update(
    network: Network, block: Block, attested_state: State, attested_block: Block, finalized_block: Block | None
) -> LightClientUpdate:
    """``block`` carries the signature of its parent ``attested_block``; ``finalized_block`` where it is at hand."""
    preset = network.preset
    attested_header = block_to_light_client_header(preset, attested_block)
    if state_header(preset, attested_state) != attested_header.beacon:
        raise ValueError("attested_state: not the post-state of the attested block")
    if beacon_root(attested_header.beacon) != block.message.parent_root:
        raise ValueError("attested_block: not the parent of the block")
    aggregate = block.message.body.sync_aggregate
    if aggregate.participants < MIN_SYNC_COMMITTEE_PARTICIPANTS:
        raise ValueError("block: nobody signed its parent")
    layout = attested_header.fork
    committee = default_committee(preset.sync_committee_size)
    committee_branch = bytes(GINDICES[layout].depths["COMMITTEE_DEPTH"] * _CHUNK)
    # The next committee is of use only when the message is signed by the current one.
    if _period(preset, attested_block.slot) == _period(preset, block.slot):
        committee = attested_state.data.next_sync_committee
        committee_branch = compute_merkle_proof(preset, attested_state, NEXT_SYNC_COMMITTEE_PATH)
    finalized_header, finality_branch = _finality(network, attested_state, layout, finalized_block)
    return LightClientUpdate(
        fork=layout,
        attested_header=attested_header,
        next_sync_committee=committee,
        next_sync_committee_branch=committee_branch,
        finalized_header=finalized_header,
        finality_branch=finality_branch,
        sync_aggregate=aggregate,
        signature_slot=block.slot,
    )


def _period(preset: Preset, slot: Slot) -> int:
    return compute_sync_committee_period_at_slot(preset, slot)


def _finality(
    network: Network, attested_state: State, layout: Fork, finalized_block: Block | None
) -> tuple[LightClientHeader, bytes]:
    if finalized_block is None:
        return default_header(layout), bytes(GINDICES[layout].depths["FINALITY_DEPTH"] * _CHUNK)
    branch = compute_merkle_proof(network.preset, attested_state, FINALIZED_ROOT_PATH)
    root = attested_state.data.finalized_checkpoint.root
    if finalized_block.slot == GENESIS_SLOT:
        if any(root):
            raise ValueError("finalized_block: genesis, the attested state has finalized a later one")
        return default_header(layout), branch
    header = block_to_light_client_header(network.preset, finalized_block)
    if beacon_root(header.beacon) != root:
        raise ValueError("finalized_block: not the one that the attested state has finalized")
    return upgrade_lc_header(network, header, layout), branch


def create_light_client_finality_update(update: LightClientUpdate) -> LightClientFinalityUpdate:
    """``update`` without committees."""
    return LightClientFinalityUpdate(
        fork=update.fork,
        attested_header=update.attested_header,
        finalized_header=update.finalized_header,
        finality_branch=update.finality_branch,
        sync_aggregate=update.sync_aggregate,
        signature_slot=update.signature_slot,
    )


def create_light_client_optimistic_update(
    update: LightClientUpdate | LightClientFinalityUpdate,
) -> LightClientOptimisticUpdate:
    """``update``'s signed header alone."""
    return LightClientOptimisticUpdate(
        fork=update.fork,
        attested_header=update.attested_header,
        sync_aggregate=update.sync_aggregate,
        signature_slot=update.signature_slot,
    )


def fork_of_block_slot(network: Network, slot: Slot) -> Fork:
    """The fork that a block or a state at ``slot`` is of. ValueError past what we understand, and before altair."""
    fork = network.schedule.entry_at(compute_epoch_at_slot(network.preset, slot)).fork
    if fork not in LAYOUTS or fork is None:
        raise ValueError(f"slot {slot}: of no fork with light-client data that is known here")
    return fork
