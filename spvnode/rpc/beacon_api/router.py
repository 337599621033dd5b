"""From a path to what answers it: patterns like ``/headers/{block_id}``, as the Beacon API writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

MAX_SEGMENT = 128
"""Characters of a path segment that stands for a parameter; a root has 66. Any local client can fill it."""

Target = TypeVar("Target")
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Router(Generic[Target]):
    """Patterns and their targets. Paths of one shape belong to one pattern."""

    def __init__(self, routes: Mapping[str, Target]) -> None:
        self._routes = [(_compiled(pattern), target) for pattern, target in routes.items()]

    def find(self, path: str) -> tuple[Target, Mapping[str, str]] | None:
        """The target of ``path`` and its parameters; None when no pattern fits."""
        for pattern, target in self._routes:
            if match := pattern.fullmatch(path):
                return target, match.groupdict()
        return None


def _compiled(pattern: str) -> re.Pattern[str]:
    literal = [re.escape(part) for part in _PARAMETER.split(pattern)[::2]]
    names = _PARAMETER.findall(pattern)
    named = [f"(?P<{name}>[^/]{{1,{MAX_SEGMENT}}})" for name in names]
    return re.compile("".join(part + name for part, name in zip(literal, [*named, ""], strict=True)))
