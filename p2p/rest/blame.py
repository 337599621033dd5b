"""What httpcore2 raises, as the fault of the server that caused it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpcore2

from p2p.faults import FaultReason, RemoteFault

FAILURES = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)
"""All that a server can make of a request."""
_CAUSES = 8
"""Links followed from an exception to its causes: httpcore2, trio, ssl, and some to spare."""
_CUT_OFF = ("Server disconnected", "peer closed connection")
"""How httpcore2 and h11 begin the message about a connection that ended early; other messages of theirs are about bytes
that are no HTTP."""


def blame(peer: str, error: Exception) -> RemoteFault:
    """The fault of ``peer`` that one of ``FAILURES`` tells of."""
    reason, evidence = _judge(error)
    return RemoteFault(reason, peer, evidence)


def _judge(error: Exception) -> tuple[FaultReason, str]:
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return FaultReason.PROTOCOL, f"TLS: {getattr(tls, 'verify_message', '') or tls.reason or 'handshake failed'}"
    text = str(error)
    match error:
        case httpcore2.ConnectTimeout() | httpcore2.PoolTimeout():
            return FaultReason.TIMEOUT, "no connection in time"
        case httpcore2.ReadTimeout() | httpcore2.WriteTimeout():
            return FaultReason.STALLED, "went silent"
        case httpcore2.ConnectError():
            return FaultReason.DISCONNECTED, f"cannot connect: {text}"
        case httpcore2.RemoteProtocolError() if not text.startswith(_CUT_OFF):
            return FaultReason.BAD_FRAME, f"no HTTP: {text}"
    return FaultReason.DISCONNECTED, text or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
