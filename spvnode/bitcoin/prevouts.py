"""Which scripts a block's inputs spend, as far as the block alone tells.

An input names the output that it spends by txid, not by script. The script shows where the spent transaction is in the
same block, and in most standard spends: what is revealed hashes to it. Sources: BIP16, BIP141, BIP143; Bitcoin Core
``script/solver.cpp`` for the forms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from spvnode.bitcoin.block import Block, Transaction, TxIn
from spvnode.types import Hash32

_OP_PUSHDATA1 = 0x4C
_OP_PUSHDATA2 = 0x4D
_MAX_PUSHES = 20 + 2
"""More than any standard spend pushes (15 signatures, a dummy and a script)."""
_SIGNATURE_SIZES = range(9, 74)
"""Bytes of a DER signature with its hash type."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an input spends. ``script`` is None where the block does not tell. ``sure`` is False where another script,
    which nobody's wallet makes, could be spent in the same way."""

    script: bytes | None
    sure: bool = False


def spent_scripts(block: Block) -> list[Spent]:
    """One for each input of a checked block, the coinbase's left out, in block order."""
    by_id = {tx.txid: tx for tx in block.transactions}
    return [_spent(one, by_id) for tx in block.transactions[1:] for one in tx.inputs]


def _spent(one: TxIn, by_id: dict[Hash32, Transaction]) -> Spent:
    maker = by_id.get(Hash32(one.prev_hash))
    if maker is not None and one.prev_index < len(maker.outputs):
        return Spent(maker.outputs[one.prev_index], sure=True)
    if one.stack:
        return _nested(one.script_sig) if one.script_sig else _witness(one)
    return Spent(_legacy(list(_pushes(one.script_sig))))


def _nested(script_sig: bytes) -> Spent:
    """With a witness, a scriptSig can only be the one push of a witness program (BIP141)."""
    program = script_sig[1:]
    known = len(script_sig) in (23, 35) and script_sig[0] == len(program)
    return Spent(_script_hash(program), sure=True) if known else Spent(None)


def _witness(one: TxIn) -> Spent:
    last = one.witness[-1]
    if one.stack == 2 and _is_key(last, compressed=True) and _is_signature(one.witness[0]):
        return Spent(b"\x00\x14" + hash160(last))
    if one.stack == 1 or _is_taproot(last):
        return Spent(None)  # a key path, or a script path: only curve arithmetic leads back to the output key
    return Spent(b"\x00\x20" + hashlib.sha256(last).digest())


def _is_taproot(last: bytes) -> bool:
    """A control block (BIP341) or an annex is the last item."""
    control = len(last) % 32 == 1 and len(last) >= 33 and last[0] & 0xFE == 0xC0
    return control or last[:1] == b"\x50"


def _legacy(pushes: list[bytes]) -> bytes | None:
    """Of a scriptSig without witness: a key's hash, or a script's. Bare keys and multisigs do not show."""
    if not pushes or _is_signature(pushes[-1]):
        return None
    if len(pushes) == 2 and _is_signature(pushes[0]) and _is_key(pushes[1]):
        return b"\x76\xa9\x14" + hash160(pushes[1]) + b"\x88\xac"
    return _script_hash(pushes[-1]) if pushes[-1] else None


def _pushes(script: bytes) -> Iterator[bytes]:
    """What a script of nothing but pushes pushes; nothing where it is anything else."""
    found: list[bytes] = []
    at = 0
    while at < len(script) and len(found) < _MAX_PUSHES:
        opcode = script[at]
        width = {_OP_PUSHDATA1: 1, _OP_PUSHDATA2: 2}.get(opcode, 0)
        if opcode > _OP_PUSHDATA2:
            return
        size = int.from_bytes(script[at + 1 : at + 1 + width], "little") if width else opcode
        at += 1 + width
        found.append(script[at : at + size])
        at += size
    if at == len(script):
        yield from found


def _is_signature(data: bytes) -> bool:
    return len(data) in _SIGNATURE_SIZES and data[0] == 0x30 and data[1] == len(data) - 3


def _is_key(data: bytes, *, compressed: bool = False) -> bool:
    if len(data) == 33:
        return data[0] in (2, 3)
    return not compressed and len(data) == 65 and data[0] == 4


def _script_hash(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256."""
    from Crypto.Hash import RIPEMD160  # noqa: PLC0415  OpenSSL 3's hashlib may lack it; only disputes need it

    return RIPEMD160.new(hashlib.sha256(data).digest()).digest()
