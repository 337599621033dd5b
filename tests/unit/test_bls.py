"""BLS signatures: the published vectors on every backend, the committee's shortcuts, and batches against forgers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spvnode import bls
from spvnode.bls import BlsReason, Committee, SignatureSet, Verifier
from spvnode.bls_backends import (
    BACKEND_VARIABLE,
    BACKENDS,
    CURVE_ORDER,
    Backend,
    BlsUnavailable,
    default_backend,
    make_backend,
)
from spvnode.bls_points import multiply, multiply_sum, signed_windows
from tests.support.eth_vectors import archive, read_yaml, unhex

FAST = ("blspy", "arkworks")
RFC9380_DST = b"QUUX-V01-CS02-with-BLS12381G2_XMD:SHA-256_SSWU_RO_"
FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
INFINITY_KEY = b"\xc0" + bytes(47)
INFINITY_SIGNATURE = b"\xc0" + bytes(95)
SIZE = 32
REPO = Path(__file__).parents[2]


def published() -> dict[str, list[tuple[str, Any, Any]]]:
    """Handler -> (case, input, output)."""
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for path, data in archive("bls").items():
        parts = path.split("/")
        if path.endswith(".json"):
            case, body = parts[-1], json.loads(data)
        else:
            case, body = parts[-2], read_yaml(data)
        handler = parts[2] if path.endswith(".json") else parts[3]
        found.setdefault(handler, []).append((case, body["input"], body["output"]))
    return found


VECTORS = published()
COUNTS = {
    "aggregate": 6,
    "aggregate_verify": 5,
    "batch_verify": 4,
    "deserialization_G1": 16,
    "deserialization_G2": 18,
    "eth_aggregate_pubkeys": 8,
    "eth_fast_aggregate_verify": 12,
    "fast_aggregate_verify": 12,
    "hash_to_G2": 4,
    "sign": 10,
    "verify": 29,
}


def all_bytes(items: list[str]) -> list[bytes]:
    return [unhex(item) for item in items]


def aggregate(backend: Backend, data: Any) -> str | None:
    points = [backend.decode_g2(signature) for signature in all_bytes(data)]
    return None if not points or None in points else "0x" + backend.encode(backend.add(points)).hex()


def sign(backend: Backend, data: Any) -> str | None:
    secret = int(data["privkey"], 16)
    return "0x" + backend.encode(backend.sign(secret, unhex(data["message"]))).hex() if secret else None


def batch(backend: Backend, data: Any) -> bool:
    columns = (all_bytes(data[name]) for name in ("pubkeys", "messages", "signatures"))
    sets = [
        SignatureSet(key, key, b"\x01", message, signature) for key, message, signature in zip(*columns, strict=True)
    ]
    return Verifier(backend).verify_batch(sets) == [None] * len(sets)


def eth_aggregate(backend: Backend, data: Any) -> str | None:
    key = bls.eth_aggregate_pubkeys(backend, all_bytes(data))
    return None if key is None else "0x" + key.hex()


def fast_aggregate(check: Callable[..., bool]) -> Callable[[Backend, Any], bool]:
    return lambda backend, data: check(
        backend, all_bytes(data["pubkeys"]), unhex(data["message"]), unhex(data["signature"])
    )


def compressed(point: dict[str, str]) -> bytes:
    """96 bytes of a point given as affine coordinates in Fp2, "c0,c1" each."""
    (x0, x1), (y0, y1) = ([int(part, 16) for part in point[axis].split(",")] for axis in "xy")
    larger = (y1 or y0) > (FIELD - 1) // 2
    return ((0b101 if larger else 0b100) << 765 | x1 << 384 | x0).to_bytes(96, "big")


HANDLERS: dict[str, Callable[[Backend, Any], Any]] = {
    "aggregate": aggregate,
    "aggregate_verify": lambda backend, data: bls.aggregate_verify(
        backend, all_bytes(data["pubkeys"]), all_bytes(data["messages"]), unhex(data["signature"])
    ),
    "batch_verify": batch,
    "deserialization_G1": lambda backend, data: backend.decode_g1(unhex(data["pubkey"])) is not None,
    "deserialization_G2": lambda backend, data: backend.decode_g2(unhex(data["signature"])) is not None,
    "eth_aggregate_pubkeys": eth_aggregate,
    "eth_fast_aggregate_verify": fast_aggregate(bls.eth_fast_aggregate_verify),
    "fast_aggregate_verify": fast_aggregate(bls.fast_aggregate_verify),
    "hash_to_G2": lambda backend, data: backend.encode(backend.hash_to_g2(data["msg"].encode(), RFC9380_DST)),
    "sign": sign,
    "verify": lambda backend, data: bls.fast_aggregate_verify(
        backend, [unhex(data["pubkey"])], unhex(data["message"]), unhex(data["signature"])
    ),
}


def expected(handler: str, output: Any) -> Any:
    if handler == "hash_to_G2":
        return compressed(output)
    # Read as text, YAML has words where JSON has values.
    return {"true": True, "false": False, "null": None}.get(output, output) if isinstance(output, str) else output


def test_every_published_case_is_here() -> None:
    assert {handler: len(cases) for handler, cases in VECTORS.items()} == COUNTS


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("handler", COUNTS)
def test_published_vectors(handler: str, name: str) -> None:
    backend = make_backend(name)
    for case, data, output in VECTORS[handler]:
        assert HANDLERS[handler](backend, data) == expected(handler, output), case


@pytest.mark.parametrize("handler", COUNTS)
def test_py_ecc_gives_the_first_good_and_the_first_bad_answer(handler: str) -> None:
    """All of them take it a minute: two of each here, and every encoding."""
    backend = make_backend("py_ecc")
    cases = VECTORS[handler]
    if not handler.startswith("deserialization"):
        bad = [case for case in cases if expected(handler, case[2]) in (False, None)]
        cases = [case for case in cases if case not in bad][:1] + bad[:1]
    for case, data, output in cases:
        assert HANDLERS[handler](backend, data) == expected(handler, output), case


class Signers:
    """A committee with its secrets."""

    def __init__(self, seed: int, backend: Backend) -> None:
        rng = random.Random(seed)
        self.backend = backend
        self.secrets = [rng.randrange(1, CURVE_ORDER) for _ in range(SIZE)]
        points = [backend.public_key(secret) for secret in self.secrets]
        self.pubkeys = b"".join(backend.encode(point) for point in points)
        self.aggregate = backend.encode(backend.add(points))

    def sign(self, message: bytes, bits: int = 2**SIZE - 1) -> SignatureSet:
        secret = sum(secret for index, secret in enumerate(self.secrets) if bits >> index & 1) % CURVE_ORDER
        signature = self.backend.encode(self.backend.sign(secret, message)) if secret else INFINITY_SIGNATURE
        return SignatureSet(self.pubkeys, self.aggregate, bits.to_bytes(SIZE // 8, "little"), message, signature)


@pytest.fixture(params=FAST)
def backend(request: pytest.FixtureRequest) -> Backend:
    return make_backend(request.param)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("bits", [2**SIZE - 1, 2**SIZE - 2, 0b1011, 1, 1 << (SIZE - 1), 0x55555555, 0x7FFF8001])
def test_any_participants(backend: Backend, bits: int, lazy: bool) -> None:
    signers = Signers(1, backend)
    item = signers.sign(b"m" * 32, bits)
    verifier = Verifier(backend)
    assert verifier.verify(item, lazy=lazy) is None
    wrong_bits = replace(item, bits=(bits ^ 1 << 7).to_bytes(SIZE // 8, "little"))
    assert verifier.verify(wrong_bits, lazy=lazy) is BlsReason.SIGNATURE
    assert verifier.verify(replace(item, message=b"n" * 32), lazy=lazy) is BlsReason.SIGNATURE


def test_nobody_signed(backend: Backend) -> None:
    item = replace(Signers(1, backend).sign(b"m" * 32), bits=bytes(SIZE // 8), signature=INFINITY_SIGNATURE)
    assert Verifier(backend).verify(item) is BlsReason.NO_PARTICIPANTS


def test_infinity_is_no_signature(backend: Backend) -> None:
    item = replace(Signers(1, backend).sign(b"m" * 32), signature=INFINITY_SIGNATURE)
    assert Verifier(backend).verify(item) is BlsReason.SIGNATURE
    assert Verifier(backend).verify_batch([item, item]) == [BlsReason.SIGNATURE] * 2


def test_keys_that_cancel_out(backend: Backend) -> None:
    """A key and its negative: each valid, their sum infinity, for which any message verifies with infinity."""
    point = backend.public_key(5)
    negative = backend.subtract(point, [backend.add([point, point])])
    pubkeys = backend.encode(point) + backend.encode(negative)
    item = SignatureSet(pubkeys, INFINITY_KEY, b"\x03", b"m" * 32, INFINITY_SIGNATURE)
    assert Verifier(backend).verify(item) is BlsReason.KEYS_CANCEL
    assert Verifier(backend).verify_batch([item, item]) == [BlsReason.KEYS_CANCEL] * 2
    assert not bls.fast_aggregate_verify(backend, [pubkeys[:48], pubkeys[48:]], b"m" * 32, INFINITY_SIGNATURE)
    # Lazily, the aggregate is decoded as a key, and infinity is none.
    assert Verifier(backend).verify(item, lazy=True) is BlsReason.COMMITTEE_KEY


@pytest.mark.parametrize("key", [INFINITY_KEY, bytes(48), b"\xff" * 48])
def test_a_committee_with_an_invalid_key_is_refused(backend: Backend, key: bytes) -> None:
    signers = Signers(1, backend)
    item = signers.sign(b"m" * 32)
    spoiled = replace(item, pubkeys=key + item.pubkeys[48:])
    assert Verifier(backend).verify(spoiled) is BlsReason.COMMITTEE_KEY
    missing_first = replace(signers.sign(b"m" * 32, 2**SIZE - 2), pubkeys=spoiled.pubkeys)
    assert Verifier(backend).verify(missing_first, lazy=True) is BlsReason.COMMITTEE_KEY


def not_in_subgroup(handler: str) -> bytes:
    (data,) = (data for case, data, _ in VECTORS[handler] if f"not_in_{handler[-2:]}" in case)
    return unhex(next(iter(data.values())))


def test_points_outside_the_subgroup_are_refused(backend: Backend) -> None:
    item = Signers(1, backend).sign(b"m" * 32)
    key = not_in_subgroup("deserialization_G1")
    assert Verifier(backend).verify(replace(item, pubkeys=key + item.pubkeys[48:])) is BlsReason.COMMITTEE_KEY
    signature = not_in_subgroup("deserialization_G2")
    assert Verifier(backend).verify(replace(item, signature=signature)) is BlsReason.SIGNATURE_ENCODING


def test_what_missing_keys_leave_is_checked_for_the_subgroup(backend: Backend) -> None:
    """Lazily, no key is checked by itself; a sum outside the subgroup shows that one of them was bad."""
    signers = Signers(1, backend)
    key = not_in_subgroup("deserialization_G1")
    missing_first = replace(signers.sign(b"m" * 32, 2**SIZE - 2), pubkeys=key + signers.pubkeys[48:])
    assert Verifier(backend).verify(missing_first, lazy=True) is BlsReason.COMMITTEE_KEY
    first_alone = replace(signers.sign(b"m" * 32, 1), pubkeys=key + signers.pubkeys[48:])
    assert Verifier(backend).verify(first_alone, lazy=True) is BlsReason.COMMITTEE_KEY
    bad_aggregate = replace(signers.sign(b"m" * 32, 2**SIZE - 2), aggregate_pubkey=key)
    assert Verifier(backend).verify(bad_aggregate, lazy=True) is BlsReason.COMMITTEE_KEY


def test_keys_that_were_taken_unchecked_do_not_count_as_checked(backend: Backend) -> None:
    signers = Signers(1, backend)
    pubkeys = not_in_subgroup("deserialization_G1") + signers.pubkeys[48:]
    committee = Committee(pubkeys, signers.aggregate, backend)
    assert committee.participants_key((2**SIZE - 2).to_bytes(SIZE // 8, "little"), lazy=True) is BlsReason.COMMITTEE_KEY
    assert committee.decode() is BlsReason.COMMITTEE_KEY
    assert committee.dump() is None


def test_lazily_and_wholly_decoded_committees_give_one_key(backend: Backend) -> None:
    signers = Signers(1, backend)
    rng = random.Random(3)
    whole = Committee(signers.pubkeys, signers.aggregate, backend)
    for _ in range(8):
        bits = (rng.getrandbits(SIZE) | 1 << rng.randrange(SIZE)).to_bytes(SIZE // 8, "little")
        lazily = Committee(signers.pubkeys, signers.aggregate, backend).participants_key(bits, lazy=True)
        assert backend.encode(lazily) == backend.encode(whole.participants_key(bits))


@pytest.mark.parametrize("name", BACKENDS)
def test_unchecked_keys_are_points_of_the_curve(name: str) -> None:
    backend = make_backend(name)
    outside = not_in_subgroup("deserialization_G1")
    good = backend.encode(backend.public_key(7))
    points = backend.decode_g1_unchecked([good, outside])
    assert points is not None
    assert [backend.encode(point) for point in points] == [good, outside]
    for bad in (INFINITY_KEY, b"\xe0" + bytes(47), bytes(48), b"\xff" * 48, good[:-1], b"", good + b"\0"):
        assert backend.decode_g1_unchecked([good, bad]) is None, bad.hex()


def test_an_aggregate_that_is_not_the_sum_is_refused(backend: Backend) -> None:
    item = replace(Signers(1, backend).sign(b"m" * 32), aggregate_pubkey=Signers(2, backend).aggregate)
    assert Verifier(backend).verify(item) is BlsReason.COMMITTEE_AGGREGATE


def test_wrong_sizes_are_refused_not_raised(backend: Backend) -> None:
    item = Signers(1, backend).sign(b"m" * 32)
    for signature in (b"", item.signature[:-1], item.signature + b"\0"):
        assert Verifier(backend).verify(replace(item, signature=signature)) is BlsReason.SIGNATURE_ENCODING
    assert Verifier(backend).verify(replace(item, pubkeys=b"")) is BlsReason.NO_PARTICIPANTS
    assert backend.decode_g1(b"") is None
    assert backend.decode_g2(bytes(48)) is None


def batch_of(backend: Backend, count: int) -> list[SignatureSet]:
    committees = [Signers(seed, backend) for seed in range(3)]
    rng = random.Random(count)
    return [committees[n % 3].sign(bytes([n]) * 32, rng.getrandbits(SIZE) | 1) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 7, bls.PART, bls.PART + 1, bls.MAX_BATCH])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_batch_of_good_signatures(backend: Backend, count: int, lazy: bool) -> None:
    assert Verifier(backend).verify_batch(batch_of(backend, count), lazy=lazy) == [None] * count


def test_a_batch_above_the_limit_is_our_mistake(backend: Backend) -> None:
    items = batch_of(backend, 1) * (bls.MAX_BATCH + 1)
    with pytest.raises(ValueError, match="at most 64"):
        Verifier(backend).verify_batch(items)


@pytest.mark.parametrize("place", [0, 1, 8, 15])
def test_a_batch_names_the_culprit(backend: Backend, place: int) -> None:
    items = batch_of(backend, 16)
    items[place] = replace(items[place], message=b"other" + bytes(27))
    answers = Verifier(backend).verify_batch(items)
    assert answers == [BlsReason.SIGNATURE if n == place else None for n in range(16)]


@pytest.mark.parametrize("places", [{0}, {24}, {63}, {3, 40}, {21, 22, 44}])
def test_a_batch_of_several_parts_names_the_culprits(places: set[int]) -> None:
    backend = make_backend("blspy")
    items = batch_of(backend, bls.MAX_BATCH)
    for place in places:
        items[place] = replace(items[place], message=b"other" + bytes(27))
    answers = Verifier(backend).verify_batch(items)
    assert {place for place, answer in enumerate(answers) if answer is BlsReason.SIGNATURE} == places
    assert sum(answer is None for answer in answers) == bls.MAX_BATCH - len(places)


def test_what_goes_wrong_in_another_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_backend("blspy")
    verifier, items = Verifier(backend), batch_of(backend, bls.MAX_BATCH)

    class Broken(type(backend)):  # type: ignore[misc]
        def pairing_check(self, keys: Any, messages: Any, signature: Any) -> bool:
            raise MemoryError("no room")

    monkeypatch.setattr(verifier, "backend", Broken())
    with pytest.raises(MemoryError, match="no room"):
        verifier.verify_batch(items)


def test_a_batch_has_few_threads_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_backend("blspy")
    verifier, items = Verifier(backend), batch_of(backend, bls.MAX_BATCH)
    names = set()

    class Watched(type(backend)):  # type: ignore[misc]
        def pairing_check(self, keys: Any, messages: Any, signature: Any) -> bool:
            names.add(threading.current_thread().name)
            return bool(super().pairing_check(keys, messages, signature))

    monkeypatch.setattr(verifier, "backend", Watched())
    assert verifier.verify_batch(items) == [None] * bls.MAX_BATCH
    assert 1 <= len(names) <= bls.PAIRING_THREADS
    assert not names & {thread.name for thread in threading.enumerate()}


def test_a_batch_reports_each_fault_as_its_own(backend: Backend) -> None:
    items = batch_of(backend, 6)
    items[1] = replace(items[1], signature=bytes(96))
    items[3] = replace(items[3], bits=bytes(SIZE // 8))
    items[4] = replace(items[4], message=b"other" + bytes(27))
    assert Verifier(backend).verify_batch(items) == [
        None,
        BlsReason.SIGNATURE_ENCODING,
        None,
        BlsReason.NO_PARTICIPANTS,
        BlsReason.SIGNATURE,
        None,
    ]


def test_two_forgeries_that_cancel_out_do_not_pass(backend: Backend) -> None:
    """What a plain aggregate would accept: one signature plus D, another minus D."""
    items = batch_of(backend, 8)
    shift = backend.sign(12345, b"shift" + bytes(27))
    points = [backend.decode_g2(item.signature) for item in items]
    forged = list(items)
    forged[3] = replace(items[3], signature=backend.encode(backend.add([points[3], shift])))
    forged[6] = replace(items[6], signature=backend.encode(backend.subtract(points[6], [shift])))

    plain_sum = backend.add([backend.decode_g2(item.signature) for item in forged])
    keys = [Committee(item.pubkeys, item.aggregate_pubkey, backend).participants_key(item.bits) for item in forged]
    assert backend.pairing_check(keys, [item.message for item in forged], plain_sum)

    answers = Verifier(backend).verify_batch(forged)
    assert [n for n, answer in enumerate(answers) if answer is BlsReason.SIGNATURE] == [3, 6]
    # With multipliers that the forger knows, it passes: the randomness is what protects.
    assert Verifier(backend, random_bits=lambda bits: 1).verify_batch(forged) == [None] * 8


def test_committees_are_cached_and_bounded(backend: Backend) -> None:
    verifier = Verifier(backend)
    sets = [Signers(seed, backend).sign(b"m" * 32) for seed in range(bls.MAX_CACHED_COMMITTEES + 1)]
    committees = [verifier.committee(item.pubkeys, item.aggregate_pubkey) for item in sets[:-1]]
    assert [verifier.committee(item.pubkeys, item.aggregate_pubkey) for item in sets[:-1]] == committees
    verifier.committee(sets[-1].pubkeys, sets[-1].aggregate_pubkey)
    # The least recently used one went.
    assert verifier.committee(sets[1].pubkeys, sets[1].aggregate_pubkey) is committees[1]
    assert verifier.committee(sets[0].pubkeys, sets[0].aggregate_pubkey) is not committees[0]


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 15, 16, 2**64 - 1, 0x123456789ABCDEF0, 2**63])
def test_multiplication_without_a_multiply(number: int) -> None:
    blspy, arkworks = make_backend("blspy"), make_backend("arkworks")
    assert sum(digit << at for at, digit in enumerate(signed_windows(number, 4))) == number
    expected_key = arkworks.encode(arkworks.public_key(77 * number % CURVE_ORDER))
    assert blspy.encode(multiply(blspy.public_key(77), number)) == expected_key


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_sum_of_products_without_a_multiply(count: int) -> None:
    blspy, arkworks = make_backend("blspy"), make_backend("arkworks")
    rng = random.Random(count)
    numbers = [rng.getrandbits(64) or 1 for _ in range(count)]
    secrets = [rng.randrange(1, CURVE_ORDER) for _ in range(count)]
    total = sum(secret * number for secret, number in zip(secrets, numbers, strict=True)) % CURVE_ORDER
    points = [blspy.sign(secret, b"m" * 32) for secret in secrets]
    assert blspy.encode(multiply_sum(points, numbers)) == arkworks.encode(arkworks.sign(total, b"m" * 32))
    assert blspy.encode(multiply_sum(points[:1], [1])) == blspy.encode(points[0])


def test_backends_agree_on_random_sets() -> None:
    """Each signs what the others check, good and spoiled; py_ecc has the last word."""
    backends = [make_backend(name) for name in BACKENDS]
    rng = random.Random(7)
    for signing in backends[:2]:
        signers = Signers(rng.randrange(1000), signing)
        good = signers.sign(rng.randbytes(32), rng.getrandbits(SIZE) | 1)
        spoiled = replace(good, message=rng.randbytes(32))
        for checking in backends:
            keys = [good.pubkeys[at : at + 48] for at in range(0, len(good.pubkeys), 48)]
            bits = int.from_bytes(good.bits, "little")
            present = [key for index, key in enumerate(keys) if bits >> index & 1]
            assert bls.fast_aggregate_verify(checking, present, good.message, good.signature)
            assert not bls.fast_aggregate_verify(checking, present, spoiled.message, spoiled.signature)
            assert Verifier(checking).verify_batch([good, spoiled], lazy=True) == [None, BlsReason.SIGNATURE]


def test_the_best_backend_is_taken_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    assert default_backend().name == "blspy"
    monkeypatch.setenv(BACKEND_VARIABLE, "arkworks")
    assert default_backend().name == "arkworks"
    monkeypatch.setenv(BACKEND_VARIABLE, "milagro")
    with pytest.raises(BlsUnavailable, match="must be one of blspy, arkworks, py_ecc"):
        default_backend()


@pytest.mark.parametrize(("hidden", "left"), [(["blspy"], "arkworks"), (["blspy", "py_arkworks_bls12381"], "py_ecc")])
def test_a_missing_library_gives_the_next_backend(hidden: list[str], left: str) -> None:
    """In a fresh interpreter that cannot import the better ones."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "from spvnode.bls_backends import default_backend\nprint(default_backend().name)"
    )
    environment = {key: value for key, value in os.environ.items() if key != BACKEND_VARIABLE}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == left


def test_no_library_at_all() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['blspy', 'py_arkworks_bls12381', 'py_ecc']))\n"
        "from spvnode.bls_backends import BlsUnavailable, default_backend\n"
        "try:\n    default_backend()\nexcept BlsUnavailable as error:\n    print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if key != BACKEND_VARIABLE}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    assert "no library for BLS signatures is installed" in result.stdout
    assert all(name in result.stdout for name in BACKENDS)
