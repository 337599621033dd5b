"""Named peers that are not connected: what is kept of them, and how an error is put in words."""

from __future__ import annotations

import socket

import pytest
import trio

from p2p.bitcoin.dialing import TcpDial, parse_target
from p2p.port import DialFailed
from p2p.troubles import MAX_PROBLEM, Missing, Troubles, cause


def test_what_is_kept_of_a_problem_is_bounded_and_of_named_peers_only() -> None:
    async def main() -> None:
        troubles = Troubles("regtest")
        troubles.expect("named")
        assert troubles.of("named") == Missing("named", None)
        troubles.failed("named", "named: " + "x" * (MAX_PROBLEM + 1))
        troubles.failed("found", "refused")
        assert troubles.of("named") == Missing("named", "x" * MAX_PROBLEM)
        assert troubles.of("found").problem is None
        troubles.cleared("named")
        assert troubles.of("named").problem is None

    trio.run(main)


def test_a_refused_connection_is_called_so() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever dials it is refused
            target = parse_target(f"127.0.0.1:{taken.getsockname()[1]}", 1)
            with pytest.raises(DialFailed, match=f"^{target}: Connection refused$"):
                await TcpDial()(target)

    trio.run(main)


def test_the_first_cause_is_the_one_that_says_something() -> None:
    wrapped = RuntimeError("dial failed")
    wrapped.__cause__ = ExceptionGroup("all failed", [OSError(111, "Connection refused"), OSError("other")])
    assert cause(wrapped) == "Connection refused"
    assert cause(ValueError("bad")) == "bad"
    assert cause(ValueError()) == "ValueError"
