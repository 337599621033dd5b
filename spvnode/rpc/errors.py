"""What a method may answer instead of a result. Codes are Bitcoin Core's (``src/rpc/protocol.h``, v28.1)."""

from __future__ import annotations

from enum import IntEnum

from spvnode.errors import SpvnodeError


class Code(IntEnum):
    """JSON-RPC error codes: -32768..-32000 by JSON-RPC 2.0 section 5.1, the others as Core uses them."""

    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    PARSE_ERROR = -32700
    MISC_ERROR = -1
    TYPE_ERROR = -3
    INVALID_ADDRESS_OR_KEY = -5
    """Also: block not found."""
    INVALID_PARAMETER = -8
    IN_WARMUP = -28
    """No chain has begun yet: the node waits for its checkpoint's header."""
    VERIFY_ERROR = -25
    """Core's ``submitheader`` answers it for a header that breaks a rule; ``importheaders`` here."""


class RpcError(SpvnodeError):
    """A typed failure of one call."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
