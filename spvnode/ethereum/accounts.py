"""Accounts and their storage, proven against an execution block's state root: answers of ``eth_getProof`` (EIP-1186).

Anyone may have fetched the answer from anywhere: nothing in it is believed that its proofs do not show. The state trie
maps Keccak-256(address) to the RLP list of nonce, balance, storage root and code hash; an account's storage trie maps
Keccak-256(slot) to the RLP of the slot's number, and holds no zeros. What the answer says beside its proofs
(``balance``, ``nonce``, ``codeHash``, ``storageHash``, each ``value``) must say the same.

Tolerated, because servers in use do it, and because it changes nothing that is proven: a ``storageHash`` and
``codeHash`` of zeros for an account that is not there (go-ethereum; others give those of an empty account); numbers
with leading zeros, and an empty ``0x`` among the nodes (Nethermind); short storage keys; nodes that their parent
already embeds (ethereumjs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from merkle import rlp
from merkle.errors import ProofError
from merkle.patricia import EMPTY_ROOT, HASH_SIZE, MAX_NODE_SIZE, MAX_PROOF_NODES, keccak256, verify_proof
from spvnode.types import Hash32

ADDRESS_SIZE: Final = 20
MAX_STORAGE_KEYS: Final = 256
"""Slots in one answer; whoever calls fills it. At 8 nodes of 532 bytes each this is 1.1 MB, 2.2 MB as JSON."""
MAX_NUMBER_DIGITS: Final = 64
"""Hex digits of a number: 256 bits."""
NONCE_BITS: Final = 64
"""EIP-2681."""
WORD_BITS: Final = 256
EMPTY_CODE_HASH: Final = Hash32(keccak256(b""))
"""Code hash of an account without code."""

_EMPTY_ROOT: Final = Hash32(EMPTY_ROOT)
_ZERO_HASH: Final = Hash32(bytes(HASH_SIZE))
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_ACCOUNT_ITEMS: Final = 4


@dataclass(frozen=True, slots=True)
class StorageSlot:
    """``key``: 32 bytes, the slot's number; ``value``: 0 where the trie shows that nothing is stored."""

    key: bytes
    value: int


@dataclass(frozen=True, slots=True)
class Account:
    """What a state root says of one address. ``exists`` is False where it is proven absent: then all is empty.

    ``address`` 20 bytes; ``balance`` in wei; hashes in their natural order; ``storage`` as the answer lists it.
    """

    address: bytes
    exists: bool
    nonce: int
    balance: int
    storage_root: Hash32
    code_hash: Hash32
    storage: tuple[StorageSlot, ...]

    def as_json(self) -> dict[str, Any]:
        """For people and programs: hex with 0x, ``balance`` in wei as a decimal string, which is exact everywhere."""
        return {
            "address": _shown(self.address),
            "exists": self.exists,
            "nonce": self.nonce,
            "balance": str(self.balance),
            "storage_root": _shown(self.storage_root),
            "code_hash": _shown(self.code_hash),
            "storage": [{"key": _shown(slot.key), "value": hex(slot.value)} for slot in self.storage],
        }


def verify_account_proof(answer: Mapping[str, Any], state_root: bytes, address: bytes | None = None) -> Account:
    """The account that ``answer`` proves under ``state_root`` (32 bytes).

    ``answer`` is the ``result`` of ``eth_getProof``, parsed. ``address`` (20 bytes) is what was asked for, if the
    caller knows; by itself an answer about another account is sound. ``ProofError`` names the first field that is
    malformed, not proven, or not what the proof shows (``storageProof[3].value``).
    """
    found = _bytes(answer, "address", ADDRESS_SIZE)
    if address is not None and found != address:
        raise ProofError("address", "is not the one that was asked for")
    leaf = _proven(state_root, keccak256(found), answer.get("accountProof"), "accountProof")
    nonce, balance, storage_root, code_hash = (0, 0, _EMPTY_ROOT, EMPTY_CODE_HASH) if leaf is None else _account(leaf)
    _same("nonce", _number(answer, "nonce"), nonce)
    _same("balance", _number(answer, "balance"), balance)
    for field, proven in (("codeHash", code_hash), ("storageHash", storage_root)):
        claimed = _bytes(answer, field, HASH_SIZE)
        _same(field, proven if leaf is None and claimed == _ZERO_HASH else claimed, proven)
    storage = _storage(answer.get("storageProof"), storage_root)
    return Account(found, leaf is not None, nonce, balance, storage_root, code_hash, storage)


