"""One conversation: versions, both JSON-RPCs, batches, tips as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from electrum_live import Client, electrum
from event_node import EventNode, chain_of, with_hub
from small_node import mainnet

from spvnode.electrum.errors import ElectrumError
from spvnode.electrum.limits import MAX_BATCH, MAX_ID, MAX_REPLY_BYTES
from spvnode.electrum.version import negotiate, shown

# -- versions


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("1.4", "1.4"),
        ("1.4.0", "1.4"),
        ("1.4.2", "1.4.2"),
        ("1.6", "1.6"),
        (["1.4", "1.6"], "1.6"),
        (["1.1", "1.4"], "1.4"),
        (["1.4", "1.4.2"], "1.4.2"),
        (["1.6", "2.0"], "1.6"),
        (["1.6", "1.6"], "1.6"),
    ],
)
def test_the_highest_common_version_is_spoken(wanted: object, chosen: str) -> None:
    assert shown(negotiate(wanted, first=True)) == chosen


@pytest.mark.parametrize("wanted", ["1.3", "1.7", ["1.0", "1.2"], ["1.7", "2.0"], "one", "1", "1.4.2.1", "", 1.4, None,
                                    ["1.4"], ["1.4", "1.5", "1.6"], [], {}, "9999999999.1", "1.4\n"])  # fmt: skip
def test_without_a_common_version_the_connection_ends(wanted: object) -> None:
    with pytest.raises(ElectrumError) as caught:
        negotiate(wanted, first=True)
    assert caught.value.ends

    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            assert (await client.ask("server.version", "x", wanted))[0] == 1
            assert await client.line() is None

    trio.run(main)


def test_who_says_something_before_has_no_1_6() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            assert "hex" in await client.ask("blockchain.block.headers", 0, 1)
            assert (await client.ask("server.version", "x", ["1.4", "1.6"]))[1] == "1.4.3"
            assert "hex" in await client.ask("blockchain.block.headers", 0, 1)
            late = await live.client(None)
            assert await late.ask("server.ping") is None
            code, words = await late.ask("server.version", "x", "1.6")
            assert (code, "comes first" in words) == (1, True)
            assert await late.line() is None

    trio.run(main)


def test_server_version_by_name_with_more_and_without_anything() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            assert await client.ask("server.version", "x", ["1.4", "1.6"], "more", 9999.9, {}) == [
                "spvnode 0.0.test",
                "1.6",
            ]
            assert await client.ask("server.version", "x", "1.4") == (1, "server.version already sent")
            assert await client.ask("server.ping") is None
            named = await live.client(None)
            found = await named.ask("server.version", client_name="x", protocol_version="1.4.2", dd={})
            assert found == ["spvnode 0.0.test", "1.4.2"]
            bare = await live.client(None)
            assert (await bare.ask("server.version"))[1] == "1.4"

    trio.run(main)


# -- JSON-RPC


def test_who_says_nothing_of_2_0_is_answered_in_1_0() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            await client.send({"id": "a", "method": "server.ping", "params": []}, {"id": 0, "method": "server.nothing"})
            assert await client.line() == {"result": None, "error": None, "id": "a"}
            found = await client.line()
            assert (found["result"], found["id"], found["error"]["code"]) == (None, 0, -32601)

    trio.run(main)


def test_notifications_are_not_answered() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client(None)
            await client.send(
                {"jsonrpc": "2.0", "method": "server.ping"},
                {"jsonrpc": "2.0", "method": "server.nothing"},
                {"method": "server.ping", "id": None},
                [{"jsonrpc": "2.0", "method": "server.ping"}],
                {"jsonrpc": "2.0", "method": "server.ping", "id": None},
            )
            assert await client.line() == {"jsonrpc": "2.0", "result": None, "id": None}

    trio.run(main)


def test_batches() -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client()
            calls: list[Any] = [
                {"jsonrpc": "2.0", "id": at, "method": "blockchain.block.header", "params": [at]} for at in (3, 99)
            ]
            await client.send([*calls, 5, {"jsonrpc": "2.0", "id": 7, "method": "server.ping"}])
            good, bad, none, ping = await client.line()
            assert (good["id"], len(good["result"]), bad["id"], bad["error"]["code"]) == (3, 160, 99, 1)
            assert (none["id"], none["error"]["code"], ping) == (
                None,
                -32600,
                {"jsonrpc": "2.0", "result": None, "id": 7},
            )
            for batch in ([], [calls[0]] * (MAX_BATCH + 1)):
                await client.send(batch)
                assert (await client.line())["error"]["code"] == -32600
            await client.send([calls[0]] * MAX_BATCH)
            assert len(await client.line()) == MAX_BATCH

    trio.run(main)


def test_a_batch_whose_reply_grows_too_large_is_cut() -> None:
    async def main() -> None:
        async with electrum(mainnet(2_016)) as live:
            client = await live.client()
            one = {"jsonrpc": "2.0", "id": 1, "method": "blockchain.block.headers", "params": [0, 2_016]}
            await client.send([one] * 4)
            found = await client.line()
            assert [len(reply.get("result", {}).get("hex", "")) for reply in found] == [322_560, 322_560, 0, 0]
            assert found[3]["error"]["code"] == -101
            assert MAX_REPLY_BYTES < 2 * 322_560

    trio.run(main)


@pytest.mark.parametrize(
    "message",
    [5, "x", None, {}, {"method": 5}, {"method": "server.ping", "params": 5, "id": 1},
     {"id": [1], "method": "server.ping"}, {"id": "x" * (MAX_ID + 1), "method": "server.ping"}],
)  # fmt: skip
def test_what_is_json_and_no_call_is_told_so(message: object) -> None:
    async def main() -> None:
        async with electrum() as live:
            client = await live.client()
            await client.send(message)
            assert (await client.line())["error"]["code"] == -32600
            assert await client.ask("server.ping") is None

    trio.run(main)


def test_calls_may_end_in_any_newline_and_the_last_is_answered_after_the_end() -> None:
    async def main() -> None:
        async with electrum() as live:
            call = b'{"jsonrpc":"2.0","id":%d,"method":"server.ping"}'
            found = await live.exchange(call % 1 + b"\r\n " + call % 2 + b"\n" + call % 3)
            assert [json.loads(line)["id"] for line in found.splitlines()] == [1, 2]

    trio.run(main)


def test_tls(tmp_path: Path) -> None:
    async def main() -> None:
        async with electrum(tls=tmp_path) as live:
            client = await live.tls_client()
            assert (await client.ask("server.version", "x", "1.6"))[1] == "1.6"
            assert len(await client.ask("blockchain.block.header", 3)) == 160
            port = live.addresses.tls[0].port
            assert (await client.ask("server.features"))["hosts"]["127.0.0.1"]["ssl_port"] == port
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            async with plain:
                await plain.send_all(b'{"id":1,"method":"server.ping"}\n')
                told = await plain.receive_some(100)
                assert b"result" not in told
            assert await client.ask("server.ping") is None

    trio.run(main)


# -- tips


async def subscribed(client: Client) -> Any:
    return await client.ask("blockchain.headers.subscribe")


def test_each_new_tip_is_told_and_so_is_a_reorganization(tmp_path: Path) -> None:
    """The hub's own news, over a chain of real work."""
    main_chain, other = chain_of(6), chain_of(8, seed=1)

    async def main() -> None:
        node = EventNode()
        node.commit(main_chain[:160])
        async with with_hub(node, tmp_path) as hub, electrum(node, network="regtest", news=hub.news) as live:
            client, idle = await live.client(), await live.client()
            assert await subscribed(client) == {"height": 2, "hex": main_chain[80:160].hex()}
            for height in (3, 4):
                node.commit(main_chain[(height - 1) * 80 : height * 80])
                told = await client.told()
                assert told["method"] == "blockchain.headers.subscribe"
                assert told["params"] == [{"height": height, "hex": main_chain[(height - 1) * 80 : height * 80].hex()}]
            node.commit(other[: 6 * 80])
            assert (await client.told())["params"] == [{"height": 6, "hex": other[400:480].hex()}]
            assert await subscribed(client) == {"height": 6, "hex": other[400:480].hex()}
            node.commit(other[480:560])
            assert (await client.told())["params"][0]["height"] == 7
            assert await idle.ask("server.ping") is None
            assert idle._waiting == []

    trio.run(main)


def test_a_tip_is_told_even_if_its_news_come_too_early() -> None:
    """Memory has a commit a moment after the log has it; and the hub may be away."""

    async def main() -> None:
        node = mainnet(20)
        async with electrum(node) as live:
            client = await live.client()
            assert (await subscribed(client))["height"] == 19
            node.add("bitcoin", mainnet(25).real["bitcoin"].headers(20, 5))
            with trio.fail_after(10):
                assert (await client.told())["params"][0]["height"] == 24

    trio.run(main)


def test_who_subscribed_in_1_0_is_told_in_1_0() -> None:
    async def main() -> None:
        node = mainnet(20)
        async with electrum(node) as live:
            client = await live.client(None)
            await client.send({"id": 1, "method": "blockchain.headers.subscribe", "params": []})
            assert (await client.line())["result"]["height"] == 19
            node.add("bitcoin", mainnet(21).real["bitcoin"].header(20))
            told = await client.line()
            assert (told["id"], told["params"][0]["height"], "jsonrpc" in told) == (None, 20, False)

    trio.run(main)
