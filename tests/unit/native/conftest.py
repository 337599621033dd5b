"""These tests are of the compiled kernels: without them they fail, they do not skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from native import _kernels as kernels

PATHS = kernels.implementations()


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each SHA-256 implementation of this CPU in turn, selected."""
    before = kernels.implementation()
    kernels.select(request.param)
    yield request.param
    kernels.select(before)
