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
    INVALID_PARAMS = -32602
    """Parameters that exclude each other, as Core's ``disconnectnode`` has it."""
    CLIENT_NODE_ALREADY_ADDED = -23
    """Also: already banned."""
    CLIENT_NODE_NOT_ADDED = -24
    CLIENT_NODE_NOT_CONNECTED = -29
    CLIENT_INVALID_IP_OR_SUBNET = -30
    CLIENT_P2P_DISABLED = -31
    """No wire is up on which such peers could be met."""
    LIMIT_EXCEEDED = -32005
    """As EIP-1474 has it: the rate of this user, or of this method."""
    FORBIDDEN = -32010
    """The caller's token has not the scope, or the configuration does not let the caller."""
    MAINTENANCE = -32011
    """The operator has closed the RPC for now."""


MEANINGS = {
    Code.INVALID_REQUEST: "the request is no call: no method, params of another type, a batch that is too long",
    Code.METHOD_NOT_FOUND: "there is no such method",
    Code.INTERNAL_ERROR: "a fault of spvnode itself; its log has the rest",
    Code.PARSE_ERROR: "the body is not JSON, or nested too deep",
    Code.MISC_ERROR: "too many or too few parameters; a batch's reply grew too large; a proof cannot be "
    "made yet; no peer gives the block",
    Code.TYPE_ERROR: "a parameter has the wrong type",
    Code.INVALID_ADDRESS_OR_KEY: "the block, or a transaction in it, is not known",
    Code.INVALID_PARAMETER: "a parameter is out of range, malformed or unknown",
    Code.DATABASE_ERROR: "the store or the disk refused: full, not writable, damaged",
    Code.IN_WARMUP: "the network has not begun: it waits for its checkpoint",
    Code.VERIFY_ERROR: "headers break a rule; the message names it",
    Code.INVALID_PARAMS: "parameters exclude each other",
    Code.CLIENT_NODE_ALREADY_ADDED: "the peer is added, or banned, already",
    Code.CLIENT_NODE_NOT_ADDED: "the peer was not added",
    Code.CLIENT_NODE_NOT_CONNECTED: "no connected peer has that name",
    Code.CLIENT_INVALID_IP_OR_SUBNET: "neither an address, a network nor a peer id; or it is not banned",
    Code.CLIENT_P2P_DISABLED: "no wire is up on which such a peer could be met",
    Code.LIMIT_EXCEEDED: "too many calls of this user or method: try again after `data.retry_after` seconds (HTTP 429)",
    Code.FORBIDDEN: "the token has not the scope that the method wants, or the configuration does not let the caller "
    "(HTTP 403)",
    Code.MAINTENANCE: "the operator has closed the RPC for now: HTTP 503, before any call is looked at",
}
"""For docs/rpc.md."""


class RpcError(SpvnodeError):
    """A typed failure of one call. ``retry_after``: seconds after which it may succeed."""

    def __init__(self, code: Code, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
