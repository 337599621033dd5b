"""A network's fork schedule as a table: which fork, fork version and fork digest hold at an epoch, and how far we can
follow it (the fork horizon).

Blob-parameter forks (EIP-7892) change nothing but the digest. Source: consensus-specs ``fulu/beacon-chain.md``
(``compute_fork_digest``, ``get_blob_parameters``), ``*/fork.md`` (``compute_fork_version``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Self

from spvnode.ethereum.units import FAR_FUTURE_EPOCH, Epoch, ForkDigest, Root, Version

MAX_SCHEDULE_ENTRIES = 1024
"""Forks, and blob-parameter forks, of one network. A config file fills them; mainnet has 7 and 2. Every digest of
all of them is kept and searched, so a hostile file must not make that long."""


class Fork(StrEnum):
    """The forks whose light-client data we understand, oldest first."""

    PHASE0 = "phase0"
    ALTAIR = "altair"
    BELLATRIX = "bellatrix"
    CAPELLA = "capella"
    DENEB = "deneb"
    ELECTRA = "electra"
    FULU = "fulu"
    GLOAS = "gloas"


LAYOUTS: Mapping[Fork, Fork] = MappingProxyType(
    {
        Fork.ALTAIR: Fork.ALTAIR,
        Fork.BELLATRIX: Fork.ALTAIR,
        Fork.CAPELLA: Fork.CAPELLA,
        Fork.DENEB: Fork.DENEB,
        Fork.ELECTRA: Fork.ELECTRA,
        Fork.FULU: Fork.ELECTRA,
        Fork.GLOAS: Fork.GLOAS,
    }
)
"""Per fork, the fork that introduced the light-client containers it uses. PHASE0 has none."""


@dataclass(frozen=True, slots=True)
class ScheduledFork:
    """``fork`` is None for one that we do not understand; ``name`` is what the config calls it."""

    name: str
    version: Version
    epoch: Epoch
    fork: Fork | None


@dataclass(frozen=True, slots=True)
class BlobParameters:
    """An entry of ``BLOB_SCHEDULE``."""

    epoch: Epoch
    max_blobs_per_block: int


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """``digest`` holds from ``epoch`` to the next entry's; ``fork`` is None where we cannot follow."""

    epoch: Epoch
    digest: ForkDigest
    fork: Fork | None


class HorizonState(StrEnum):
    """How far the schedule we know reaches, seen from one epoch."""

    CLEAR = "clear"
    NEAR = "near"
    """The last epoch we can follow is less than the warning time away: time to update."""
    PASSED = "passed"
    """Past it: whatever we hold may be another chain's truth; not ready."""


def compute_fork_data_root(current_version: Version, genesis_validators_root: Root) -> Root:
    """``hash_tree_root(ForkData)``, 32 bytes."""
    return Root(sha256(current_version.ljust(32, b"\x00") + genesis_validators_root).digest())


