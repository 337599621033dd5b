"""multistream-select with bounds, over a scripted pipe."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_peer import GREETING, message, varint

# isort: split

from libp2p.network.stream.exceptions import StreamEOF
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient

from p2p.host.fences.negotiation import BoundedMultiselect, EagerMultiselectClient
from p2p.host.limits import Limits

LIMITS = Limits(negotiation_message=60, negotiation_proposals=3, negotiation_deadline=5)
HELLO = message(GREETING)


class Pipe:
    """Gives what is scripted, ``size`` bytes at a time, then waits or ends; keeps what is written."""

    def __init__(self, script: bytes, size: int = 1, *, ends: bool = True) -> None:
        self.script, self.written = script, b""
        self._size, self._ends = size, ends

    async def read(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.script:
            if self._ends:
                raise StreamEOF
            await trio.sleep_forever()
        taken = self.script[: min(count, self._size)]
        self.script = self.script[len(taken) :]
        return taken

    async def write(self, data: bytes) -> None:
        self.written += data


def asked(pipe: Pipe) -> tuple[str, str]:
    server: Any = type("Bounded", (BoundedMultiselect, Multiselect), {"limits": LIMITS})({"/a": "A", "/b": "B"})
    result: tuple[str, str] = trio.run(
        server.negotiate, SimpleNamespace(read_writer=pipe), clock=trio.testing.MockClock(autojump_threshold=0)
    )
    return result


def ask(pipe: Pipe, *protocols: str) -> str:
    client: Any = type("Eager", (EagerMultiselectClient, MultiselectClient), {"limits": LIMITS})()
    result: str = trio.run(
        client.select_one_of,
        protocols,
        SimpleNamespace(read_writer=pipe),
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
    return result


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_asked_side_agrees(size: int) -> None:
    pipe = Pipe(HELLO + message(b"/b"), size)
    assert asked(pipe) == ("/b", "B")
    assert pipe.written == HELLO + message(b"/b")


def test_the_asked_side_refuses_and_goes_on() -> None:
    pipe = Pipe(HELLO + message(b"/x") + message(b"ls") + message(b"/a"))
    assert asked(pipe) == ("/a", "A")
    assert pipe.written == HELLO + message(b"na") * 2 + message(b"/a")


REFUSED = {
    "nothing": b"",
    "another protocol": message(b"/multistream/2.0.0"),
    "not UTF-8": HELLO + message(b"\xff\xfe\xfd"),
    "too long": HELLO + varint(62) + bytes(62),
    "far too long": HELLO + varint(2**40),
    "no newline": HELLO + varint(3) + b"/ab",
    "empty": HELLO + b"\x00",
    "too many proposals": HELLO + message(b"/x") * 3 + message(b"/a"),
    "cut": HELLO + message(b"/a")[:-1],
}


@pytest.mark.parametrize("script", REFUSED.values(), ids=REFUSED)
def test_the_asked_side_gives_up(script: bytes) -> None:
    with pytest.raises(MultiselectError):
        asked(Pipe(script))


def test_the_asked_side_does_not_wait_for_ever() -> None:
    with pytest.raises(MultiselectError, match="TooSlow"):
        asked(Pipe(HELLO, ends=False))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_the_asked_side_raises_nothing_else(garbage: bytes) -> None:
    for script in (garbage, HELLO + garbage):
        try:
            asked(Pipe(script))
        except MultiselectError:
            continue


def test_the_asking_side_proposes_with_its_greeting() -> None:
    pipe = Pipe(HELLO + message(b"/b"), 1000)
    assert ask(pipe, "/b") == "/b"
    assert pipe.written == HELLO + message(b"/b")


def test_the_asking_side_tries_the_next() -> None:
    pipe = Pipe(HELLO + message(b"na") + message(b"/b"))
    assert ask(pipe, "/a", "/b") == "/b"
    assert pipe.written == HELLO + message(b"/a") + message(b"/b")


@pytest.mark.parametrize(
    "script",
    [HELLO + message(b"na") * 2, HELLO + message(b"/c"), HELLO + message(b"\xff"), HELLO, message(b"no"), b"\xff" * 9],
    ids=["neither", "another", "not UTF-8", "cut", "no greeting", "too long"],
)
def test_the_asking_side_gives_up(script: bytes) -> None:
    with pytest.raises(MultiselectClientError):
        ask(Pipe(script), "/a", "/b")


def test_the_asking_side_does_not_wait_for_ever() -> None:
    with pytest.raises(MultiselectClientError, match="TooSlow"):
        ask(Pipe(HELLO, ends=False), "/a")


def test_a_name_of_more_than_127_bytes_has_a_length_of_two() -> None:
    name = "/" + "x" * 200
    client: Any = type("Eager", (EagerMultiselectClient, MultiselectClient), {"limits": Limits()})()
    pipe = Pipe(HELLO + message(name.encode()))
    assert trio.run(client.select_one_of, [name], SimpleNamespace(read_writer=pipe)) == name
    assert pipe.written == HELLO + message(name.encode())
