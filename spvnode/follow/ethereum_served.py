"""What we tell and serve to beacon nodes of one network: committed light-client data, straight from the chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from p2p.beacon.messages import Status
from p2p.beacon.provider import Chunk, Gossip, GossipName, KindName
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.containers import beacon_root, max_size
from spvnode.ethereum.gate import Judgement
from spvnode.ethereum.items import Item, Kind
from spvnode.ethereum.networks import Network
from spvnode.ethereum.received import CLASSES, fork_of
from spvnode.ethereum.records import wire_digest
from spvnode.ethereum.units import FAR_FUTURE_EPOCH, Epoch, Slot, compute_epoch_at_slot, compute_start_slot_at_epoch
from spvnode.types import Hash32

TOPIC_MARGIN_EPOCHS = 2
"""Epochs around a change of the fork digest during which both sets of topics are of use (phase0 ``p2p-interface.md``,
"Transitioning the gossip": joined two epochs early, left two epochs late)."""
NO_ROOT = bytes(32)
KINDS: dict[str, Kind] = {
    "bootstrap": Kind.BOOTSTRAP,
    "update": Kind.UPDATE,
    "finality": Kind.FINALITY,
    "optimistic": Kind.OPTIMISTIC,
}
GOSSIP = {Judgement.ACCEPT: Gossip.ACCEPT, Judgement.IGNORE: Gossip.IGNORE, Judgement.REJECT: Gossip.REJECT}


class BeaconHolder(Protocol):
    """Whatever has the chain, once there is one."""

    @property
    def params(self) -> Network:
        """The network."""

    @property
    def chain(self) -> BeaconChain | None:
        """The chain, None before it has begun."""


class EthereumServed:
    """``p2p.beacon.provider.Provider`` over one chain, looked up at each call: it may not have begun yet."""

    def __init__(self, holder: BeaconHolder, clock: Callable[[], float] = time.time) -> None:
        self._holder = holder
        self._clock = clock

    def status(self) -> Status:
        """What we have: a light client MAY say what light-client data it has (altair ``light-client/p2p-interface.md``,
        "Light clients"), and others that follow by us go by it. Genesis before the chain has begun."""
        network, chain = self._holder.params, self._holder.chain
        digest = self._digest_at(self._epoch())
        if chain is None:
            return Status(digest, NO_ROOT, 0, NO_ROOT, 0, 0)
        finalized, head = chain.finalized.beacon, chain.optimistic.beacon
        return Status(
            fork_digest=digest,
            finalized_root=beacon_root(finalized),
            finalized_epoch=finalized_epoch(network, finalized.slot),
            head_root=beacon_root(head),
            head_slot=head.slot,
            earliest_available_slot=chain.start.slot,
        )

    def accepts(self, status: Status) -> str | None:
        """None for a peer of our network: its fork digest is in force, or was or will be within two epochs; and it has
        not finalized another block than ours in the same epoch."""
        if status.fork_digest not in self.topic_digests():
            return f"fork digest {status.fork_digest.hex()} is not ours"
        chain = self._holder.chain
        if chain is None or chain.finality_update is None:  # a checkpoint need not be the block of an epoch
            return None
        ours = chain.finalized.beacon
        same_epoch = status.finalized_epoch == finalized_epoch(self._holder.params, ours.slot)
        if same_epoch and status.finalized_epoch and status.finalized_root != beacon_root(ours):
            return f"another block is finalized in epoch {status.finalized_epoch}"
        return None

    def topic_digests(self) -> Sequence[bytes]:
        """The digest in force, and within two epochs of a change the one before or after it."""
        epoch = self._epoch()
        around = (epoch, max(epoch - TOPIC_MARGIN_EPOCHS, 0), epoch + TOPIC_MARGIN_EPOCHS)
        return tuple(dict.fromkeys(self._digest_at(Epoch(near)) for near in around))

    def enr_fork_id(self) -> bytes:
        """``ENRForkID`` (fulu ``p2p-interface.md``, "eth2 field"): a change of blob parameters counts as the next fork,
        with the version that is in force then."""
        schedule, epoch = self._holder.params.schedule, self._epoch()
        boundary = schedule.next_boundary(epoch)
        announced = epoch if boundary is None else boundary
        following = FAR_FUTURE_EPOCH if boundary is None else boundary
        return self._digest_at(epoch) + schedule.compute_fork_version(announced) + following.to_bytes(8, "little")

    def max_size(self, kind_name: KindName, digest: bytes) -> int | None:
        """Bytes of the longest object of that kind under ``digest``; None where we know no such data."""
        network = self._holder.params
        fork = fork_of(network, digest)
        return None if fork is None else max_size(network.preset.name, fork, CLASSES[KINDS[kind_name]].__name__)

    def bootstrap(self, root: bytes) -> Chunk | None:
        """A stored bootstrap."""
        chain = self._holder.chain
        return None if chain is None else _chunk(chain.wire_bootstrap(Hash32(root)))

    def updates(self, start_period: int, count: int) -> Sequence[Chunk]:
        """Stored best updates, without a gap."""
        chain = self._holder.chain
        found = [] if chain is None else chain.wire_updates(start_period, count)
        return [Chunk(digest, ssz) for digest, ssz in found]

    def finality_update(self) -> Chunk | None:
        """What our finalized header rests on."""
        chain = self._holder.chain
        return None if chain is None else _chunk(chain.wire_finality())

    def optimistic_update(self) -> Chunk | None:
        """What our optimistic header rests on."""
        chain = self._holder.chain
        return None if chain is None else _chunk(chain.wire_optimistic())

    def judge(self, name: GossipName, digest: bytes, ssz: bytes) -> Gossip:
        """By the specs' rules for light clients; nothing is passed on before the chain has begun."""
        chain = self._holder.chain
        if chain is None:
            return Gossip.IGNORE
        return GOSSIP[chain.judge(Item(KINDS[name], digest, ssz), self._clock())]

    def _epoch(self) -> Epoch:
        network = self._holder.params
        return compute_epoch_at_slot(network.preset, network.slot_at(self._clock()))

    def _digest_at(self, epoch: Epoch) -> bytes:
        network = self._holder.params
        return wire_digest(network, compute_start_slot_at_epoch(network.preset, epoch))


def finalized_epoch(network: Network, slot: Slot) -> Epoch:
    """The epoch of the checkpoint whose block is at ``slot``: the first that begins there or later, as the block of an
    epoch with an empty first slot is an older one."""
    return compute_epoch_at_slot(network.preset, Slot(slot + network.preset.slots_per_epoch - 1))


def _chunk(wire: tuple[bytes, bytes] | None) -> Chunk | None:
    return None if wire is None else Chunk(*wire)
