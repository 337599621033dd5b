"""Keeps a service alive: restarted with capped exponential backoff when it fails, whatever it raised.

The firewall of last resort. A defect in one service (the mesh library, say) costs that service a pause, not the node.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog
import trio

from p2p.backoff import Backoff
from spvnode.errors import InputError

RESTART_FIRST = 0.5
"""Seconds before the first restart, at most."""
RESTART_CAP = 30.0
"""Seconds at most between restarts."""
HEALTHY_AFTER = 60.0
"""Seconds that a service must have run for its past failures to be forgotten."""

log = structlog.get_logger("supervise")


async def supervise(name: str, service: Callable[[], Awaitable[None]]) -> None:
    """Runs ``service`` until it returns; restarts it when it raises. InputError and cancellation pass through."""
    backoff = Backoff(RESTART_FIRST, RESTART_CAP, random.Random())  # noqa: S311 - spreads restarts, hides nothing
    while True:
        started = trio.current_time()
        try:
            await service()
        except* InputError:
            raise  # nothing that waiting could mend: the operator has to
        except* Exception:  # the last firewall: logged whole, and tried again
            if trio.current_time() - started > HEALTHY_AFTER:
                backoff.reset()
            log.exception("service failed", service=name)
        else:
            return
        await trio.sleep(backoff.next())
