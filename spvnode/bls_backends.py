"""The libraries that can do BLS12-381 for us, behind one port: blspy (fastest), py_arkworks_bls12381 (where blspy has
no wheel: Python 3.13 and later), py_ecc (plain Python; the reference, and the last resort).

A backend deals in points that are its own and opaque to others: keys in G1, signatures in G2. Its decoders are checked:
on the curve, in the subgroup, canonical; None for anything else. Infinity decodes, and callers refuse it
(``spvnode.bls``). The ciphersuite is Ethereum's, ``BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_``.
Libraries are imported when a backend is made, never at this module's import.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

from spvnode.bls_points import INFINITY_BIT, Point, add_points, any_infinity, multiply, multiply_sum, rows_of
from spvnode.errors import SpvnodeError

__all__ = ["BACKENDS", "Backend", "BlsUnavailable", "Point", "default_backend", "make_backend"]

DST = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
KEY_SIZE = 48
SIGNATURE_SIZE = 96
FIELD_SIZE = 48
"""Of a coordinate in G1."""
CURVE_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
BACKEND_VARIABLE = "SPVNODE_BLS"


class BlsUnavailable(SpvnodeError):
    """No library for BLS is installed, or not the one that was asked for."""


class Backend(Protocol):
    """What we need of a library. Points given to one backend must be its own."""

    name: str

    def decode_g1(self, data: bytes) -> Point | None:
        """The point of 48 compressed bytes, checked."""

    def decode_g1_unchecked(self, rows: Sequence[bytes]) -> list[Point] | None:
        """Points of 48 compressed bytes each, on the curve but perhaps outside the subgroup, of which only a sum is to
        be used, checked as one; None when any is no point, or infinity."""

    def decode_g2(self, data: bytes) -> Point | None:
        """The point of 96 compressed bytes, checked."""

    def encode(self, point: Point) -> bytes:
        """Compressed, 48 or 96 bytes."""

    def dump_keys(self, keys: Sequence[Point]) -> bytes:
        """G1 points in the form in which they load fastest: uncompressed, where the library has that."""

    def load_keys(self, data: bytes) -> list[Point] | None:
        """The inverse of ``dump_keys``. Neither curve nor subgroup is checked: for what has been checked before."""

    def is_infinity(self, key: Point) -> bool:
        """Whether a G1 point is the identity."""

    def add(self, points: Sequence[Point]) -> Point:
        """Sum of at least one point, all of one group."""

    def subtract(self, point: Point, others: Sequence[Point]) -> Point:
        """``point`` minus the sum of ``others``."""

    def multiply_each(self, keys: Sequence[Point], numbers: Sequence[int]) -> list[Point]:
        """``numbers[i] * keys[i]`` in G1; numbers are at least 1."""

    def multiply_sum(self, signatures: Sequence[Point], numbers: Sequence[int]) -> Point:
        """sum of ``numbers[i] * signatures[i]`` in G2; at least one, numbers at least 1."""

    def pairing_check(self, keys: Sequence[Point], messages: Sequence[bytes], signature: Point) -> bool:
        """prod e(keys[i], H(messages[i])) == e(g1, signature), with one final exponentiation; no key is infinity."""

    def hash_to_g2(self, message: bytes, dst: bytes) -> Point:
        """RFC 9380 hash to the curve."""

    def sign(self, secret: int, message: bytes) -> Point:
        """For chains made in tests and simulations; the daemon holds no such key. ``secret`` in 1 .. order - 1."""

    def public_key(self, secret: int) -> Point:
        """``secret`` * g1."""


class BlspyBackend:
    """blspy 2.0.3 (blst inside). Every call but the unchecked decoders releases the interpreter's lock."""

    name = "blspy"

    def __init__(self) -> None:
        self._lib = importlib.import_module("blspy")
        self._scheme = self._lib.PopSchemeMPL
        self._infinity = self._lib.G1Element()

    def _decode(self, kind: Any, data: bytes, size: int) -> Point | None:
        if len(data) != size:
            return None
        try:
            return kind.from_bytes(data)
        except (ValueError, RuntimeError):
            return None

    def decode_g1(self, data: bytes) -> Point | None:
        return self._decode(self._lib.G1Element, data, KEY_SIZE)

    def decode_g2(self, data: bytes) -> Point | None:
        return self._decode(self._lib.G2Element, data, SIGNATURE_SIZE)

    def encode(self, point: Point) -> bytes:
        return bytes(point)

    def decode_g1_unchecked(self, rows: Sequence[bytes]) -> list[Point] | None:
        if any_infinity(rows):
            return None
        try:
            return [self._lib.G1Element.from_bytes_unchecked(row) for row in rows]
        except (ValueError, RuntimeError):
            return None

    def dump_keys(self, keys: Sequence[Point]) -> bytes:
        return b"".join(bytes(key) for key in keys)

    def load_keys(self, data: bytes) -> list[Point] | None:
        return self.decode_g1_unchecked(rows_of(data, KEY_SIZE))

    def is_infinity(self, key: Point) -> bool:
        return bool(key == self._infinity)

    def add(self, points: Sequence[Point]) -> Point:
        return add_points(points)

    def subtract(self, point: Point, others: Sequence[Point]) -> Point:
        return point + self.add(others).negate() if others else point

    def multiply_each(self, keys: Sequence[Point], numbers: Sequence[int]) -> list[Point]:
        return [key if number == 1 else multiply(key, number) for key, number in zip(keys, numbers, strict=True)]

    def multiply_sum(self, signatures: Sequence[Point], numbers: Sequence[int]) -> Point:
        return multiply_sum(signatures, numbers)

    def pairing_check(self, keys: Sequence[Point], messages: Sequence[bytes], signature: Point) -> bool:
        # aggregate_verify multiplies the pairings before one final exponentiation, and takes any points as keys.
        return bool(self._scheme.aggregate_verify(list(keys), list(messages), signature))

    def hash_to_g2(self, message: bytes, dst: bytes) -> Point:
        return self._lib.G2Element.from_message(message, dst)

    def sign(self, secret: int, message: bytes) -> Point:
        return self._scheme.sign(self._lib.PrivateKey.from_bytes(secret.to_bytes(32, "big")), message)

    def public_key(self, secret: int) -> Point:
        return self._lib.PrivateKey.from_bytes(secret.to_bytes(32, "big")).get_g1()


