"""Every proof that any of our servers gives to any test is checked again, by verifiers of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.recheck import RECHECK
from tests.support.recheck_hooks import install

install()


@pytest.fixture(autouse=True)
def every_proof_is_checked_again() -> Iterator[None]:
    """``tests/support/recheck.py`` says how."""
    yield
    RECHECK.settle()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many there were."""
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(RECHECK.counts.items()))
    terminalreporter.write_line(f"proofs in replies, checked again in {RECHECK.seconds:.1f} s: {told or 'none'}")
