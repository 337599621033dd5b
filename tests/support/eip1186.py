"""``eth_getProof`` answers: of a state of thousands of accounts that py-trie keeps, and of small ones of any shape.

py-trie and its RLP (PyPI ``trie``, ``rlp``) share nothing with the reader under test, nor with ``small_trie``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import rlp as pypi_rlp
from trie import HexaryTrie

from tests.support.small_trie import Node, SmallTrie, keccak256
from tests.support.small_trie import rlp as small_rlp

EMPTY_CODE = keccak256(b"")
Held = tuple[int, int, bytes, Mapping[int, int]]
"""Nonce, balance, code hash, storage as slot -> value, no zeros."""
Encoder = Callable[[Node], bytes]


class PyTrie:
    """py-trie behind what ``SmallTrie`` offers; ``out``: keys that were in it for a while."""

    def __init__(self, table: Mapping[bytes, bytes], out: Mapping[bytes, bytes] | None = None) -> None:
        self._trie = HexaryTrie({})
        for key, value in {**(out or {}), **table}.items():
            self._trie[key] = value
        for key in out or {}:
            if key not in table:
                del self._trie[key]
        self.root: bytes = self._trie.root_hash

    def proof(self, key: bytes) -> list[bytes]:
        """Nodes on the way to ``key``, as far as it goes; those that lie in their parent are listed as well."""
        return [pypi_rlp.encode(node) for node in self._trie.get_proof(key)]


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class State:
    """``accounts`` by address, in tries of ``kind``."""

    def __init__(
        self,
        accounts: Mapping[bytes, Held],
        kind: type[SmallTrie] | type[PyTrie] = SmallTrie,
        encode: Encoder = small_rlp,
    ) -> None:
        self.accounts = accounts
        self._empty = kind({})
        self.storage = {
            address: kind({keccak256(slot.to_bytes(32, "big")): encode(number(value)) for slot, value in held.items()})
            if held
            else self._empty
            for address, (_, _, _, held) in accounts.items()
        }
        leaves = {
            keccak256(address): encode([number(nonce), number(balance), self.storage[address].root, code])
            for address, (nonce, balance, code, _) in accounts.items()
        }
        self.trie = kind(leaves)

    def answer(self, address: bytes, slots: list[int]) -> dict[str, Any]:
        nonce, balance, code, held = self.accounts.get(address, (0, 0, EMPTY_CODE, {}))
        trie = self.storage.get(address, self._empty)
        keys = [slot.to_bytes(32, "big") for slot in slots]
        return {
            "address": shown(address),
            "accountProof": [shown(node) for node in self.trie.proof(keccak256(address))],
            "nonce": hex(nonce),
            "balance": hex(balance),
            "codeHash": shown(code),
            "storageHash": shown(trie.root),
            "storageProof": [
                {
                    "key": shown(key),
                    "value": hex(held.get(slot, 0)),
                    "proof": [shown(node) for node in trie.proof(keccak256(key))],
                }
                for slot, key in zip(slots, keys, strict=True)
            ],
        }


def shown(data: bytes) -> str:
    return "0x" + data.hex()


# -- a state like a network's, smaller

ACCOUNTS, LARGE_STORAGE = 3_000, 1_500
PLAIN, FRESH, CONTRACT, LARGE, STATELESS, DELEGATED, ABSENT = (bytes([0xE0 + place]) * 20 for place in range(7))


@cache
def world() -> State:
    """3,000 accounts, each tenth a contract, and the seven above, of which the last is not there."""
    rng = random.Random(1186)
    accounts: dict[bytes, Held] = {}
    for place in range(ACCOUNTS):
        contract = place % 10 == 0
        code = rng.randbytes(32) if contract else EMPTY_CODE
        held = {rng.getrandbits(256): rng.randrange(1, 2**64) for _ in range(rng.choice((0, 1, 2, 12)) * contract)}
        accounts[rng.randbytes(20)] = (rng.randrange(300), rng.getrandbits(rng.choice((0, 60, 80))), code, held)
    array = {slot: rng.randrange(1, 2 ** rng.choice((1, 8, 160, 256))) for slot in range(LARGE_STORAGE)}
    accounts |= {
        PLAIN: (7, 12 * 10**18 + 5, EMPTY_CODE, {}),
        FRESH: (0, 0, EMPTY_CODE, {}),
        CONTRACT: (1, 0, keccak256(b"contract"), {0: 1, 1: 2**255, 5: 0x80, 2**256 - 1: 10**18}),
        LARGE: (1, 2**128, keccak256(b"large"), array),
        STATELESS: (1, 1, keccak256(b"stateless"), {}),
        DELEGATED: (2**64 - 2, 2**256 - 1, keccak256(b"\xef\x01\x00" + PLAIN), {2**255: 2**256 - 1}),
    }
    return State(accounts, PyTrie, pypi_rlp.encode)


@dataclass(frozen=True)
class Case:
    """What is asked, and what a server does to the plain answer."""

    address: bytes
    slots: tuple[int, ...] = ()
    habit: Callable[[dict[str, Any]], None] = lambda _: None


def leading_zeros(answer: dict[str, Any]) -> None:
    for place in (answer, *answer["storageProof"]):
        for field in {"nonce", "balance", "value"} & place.keys():
            place[field] = "0x" + place[field][2:].zfill(len(place[field]) // 2 * 2)


def words(answer: dict[str, Any]) -> None:
    for place in (answer, *answer["storageProof"]):
        for field in {"nonce", "balance", "value"} & place.keys():
            place[field] = "0x" + place[field][2:].zfill(64)


def short_keys(answer: dict[str, Any]) -> None:
    for entry in answer["storageProof"]:
        entry["key"] = hex(int(entry["key"], 16))


def zero_hashes(answer: dict[str, Any]) -> None:
    answer |= {"codeHash": shown(bytes(32)), "storageHash": shown(bytes(32))}


def empty_elements(answer: dict[str, Any]) -> None:
    for entry in answer["storageProof"]:
        entry["proof"].append("0x")


CASES = {
    "account": Case(PLAIN),
    "account, asked for slots": Case(PLAIN, (0, 1)),
    "account that holds nothing": Case(FRESH),
    "account, numbers with leading zeros": Case(PLAIN, (3,), leading_zeros),
    "contract": Case(CONTRACT, (0, 1, 2, 5, 2**256 - 1)),
    "contract, short keys": Case(CONTRACT, (0, 1, 5), short_keys),
    "contract, whole words": Case(CONTRACT, (0, 1, 5, 6), words),
    "contract, one slot twice": Case(CONTRACT, (5, 5)),
    "contract without storage": Case(STATELESS),
    "contract without storage, asked for slots": Case(STATELESS, (0,), empty_elements),
    "large contract": Case(LARGE, (0, 1, 700, LARGE_STORAGE - 1)),
    "large contract, slots that are not there": Case(LARGE, (LARGE_STORAGE, 2**200, 2**256 - 1)),
    "delegated account": Case(DELEGATED, (2**255, 0)),
    "nobody": Case(ABSENT),
    "nobody, asked for slots": Case(ABSENT, (0, 9)),
    "nobody, hashes of zeros": Case(ABSENT, (), zero_hashes),
    "nobody near an account": Case(PLAIN[:-1] + b"\x00"),
}


@cache
def _made(name: str) -> dict[str, Any]:
    case = CASES[name]
    answer = world().answer(case.address, list(case.slots))
    case.habit(answer)
    return answer


def answered(name: str) -> tuple[dict[str, Any], bytes]:
    """The answer of a case, and the state root."""
    made = _made(name)
    proofs = [entry | {"proof": [*entry["proof"]]} for entry in made["storageProof"]]
    return made | {"accountProof": [*made["accountProof"]], "storageProof": proofs}, world().trie.root
