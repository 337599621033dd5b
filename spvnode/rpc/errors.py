"""What a method may answer instead of a result. Codes are Bitcoin Core's (``src/rpc/protocol.h``, v28.1)."""

from __future__ import annotations

from enum import IntEnum

from spvnode.errors import SpvnodeError


class Code(IntEnum):
    """JSON-RPC error codes: -32768..-32000 by JSON-RPC 2.0 section 5.1, the others as Core uses them."""

    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INTERNAL_ERROR = -32603
    PARSE_ERROR = -32700
    MISC_ERROR = -1
    TYPE_ERROR = -3
    INVALID_ADDRESS_OR_KEY = -5
    """Also: block not found."""
    INVALID_PARAMETER = -8
    DATABASE_ERROR = -20
    """The store or the disk refused: full, not writable, damaged."""
    IN_WARMUP = -28
    """The chain has not begun yet: the node waits for its checkpoint's header, or for a checkpoint at all."""
    VERIFY_ERROR = -25
    """Core's ``submitheader`` answers it for a header that breaks a rule; ``importheaders`` here."""


MEANINGS = {
    Code.INVALID_REQUEST: "the request is no call: no method, params of another type, a batch that is too long",
    Code.METHOD_NOT_FOUND: "there is no such method",
    Code.INTERNAL_ERROR: "a fault of spvnode itself; its log has the rest",
    Code.PARSE_ERROR: "the body is not JSON, or nested too deep",
    Code.MISC_ERROR: "too many or too few parameters; a batch's reply grew too large; a proof cannot be made yet",
    Code.TYPE_ERROR: "a parameter has the wrong type",
    Code.INVALID_ADDRESS_OR_KEY: "the block is not known",
    Code.INVALID_PARAMETER: "a parameter is out of range, malformed or unknown",
    Code.DATABASE_ERROR: "the store or the disk refused: full, not writable, damaged",
    Code.IN_WARMUP: "the network has not begun: it waits for its checkpoint",
    Code.VERIFY_ERROR: "headers break a rule; the message names it",
}
"""For docs/rpc.md."""


class RpcError(SpvnodeError):
    """A typed failure of one call."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
