"""The steps in their order, by phase, and which chain a request goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from spvnode.metrics import Metrics
from spvnode.rpc.access import Unauthorized
from spvnode.rpc.auth import Cookie
from spvnode.rpc.pipeline import fixed
from spvnode.rpc.pipeline.step import Headers, Refused, Request, Step, Visit
from spvnode.rpc.response import Response
from spvnode.rpc.settings import Desk, Settings

ALWAYS: Final = frozenset({"/livez", "/readyz"})
"""Paths that no configured step may stand before: a supervisor that is refused there would restart a healthy node."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What takes part in each phase, in order, and the settings that it works by."""

    settings: Settings
    steps: tuple[Step, ...]
    refused: Callable[[str], None]
    """Counts a refusal."""
    pre_route: tuple[Callable[[Request], None], ...]
    in_route: tuple[Callable[[Visit], float], ...]
    post_call: tuple[Callable[[Visit], None], ...]
    post_route: tuple[Callable[[Request, Response, Headers], None], ...]

    @classmethod
    def of(cls, settings: Settings, steps: Iterable[Step], refused: Callable[[str], None]) -> Chain:
        """A chain of ``steps``."""
        steps = tuple(steps)
        return cls(
            settings,
            steps,
            refused,
            tuple(step.pre_route for step in steps if type(step).pre_route is not Step.pre_route),
            tuple(step.in_route for step in steps if type(step).in_route is not Step.in_route),
            tuple(step.post_call for step in steps if type(step).post_call is not Step.post_call),
            tuple(step.post_route for step in steps if type(step).post_route is not Step.post_route),
        )

    def begin(self, request: Request) -> None:
        """The phase before the route. Raises ``Refused`` or ``Unauthorized``."""
        try:
            for step in self.pre_route:
                step(request)
        except (Refused, Unauthorized) as error:
            self.refused(error.why)
            raise

    async def admit(self, visit: Visit) -> None:
        """The phase in the route: returns when the visit may begin. Raises ``Refused`` or ``Unauthorized``."""
        try:
            for step in self.in_route:
                if delay := step(visit):
                    await trio.sleep(delay)
        except (Refused, Unauthorized) as error:
            self.refused(error.why)
            raise

    def end_call(self, visit: Visit) -> None:
        """The phase after a call."""
        for step in self.post_call:
            step(visit)

    def end(self, request: Request, response: Response, headers: Headers) -> None:
        """The phase after the route."""
        for step in self.post_route:
            step(request, response, headers)


def call_chain(metrics: Metrics) -> Chain:
    """For calls that come by no server: they are measured and traced, and everybody may do all."""
    return Chain.of(Settings(), (fixed.Tracing(), fixed.Measure(metrics)), _count(metrics))


class Pipeline:
    """One server's. The built-in steps are made once, as they remember rates; the chain with each change of the
    settings."""

    def __init__(
        self, cookie: Cookie, desk: Desk, metrics: Metrics, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._desk = desk
        self._refused = _count(metrics)
        self.before: Sequence[Step] = (fixed.Guard(), fixed.Access(cookie), fixed.Tracing(), fixed.Scopes())
        self.after: Sequence[Step] = (fixed.Rate(clock), fixed.NoStore(), fixed.Measure(metrics))
        self._make()

    def _make(self) -> None:
        settings = self._desk.now
        spared = [step for step in settings.steps if not step.blocks]
        self._full = Chain.of(settings, (*self.before, *settings.steps, *self.after), self._refused)
        self._spared = Chain.of(settings, (*self.before, *spared, *self.after), self._refused)

    def chain(self, path: str, *, vouched: bool) -> Chain:
        """The chain of a request that begins now. ``vouched``: it comes by the unix socket, from this very user, who
        must be able to undo every mistake in the configuration."""
        if self._full.settings is not self._desk.now:
            self._make()
        return self._spared if vouched or path in ALWAYS else self._full


def _count(metrics: Metrics) -> Callable[[str], None]:
    return lambda why: metrics.rpc_refused.labels(why).inc()
