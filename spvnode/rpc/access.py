"""From a request's ``Authorization`` to its caller.

``Basic`` with the cookie's content, or ``Bearer`` with a token; clients that only know user and password (bitcoin-cli,
Core's libraries) give a token as the password of the user ``__token__``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from spvnode.rpc.auth import Cookie
from spvnode.rpc.caller import LOCAL, NO_SCOPES, OPERATOR, Caller, Kind
from spvnode.rpc.tokens import MAX_TOKEN, Keyring, TokenRefused

LOOK_SECONDS = 10.0
"""Between two looks at the token of a stream that goes on; one takes 50 us."""
TOKEN_USER = b"__token__:"
NO_CREDENTIALS = 'wants the content of <datadir>/.cookie as Basic credentials: curl -u "$(cat .cookie)"'


class Unauthorized(Exception):
    """The request shows no credentials, or such as do not count; the message may be told."""

    why = "authorization"
    """The word for the metrics."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the server knows it. ``vouched``: needs no credentials. ``remote``: the listener can
    be reached from other machines. ``address``: whom anonymous requests are counted for."""

    listener: str
    vouched: bool
    remote: bool = False
    address: str = ""


def caller_of(peer: Peer, authorization: bytes | None, cookie: Cookie, keyring: Keyring) -> Caller:
    """Who asks; anonymous without credentials. Raises Unauthorized for credentials that do not count."""
    if peer.vouched:
        return LOCAL
    if authorization is None:
        return Caller(Kind.ANONYMOUS, f"at:{peer.address}", NO_SCOPES)
    if cookie.admits(authorization):
        return OPERATOR
    try:
        return keyring.caller(_token(authorization))
    except TokenRefused as error:
        raise Unauthorized(f"token: {error}") from None


class Ended(trio.ClosedResourceError):
    """Who reads a stream may not any more; it ends as if it had been closed."""


class Standing:
    """The token that a stream was begun with, looked at again while the stream goes on: when the keys and what is
    revoked were read anew, and every ``LOOK_SECONDS``, as it has an end."""

    def __init__(
        self, turn: Callable[[], Awaitable[None]], authorization: bytes, keyring: Callable[[], Keyring]
    ) -> None:
        self._turn = turn
        self._authorization = authorization
        self._keyring = keyring
        self._known = keyring()
        self._until = trio.current_time() + LOOK_SECONDS

    async def turn(self) -> None:
        """Before each look of the stream. Raises Ended."""
        await self._turn()
        keyring, now = self._keyring(), trio.current_time()
        if keyring is self._known and now < self._until:
            return
        try:
            keyring.caller(_token(self._authorization))
        except TokenRefused:
            raise Ended from None
        self._known, self._until = keyring, now + LOOK_SECONDS


def challenge(keyring: Keyring) -> bytes:
    """For ``WWW-Authenticate``: what would be taken."""
    basic = b'Basic realm="jsonrpc"'
    return basic + b', Bearer realm="jsonrpc"' if keyring.keys else basic


def _token(authorization: bytes) -> bytes:
    """The token in the header. Raises Unauthorized where there is none."""
    scheme, _, rest = authorization.partition(b" ")
    scheme, rest = scheme.lower(), rest.strip()
    if scheme == b"bearer":
        return rest
    if scheme == b"basic" and len(rest) <= 2 * MAX_TOKEN:
        try:
            given = base64.b64decode(rest, validate=True)
        except binascii.Error:
            given = b""
        if given.startswith(TOKEN_USER):
            return given.removeprefix(TOKEN_USER)
    raise Unauthorized(NO_CREDENTIALS)
