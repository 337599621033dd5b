"""The one exception of this room: a proof, or an input to one, that does not hold."""

from __future__ import annotations


class ProofError(ValueError):
    """A proof, a bundle, or an argument about them is refused.

    ``field`` names what was wrong, ``problem`` says how in plain words, and ``limit`` is the bound that was broken
    where there is one. The text is safe to show: it never holds the refused bytes themselves.
    """

    def __init__(self, field: str, problem: str, limit: int | None = None) -> None:
        super().__init__(f"{field}: {problem}" + ("" if limit is None else f" (limit {limit})"))
        self.field = field
        self.problem = problem
        self.limit = limit
