"""A service that fails is restarted, later each time, until it has run well for a while."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from p2p.backoff import MIN_SHARE
from spvnode.errors import InputError
from spvnode.supervise import HEALTHY_AFTER, RESTART_CAP, RESTART_FIRST, supervise


def starts_of(lifetimes: list[float]) -> list[float]:
    """When a service was started that lives so long each time and then fails, at last returning."""
    starts: list[float] = []

    async def service() -> None:
        starts.append(trio.current_time())
        if len(starts) <= len(lifetimes):
            await trio.sleep(lifetimes[len(starts) - 1])
            raise ZeroDivisionError

    trio.run(supervise, "service", service, clock=MockClock(autojump_threshold=0))
    return starts


def test_pauses_double_up_to_a_cap() -> None:
    starts = starts_of([0.0] * 9)
    pauses = [after - before for before, after in pairwise(starts)]
    for n, pause in enumerate(pauses):
        nominal = min(RESTART_CAP, RESTART_FIRST * 2**n)
        assert nominal * MIN_SHARE <= pause <= nominal


def test_a_service_that_ran_well_is_restarted_at_once_again() -> None:
    healthy = HEALTHY_AFTER + 1
    starts = starts_of([0.0] * 8 + [healthy])
    assert starts[-1] - starts[-2] <= healthy + RESTART_FIRST


def test_what_the_operator_must_mend_passes_through() -> None:
    async def service() -> None:
        raise InputError("mesh.listen", "taken")

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(supervise, "service", service)
    assert caught.group_contains(InputError, match="taken")
