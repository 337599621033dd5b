"""Account and storage proofs: answers of a state that py-trie keeps, made-up states, and every change refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle.errors import ProofError
from merkle.patricia import EMPTY_ROOT, MAX_NODE_SIZE, MAX_PROOF_NODES
from spvnode.ethereum.accounts import (
    EMPTY_CODE_HASH,
    MAX_STORAGE_KEYS,
    Account,
    StorageSlot,
    verify_account_proof,
)
from tests.support.eip1186 import (
    ACCOUNTS,
    CASES,
    CONTRACT,
    EMPTY_CODE,
    State,
    answered,
    shown,
    world,
)
from tests.support.small_trie import SmallTrie, keccak256
from tests.support.small_trie import rlp as other_rlp

CASE = "contract"


@pytest.mark.parametrize("name", CASES)
def test_answers_hold(name: str) -> None:
    answer, root = answered(name)
    case = CASES[name]
    account = verify_account_proof(answer, root, case.address)
    nonce, balance, code, held = world().accounts.get(case.address, (0, 0, EMPTY_CODE, {}))
    exists = case.address in world().accounts
    storage_root = world().storage[case.address].root if exists else EMPTY_ROOT
    slots = tuple(StorageSlot(slot.to_bytes(32, "big"), held.get(slot, 0)) for slot in case.slots)
    assert account == Account(case.address, exists, nonce, balance, storage_root, code, slots)


def test_the_cases_have_every_shape() -> None:
    accounts = [verify_account_proof(*answered(name)) for name in CASES]
    assert sum(not account.exists for account in accounts) == 4
    slots = [slot for account in accounts for slot in account.storage]
    assert any(slot.value for slot in slots)
    assert any(not slot.value for slot in slots)
    assert any(account.exists and account.storage_root == EMPTY_ROOT for account in accounts)
    assert any(account.code_hash != EMPTY_CODE_HASH for account in accounts)
    assert max(len(answered(name)[0]["accountProof"]) for name in CASES) >= 5


def test_every_account_of_a_large_state_and_as_many_that_are_not_there() -> None:
    state, rng = world(), random.Random(2)
    assert len(state.accounts) > ACCOUNTS
    for address, (nonce, balance, code, held) in state.accounts.items():
        slots = [*list(held)[:3], rng.getrandbits(256)]
        account = verify_account_proof(state.answer(address, slots), state.trie.root, address)
        assert (account.exists, account.nonce, account.balance, account.code_hash) == (True, nonce, balance, code)
        assert [slot.value for slot in account.storage] == [held.get(slot, 0) for slot in slots]
    for _ in range(ACCOUNTS):
        address = rng.randbytes(20)
        assert not verify_account_proof(state.answer(address, [1]), state.trie.root, address).exists


def test_two_builders_make_one_state() -> None:
    """py-trie and the one that makes the small states below."""
    small = State(world().accounts)
    assert small.trie.root == world().trie.root
    assert all(small.storage[address].root == trie.root for address, trie in world().storage.items())


ANSWER = """{
  "jsonrpc": "2.0",
  "id": 1,
  "result": {
    "address": "0xe2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2",
    "accountProof": %s,
    "balance": "0x0",
    "codeHash": "%s",
    "nonce": "0x1",
    "storageHash": "%s",
    "storageProof": [
      {"key": "0x0", "value": "0x1", "proof": %s},
      {"key": "0x0000000000000000000000000000000000000000000000000000000000000005", "value": "0x80", "proof": %s},
      {"key": "0x2", "value": "0x0", "proof": %s}
    ]
  }
}"""
"""As go-ethereum writes it: members in the order of their names, keys as they were asked for."""


def test_the_shape_that_go_ethereum_gives() -> None:
    plain = world().answer(CONTRACT, [0, 5, 2])
    proofs = [json.dumps(entry["proof"]) for entry in plain["storageProof"]]
    text = ANSWER % (json.dumps(plain["accountProof"]), plain["codeHash"], plain["storageHash"], *proofs)
    account = verify_account_proof(json.loads(text)["result"], world().trie.root, CONTRACT)
    assert account == verify_account_proof(plain, world().trie.root)
    assert [slot.value for slot in account.storage] == [1, 0x80, 0]


@pytest.mark.parametrize("name", CASES)
def test_another_root_is_refused(name: str) -> None:
    answer, root = answered(name)
    for at in range(32):
        wrong = bytearray(root)
        wrong[at] ^= 1
        with pytest.raises(ProofError) as caught:
            verify_account_proof(answer, bytes(wrong))
        assert caught.value.field == "accountProof"


def hex_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Every hex digit of an answer: where its string is, and which digit."""
    if isinstance(value, str):
        yield from ((path, at) for at in range(2, len(value)))
    else:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from hex_places(inner, (*path, name))


