"""Addresses to output scripts: base58check, bech32 (BIP173, witness version 0) and bech32m (BIP350, versions above)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from merkle.hashing import sha256d
from spvnode.bitcoin.params import AddressForm

MAX_ADDRESS: Final = 90
"""Characters of an address (BIP173). Callers send it."""

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_SUM, _BECH32M_SUM = 1, 0x2BC830A3
_CHECKSUM = 6
_MAX_VERSION = 16
_PROGRAM_SIZES = range(2, 41)


class AddressError(ValueError):
    """Text that is no address of the network; says why in words, without the text."""


def script_of(text: str, form: AddressForm) -> bytes:
    """The output script that pays the address. AddressError."""
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"longer than {MAX_ADDRESS} characters")
    if not text.isascii():  # the sign of the unit kelvin is a k in lower case
        raise AddressError("neither bech32 of this network nor base58")
    if text.lower().startswith(form.prefix + "1"):
        return _witness_script(text, form.prefix)
    return _legacy_script(_base58check(text), form)


def _legacy_script(payload: bytes, form: AddressForm) -> bytes:
    version, digest = payload[0], payload[1:]
    if len(digest) == 20 and version == form.key_hash:
        return b"\x76\xa9\x14" + digest + b"\x88\xac"
    if len(digest) == 20 and version == form.script_hash:
        return b"\xa9\x14" + digest + b"\x87"
    raise AddressError(f"version {version} with {len(digest)} bytes is no address of this network")


def _base58check(text: str) -> bytes:
    """Version byte and what follows, its checksum taken off."""
    value = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise AddressError("neither bech32 of this network nor base58")
        value = 58 * value + digit
    zeros = len(text) - len(text.lstrip("1"))
    raw = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    if len(raw) < 5 or sha256d(raw[:-4])[:4] != raw[-4:]:
        raise AddressError("its checksum does not hold")
    return raw[:-4]


def _witness_script(text: str, prefix: str) -> bytes:
    if text not in (text.lower(), text.upper()):
        raise AddressError("upper and lower case are mixed")
    digits = [_BECH32.find(character) for character in text.lower()[len(prefix) + 1 :]]
    if min(digits, default=-1) < 0 or len(digits) <= _CHECKSUM:
        raise AddressError("too short, or with a character that bech32 does not have")
    version, program = digits[0], _bytes_of(digits[1:-_CHECKSUM])
    if version > _MAX_VERSION or len(program) not in _PROGRAM_SIZES or (not version and len(program) not in (20, 32)):
        raise AddressError(f"no witness program: version {version} with {len(program)} bytes")
    if _polymod(prefix, digits) != (_BECH32M_SUM if version else _BECH32_SUM):
        raise AddressError("its checksum does not hold")
    return bytes((0x50 + version if version else 0, len(program))) + program


def _bytes_of(digits: Sequence[int]) -> bytes:
    """Groups of 5 bits as bytes; what is left over must be less than a group, and zero."""
    value = 0
    for digit in digits:
        value = value << 5 | digit
    left = 5 * len(digits) % 8
    if left >= 5 or value & ((1 << left) - 1):
        raise AddressError("wrong padding")
    return (value >> left).to_bytes(5 * len(digits) // 8, "big")


def _polymod(prefix: str, digits: Sequence[int]) -> int:
    """BIP173's checksum over the readable part and the digits."""
    found = 1
    for value in (*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *digits):
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            found ^= generator if top >> bit & 1 else 0
    return found
