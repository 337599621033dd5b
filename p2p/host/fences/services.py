"""The task manager of libp2p's services, with a firewall around every task.

tools/anyio_service/trio_manager.py:385 lets any exception of any task cancel the whole service (all connections, or all
of gossip) unless its text looks like an expected shutdown, and ``run`` then raises it: one bad message of one peer ends
the process. tools/anyio_service/trio_manager.py:285 looks through all tasks for the parent of each new one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from libp2p.tools.anyio_service.exceptions import LifecycleError
from libp2p.tools.anyio_service.trio_manager import TrioManager

log = structlog.get_logger(__name__)

DAEMON_PAUSE = 1.0
"""Seconds before a task that should run for ever, and failed, runs again."""

AsyncFn = Callable[..., Awaitable[Any]]


class FirewalledManager(TrioManager):  # type: ignore[misc]
    """A failed task is logged and gone; a failed daemon task starts again; the service goes on."""

    def run_task(
        self,
        async_fn: AsyncFn,
        *args: Any,
        daemon: bool = False,
        name: str | None = None,
        _internal: bool = False,
    ) -> None:
        """Start a task behind the firewall; ``daemon``: and again whenever it fails."""
        if self._task_nursery is None or not self.is_running:
            raise LifecycleError(f"{self._service} is not running")
        if _internal:  # the service itself, which no remote reaches: its end is an error of ours, and must be seen
            self._task_nursery.start_soon(async_fn, *args, name=name)
        else:
            self._task_nursery.start_soon(self._guard, async_fn, args, daemon, name=name or repr(async_fn))

    async def _guard(self, async_fn: AsyncFn, args: tuple[Any, ...], daemon: bool) -> Any:
        while True:
            try:
                return await async_fn(*args)
            except Exception:
                # Firewall: whatever one peer made one task do, the service and the process live on.
                log.exception("task failed", task=getattr(async_fn, "__qualname__", repr(async_fn)))
            if not daemon:
                return None
            await trio.sleep(DAEMON_PAUSE)
