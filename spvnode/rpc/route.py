"""What a route is, beside its path and the function that answers: enough for the OpenAPI document to be derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from spvnode.rpc.response import JSON, TEXT

Schema = dict[str, Any]
"""JSON Schema, 2020-12."""
Handler = TypeVar("Handler", bound=Callable[..., object])

STRING: Schema = {"type": "string"}
OBJECT: Schema = {"type": "object"}
UINT64: Schema = {"type": "string", "pattern": "^[0-9]{1,19}$"}
"""As the Beacon API has it; those of 20 digits are left out, as not all of them fit."""
ROOT: Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}
BLOCK_HASH: Schema = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
NO_BODY: Schema = {}
"""Of an answer that is all status."""
ANY_STATUS = 0
"""For a route whose caller chooses the status."""
BINARY: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the query string, or among the headers."""

    name: str
    schema: Schema
    required: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """``replies``: media type to schema, of a success. ``errors``: other statuses, and what their body is, None for a
    text, ``NO_BODY`` for none."""

    replies: dict[bytes, Schema] = field(default_factory=lambda: {JSON: OBJECT})
    query: tuple[Query, ...] = ()
    headers: tuple[Query, ...] = ()
    """Request headers that change the answer."""
    path: dict[str, Schema] = field(default_factory=dict)
    """Schemas of the parameters in the path, where they are more than text."""
    errors: dict[int, Schema | None] = field(default_factory=dict)
    body: tuple[bytes, Schema] | None = None
    """Media type and schema of what a POST sends."""
    credentials: bool = False
    """Whether it always wants some."""
    success: int = 200
    """The status of an answer as asked."""


_ABOUT: dict[Callable[..., object], About] = {}
PLAIN = About(replies={TEXT: STRING})


def about(known: About) -> Callable[[Handler], Handler]:
    """Keeps what is to be known of a handler beside it."""

    def keep(handler: Handler) -> Handler:
        _ABOUT[handler] = known
        return handler

    return keep


def about_of(handler: Callable[..., object]) -> About:
    """What was said of it; else that it answers with an object."""
    return _ABOUT.get(handler, About())
