"""Scoped tokens: JWT (RFC 7519), HS256 and nothing else, with a subject and an end. There is none until one is made.

Keys come from a file (mode 0600; one key a line, 64 or more hex digits; the first signs, all verify, so that they can
be exchanged one after the other) or from the environment. ``tokens.revoked`` lists what no longer counts: a token's
``jti``, or ``sub:NAME`` for all of one subject. PyJWT is imported with the first key.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spvnode.errors import InputError, SpvnodeError
from spvnode.files import open_regular
from spvnode.inputs import shown
from spvnode.rpc.caller import Caller, Kind, Scope

ALGORITHM = "HS256"
KEY_VARIABLE = "SPVNODE_TOKEN_KEY"
"""A key in the environment, in hex."""
MIN_KEY_BYTES = 32
"""As many as the hash has (RFC 7518, 3.2): a shorter key could be guessed from one token."""
MIN_KEY_VALUES = 8
"""Different bytes in a key: 32 random ones have more, a pattern that somebody typed has not."""
MAX_KEYS = 8
"""Keys in the file; each costs a hash for every token that none of them signed."""
MAX_KEY_FILE = 4_096
"""Bytes of the key file; a wrong path may be a video."""
MAX_TOKEN = 1_024
"""Characters of a token that is looked at; ours have some 230. Anybody who reaches the port can send one."""
MAX_SUBJECT = 64
"""Characters of a subject: it stands in logs and in the table of rates."""
MAX_REVOKED = 10_000
"""Lines of the revocation list, 100 bytes each in memory; expired ones go when the list is written."""
MAX_REVOKED_FILE = 1 << 20
"""Bytes of that list."""
SUBJECT = re.compile(rf"[A-Za-z0-9._@-]{{1,{MAX_SUBJECT}}}\Z")
NOT_ONE = "that is no token, or a part of one is missing; `spvnode token create` prints one"
"""For what PyJWT calls by the parts that it did not find."""
_CLAIM = " claim ("
"""Stands where PyJWT could read a token, and names what in it is wrong."""
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class TokenRefused(SpvnodeError):
    """A token does not count; the message says why, and never repeats any of it."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """What tokens are judged by."""

    keys: tuple[bytes, ...] = ()
    revoked: frozenset[str] = frozenset()

    def caller(self, token: bytes) -> Caller:
        """Whose ``token`` it is. Raises TokenRefused."""
        if not self.keys:
            raise TokenRefused("no token counts here: there is no key")
        if len(token) > MAX_TOKEN:
            raise TokenRefused(f"longer than {MAX_TOKEN} characters")
        claims = self._claims(token)
        subject, token_id, scope = claims["sub"], claims.get("jti"), claims.get("scope", "")
        if not SUBJECT.match(str(subject)):
            raise TokenRefused(f"sub: must be up to {MAX_SUBJECT} of A-Z a-z 0-9 . _ @ -")
        if f"sub:{subject}" in self.revoked or token_id in self.revoked:
            raise TokenRefused("revoked")
        if not isinstance(scope, str):
            raise TokenRefused("scope: must be words in one string (RFC 8693, 4.2)")
        words = scope.split(" ")
        return Caller(Kind.TOKEN, f"token:{subject}", frozenset(one for one in Scope if one.value in words))

    def _claims(self, token: bytes) -> Mapping[str, object]:
        import jwt  # noqa: PLC0415 - 40 ms and 0.4 MB, for those who have a key

        options: jwt.types.Options = {"require": ["exp", "sub"], "enforce_minimum_key_length": True}
        for key in self.keys:
            try:
                return jwt.decode(token, key, algorithms=[ALGORITHM], options=options)
            except jwt.InvalidSignatureError:
                continue  # perhaps the next key's
            except jwt.DecodeError as error:
                raise TokenRefused(str(error)[:100] if _CLAIM in str(error) else NOT_ONE) from None
            except jwt.PyJWTError as error:
                raise TokenRefused(" ".join(str(error).split())[:100]) from None
            except (ValueError, TypeError, OverflowError, RecursionError, AttributeError):
                break  # JSON that PyJWT did not expect: an exp of 1e999, brackets without end
        raise TokenRefused("signed by none of our keys")


def mint(key: bytes, subject: str, scopes: Sequence[Scope], *, issued: int, expires: int) -> tuple[str, str]:
    """A new token and its ``jti``. Times in Unix seconds. Raises InputError for a subject that would be refused."""
    import jwt  # noqa: PLC0415 - see above

    if not SUBJECT.match(subject):
        raise InputError("subject", f"{shown(subject)}: must be up to {MAX_SUBJECT} of A-Z a-z 0-9 . _ @ -")
    token_id = secrets.token_hex(8)
    words = " ".join(dict.fromkeys(scopes))
    claims = {"sub": subject, "scope": words, "iat": issued, "exp": expires, "jti": token_id}
    return jwt.encode(claims, key, ALGORITHM), token_id


def load_keyring(key_file: Path, revoked_file: Path, environ: Mapping[str, str], *, named: bool) -> Keyring:
    """The keys in the environment and in ``key_file`` (which must be there when it was ``named``), and what is revoked.
    Raises InputError: a list that cannot be read must not count as empty."""
    found = []
    if given := environ.get(KEY_VARIABLE):
        found.append(parse_key(given, KEY_VARIABLE))
    text = _read(key_file, "rpc.token_key_file", MAX_KEY_FILE, private=True)
    if text is None and named:
        raise InputError("rpc.token_key_file", f"{key_file}: no such file")
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if len(lines) > MAX_KEYS:
        raise InputError("rpc.token_key_file", f"{key_file}: {len(lines)} keys, at most {MAX_KEYS}")
    found += [parse_key(line, "rpc.token_key_file") for line in lines]
    return Keyring(tuple(found), load_revoked(revoked_file))


def load_revoked(path: Path) -> frozenset[str]:
    """The lines of the revocation list; empty where there is none. Raises InputError."""
    text = _read(path, "tokens.revoked", MAX_REVOKED_FILE, private=False) or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_REVOKED:
        raise InputError("tokens.revoked", f"{path}: {len(lines)} lines, at most {MAX_REVOKED}")
    for line in lines:
        if not _TOKEN_ID.match(line) and not SUBJECT.match(line.removeprefix("sub:")):
            raise InputError("tokens.revoked", f"{path}: {shown(line)} is neither a token's id nor sub:NAME")
    return frozenset(lines)


def parse_key(text: str, field: str) -> bytes:
    """A key in hex. InputError for one that could be guessed; the message does not show it."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise InputError(field, "a key must be in hex") from None
    if len(key) < MIN_KEY_BYTES:
        raise InputError(field, f"a key of {len(key)} bytes; at least {MIN_KEY_BYTES} ({2 * MIN_KEY_BYTES} hex digits)")
    if len(set(key)) < MIN_KEY_VALUES:
        raise InputError(field, "a key that is a pattern, not random; `openssl rand -hex 32` makes one")
    return key


def _read(path: Path, field: str, limit: int, *, private: bool) -> str | None:
    """A small file's text; None where there is none. With ``private`` nobody else may be able to read it."""
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(field, f"{path}: {error.strerror}") from error
    if private and stat.S_IMODE(mode) & 0o077:
        raise InputError(field, f"{path} may be read by others (mode {stat.S_IMODE(mode):o}); chmod 600 it")
    if len(raw) > limit:
        raise InputError(field, f"{path}: longer than {limit} bytes")
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise InputError(field, f"{path}: is not plain text") from None
