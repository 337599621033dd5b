"""Decoded keys that were kept: they load to what was decoded, and to nothing when they are not a committee's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from spvnode.bls import BlsReason, SignatureSet, Verifier
from spvnode.bls_backends import BACKENDS, CURVE_ORDER, Backend, make_backend

MEMBERS = 32
"""Few enough for the plain Python backend."""
MESSAGE = b"m" * 32


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return make_backend(request.param)


def signed(backend: Backend, seed: int) -> SignatureSet:
    """What all members of a committee signed."""
    rng = random.Random(seed)
    secrets = [rng.randrange(1, CURVE_ORDER) for _ in range(MEMBERS)]
    points = [backend.public_key(secret) for secret in secrets]
    return SignatureSet(
        pubkeys=b"".join(backend.encode(point) for point in points),
        aggregate_pubkey=backend.encode(backend.add(points)),
        bits=b"\xff" * (MEMBERS // 8),
        message=MESSAGE,
        signature=backend.encode(backend.sign(sum(secrets) % CURVE_ORDER, MESSAGE)),
    )


def test_kept_keys_stand_for_decoded_ones(backend: Backend) -> None:
    claim = signed(backend, 1)
    first = Verifier(backend)
    assert first.decoded_keys(claim.pubkeys, claim.aggregate_pubkey) is None, "not decoded yet"
    assert first.verify(claim) is None
    kept = first.decoded_keys(claim.pubkeys, claim.aggregate_pubkey)
    assert kept is not None
    second = Verifier(backend)
    assert second.take_decoded_keys(claim.pubkeys, claim.aggregate_pubkey, kept)
    assert second.decoded_keys(claim.pubkeys, claim.aggregate_pubkey) == kept
    assert second.verify(claim) is None
    some = replace(claim, bits=b"\x0f" + bytes(3))
    assert second.verify(some) is first.verify(some) is BlsReason.SIGNATURE


def test_keys_of_others_or_none_are_no_use(backend: Backend) -> None:
    claim, other = signed(backend, 1), signed(backend, 2)
    verifier = Verifier(backend)
    assert verifier.verify(other) is None
    kept = verifier.decoded_keys(other.pubkeys, other.aggregate_pubkey) or b""
    name, _, keys = kept.partition(b"\0")
    step = len(keys) // MEMBERS
    broken = [
        keys[:-1], keys[step:], keys[:step] + keys, keys, b"", bytes(len(keys)), b"\xff" * len(keys),
    ]  # fmt: skip
    for data in (b"another\0" + keys, keys, b"", *(name + b"\0" + part for part in broken)):
        assert not verifier.take_decoded_keys(claim.pubkeys, claim.aggregate_pubkey, data)
    assert verifier.verify(claim) is None, "decoded as if nothing had been offered"
