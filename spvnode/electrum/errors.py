"""What a client is told instead of a result."""

from __future__ import annotations

from enum import IntEnum

from spvnode.errors import SpvnodeError


class Code(IntEnum):
    """Those below -32000 are JSON-RPC's; the others as ElectrumX and aiorpcX use them."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    """Also: part of the protocol, but not served by a node of headers."""
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    EXCESSIVE_USE = -101
    """The rate of this caller, or a reply that grew too large."""
    BAD_REQUEST = 1
    UNAVAILABLE = 2
    """Not now: the chain has not begun, no peer gives the block."""


class ElectrumError(SpvnodeError):
    """The answer to one call. ``ends``: the connection is closed after it."""

    def __init__(self, code: Code, message: str, *, ends: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.ends = ends