class ArkworksBackend:
    """py_arkworks_bls12381, 0.5 and later: three times blspy's time, wheels for every Python."""

    name = "arkworks"

    def __init__(self) -> None:
        self._lib = importlib.import_module("py_arkworks_bls12381")
        if not hasattr(self._lib.GT, "pairing_check"):
            raise ImportError("py_arkworks_bls12381 is older than 0.5")
        self._infinity = self._lib.G1Point.identity()
        self._minus_generator = -self._lib.G1Point()

    def _decode(self, kind: Any, data: bytes, size: int) -> Point | None:
        # Its decoder takes anything for infinity that has the infinity bit set; there is one right encoding.
        if len(data) != size or (data[0] & INFINITY_BIT and data != bytes([0xC0]) + bytes(size - 1)):
            return None
        try:
            return kind.from_compressed_bytes(data)
        except ValueError:
            return None

    def decode_g1(self, data: bytes) -> Point | None:
        return self._decode(self._lib.G1Point, data, KEY_SIZE)

    def decode_g2(self, data: bytes) -> Point | None:
        return self._decode(self._lib.G2Point, data, SIGNATURE_SIZE)

    def encode(self, point: Point) -> bytes:
        return bytes(point.to_compressed_bytes())

    def decode_g1_unchecked(self, rows: Sequence[bytes]) -> list[Point] | None:
        if any_infinity(rows) or any(len(row) != KEY_SIZE for row in rows):
            return None
        try:
            return [self._lib.G1Point.from_compressed_bytes_unchecked(row) for row in rows]
        except ValueError:
            return None

    def dump_keys(self, keys: Sequence[Point]) -> bytes:
        return b"".join(bytes(key.to_xy_bytes_be()) for key in keys)

    def load_keys(self, data: bytes) -> list[Point] | None:
        try:
            return [self._lib.G1Point.from_xy_bytes_unchecked_be(row) for row in rows_of(data, 2 * FIELD_SIZE)]
        except ValueError:
            return None

    def is_infinity(self, key: Point) -> bool:
        return bool(key == self._infinity)

    def add(self, points: Sequence[Point]) -> Point:
        return add_points(points)

    def subtract(self, point: Point, others: Sequence[Point]) -> Point:
        return point - self.add(others) if others else point

    def multiply_each(self, keys: Sequence[Point], numbers: Sequence[int]) -> list[Point]:
        return [key * self._lib.Scalar(number) for key, number in zip(keys, numbers, strict=True)]

    def multiply_sum(self, signatures: Sequence[Point], numbers: Sequence[int]) -> Point:
        return self._lib.G2Point.multiexp_unchecked(list(signatures), [self._lib.Scalar(number) for number in numbers])

    def pairing_check(self, keys: Sequence[Point], messages: Sequence[bytes], signature: Point) -> bool:
        hashes = [self.hash_to_g2(message, DST) for message in messages]
        return bool(self._lib.GT.pairing_check([self._minus_generator, *keys], [signature, *hashes]))

    def hash_to_g2(self, message: bytes, dst: bytes) -> Point:
        return self._lib.G2Point.hash_to_curve(message, dst)

    def sign(self, secret: int, message: bytes) -> Point:
        return self.hash_to_g2(message, DST) * self._lib.Scalar(secret)

    def public_key(self, secret: int) -> Point:
        return self._lib.G1Point() * self._lib.Scalar(secret)


