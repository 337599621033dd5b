"""Clients that mean no good: what they send, how slowly they send it, and that they do not read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from electrum_live import Client, electrum, no_news
from hypothesis import given
from hypothesis import strategies as st
from small_node import SmallNode, mainnet
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from spvnode.electrum.blocks import Blocks
from spvnode.electrum.errors import ElectrumError
from spvnode.electrum.limits import (
    BLOCK_SECONDS,
    FIRST_LINE_SECONDS,
    IDLE_SECONDS,
    LINE_SECONDS,
    MAX_LINE,
    SEND_BYTES,
    SEND_SECONDS,
)
from spvnode.electrum.messages import parse_line
from spvnode.electrum.methods import Served
from spvnode.electrum.outflow import Outflow, TooSlow
from spvnode.electrum.session import Session, Shared
from spvnode.electrum.tips import Tips
from spvnode.metrics import Metrics
from spvnode.types import Hash32, Height

PING = b'{"jsonrpc":"2.0","id":1,"method":"server.ping"}\n'


def shared(node: SmallNode, rate: float = 0) -> Shared:
    tips = Tips(node, "bitcoin", no_news)
    return Shared(Served(tips, Blocks(tips)), Metrics(), rate)


# -- what they send


@pytest.mark.parametrize(
    "raw",
    [
        b"POST / HTTP/1.1",
        b"\x16\x03\x01\x02\x00",
        b"\xff\xfe",
        b"",
        b" ",
        b'{"method": "server.ping", "id": 1',
        b"[" * 60_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000,
        b'{"method":"server.ping","id":1,"params":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"method":"server.ping","id":' + b"9" * 60_000 + b"}",
        b'{"method":"\xed\xa0\x80"}',
    ],
)
def test_what_is_no_call_is_answered_and_parted_from(raw: bytes) -> None:
    async def main() -> None:
        async with electrum() as live:
            found = [json.loads(line) for line in (await live.exchange(raw + b"\n" + PING)).splitlines()]
            codes = [one["error"]["code"] for one in found if "error" in one]
            assert len(codes) == 1
            assert codes[0] in (-32700, -32600)
            assert codes[0] == -32600 or len(found) == 1
            assert await (await live.client()).ask("server.ping") is None
            assert live.count("spvnode_rpc_requests_total", method="electrum:server.ping", outcome="failed") == 0

    trio.run(main)


def test_a_line_without_end_is_cut() -> None:
    async def main() -> None:
        async with electrum() as live:
            found = b""
            with suppress(trio.BrokenResourceError, OSError):
                found = await live.exchange(b'{"method": "' + b"x" * (MAX_LINE + 100_000))
            assert not found or f"more than {MAX_LINE}".encode() in found
            longest = b" " * (MAX_LINE - len(PING)) + PING
            assert b'"result":null' in await live.exchange(longest)

    trio.run(main)


MEMBERS = st.sampled_from(["id", "method", "params", "jsonrpc"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner),
    max_leaves=12,
)


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_calls_or_an_error(raw: bytes) -> None:
    with suppress(ElectrumError):
        assert parse_line(raw).calls


JUNK = st.none() | st.booleans() | st.integers() | st.text(max_size=70) | st.lists(st.integers(), max_size=3)
METHODS = st.sampled_from(
    ["server.version", "server.features", "blockchain.block.header", "blockchain.block.headers",
     "blockchain.headers.subscribe", "blockchain.transaction.get_merkle", "blockchain.transaction.id_from_pos",
     "server.add_peer", "mempool.x"]
)  # fmt: skip


@given(
    st.lists(st.tuples(METHODS, st.lists(JUNK, max_size=4) | st.dictionaries(st.text(max_size=9), JUNK)), max_size=8)
)
def test_no_parameters_of_any_method_are_a_fault_of_ours(calls: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        mine, theirs = memory_stream_pair()
        ours = shared(SmallNode("bitcoin"))
        raw = b"".join(
            json.dumps({"jsonrpc": "2.0", "id": at, "method": method, "params": params}).encode() + b"\n"
            for at, (method, params) in enumerate(calls)
        )
        await mine.send_all(raw)
        await mine.send_eof()
        await Session(theirs, ours, "x").run()
        failed = [sample.labels for metric in ours.metrics.registry.collect() for sample in metric.samples
                  if sample.name == "spvnode_rpc_requests_total" and sample.labels["outcome"] == "failed"]  # fmt: skip
        assert failed == []

    trio.run(main, clock=MockClock(autojump_threshold=0))


class Broken(SmallNode):
    """Its readiness cannot be had."""

    def readiness(self, network: str) -> Any:
        raise RuntimeError("secret")


def test_a_fault_of_ours_is_logged_and_ends_one_call() -> None:
    async def main() -> None:
        async with electrum(Broken("bitcoin")) as live:
            client = await live.client()
            assert await client.ask("server.features") == (-32603, "internal error; see the log")
            assert await client.ask("server.ping") is None
            assert live.count("spvnode_rpc_requests_total", method="electrum:server.features", outcome="failed") == 1

    trio.run(main)


def test_a_fault_of_ours_outside_a_call_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tip that cannot be told."""

    def refuse(*_: object) -> bytes:
        raise RuntimeError("secret")

    async def main() -> None:
        node, more = mainnet(20), mainnet(21).real["bitcoin"].header(Height(20))
        async with electrum(node) as live:
            client, other = await live.client(), await live.client()
            await client.ask("blockchain.headers.subscribe")
            node.add("bitcoin", more)
            monkeypatch.setattr(node.stores["bitcoin"], "header", refuse)
            with trio.fail_after(10):
                assert await client.line() is None
            assert await other.ask("server.ping") is None

    trio.run(main)


