"""Who calls, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a call asks for. None contains another: a token lists all that it shall have."""

    READ = "read"
    """What the node knows."""
    PROOFS = "proofs"
    """Making and checking proofs, which costs more than a look."""
    ADMIN = "admin"
    """Whatever changes the node."""


class Kind(StrEnum):
    """How a caller is known; the rates hang on it."""

    LOCAL = "local"
    """This user, at the other end of the unix socket."""
    OPERATOR = "operator"
    """Who could read the cookie file."""
    TOKEN = "token"  # noqa: S105 - a word
    """The subject of a token."""
    ANONYMOUS = "anonymous"
    """Nobody: open paths only."""


ALL_SCOPES = frozenset(Scope)
NO_SCOPES: frozenset[Scope] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """``user`` names whose rates are counted: a token's subject, or where an anonymous request comes from."""

    kind: Kind
    user: str
    scopes: frozenset[Scope]


LOCAL = Caller(Kind.LOCAL, "local", ALL_SCOPES)
OPERATOR = Caller(Kind.OPERATOR, "operator", ALL_SCOPES)