class PyEccBackend:
    """py_ecc, plain Python: a second or two per signature. It says what is right; it is no way to follow a chain."""

    name = "py_ecc"

    def __init__(self) -> None:
        limit = sys.getrecursionlimit()
        self._curve = importlib.import_module("py_ecc.optimized_bls12_381")
        self._codec = importlib.import_module("py_ecc.bls.g2_primitives")
        self._hash = importlib.import_module("py_ecc.bls.hash_to_curve").hash_to_G2
        # py_ecc raises it to 100,000 for the whole process, where nested JSON of a peer would overrun the stack.
        sys.setrecursionlimit(limit)
        self._sha256 = importlib.import_module("hashlib").sha256

    def _decode(self, decoder: Callable[[bytes], Point], data: bytes, size: int) -> Point | None:
        if len(data) != size:
            return None
        try:
            point = decoder(data)
        except ValueError:
            return None
        return point if self._codec.subgroup_check(point) else None

    def decode_g1(self, data: bytes) -> Point | None:
        return self._decode(self._codec.pubkey_to_G1, data, KEY_SIZE)

    def decode_g2(self, data: bytes) -> Point | None:
        return self._decode(self._codec.signature_to_G2, data, SIGNATURE_SIZE)

    def encode(self, point: Point) -> bytes:
        in_g1 = isinstance(point[0], self._curve.FQ)
        return bytes(self._codec.G1_to_pubkey(point) if in_g1 else self._codec.G2_to_signature(point))

    def decode_g1_unchecked(self, rows: Sequence[bytes]) -> list[Point] | None:
        if any_infinity(rows) or any(len(row) != KEY_SIZE for row in rows):
            return None
        try:
            return [self._codec.pubkey_to_G1(row) for row in rows]
        except ValueError:
            return None

    def dump_keys(self, keys: Sequence[Point]) -> bytes:
        pairs = [self._curve.normalize(key) for key in keys]
        return b"".join(number.n.to_bytes(FIELD_SIZE, "big") for pair in pairs for number in pair)

    def load_keys(self, data: bytes) -> list[Point] | None:
        field, one = self._curve.FQ, self._curve.FQ.one()
        numbers = [field(int.from_bytes(row, "big")) for row in rows_of(data, FIELD_SIZE)]
        return [(x, y, one) for x, y in zip(numbers[::2], numbers[1::2], strict=False)]

    def is_infinity(self, key: Point) -> bool:
        return bool(self._curve.is_inf(key))

    def add(self, points: Sequence[Point]) -> Point:
        total = points[0]
        for point in points[1:]:
            total = self._curve.add(total, point)
        return total

    def subtract(self, point: Point, others: Sequence[Point]) -> Point:
        return self._curve.add(point, self._curve.neg(self.add(others))) if others else point

    def multiply_each(self, keys: Sequence[Point], numbers: Sequence[int]) -> list[Point]:
        return [self._curve.multiply(key, number) for key, number in zip(keys, numbers, strict=True)]

    def multiply_sum(self, signatures: Sequence[Point], numbers: Sequence[int]) -> Point:
        return self.add(self.multiply_each(signatures, numbers))

    def pairing_check(self, keys: Sequence[Point], messages: Sequence[bytes], signature: Point) -> bool:
        curve = self._curve
        product = curve.pairing(signature, curve.neg(curve.G1), final_exponentiate=False)
        for key, message in zip(keys, messages, strict=True):
            product = product * curve.pairing(self.hash_to_g2(message, DST), key, final_exponentiate=False)
        return bool(curve.final_exponentiate(product) == curve.FQ12.one())

    def hash_to_g2(self, message: bytes, dst: bytes) -> Point:
        return self._hash(message, dst, self._sha256)

    def sign(self, secret: int, message: bytes) -> Point:
        return self._curve.multiply(self.hash_to_g2(message, DST), secret)

    def public_key(self, secret: int) -> Point:
        return self._curve.multiply(self._curve.G1, secret)


BACKENDS: Mapping[str, Callable[[], Backend]] = MappingProxyType(
    {"blspy": BlspyBackend, "arkworks": ArkworksBackend, "py_ecc": PyEccBackend}
)
"""By name, best first."""


@cache
def make_backend(name: str) -> Backend:
    """The backend of that name, made once; ``BlsUnavailable`` when its library is not installed."""
    if name not in BACKENDS:
        raise BlsUnavailable(f"{BACKEND_VARIABLE}={name!r}: must be one of {', '.join(BACKENDS)}")
    try:
        return BACKENDS[name]()
    except ImportError as error:
        raise BlsUnavailable(f"BLS backend {name}: {error}") from error


def default_backend() -> Backend:
    """The best backend that is installed, or the one that ``SPVNODE_BLS`` names."""
    forced = os.environ.get(BACKEND_VARIABLE)
    if forced:
        return make_backend(forced)
    problems = []
    for name in BACKENDS:
        try:
            return make_backend(name)
        except BlsUnavailable as error:
            problems.append(str(error))
    raise BlsUnavailable("no library for BLS signatures is installed: " + "; ".join(problems))
