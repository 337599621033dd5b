"""Abuse of the Electrum server of a real daemon: its owner is answered on the unix socket, its memory stays, nothing
passes a firewall, and an honest client is served meanwhile."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio
from daemons import spvnode
from mine import regtest_chain
from rpc_victim import Victim

from spvnode.electrum.limits import MAX_BATCH, MAX_HEADERS, MAX_LINE

CONNECTIONS = 64
PING = b'{"jsonrpc":"2.0","id":1,"method":"server.ping"}\n'
HEADERS = b'{"jsonrpc":"2.0","id":1,"method":"blockchain.block.headers","params":[0,%d]}\n' % MAX_HEADERS
SUBSCRIBE = b'{"jsonrpc":"2.0","id":1,"method":"blockchain.headers.subscribe"}\n'
ATTACKS = {
    "headers that nobody reads": HEADERS * 200,
    "a batch bomb": b"[" + b",".join([HEADERS.strip()] * MAX_BATCH) + b"]\n",
    "too long a batch": (b"[" + b",".join([b"1"] * 30_000) + b"]\n") * 20,
    "a line without end": b"x" * (20 * MAX_LINE),
    "many parameters": (b'{"id":1,"method":"server.ping","params":[' + b",".join([b"[]"] * 20_000) + b"]}\n") * 50,
    "deep JSON": (b"[" * 30_000 + b"\n") * 20,
    "hoarded subscriptions": SUBSCRIBE * 1_000,
    "blocks that are not there": b'{"id":1,"method":"blockchain.transaction.id_from_pos","params":[5,0]}\n' * 500,
    "half a line": b'{"jsonrpc":',
    "HTTP": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n" + bytes(100_000),
    "noise": random.Random(1).randbytes(300_000),
    "newlines": b"\n" * 500_000,
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("electrum")
    file = folder / "headers.bin"
    file.write_bytes(regtest_chain(2_100, spacing=60))
    node = folder / "node"
    assert spvnode("import", str(file), "--network", "regtest", "--datadir", str(node)).returncode == 0
    (node / "spvnode.toml").write_text('[electrum]\nbind = "127.0.0.1:0"\n')
    found = Victim(node)
    trio.run(honest, found)
    yield found
    assert found.daemon.stop() == 0


def port_of(victim: Victim) -> int:
    line = next(line for line in victim.daemon.log().splitlines() if "electrum listens" in line)
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert found is not None
    return int(found[1])


async def honest(victim: Victim) -> None:
    """A client that asks and reads."""
    async with await trio.open_tcp_stream("127.0.0.1", port_of(victim)) as stream:
        await stream.send_all(b'{"jsonrpc":"2.0","id":1,"method":"server.version","params":["x","1.6"]}\n' + HEADERS)
        got = b""
        while got.count(b"\n") < 2:
            part = await stream.receive_some(65_536)
            assert part, "it was turned away"
            got += part
        assert json.loads(got.splitlines()[1])["result"]["count"] == MAX_HEADERS


async def attack(victim: Victim, raw: bytes, connections: int = CONNECTIONS - 4, seconds: float = 2.0) -> None:
    """``connections`` clients send ``raw`` for as long as they are listened to, and read nothing."""

    async def one() -> None:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(victim)) as stream:
                await stream.send_all(raw)
                await trio.sleep_forever()

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(one)
            await trio.sleep(seconds / 2)
            await honest(victim)
            await trio.sleep_forever()


@pytest.mark.parametrize("name", ATTACKS)
def test_its_owner_is_answered_and_its_memory_stays(victim: Victim, name: str) -> None:
    with victim.attacked(name):
        trio.run(attack, victim, ATTACKS[name])
    trio.run(honest, victim)


def test_a_flood_of_connections(victim: Victim) -> None:
    async def one() -> None:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(victim)) as stream:
                await stream.send_all(PING)
                await stream.receive_some(100)

    async def flood() -> None:
        with trio.move_on_after(5):
            for _ in range(20):
                async with trio.open_nursery() as nursery:
                    for _ in range(200):
                        nursery.start_soon(one)

    with victim.attacked("connections"):
        trio.run(flood)
    trio.run(honest, victim)
