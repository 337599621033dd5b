"""Tokens: which count, for what, and which files are believed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.errors import InputError
from spvnode.rpc.caller import Kind, Scope
from spvnode.rpc.tokens import (
    KEY_VARIABLE,
    MAX_KEYS,
    MAX_REVOKED,
    MAX_TOKEN,
    Keyring,
    TokenRefused,
    load_keyring,
    load_revoked,
    mint,
    parse_key,
)

KEY, OTHER = bytes(range(32)), bytes(range(100, 140))
RING = Keyring((KEY,))
NOW = int(time.time())


def signed(key: bytes = KEY, algorithm: str = "HS256", **claims: Any) -> bytes:
    return jwt.encode({"sub": "u", "exp": NOW + 3_600, "scope": "read", **claims}, key, algorithm).encode()


def test_a_minted_token_counts_for_its_scopes() -> None:
    token, token_id = mint(KEY, "alice", [Scope.READ, Scope.PROOFS], issued=NOW, expires=NOW + 3_600)
    found = RING.caller(token.encode())
    assert (found.kind, found.user, found.scopes) == (Kind.TOKEN, "token:alice", {Scope.READ, Scope.PROOFS})
    claims = jwt.decode(token, KEY, algorithms=["HS256"])
    assert claims == {"sub": "alice", "scope": "read proofs", "iat": NOW, "exp": NOW + 3_600, "jti": token_id}
    assert len(token) < MAX_TOKEN // 2


def test_no_scope_contains_another() -> None:
    assert RING.caller(signed(scope="admin")).scopes == {Scope.ADMIN}
    assert RING.caller(signed(scope="READ everything  read")).scopes == {Scope.READ}
    assert RING.caller(signed(scope="")).scopes == frozenset()


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(exp=NOW - 5), "expired"),
        (signed(nbf=NOW + 86_400), "not yet valid"),
        (signed(OTHER), "none of our keys"),
        (signed(KEY * 2, "HS512"), "alg"),
        (jwt.encode({"sub": "u", "exp": NOW + 9}, "", "none").encode(), "alg"),
        (jwt.encode({"sub": "u", "scope": "read"}, KEY, "HS256").encode(), "exp"),
        (jwt.encode({"exp": NOW + 9, "scope": "read"}, KEY, "HS256").encode(), "sub"),
        (signed(sub=""), "sub"),
        (signed(sub="a b"), "sub"),
        (signed(sub="x" * 65), "sub"),
        (signed(scope=["read"]), "scope"),
        (signed(x="y" * MAX_TOKEN), "longer than"),
        (b"", "no token, or a part of one is missing; `spvnode token create`"),
        (b"abc", "no token"),
        (signed()[:20], "no token"),
        (b"....", "no token"),
        (b"\xff\xfe.\x00.", "no token"),
        (b"W1tbW1tbW1tb" * 50 + b".e30.AA", "."),
    ],
)
def test_what_does_not_count(token: bytes, why: str) -> None:
    with pytest.raises(TokenRefused, match=why):
        RING.caller(token)


def test_without_a_key_no_token_counts() -> None:
    with pytest.raises(TokenRefused, match="there is no key"):
        Keyring().caller(signed())


def test_numbers_that_no_clock_holds_are_refused() -> None:
    for text in (b'{"sub":"u","exp":1e999}', b'{"sub":"u","exp":"x"}', b'{"sub":"u","exp":[1]}', b"[]", b"1", b'"x"'):
        raw = jwt.PyJWS().encode(text, KEY, "HS256").encode()
        with pytest.raises(TokenRefused):
            RING.caller(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_nothing_else_happens(raw: bytes) -> None:
    with pytest.raises(TokenRefused):
        RING.caller(raw)


@given(st.data())
def test_no_changed_byte_passes(data: st.DataObject) -> None:
    token = bytearray(signed(exp=2_000_000_000))
    at = data.draw(st.integers(0, len(token) - 2))  # the last digit holds four bits that base64 leaves unused
    token[at] = data.draw(st.integers(0, 255).filter(lambda value: value != token[at]))
    with pytest.raises(TokenRefused):
        RING.caller(bytes(token))


def test_revoked_by_id_or_by_subject() -> None:
    token, token_id = mint(KEY, "alice", [Scope.READ], issued=NOW, expires=NOW + 3_600)
    for line in (token_id, "sub:alice"):
        with pytest.raises(TokenRefused, match="revoked"):
            Keyring((KEY,), frozenset({line})).caller(token.encode())
    assert Keyring((KEY,), frozenset({"sub:bob", "x"})).caller(token.encode()).user == "token:alice"


def test_keys_are_exchanged_one_after_the_other() -> None:
    ring = Keyring((OTHER, KEY))
    assert ring.caller(signed(KEY)).user == ring.caller(signed(OTHER)).user


def place(tmp_path: Path, keys: str, mode: int = 0o600) -> Path:
    file = tmp_path / "token.key"
    file.write_text(keys)
    file.chmod(mode)
    return file


def test_keys_come_from_the_environment_and_a_private_file(tmp_path: Path) -> None:
    file = place(tmp_path, f"{KEY.hex()}\n\n{OTHER.hex()}\n")
    ring = load_keyring(file, tmp_path / "none", {KEY_VARIABLE: bytes(range(50, 90)).hex()}, named=True)
    assert ring.keys == (bytes(range(50, 90)), KEY, OTHER)
    assert load_keyring(tmp_path / "none", tmp_path / "none", {}, named=False) == Keyring()


@pytest.mark.parametrize(
    ("keys", "mode", "why"),
    [
        (KEY.hex(), 0o644, "may be read by others"),
        (KEY[:31].hex(), 0o600, "a key of 31 bytes; at least 32"),
        ("secret", 0o600, "must be in hex"),
        ("00" * 32, 0o600, "a pattern"),
        ("0123" * 16, 0o600, "a pattern"),
        (f"{KEY.hex()}\n" * (MAX_KEYS + 1), 0o600, "9 keys, at most 8"),
        ("x" * 5_000, 0o600, "longer than"),
        ("\xe9" * 64, 0o600, "plain text"),
    ],
)
def test_keys_that_could_be_guessed_or_read_are_refused(tmp_path: Path, keys: str, mode: int, why: str) -> None:
    with pytest.raises(InputError, match=why) as found:
        load_keyring(place(tmp_path, keys, mode), tmp_path / "none", {}, named=True)
    assert KEY.hex()[:20] not in str(found.value)


def test_a_pipe_as_key_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(InputError, match="is no regular file"):
        load_keyring(tmp_path / "pipe", tmp_path / "revoked", {}, named=True)


def test_a_named_key_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_keyring(tmp_path / "gone", tmp_path / "none", {}, named=True)
    with pytest.raises(InputError, match="SPVNODE_TOKEN_KEY: a key of 2 bytes"):
        load_keyring(tmp_path / "gone", tmp_path / "none", {KEY_VARIABLE: "abcd"}, named=False)


def test_a_revocation_list_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "tokens.revoked"
    file.write_text("ab12\nsub:alice\n\n")
    assert load_revoked(file) == {"ab12", "sub:alice"}
    file.write_text("what is this?\n")
    with pytest.raises(InputError, match="neither a token's id nor sub:NAME"):
        load_revoked(file)
    file.write_text("".join(f"{n}\n" for n in range(MAX_REVOKED + 1)))
    with pytest.raises(InputError, match="at most 10000"):
        load_revoked(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=r"tokens\.revoked"):
        load_revoked(file)


def test_key_texts() -> None:
    assert parse_key(KEY.hex().upper(), "x") == KEY
