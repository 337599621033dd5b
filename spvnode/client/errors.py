"""What a call of the client may raise. All are ``ClientError``s."""

from __future__ import annotations

from spvnode.errors import SpvnodeError


class ClientError(SpvnodeError):
    """Base of the others."""


class RpcFailed(ClientError):
    """The daemon answered with an error. ``code``: see docs/rpc.md."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Refused(ClientError):
    """The daemon's HTTP server refused the request: credentials (401), scope or name (403), path (404), size (413)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Passing(ClientError):
    """What may be gone at the next try. ``untouched``: the daemon has surely not begun with the call. ``wait``: the
    seconds that it asked for."""

    def __init__(self, message: str, *, untouched: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.untouched = untouched
        self.wait = wait


class Unreachable(Passing):
    """No daemon answers there, or it went away before its reply was complete."""


class Busy(Passing):
    """The daemon has no room or the rate is used up."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message, untouched=True, wait=wait)
