"""The map of run starts against a plain set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spvnode.store.runmap import RunMap

LIMIT = 200


def start_in(naive: set[int], height: int) -> int | None:
    """The start at or below ``height`` in its group of 16."""
    found = [start for start in naive if height - height % 16 <= start <= height]
    return max(found, default=None)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "above", "below"]), st.integers(0, LIMIT), st.integers(0, LIMIT)),
        max_size=12,
    )
)
def test_it_agrees_with_a_set(steps: list[tuple[str, int, int]]) -> None:
    naive: set[int] = set()
    runs = RunMap()
    for what, low, high in steps:
        if what == "add":
            naive |= set(range(low, high, 5))
            runs.add(range(low, high, 5))
        elif what == "above":
            naive = {start for start in naive if start <= low}
            runs.cut_above(low)
        else:
            naive = {start for start in naive if start >= low}
            runs.cut_below(low)
        assert list(runs.starts(0, LIMIT + 50)) == sorted(naive)
        assert list(runs.starts(low, high)) == sorted(start for start in naive if low <= start <= high)
        for height in range(0, LIMIT + 50, 3):
            assert runs.start_of(height) == start_in(naive, height)


def test_nothing_is_above_a_cut_below_zero() -> None:
    runs = RunMap()
    runs.add([0, 16, 40])
    runs.cut_above(-1)
    assert list(runs.starts(0, 100)) == []