def _account(leaf: bytes) -> tuple[int, int, Hash32, Hash32]:
    """Nonce, balance, storage root and code hash."""
    parts = _decoded(leaf, "accountProof")
    if isinstance(parts, bytes) or len(parts) != _ACCOUNT_ITEMS:
        raise ProofError("accountProof", "holds no account")
    nonce, balance, storage_root, code_hash = parts
    hashes = [part for part in (storage_root, code_hash) if isinstance(part, bytes) and len(part) == HASH_SIZE]
    if len(hashes) != 2:
        raise ProofError("accountProof", "holds an account without its two hashes")
    numbers = _uint(nonce, NONCE_BITS, "accountProof"), _uint(balance, WORD_BITS, "accountProof")
    return *numbers, Hash32(hashes[0]), Hash32(hashes[1])


def _storage(entries: Any, storage_root: bytes) -> tuple[StorageSlot, ...]:
    if not isinstance(entries, list):
        raise ProofError("storageProof", "is no array")
    if len(entries) > MAX_STORAGE_KEYS:
        raise ProofError("storageProof", f"has {len(entries)} entries", MAX_STORAGE_KEYS)
    return tuple(_slot(entry, storage_root, f"storageProof[{place}]") for place, entry in enumerate(entries))


def _slot(entry: Any, storage_root: bytes, field: str) -> StorageSlot:
    if not isinstance(entry, Mapping):
        raise ProofError(field, "is no object")
    key = _number(entry, "key", field).to_bytes(HASH_SIZE, "big")
    leaf = _proven(storage_root, keccak256(key), entry.get("proof"), f"{field}.proof")
    value = 0 if leaf is None else _uint(_decoded(leaf, f"{field}.proof"), WORD_BITS, f"{field}.proof")
    if leaf is not None and not value:
        raise ProofError(f"{field}.proof", "holds a zero, which no storage does")
    _same(f"{field}.value", _number(entry, "value", field), value)
    return StorageSlot(key, value)


def _proven(root: bytes, key: bytes, nodes: Any, field: str) -> bytes | None:
    if not isinstance(nodes, list):
        raise ProofError(field, "is no array")
    # An empty element is no node, so leaving it out cannot change what the others prove.
    if len(nodes) > 2 * MAX_PROOF_NODES:
        raise ProofError(field, f"has {len(nodes)} elements", 2 * MAX_PROOF_NODES)
    proof = [_hex(node, field, 2 * MAX_NODE_SIZE) for node in nodes]
    try:
        return verify_proof(root, key, [node for node in proof if node])
    except ProofError as error:
        raise ProofError(field, f"{error.field} {error.problem}", error.limit) from None


def _decoded(data: bytes, field: str) -> rlp.Item:
    try:
        return rlp.decode(data)
    except ProofError as error:
        raise ProofError(field, f"{error.field} {error.problem}", error.limit) from None


def _uint(item: rlp.Item, bits: int, field: str) -> int:
    try:
        return rlp.decode_uint(item, bits)
    except ProofError as error:
        raise ProofError(field, f"{error.field} {error.problem}", error.limit) from None


def _same(field: str, claimed: object, proven: object) -> None:
    if claimed != proven:
        raise ProofError(field, "is not what the proof shows")


def _member(data: Mapping[str, Any], name: str, inside: str) -> tuple[Any, str]:
    field = f"{inside}.{name}" if inside else name
    if name not in data:
        raise ProofError(field, "is missing")
    return data[name], field


def _number(data: Mapping[str, Any], name: str, inside: str = "") -> int:
    text, field = _member(data, name, inside)
    digits = text[2:] if isinstance(text, str) and text.startswith("0x") else ""
    if not 1 <= len(digits) <= MAX_NUMBER_DIGITS or not _HEX_DIGITS.issuperset(digits):
        raise ProofError(field, "is no 0x hex number", MAX_NUMBER_DIGITS)
    return int(digits, 16)


def _bytes(data: Mapping[str, Any], name: str, size: int) -> bytes:
    text, field = _member(data, name, "")
    value = _hex(text, field, 2 * size)
    if len(value) != size:
        raise ProofError(field, f"is not {size} bytes", size)
    return value


def _hex(text: Any, field: str, max_digits: int) -> bytes:
    digits = text[2:] if isinstance(text, str) and text.startswith("0x") else None
    if digits is None or len(digits) % 2 or len(digits) > max_digits or not _HEX_DIGITS.issuperset(digits):
        raise ProofError(field, "is no 0x hex string of that length", max_digits)
    return bytes.fromhex(digits)


def _shown(data: bytes) -> str:
    return "0x" + data.hex()
