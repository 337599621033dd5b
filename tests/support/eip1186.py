"""Recorded ``eth_getProof`` answers, and made-up ones of any shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.small_trie import SmallTrie, keccak256, rlp

FOLDER = Path(__file__).parents[1] / "vectors" / "ethereum" / "eip1186"
EMPTY_CODE = keccak256(b"")


@cache
def _recorded() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads((FOLDER / "answers.json").read_text()))


def recorded_names() -> list[str]:
    return [case["name"] for case in _recorded()]


def recorded(name: str) -> tuple[dict[str, Any], bytes]:
    """The answer and the state root."""
    case = next(case for case in _recorded() if case["name"] == name)
    return deepcopy(case["answer"]), bytes.fromhex(case["state_root"][2:])


def headers() -> list[dict[str, Any]]:
    """Execution headers that some of the state roots are from."""
    found: list[dict[str, Any]] = json.loads((FOLDER / "headers.json").read_text())
    return found


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class State:
    """``accounts``: address -> (nonce, balance, code hash, storage as slot -> value, no zeros)."""

    def __init__(self, accounts: Mapping[bytes, tuple[int, int, bytes, Mapping[int, int]]]) -> None:
        self.accounts = accounts
        self.storage = {
            address: SmallTrie(
                {keccak256(slot.to_bytes(32, "big")): rlp(number(value)) for slot, value in held.items()}
            )
            for address, (_, _, _, held) in accounts.items()
        }
        leaves = {
            keccak256(address): rlp([number(nonce), number(balance), self.storage[address].root, code])
            for address, (nonce, balance, code, _) in accounts.items()
        }
        self.trie = SmallTrie(leaves)

    def answer(self, address: bytes, slots: list[int]) -> dict[str, Any]:
        nonce, balance, code, held = self.accounts.get(address, (0, 0, EMPTY_CODE, {}))
        trie = self.storage.get(address, SmallTrie({}))
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
