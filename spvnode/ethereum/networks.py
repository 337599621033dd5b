"""The Ethereum networks we know by name, as a table.

Sources: ``eth-clients/{mainnet,sepolia,hoodi}`` ``metadata/config.yaml`` and ``genesis_validators_root.txt``; fulu and
blob-parameter epochs as of consensus-specs v1.7.0-alpha.13 (mainnet) and the clients' built-in configs (the testnets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from spvnode.ethereum.forks import BlobParameters, DigestEntry, Fork, ForkSchedule, ScheduledFork
from spvnode.ethereum.presets import MAINNET, Preset
from spvnode.ethereum.units import Epoch, ForkDigest, Root, Slot, Version

TABLE_GOOD_UNTIL = 1_814_313_600
"""2027-06-30T00:00:00Z, Unix seconds: until when these tables are vouched for. Hard forks come once or twice a year and
take a release of ours; a node older than that must say so rather than follow a schedule from memory. A user who knows
better moves it: ``replace(network.schedule, known_until=...)``."""
HORIZON_WARNING_SECONDS = 28 * 24 * 60 * 60
"""Four weeks: client teams publish a fork's epoch at least thirty days ahead."""


@dataclass(frozen=True, slots=True)
class ChurnLimits:
    """What the weak-subjectivity period depends on (``weak_subjectivity.py``); balances in Gwei."""

    min_validator_withdrawability_delay: int = 256
    min_per_epoch_churn_limit: int = 4
    churn_limit_quotient: int = 65536
    min_per_epoch_churn_limit_electra: int = 128 * 10**9
    churn_limit_quotient_gloas: int = 32768
    consolidation_churn_limit_quotient: int = 65536
    max_per_epoch_activation_churn_limit_gloas: int = 256 * 10**9


@dataclass(frozen=True, slots=True)
class Network:
    """All that the rules need to know of one network. ``genesis_time`` is in Unix seconds."""

    name: str
    preset: Preset
    schedule: ForkSchedule
    genesis_validators_root: Root
    genesis_time: int
    slot_duration_ms: int = 12_000
    churn: ChurnLimits = ChurnLimits()

    def slot_at(self, time: float) -> Slot:
        """The slot at ``time`` (Unix seconds) by the network's clock; slot 0 before genesis."""
        return Slot(max(int((time - self.genesis_time) * 1000) // self.slot_duration_ms, 0))

    def start_of(self, slot: Slot) -> float:
        """When ``slot`` begins, Unix seconds."""
        return self.genesis_time + slot * self.slot_duration_ms / 1000

    @property
    def horizon_warning_epochs(self) -> int:
        """``HORIZON_WARNING_SECONDS`` in this network's epochs."""
        return HORIZON_WARNING_SECONDS * 1000 // (self.slot_duration_ms * self.preset.slots_per_epoch)


@lru_cache(maxsize=16)
def fork_digests(network: Network) -> Mapping[ForkDigest, DigestEntry]:
    """What each context digest of ``network`` stands for; kept for the few networks that one daemon follows."""
    entries = network.schedule.digests(network.genesis_validators_root)
    return MappingProxyType({entry.digest: entry for entry in entries})


def _forks(*entries: tuple[Fork, str, int]) -> tuple[ScheduledFork, ...]:
    return tuple(
        ScheduledFork(fork.value, Version(bytes.fromhex(version)), Epoch(epoch), fork)
        for fork, version, epoch in entries
    )


def _blobs(*entries: tuple[int, int]) -> tuple[BlobParameters, ...]:
    return tuple(BlobParameters(Epoch(epoch), count) for epoch, count in entries)


def _public(
    name: str, root: str, genesis_time: int, forks: tuple[ScheduledFork, ...], blobs: tuple[BlobParameters, ...]
) -> Network:
    known_until = Epoch((TABLE_GOOD_UNTIL - genesis_time) // (12 * MAINNET.slots_per_epoch))
    schedule = ForkSchedule(forks, blobs, known_until=known_until)
    return Network(name, MAINNET, schedule, Root(bytes.fromhex(root)), genesis_time)


ETHEREUM = _public(
    "ethereum",
    "4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
    1_606_824_023,
    _forks(
        (Fork.PHASE0, "00000000", 0),
        (Fork.ALTAIR, "01000000", 74_240),
        (Fork.BELLATRIX, "02000000", 144_896),
        (Fork.CAPELLA, "03000000", 194_048),
        (Fork.DENEB, "04000000", 269_568),
        (Fork.ELECTRA, "05000000", 364_032),
        (Fork.FULU, "06000000", 411_392),
    ),
    _blobs((412_672, 15), (419_072, 21)),
)
SEPOLIA = _public(
    "sepolia",
    "d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
    1_655_733_600,
    _forks(
        (Fork.PHASE0, "90000069", 0),
        (Fork.ALTAIR, "90000070", 50),
        (Fork.BELLATRIX, "90000071", 100),
        (Fork.CAPELLA, "90000072", 56_832),
        (Fork.DENEB, "90000073", 132_608),
        (Fork.ELECTRA, "90000074", 222_464),
        (Fork.FULU, "90000075", 272_640),
    ),
    _blobs((274_176, 15), (275_712, 21)),
)
HOODI = _public(
    "hoodi",
    "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
    1_742_213_400,
    _forks(
        (Fork.PHASE0, "10000910", 0),
        (Fork.ALTAIR, "20000910", 0),
        (Fork.BELLATRIX, "30000910", 0),
        (Fork.CAPELLA, "40000910", 0),
        (Fork.DENEB, "50000910", 0),
        (Fork.ELECTRA, "60000910", 2_048),
        (Fork.FULU, "70000910", 50_688),
    ),
    _blobs((52_480, 15), (54_016, 21)),
)

NETWORKS: Mapping[str, Network] = MappingProxyType({network.name: network for network in (ETHEREUM, SEPOLIA, HOODI)})
