"""Event filters by name, as readers of events see them: plugins, where there are any."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from spvnode.errors import InputError
from spvnode.inputs import shown


class Filters(Protocol):
    """Those of one daemon."""

    @property
    def names(self) -> Collection[str]:
        """Those that there are now."""

    async def keep(self, name: str, events: Sequence[bytes]) -> Sequence[bool]:
        """For each event (JSON) whether a reader is told of it. A filter that fails, or is gone, keeps everything."""


class _None:
    names: Collection[str] = ()

    async def keep(self, name: str, events: Sequence[bytes]) -> Sequence[bool]:
        """See ``Filters``."""
        return [True] * len(events)


NO_FILTERS = _None()


def require_filter(name: str, known: Collection[str], field: str) -> None:
    """Raises InputError unless ``name`` is one of ``known``, or empty."""
    if name and name not in known:
        there = ", ".join(known) or "none"
        raise InputError(field, f"{shown(name)} is no event filter of this node; there are: {there}")
