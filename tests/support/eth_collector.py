"""A full node's collection of light-client data, as the reference tests want it: best update per period of the chain
that is head, latest finality and optimistic update, bootstraps of finalized epoch boundaries. It derives everything
with spvnode.ethereum.full_node; the states come with the vectors (their roots are in the blocks).
"""

from __future__ import annotations

from typing import Any

from spvnode.ethereum.beacon_tables import beacon_schema
from spvnode.ethereum.containers import LightClientBootstrap, LightClientFinalityUpdate, LightClientUpdate, beacon_root
from spvnode.ethereum.full_node import (
    Block,
    State,
    block_header,
    create_light_client_bootstrap,
    create_light_client_finality_update,
    create_light_client_update,
    fork_of_block_slot,
    state_header,
)
from spvnode.ethereum.networks import Network
from spvnode.ethereum.ranking import is_better_update
from spvnode.ethereum.units import (
    GENESIS_SLOT,
    Epoch,
    Root,
    Slot,
    compute_start_slot_at_epoch,
    compute_start_slot_at_sync_committee_period,
    compute_sync_committee_period_at_slot,
)
from spvnode.ethereum.upgrade import is_newer_layout, upgrade_lc_update


def genesis_block(network: Network, state: State) -> Block:
    """The block that stands for the genesis state: all zeros but its state root, and gloas's first bid."""
    schema = beacon_schema(network.preset.name, state.fork.value)
    message: Any = schema["BeaconBlock"].default()
    message.state_root = schema["BeaconState"].hash_tree_root(state.data)
    if hasattr(message.body, "signed_execution_payload_bid"):
        message.body.signed_execution_payload_bid.message = state.data.latest_execution_payload_bid
    return Block(state.fork, message)


class Collector:
    def __init__(self, network: Network, genesis_state: State) -> None:
        self.network = network
        self.blocks: dict[Root, Block] = {}
        self.states: dict[Root, State] = {}
        self._best_at: dict[Root, LightClientUpdate | None] = {}
        self._signed_at: dict[Root, Slot] = {}
        genesis = genesis_block(network, genesis_state)
        root = beacon_root(state_header(network.preset, genesis_state))
        assert beacon_root(block_header(network.preset, genesis)) == root
        self._keep(root, genesis, genesis_state, None, GENESIS_SLOT)
        self._genesis = root
        self._finalized = root
        self.finalized_checkpoint = (Epoch(0), Root(bytes(32)))
        self.bootstraps: dict[Root, LightClientBootstrap] = {}
        self._add_bootstrap(root)
        self.best_updates: dict[int, LightClientUpdate] = {}
        self.latest: LightClientFinalityUpdate | None = None

    def _keep(self, root: Root, block: Block, state: State, best: LightClientUpdate | None, signed_at: Slot) -> None:
        self.blocks[root], self.states[root] = block, state
        self._best_at[root], self._signed_at[root] = best, signed_at

    def _period(self, slot: Slot) -> int:
        return compute_sync_committee_period_at_slot(self.network.preset, slot)

    def _add_bootstrap(self, root: Root) -> None:
        preset = self.network.preset
        self.bootstraps[root] = create_light_client_bootstrap(preset, self.states[root], self.blocks[root])

    def _update(self, block: Block) -> LightClientUpdate:
        parent = block.message.parent_root
        finalized = self.states[parent].data.finalized_checkpoint.root
        finalized_block = self.blocks.get(finalized if any(finalized) else self._genesis)
        return create_light_client_update(
            self.network, block, self.states[parent], self.blocks[parent], finalized_block
        )

    def new_block(self, block: Block, data: Any) -> Root:
        """Takes a block with its post-state."""
        state = State(fork_of_block_slot(self.network, block.slot), data)
        root = beacon_root(block_header(self.network.preset, block))
        assert beacon_root(state_header(self.network.preset, state)) == root
        parent = block.message.parent_root
        same_period = self._period(self.blocks[parent].slot) == self._period(block.slot)
        best = self._best_at[parent] if same_period else None
        signed = block.message.body.sync_aggregate.participants > 0
        if signed and same_period:
            best = self._better(self._update(block), best)
        self._keep(root, block, state, best, block.slot if signed else self._signed_at[parent])
        return root

    def _better(self, new: LightClientUpdate, old: LightClientUpdate | None) -> LightClientUpdate:
        if old is None:
            return new
        assert not is_newer_layout(old.fork, new.fork)
        upgraded = upgrade_lc_update(self.network, old, new.fork)
        return new if is_better_update(self.network.preset, new, upgraded) else old

    def _ancestor(self, root: Root, slot: Slot) -> Root:
        while self.blocks[root].slot > slot:
            root = self.blocks[root].message.parent_root
        return root

    def new_head(self, head: Root) -> None:
        low_slot = self.blocks[self._finalized].slot
        self._commit_best_updates(head, low_slot)
        self._commit_latest(head, low_slot)
        self._finalize(self.states[head].data.finalized_checkpoint)

    def _commit_best_updates(self, head: Root, low_slot: Slot) -> None:
        root = head
        for period in range(self._period(self.blocks[head].slot), self._period(low_slot) - 1, -1):
            next_period = compute_start_slot_at_sync_committee_period(self.network.preset, period + 1)
            root = self._ancestor(root, Slot(next_period - 1))
            if self.blocks[root].slot < low_slot:
                break
            best = self._best_at[root]
            self.best_updates.pop(period, None)
            if best is not None:
                self.best_updates[period] = best

    def _commit_latest(self, head: Root, low_slot: Slot) -> None:
        self.latest = None
        if self._signed_at[head] > low_slot:
            signature_block = self.blocks[self._ancestor(head, self._signed_at[head])]
            self.latest = create_light_client_finality_update(self._update(signature_block))

    def _finalize(self, checkpoint: Any) -> None:
        if checkpoint.epoch == 0 or self.blocks[checkpoint.root].slot <= self.blocks[self._finalized].slot:
            return
        preset = self.network.preset
        root, boundary = checkpoint.root, None
        while root != self._finalized:
            slot = self.blocks[root].slot
            epoch = -(-slot // preset.slots_per_epoch)  # whose checkpoint it can be: the next that begins
            if epoch != boundary:
                self._add_bootstrap(root)
                boundary = epoch
            root = self.blocks[root].message.parent_root
        assert compute_start_slot_at_epoch(preset, checkpoint.epoch) >= self.blocks[checkpoint.root].slot
        self._finalized = checkpoint.root
        self.finalized_checkpoint = (checkpoint.epoch, checkpoint.root)
