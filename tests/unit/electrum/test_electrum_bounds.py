"""How much one client may have: calls, connections; and settings that do not hold."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from electrum_live import Client, electrum, no_news
from small_node import SmallNode, mainnet
from trio.testing import MockClock, memory_stream_pair

from spvnode.config_electrum import ElectrumConfig
from spvnode.electrum.blocks import Blocks
from spvnode.electrum.limits import (
    MAX_HEADERS,
    MAX_METHOD_NAME,
    MAX_PARAMS,
    MAX_PLACE_CONNECTIONS,
)
from spvnode.electrum.messages import Call, parse_line
from spvnode.electrum.methods import BLOCK_UNITS, Served, cost
from spvnode.electrum.server import place_of, serve_electrum
from spvnode.electrum.session import Session, Shared
from spvnode.electrum.tips import Tips
from spvnode.errors import InputError
from spvnode.metrics import Metrics


def shared(node: SmallNode, rate: float = 0) -> Shared:
    tips = Tips(node, "bitcoin", no_news)
    return Shared(Served(tips, Blocks(tips)), Metrics(), rate)


def test_a_caller_who_asks_too_much_waits_and_is_then_refused() -> None:
    async def main() -> None:
        ours = shared(mainnet(20), rate=2)
        clients = []
        async with trio.open_nursery() as nursery:
            for caller in ("a", "a", "b"):
                mine, theirs = memory_stream_pair()
                clients.append(Client(mine))
                nursery.start_soon(Session(theirs, ours, caller).run)
            began = trio.current_time()
            for _ in range(10):  # five seconds' worth at once
                assert await clients[0].ask("server.ping") is None
            assert trio.current_time() == began
            assert await clients[0].ask("server.ping") is None
            assert trio.current_time() == pytest.approx(began + 0.5)
            asked = [await clients[1].ask("blockchain.block.headers", 0, 2_016) for _ in range(2)]
            assert [one[0] for one in asked] == [-101, -101]
            assert "ask again in" in asked[0][1]
            assert (await clients[2].ask("blockchain.block.headers", 0, 5))["count"] == 5
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("method", "params", "units"),
    [
        ("server.ping", [], 1),
        ("blockchain.block.headers", [0, "x"], 1),
        ("blockchain.block.headers", [0, MAX_HEADERS], 9),
        ("blockchain.block.headers", {"count": 1 << 31, "start_height": 0}, 9),
        ("blockchain.block.headers", [0, -(1 << 60)], 1),
        ("blockchain.block.headers", [0, 5, [0] * MAX_PARAMS], 1),
        ("blockchain.transaction.get_merkle", [], BLOCK_UNITS),
    ],
)
def test_calls_cost_what_they_take(method: str, params: object, units: int) -> None:
    (call,) = parse_line(json.dumps({"method": method, "params": params, "id": 1}).encode()).calls
    assert isinstance(call, Call)
    assert cost(call) == units


def test_long_parameters_are_not_read() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            code, words = await client.ask("server.version", "x" * MAX_PARAMS, "1.6")
            assert (code, words) == (-32602, f"parameters of more than {MAX_PARAMS} bytes")
            code, words = await client.ask("blockchain.transaction.broadcast", "00" * 30_000)
            assert (code, "is not served" in words) == (-32601, True)
            code, words = await client.ask("x" * 1_000)
            assert (code, len(words)) == (-32601, MAX_METHOD_NAME + len('unknown method ""'))

    trio.run(main)


def test_connections_are_bounded() -> None:
    async def main() -> None:
        async with electrum(connections=3) as live:
            kept = [await live.client() for _ in range(3)]
            assert await live.exchange(b"") == b""
            late = Client(await live.tcp())
            with suppress(trio.BrokenResourceError):
                assert await late.line() is None
            assert live.count("spvnode_rpc_refused_total", why="electrum connections") == 2
            await kept[0].stream.aclose()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert live.count("spvnode_rpc_connections", listener="electrum") == 2
            assert await (await live.client()).ask("server.ping") is None

    trio.run(main)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_places(address: str, place: str) -> None:
    assert place_of(address) == place


def test_no_place_takes_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """With loopback told apart as if it were far away: the only network that a test has."""
    monkeypatch.setattr("spvnode.electrum.server.place_of", str)

    async def main() -> None:
        async with electrum(bind="127.0.0.1:0") as live:
            for _ in range(MAX_PLACE_CONNECTIONS):
                await live.client()
            late = Client(await live.tcp())
            with suppress(trio.BrokenResourceError):
                assert await late.line() is None
            assert live.count("spvnode_rpc_connections", listener="electrum") == MAX_PLACE_CONNECTIONS

    trio.run(main)


# -- settings


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"bind": "0.0.0.0:50001"}, "electrum.bind"),
        ({"tls_bind": "192.0.2.1:1", "tls_cert": "a", "tls_key": "b"}, "electrum.tls_bind"),
        ({"tls_bind": "127.0.0.1:1"}, "electrum.tls_bind"),
        ({"tls_cert": "a", "tls_key": "b"}, "electrum.tls_bind"),
        ({"bind": "nowhere"}, "electrum.bind"),
    ],
)
def test_settings_that_do_not_hold(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        ElectrumConfig(**settings)
    assert caught.value.field == field


def test_it_is_off_by_default_and_public_only_by_order() -> None:
    assert not ElectrumConfig().enabled
    assert ElectrumConfig(bind="0.0.0.0:50001", public=True).enabled


def test_an_address_or_a_certificate_that_cannot_be_had_is_told() -> None:
    async def main() -> None:
        async with electrum() as live:
            taken = str(live.addresses.tcp[0])
            for settings, field in (
                ({"bind": taken}, "electrum.bind"),
                ({"tls_bind": "127.0.0.1:0", "tls_cert": "/nowhere", "tls_key": "/nowhere"}, "electrum.tls_cert"),
            ):
                config = ElectrumConfig(**settings)
                with pytest.raises(InputError) as caught:
                    await serve_electrum(live.node, "bitcoin", config, news=no_news, metrics=Metrics())
                assert caught.value.field == field

    trio.run(main)
