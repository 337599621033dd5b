"""Moves light-client data to a later fork's layout. Peers send each object in the layout of its attested slot; a store
must be in a layout at least as new as what it processes, and what it processes is upgraded to the store's first.

Source: consensus-specs ``{capella,deneb,electra,gloas}/light-client/fork.md``. Only headers and branch lengths differ
between layouts: ``upgrade_lc_update`` with ``fork=CAPELLA`` is the specs' ``upgrade_lc_update_to_capella``, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from merkle.ssz import normalize_merkle_branch
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    default_header,
    execution_block_hash_branch,
)
from spvnode.ethereum.forks import LAYOUTS, Fork
from spvnode.ethereum.gindices import GINDICES
from spvnode.ethereum.networks import Network
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import compute_epoch_at_slot

LAYOUT_ORDER: tuple[Fork, ...] = tuple(dict.fromkeys(LAYOUTS.values()))
"""The layouts, oldest first."""


def upgrade_lc_header_to_capella(network: Network, pre: LightClientHeader) -> LightClientHeader:
    """Adds an execution header, all zeros."""
    return replace(default_header(Fork.CAPELLA), beacon=pre.beacon)


def upgrade_lc_header_to_deneb(network: Network, pre: LightClientHeader) -> LightClientHeader:
    """The blob gas fields, which our class always has, begin to count."""
    return _relabelled(pre, Fork.DENEB)


def upgrade_lc_header_to_electra(network: Network, pre: LightClientHeader) -> LightClientHeader:
    """The same header."""
    return _relabelled(pre, Fork.ELECTRA)


def _relabelled(pre: LightClientHeader, fork: Fork) -> LightClientHeader:
    """What ``replace`` would give, in a quarter of its time: this is done to every header of an older fork."""
    return LightClientHeader(fork, pre.beacon, pre.execution, pre.execution_block_hash, pre.execution_branch)


def upgrade_lc_header_to_gloas(network: Network, pre: LightClientHeader) -> LightClientHeader:
    """Keeps only the block hash of the execution header, and lengthens the branch by the way up to its root."""
    post = replace(default_header(Fork.GLOAS), beacon=pre.beacon)
    epoch = compute_epoch_at_slot(network.preset, pre.beacon.slot)
    if pre == default_header(pre.fork) or epoch < network.schedule.epoch_of(Fork.CAPELLA) or pre.execution is None:
        return post
    layout = Fork.DENEB if epoch >= network.schedule.epoch_of(Fork.DENEB) else Fork.CAPELLA
    branch = execution_block_hash_branch(layout, pre.execution) + pre.execution_branch
    return replace(
        post,
        execution_block_hash=pre.execution.block_hash,
        execution_branch=normalize_merkle_branch(branch, GINDICES[Fork.GLOAS].execution),
    )


_HEADER_STEPS: Mapping[Fork, Callable[[Network, LightClientHeader], LightClientHeader]] = MappingProxyType(
    {
        Fork.CAPELLA: upgrade_lc_header_to_capella,
        Fork.DENEB: upgrade_lc_header_to_deneb,
        Fork.ELECTRA: upgrade_lc_header_to_electra,
        Fork.GLOAS: upgrade_lc_header_to_gloas,
    }
)


def is_newer_layout(fork: Fork, than: Fork) -> bool:
    """Whether the layout ``fork`` is later than the layout ``than``."""
    return LAYOUT_ORDER.index(fork) > LAYOUT_ORDER.index(than)


def upgrade_lc_header(network: Network, pre: LightClientHeader, fork: Fork) -> LightClientHeader:
    """``pre`` in the layout ``fork``, by all the steps between. ValueError when ``fork`` is older than ``pre``'s."""
    if is_newer_layout(pre.fork, fork):
        raise ValueError(f"a {pre.fork} header cannot be downgraded to {fork}")
    header = pre
    for step in LAYOUT_ORDER[LAYOUT_ORDER.index(pre.fork) + 1 : LAYOUT_ORDER.index(fork) + 1]:
        header = _HEADER_STEPS[step](network, header)
    return header


def upgrade_lc_bootstrap(network: Network, pre: LightClientBootstrap, fork: Fork) -> LightClientBootstrap:
    """``pre`` in the layout ``fork``."""
    branch = normalize_merkle_branch(pre.current_sync_committee_branch, GINDICES[fork].current_sync_committee)
    header = upgrade_lc_header(network, pre.header, fork)
    return replace(pre, fork=fork, header=header, current_sync_committee_branch=branch)


def upgrade_lc_update(network: Network, pre: LightClientUpdate, fork: Fork) -> LightClientUpdate:
    """``pre`` in the layout ``fork``."""
    if pre.fork is fork:
        return pre
    gindices = GINDICES[fork]
    return replace(
        pre,
        fork=fork,
        attested_header=upgrade_lc_header(network, pre.attested_header, fork),
        next_sync_committee_branch=normalize_merkle_branch(
            pre.next_sync_committee_branch, gindices.next_sync_committee
        ),
        finalized_header=upgrade_lc_header(network, pre.finalized_header, fork),
        finality_branch=normalize_merkle_branch(pre.finality_branch, gindices.finalized_root),
    )


def upgrade_lc_finality_update(
    network: Network, pre: LightClientFinalityUpdate, fork: Fork
) -> LightClientFinalityUpdate:
    """``pre`` in the layout ``fork``."""
    return replace(
        pre,
        fork=fork,
        attested_header=upgrade_lc_header(network, pre.attested_header, fork),
        finalized_header=upgrade_lc_header(network, pre.finalized_header, fork),
        finality_branch=normalize_merkle_branch(pre.finality_branch, GINDICES[fork].finalized_root),
    )


def upgrade_lc_optimistic_update(
    network: Network, pre: LightClientOptimisticUpdate, fork: Fork
) -> LightClientOptimisticUpdate:
    """``pre`` in the layout ``fork``."""
    return replace(pre, fork=fork, attested_header=upgrade_lc_header(network, pre.attested_header, fork))


def upgrade_lc_store(network: Network, pre: LightClientStore, fork: Fork) -> LightClientStore:
    """``pre`` in the layout ``fork``; may be done before the fork's epoch."""
    best = pre.best_valid_update
    return replace(
        pre,
        fork=fork,
        finalized_header=upgrade_lc_header(network, pre.finalized_header, fork),
        best_valid_update=None if best is None else upgrade_lc_update(network, best, fork),
        optimistic_header=upgrade_lc_header(network, pre.optimistic_header, fork),
    )
