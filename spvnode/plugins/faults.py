"""What a plugin can do wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a call came to nothing."""

    FUEL = "out-of-fuel"
    """It did more than its share of work."""
    DEADLINE = "deadline"
    """It took longer than it may."""
    MEMORY = "out-of-bounds"
    """It read or wrote outside its memory or tables."""
    STACK = "stack-overflow"
    POINTER = "bad-pointer"
    """``spvnode_alloc``, or a call of ours, was given a place that is not in its memory."""
    RESULT = "bad-result"
    """``filter_event`` said neither 0 nor 1."""
    CALLS = "too-many-calls"
    """It asked the node too often in one call."""
    TRAP = "trap"
    """Anything else that ends a module: unreachable code, a division by zero."""
    INTERNAL = "internal"
    """The sandbox itself failed; the log has it whole."""


@dataclass(frozen=True, slots=True)
class PluginFault:
    """One call that came to nothing."""

    plugin: str
    reason: Reason
    detail: str = ""
