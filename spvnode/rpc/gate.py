"""Whether a caller may call a method now: its scopes, and its rates."""

from __future__ import annotations

from collections.abc import Callable

import trio

from spvnode.metrics import Metrics
from spvnode.rpc.caller import Caller, Scope
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.rates import Throttle
from spvnode.rpc.registry import Method
from spvnode.rpc.settings import Desk


class Gate:
    """One server's. ``clock`` in seconds."""

    def __init__(self, desk: Desk, metrics: Metrics, clock: Callable[[], float] = trio.current_time) -> None:
        self._desk = desk
        self._metrics = metrics
        self._clock = clock
        self._throttle = Throttle()

    async def admit(self, caller: Caller, method: Method) -> None:
        """Returns when the call may begin; a caller who is a little too fast waits here. Raises RpcError."""
        self.require(caller, method.scope)
        await self.pace(caller, method.name, method.cost)

    def require(self, caller: Caller, scope: Scope) -> None:
        """Raises RpcError unless the caller has ``scope``."""
        if scope not in caller.scopes:
            self._metrics.rpc_refused.labels("scope").inc()
            raise RpcError(Code.FORBIDDEN, f"Forbidden: wants the scope {scope.value!r}, which the token has not")

    async def pace(self, caller: Caller, what: str, cost: int = 1) -> None:
        """Counts ``cost`` units for ``what`` (a method, or a fixed name of a path). Raises RpcError."""
        found = self._throttle.admit(caller.user, what, cost, self._desk.now.rate(caller.kind), self._clock())
        if found.retry_after is not None:
            self._metrics.rpc_refused.labels("rate").inc()
            problem = f"Too many calls; try again in {found.retry_after:.1f} s"
            raise RpcError(Code.LIMIT_EXCEEDED, problem, retry_after=found.retry_after)
        if found.delay > 0:
            await trio.sleep(found.delay)