def with_change(answer: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    place = answer
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = change(place[path[-1]])
    return answer


def flip(at: int, by: int) -> Callable[[str], str]:
    return lambda text: text[:at] + f"{(int(text[at], 16) + by) % 16:x}" + text[at + 1 :]


@pytest.mark.parametrize("name", CASES)
def test_a_changed_digit_anywhere_is_refused(name: str) -> None:
    """At random; but the way to one absent slot may show another one's absence as well."""
    answer, root = answered(name)
    rng = random.Random(name)
    absent = {place for place, entry in enumerate(answer["storageProof"]) if not int(entry["value"], 16)}
    places = [place for place in hex_places(answer) if place[0][-1] != "key" or place[0][1] not in absent]
    short = [place for place in places if place[0][0] not in ("accountProof", "storageProof")]
    for path, at in short + rng.sample(places, 400):
        changed = with_change(answered(name)[0], path, flip(at, rng.randrange(1, 16)))
        with pytest.raises(ProofError):
            verify_account_proof(changed, root)


@pytest.mark.parametrize("name", [CASE, "large contract", "account", "nobody", "nobody, hashes of zeros"])
def test_every_byte_of_every_node(name: str) -> None:
    answer, root = answered(name)
    for path, at in hex_places(answer):
        if path[-2:-1] in (("accountProof",), ("proof",)) and at % 2 == 0:
            changed = with_change(answer, path, flip(at, 1))
            with pytest.raises(ProofError):
                verify_account_proof(changed, root)
            with_change(answer, path, flip(at, -1))
    verify_account_proof(answer, root)


def made_state(rng: random.Random) -> State:
    """A few accounts with and without code and storage, numbers short and long."""
    accounts = {}
    for _ in range(rng.randrange(1, 30)):
        storage = {rng.randrange(2 ** rng.choice((1, 8, 256))): rng.randrange(1, 2 ** rng.choice((1, 8, 256)))}
        storage |= {slot: rng.randrange(1, 200) for slot in range(rng.choice((0, 1, 3, 40)))}
        code = rng.choice((EMPTY_CODE, rng.randbytes(32)))
        held = rng.choice(({}, storage))
        accounts[rng.randbytes(20)] = (rng.randrange(2 ** rng.choice((1, 8, 64))), rng.getrandbits(256), code, held)
    return State(accounts)


def test_made_up_states() -> None:
    rng = random.Random(1)
    for _ in range(15):
        state = made_state(rng)
        for address in [*state.accounts, rng.randbytes(20), bytes(20)]:
            slots = [0, 1, 2, 39, 2**256 - 1, *list(state.accounts.get(address, (0, 0, b"", {}))[3])[:20]]
            account = verify_account_proof(state.answer(address, slots), state.trie.root, address)
            nonce, balance, code, held = state.accounts.get(address, (0, 0, EMPTY_CODE, {}))
            values = tuple(StorageSlot(slot.to_bytes(32, "big"), held.get(slot, 0)) for slot in slots)
            root = state.storage[address].root if address in state.accounts else EMPTY_ROOT
            assert account == Account(address, address in state.accounts, nonce, balance, root, code, values)


def test_slots_that_lie_in_the_branch_above_them() -> None:
    """As in storages of millions of slots, where a leaf's path is so short that the leaf has less than 32 bytes."""
    near = (40_364, 105_566)  # their Keccak-256 begin with the same 8 nibbles
    address = b"\x11" * 20
    state = State({address: (1, 0, EMPTY_CODE, {near[0]: 7, near[1]: 9, 3: 2**255})})
    trie = state.storage[address]
    assert trie.embedding
    answer = state.answer(address, [*near, 3, 4])
    account = verify_account_proof(answer, state.trie.root, address)
    assert [slot.value for slot in account.storage] == [7, 9, 2**255, 0]
    key = keccak256(near[0].to_bytes(32, "big"))
    answer["storageProof"][0]["proof"] = [shown(node) for node in trie.proof(key, list_embedded=True)]
    assert len(answer["storageProof"][0]["proof"]) == len(answer["storageProof"][1]["proof"]) + 1
    assert verify_account_proof(answer, state.trie.root, address) == account
    # A server that does not look into the branch says 0 (Nethermind did): the proof shows otherwise.
    answer["storageProof"][0]["value"] = "0x0"
    with pytest.raises(ProofError) as caught:
        verify_account_proof(answer, state.trie.root, address)
    assert caught.value.field == "storageProof[0].value"


@given(st.integers(0, 2**32), st.data())
def test_a_changed_answer_is_refused_or_says_another_truth(seed: int, data: st.DataObject) -> None:
    """Another truth: the way to one absent slot may show another one's absence as well."""
    state = made_state(random.Random(seed))
    address = data.draw(st.sampled_from([*state.accounts, bytes(20)]))
    answer = state.answer(address, [0, 1, 77])
    path, at = data.draw(st.sampled_from(list(hex_places(answer))))
    changed = with_change(answer, path, flip(at, data.draw(st.integers(1, 15))))
    try:
        account = verify_account_proof(changed, state.trie.root, address)
    except ProofError:
        return
    assert path[-1] == "key"
    assert account.storage[path[1]] == StorageSlot(bytes.fromhex(changed["storageProof"][path[1]]["key"][2:]), 0)
    held = state.accounts.get(address, (0, 0, EMPTY_CODE, {}))[3]
    assert all(held.get(int.from_bytes(slot.key, "big"), 0) == slot.value for slot in account.storage)


def test_what_servers_do_differently() -> None:
    address = b"\x22" * 20
    state = State({address: (3, 4, EMPTY_CODE, {5: 6}), b"\x23" * 20: (1, 1, EMPTY_CODE, {})})
    root, plain = state.trie.root, verify_account_proof(state.answer(address, [5, 7]), state.trie.root)
    padded = state.answer(address, [5, 7])
    padded |= {"nonce": "0x03", "balance": "0x" + "4".zfill(64)}
    padded["storageProof"][0] |= {"key": "0x5", "value": "0x06"}
    padded["storageProof"][1] |= {"proof": [*padded["storageProof"][1]["proof"], "0x"]}
    assert verify_account_proof(padded, root) == plain
    upper = state.answer(address, [])
    upper |= {"address": "0x" + address.hex().upper(), "codeHash": "0x" + EMPTY_CODE.hex().upper()}
    assert verify_account_proof(upper, root).storage == ()
    empty = state.answer(b"\x23" * 20, [1])
    empty["storageProof"][0]["proof"] = []
    assert verify_account_proof(empty, root).storage == (StorageSlot((1).to_bytes(32, "big"), 0),)
    zeros = state.answer(b"\x24" * 20, []) | {"codeHash": shown(bytes(32)), "storageHash": shown(bytes(32))}
    absent = verify_account_proof(zeros, root)
    assert not absent.exists
    assert absent.code_hash == EMPTY_CODE_HASH


@pytest.mark.parametrize("field", ["codeHash", "storageHash"])
def test_zero_hashes_are_for_absent_accounts_only(field: str) -> None:
    answer, root = answered("account")
    with pytest.raises(ProofError) as caught:
        verify_account_proof(answer | {field: shown(bytes(32))}, root)
    assert caught.value.field == field


def test_the_address_that_was_asked_for() -> None:
    answer, root = answered(CASE)
    with pytest.raises(ProofError) as caught:
        verify_account_proof(answer, root, bytes(20))
    assert caught.value.field == "address"


BAD: list[tuple[str, Any, str]] = [
    ("address", None, "address"),
    ("address", 5, "address"),
    ("address", "00" * 20, "address"),
    ("address", "0x" + "00" * 19, "address"),
    ("address", "0x" + "0" * 39, "address"),
    ("address", "0x" + "zz" * 20, "address"),
    ("nonce", None, "nonce"),
    ("nonce", "0x", "nonce"),
    ("nonce", 1, "nonce"),
    ("nonce", "1", "nonce"),
    ("nonce", "0x-1", "nonce"),
    ("nonce", "0x1_0", "nonce"),
    ("balance", "0x" + "1" * 65, "balance"),
    ("codeHash", "0x00", "codeHash"),
    ("storageHash", [], "storageHash"),
    ("accountProof", None, "accountProof"),
    ("accountProof", "0x", "accountProof"),
    ("accountProof", [1], "accountProof"),
    ("accountProof", ["0x1"], "accountProof"),
    ("accountProof", [], "accountProof"),
    ("accountProof", ["0x" + "00" * (MAX_NODE_SIZE + 1)], "accountProof"),
    ("accountProof", ["0xff"] * (MAX_PROOF_NODES + 1), "accountProof"),
    ("accountProof", ["0x"] * (2 * MAX_PROOF_NODES + 1), "accountProof"),
    ("storageProof", None, "storageProof"),
    ("storageProof", {}, "storageProof"),
    ("storageProof", [5], "storageProof[0]"),
    ("storageProof", [{}], "storageProof[0].key"),
    ("storageProof", [{"key": "0x" + "1" * 65}], "storageProof[0].key"),
    ("storageProof", [{"key": "0x0"}], "storageProof[0].proof"),
    ("storageProof", [{"key": "0x0", "proof": []}], "storageProof[0].proof"),
    ("storageProof", [{}] * (MAX_STORAGE_KEYS + 1), "storageProof"),
]


@pytest.mark.parametrize(("field", "value", "blamed"), BAD)
def test_malformed_answers_name_the_field(field: str, value: Any, blamed: str) -> None:
    answer, root = answered(CASE)
    answer[field] = value
    with pytest.raises(ProofError) as caught:
        verify_account_proof(answer, root)
    assert caught.value.field == blamed
    del answer[field]
    with pytest.raises(ProofError):
        verify_account_proof(answer, root)


def test_as_many_slots_as_allowed() -> None:
    address = b"\x33" * 20
    state = State({address: (0, 0, EMPTY_CODE, {1: 1})})
    answer = state.answer(address, list(range(MAX_STORAGE_KEYS)))
    assert len(verify_account_proof(answer, state.trie.root).storage) == MAX_STORAGE_KEYS


def made_leaf(leaf: Any) -> tuple[dict[str, Any], bytes]:
    """An answer whose state trie holds one leaf of any form."""
    address = b"\x44" * 20
    trie = SmallTrie({keccak256(address): leaf if isinstance(leaf, bytes) else other_rlp(leaf)})
    answer = State({}).answer(address, []) | {"accountProof": [shown(node) for node in trie.proof(keccak256(address))]}
    return answer, trie.root


@pytest.mark.parametrize(
    ("leaf", "problem"),
    [
        (b"\x80", "holds no account"),
        (b"\xb8\x00", "too long"),
        ([b"", b"", EMPTY_ROOT], "holds no account"),
        ([b"", b"", EMPTY_ROOT, EMPTY_CODE, b""], "holds no account"),
        ([b"", b"", EMPTY_ROOT[1:], EMPTY_CODE], "without its two hashes"),
        ([b"", b"", EMPTY_ROOT, [EMPTY_CODE]], "without its two hashes"),
        ([b"\x00", b"", EMPTY_ROOT, EMPTY_CODE], "leading zero"),
        ([b"\x01" * 9, b"", EMPTY_ROOT, EMPTY_CODE], "too large"),
        ([b"", b"\x01" * 33, EMPTY_ROOT, EMPTY_CODE], "too large"),
        ([b"", [], EMPTY_ROOT, EMPTY_CODE], "list where a number"),
    ],
)
def test_leaves_that_are_no_account(leaf: Any, problem: str) -> None:
    with pytest.raises(ProofError, match=problem) as caught:
        verify_account_proof(*made_leaf(leaf))
    assert caught.value.field == "accountProof"


@pytest.mark.parametrize("value", [b"\x80", b"\xc0", b"\x81\x00", b"\x82\x00\x01", b"\xa1" + b"\x01" * 33])
def test_storage_values_that_are_no_number(value: bytes) -> None:
    address, key = b"\x55" * 20, (1).to_bytes(32, "big")
    storage = SmallTrie({keccak256(key): value})
    answer, root = made_leaf([b"", b"", storage.root, EMPTY_CODE])
    proof = [shown(node) for node in storage.proof(keccak256(key))]
    answer |= {"storageHash": shown(storage.root), "storageProof": [{"key": "0x1", "value": "0x0", "proof": proof}]}
    assert answer["address"] != shown(address)
    with pytest.raises(ProofError) as caught:
        verify_account_proof(answer, root)
    assert caught.value.field == "storageProof[0].proof"


def test_the_form_for_people() -> None:
    state = world()
    shown_form = verify_account_proof(*answered("contract, short keys")).as_json()
    assert shown_form == {
        "address": "0x" + "e2" * 20,
        "exists": True,
        "nonce": 1,
        "balance": "0",
        "storage_root": shown(state.storage[CONTRACT].root),
        "code_hash": shown(keccak256(b"contract")),
        "storage": [
            {"key": "0x" + f"{slot:064x}", "value": value}
            for slot, value in ((0, "0x1"), (1, hex(2**255)), (5, "0x80"))
        ],
    }
    assert verify_account_proof(*answered("delegated account")).as_json()["balance"] == str(2**256 - 1)
