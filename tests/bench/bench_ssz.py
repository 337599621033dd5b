"""SSZ: from an encoding to its root, against remerkleable (plain Python, object trees that remember their roots).

Decoding is part of it on both sides: a root that remerkleable has reckoned once costs it nothing again, and ours keeps
none. The lists are as a beacon state has them. Both must give the same root.
"""

# No postponed annotations: remerkleable reads them as types.

import random
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

from remerkleable.basic import boolean, uint64
from remerkleable.bitfields import Bitvector as TheirBits
from remerkleable.byte_arrays import Bytes32, Bytes48
from remerkleable.byte_arrays import ByteVector as TheirBytes
from remerkleable.complex import Container as TheirContainer
from remerkleable.complex import List as TheirList
from remerkleable.complex import Vector as TheirVector
from remerkleable.core import View

from merkle.ssz_types import Boolean, ByteVector, Container, List, SszType, Uint
from spvnode.ethereum.containers import LightClientUpdate, container
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.presets import MAINNET
from spvnode.ethereum.units import Slot
from tests.bench.row import Row
from tests.support.eth_long_chain import LongChain

REFERENCE = "remerkleable 0.1, bytes to root, CPU"
SAMPLES = 3
BALANCES, ROOTS, VALIDATORS = 100_000, 8_192, 2_000
VALIDATOR_LIMIT = 1 << 40
ROOTS_LIMIT = 1 << 24


class TheirCommittee(TheirContainer):
    pubkeys: TheirVector[Bytes48, 512]
    aggregate_pubkey: Bytes48


class TheirBeaconHeader(TheirContainer):
    slot: uint64
    proposer_index: uint64
    parent_root: Bytes32
    state_root: Bytes32
    body_root: Bytes32


class TheirAltairHeader(TheirContainer):
    beacon: TheirBeaconHeader


class TheirAggregate(TheirContainer):
    sync_committee_bits: TheirBits[512]
    sync_committee_signature: TheirBytes[96]


class TheirUpdate(TheirContainer):
    """Altair's: the same committees and branches as every later one, without execution headers."""

    attested_header: TheirAltairHeader
    next_sync_committee: TheirCommittee
    next_sync_committee_branch: TheirVector[Bytes32, 5]
    finalized_header: TheirAltairHeader
    finality_branch: TheirVector[Bytes32, 6]
    sync_aggregate: TheirAggregate
    signature_slot: uint64


class TheirValidator(TheirContainer):
    pubkey: Bytes48
    withdrawal_credentials: Bytes32
    effective_balance: uint64
    slashed: boolean
    activation_eligibility_epoch: uint64
    activation_epoch: uint64
    exit_epoch: uint64
    withdrawable_epoch: uint64


VALIDATOR = Container(
    "Validator",
    {
        "pubkey": ByteVector(48),
        "withdrawal_credentials": ByteVector(32),
        "effective_balance": Uint(8),
        "slashed": Boolean(),
        "activation_eligibility_epoch": Uint(8),
        "activation_epoch": Uint(8),
        "exit_epoch": Uint(8),
        "withdrawable_epoch": Uint(8),
    },
    SimpleNamespace,
)


def validators(rng: random.Random, count: int) -> bytes:
    """Encodings in a row."""
    return b"".join(rng.randbytes(88) + bytes([rng.randrange(2)]) + rng.randbytes(32) for _ in range(count))


def cases() -> list[tuple[str, SszType, type[View], bytes, float]]:
    """Name, our type, theirs, an encoding, and how many times faster ours has to be."""
    rng = random.Random(4)
    made = LongChain(4)
    update = made.update(Slot(1_000))
    committee = container(MAINNET, Fork.ALTAIR, type(update.next_sync_committee))
    altair = container(MAINNET, Fork.ALTAIR, LightClientUpdate)
    zero = altair.encode(altair.default())
    keys = committee.encode(update.next_sync_committee)
    at = 112  # behind the attested header
    filled = zero[:at] + keys + zero[at + len(keys) :]
    return [
        ("SyncCommittee", committee, TheirCommittee, keys, 20),
        ("LightClientUpdate (altair)", altair, TheirUpdate, filled, 20),
        (f"List[uint64], {BALANCES:,} balances", List(Uint(8), VALIDATOR_LIMIT), TheirList[uint64, VALIDATOR_LIMIT],
         rng.randbytes(8 * BALANCES), 20),
        (f"List[Bytes32], {ROOTS:,} roots", List(ByteVector(32), ROOTS_LIMIT), TheirList[Bytes32, ROOTS_LIMIT],
         rng.randbytes(32 * ROOTS), 20),
        (f"List[Validator], {VALIDATORS:,}", List(VALIDATOR, VALIDATOR_LIMIT),
         TheirList[TheirValidator, VALIDATOR_LIMIT], validators(rng, VALIDATORS), 2),
    ]  # fmt: skip


def rows() -> list[Row]:
    """What ``make bench`` prints of SSZ: ten seconds, nearly all of them the reference's."""
    return [
        Row(f"SSZ root of {name}", REFERENCE, measure(ours, theirs, data), target)
        for name, ours, theirs, data, target in cases()
    ]


def measure(ours: SszType, theirs: type[View], data: bytes) -> float:
    """Median of their time over ours. ValueError where the roots differ."""
    found = []
    for _ in range(SAMPLES):
        mine, my_root = timed(lambda: ours.hash_tree_root(ours.decode(data)))
        other, their_root = timed(lambda: bytes(theirs.decode_bytes(data).hash_tree_root()))
        if my_root != their_root:
            raise ValueError(f"{theirs}: the roots differ")
        found.append(other / mine)
    return statistics.median(found)


def timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    began = time.thread_time()
    root = work()
    return time.thread_time() - began, root