@dataclass(frozen=True, slots=True)
class ForkSchedule:
    """Forks and blob-parameter forks of one network, each ascending by epoch; the first fork begins at epoch 0.

    ``known_until`` is the last epoch for which whoever wrote the table vouches, or None. ValueError when the entries
    are out of order, or more than ``MAX_SCHEDULE_ENTRIES``.
    """

    forks: tuple[ScheduledFork, ...]
    blob_schedule: tuple[BlobParameters, ...] = ()
    max_blobs_per_block_electra: int = 9
    known_until: Epoch | None = None
    _epochs: Mapping[Fork, Epoch] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, entries in (("forks", self.forks), ("blob_schedule", self.blob_schedule)):
            epochs = [entry.epoch for entry in entries]
            if epochs != sorted(epochs):
                raise ValueError(f"{what}: epochs do not ascend")
            if len(epochs) > MAX_SCHEDULE_ENTRIES:
                raise ValueError(f"{what}: {len(epochs)} entries, at most {MAX_SCHEDULE_ENTRIES}")
        if not self.forks or self.forks[0].epoch != 0:
            raise ValueError("forks: the first must begin at epoch 0")
        epochs_of = {entry.fork: entry.epoch for entry in self.forks if entry.fork is not None}
        object.__setattr__(self, "_epochs", MappingProxyType(epochs_of))

    def epoch_of(self, fork: Fork) -> Epoch:
        """Where ``fork`` begins; FAR_FUTURE_EPOCH when it is not scheduled."""
        return self._epochs.get(fork, FAR_FUTURE_EPOCH)

    def entry_at(self, epoch: Epoch) -> ScheduledFork:
        """The fork in force at ``epoch``; of several that begin together, the last."""
        return next(entry for entry in reversed(self.forks) if entry.epoch <= epoch)

    def compute_fork_version(self, epoch: Epoch) -> Version:
        """4 bytes."""
        return self.entry_at(epoch).version

    def get_blob_parameters(self, epoch: Epoch) -> BlobParameters:
        """The blob parameters in force at ``epoch``, from electra on."""
        for entry in reversed(self.blob_schedule):
            if epoch >= entry.epoch:
                return entry
        return BlobParameters(self.epoch_of(Fork.ELECTRA), self.max_blobs_per_block_electra)

    def compute_fork_digest(self, genesis_validators_root: Root, epoch: Epoch) -> ForkDigest:
        """4 bytes: of the fork version, and from fulu on of the blob parameters too."""
        base = compute_fork_data_root(self.compute_fork_version(epoch), genesis_validators_root)
        if epoch < self.epoch_of(Fork.FULU):
            return ForkDigest(base[:4])
        blobs = self.get_blob_parameters(epoch)
        mask = sha256(blobs.epoch.to_bytes(8, "little") + blobs.max_blobs_per_block.to_bytes(8, "little")).digest()
        return ForkDigest(bytes(a ^ b for a, b in zip(base[:4], mask[:4], strict=True)))

    def boundaries(self) -> tuple[Epoch, ...]:
        """Every epoch at which the fork digest changes, ascending, 0 included."""
        fulu = self.epoch_of(Fork.FULU)
        blobs = {entry.epoch for entry in self.blob_schedule if entry.epoch >= fulu}
        return tuple(sorted({entry.epoch for entry in self.forks} | blobs))

    def next_boundary(self, epoch: Epoch) -> Epoch | None:
        """The first digest change after ``epoch``: what an ENR's ``nfd`` announces."""
        return next((boundary for boundary in self.boundaries() if boundary > epoch), None)

    def digests(self, genesis_validators_root: Root) -> tuple[DigestEntry, ...]:
        """Every digest of the network, oldest first."""
        return tuple(
            DigestEntry(epoch, self.compute_fork_digest(genesis_validators_root, epoch), self.entry_at(epoch).fork)
            for epoch in self.boundaries()
        )

    @property
    def newest_layout(self) -> Fork:
        """The container layout of the last fork that is scheduled and understood: the one to keep a store in.

        ValueError where no fork with light-client data is scheduled.
        """
        known = [LAYOUTS[entry.fork] for entry in self.forks if entry.fork is not None and entry.fork in LAYOUTS]
        if not known:
            raise ValueError("forks: none with light-client data is scheduled")
        return known[-1]

    @property
    def horizon(self) -> Epoch | None:
        """The last epoch we can follow: before the first fork we do not understand, and within ``known_until``."""
        ends = [Epoch(entry.epoch - 1) for entry in self.forks if entry.fork is None]
        if self.known_until is not None:
            ends.append(self.known_until)
        return min(ends, default=None)

    def horizon_state(self, epoch: Epoch, warning_epochs: int) -> HorizonState:
        """Where ``epoch`` stands before the horizon; NEAR for the last ``warning_epochs`` epochs."""
        horizon = self.horizon
        if horizon is None or epoch + warning_epochs <= horizon:
            return HorizonState.CLEAR
        return HorizonState.NEAR if epoch <= horizon else HorizonState.PASSED

    def with_announced_fork(self, version: Version, epoch: Epoch) -> Self:
        """The schedule, ending before a fork that peers announce (an ENR's ``next_fork_version``) and it does not have.

        Believe it only when enough independent peers agree: it moves the horizon nearer, and nothing else.
        """
        if epoch == FAR_FUTURE_EPOCH or any(entry.version == version for entry in self.forks):
            return self
        end = Epoch(max(epoch - 1, 0))
        return replace(self, known_until=end if self.known_until is None else min(end, self.known_until))