# -- how slowly


async def ends_after(raw: bytes, *, then: bytes = b"", every: float = 0.0) -> float:
    """Seconds until the server has enough of a client that sends ``raw``, and ``then`` byte by byte."""
    mine, theirs = memory_stream_pair()
    began = trio.current_time()
    await mine.send_all(raw)
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for byte in then:
                    await trio.sleep(every)
                    await mine.send_all(bytes((byte,)))

        nursery.start_soon(drip)
        await Session(theirs, shared(mainnet(20)), "x").run()
        nursery.cancel_scope.cancel()
    return trio.current_time() - began


@pytest.mark.parametrize(
    ("raw", "then", "seconds"),
    [
        (b"", b"", FIRST_LINE_SECONDS),
        (b"{", b"", FIRST_LINE_SECONDS),
        (b"", b" " * 1_000, FIRST_LINE_SECONDS),
        (PING, b"", IDLE_SECONDS),
        (PING + b"{", b"", LINE_SECONDS),
        (PING, b" " * 1_000, 1.0 + LINE_SECONDS),
    ],
)
def test_silence_and_drips_end(raw: bytes, then: bytes, seconds: float) -> None:
    async def main() -> float:
        return await ends_after(raw, then=then, every=1.0)

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == pytest.approx(seconds, abs=1.1)


def test_who_does_not_read_is_cut() -> None:
    async def main() -> None:
        mine, theirs = lockstep_stream_pair()
        ours = shared(mainnet(20))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine.send_all, PING)
            began = trio.current_time()
            with pytest.RaisesGroup(TooSlow, allow_unwrapped=True, flatten_subgroups=True):
                await Session(theirs, ours, "x").run()
            assert trio.current_time() - began == pytest.approx(SEND_SECONDS)
            assert ours.outflow.total == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_what_nobody_reads_is_bounded_over_all_and_the_stalled_are_cut_first() -> None:
    async def main() -> None:
        outflow, ends = Outflow(4 * SEND_BYTES), []
        pairs = [lockstep_stream_pair() for _ in range(3)]

        async def send(at: int, size: int) -> None:
            try:
                await outflow.send(pairs[at][0], trio.Lock(), bytes(size))
                ends.append((at, "sent"))
            except TooSlow:
                ends.append((at, "cut"))

        async with trio.open_nursery() as nursery:
            for at in (0, 1):
                nursery.start_soon(send, at, 2 * SEND_BYTES)
                await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):  # the first takes a part: the second has then been stalled for longer
                await pairs[0][1].receive_some(SEND_BYTES // 2)
            await trio.testing.wait_all_tasks_blocked()
            assert outflow.total == 3 * SEND_BYTES
            nursery.start_soon(send, 2, 2 * SEND_BYTES)
            await trio.testing.wait_all_tasks_blocked()
            assert ends == [(1, "cut")]
            assert outflow.total == 3 * SEND_BYTES
            for at, parts in ((0, 1), (2, 2)):
                for _ in range(parts):
                    await pairs[at][1].receive_some(SEND_BYTES + 1)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(ends) == [(0, "sent"), (1, "cut"), (2, "sent")]
            assert outflow.total == 0

    trio.run(main)


class Waiting(SmallNode):
    """Its peers never answer."""

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


def test_a_block_that_does_not_come_is_given_up() -> None:
    async def main() -> None:
        mine, theirs = memory_stream_pair()
        client = Client(mine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Session(theirs, shared(Waiting("bitcoin")), "x").run)
            began = trio.current_time()
            code, words = await client.ask("blockchain.transaction.id_from_pos", 0, 0)
            assert (code, words) == (2, f"no block within {BLOCK_SECONDS:.0f} s")
            assert trio.current_time() - began == pytest.approx(BLOCK_SECONDS)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
