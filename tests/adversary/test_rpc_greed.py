"""Greed against the RPC's TCP side of a real daemon: great bodies, great replies, many calls, many streams. Its owner
is answered, its memory stays, nothing passes a firewall."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio
from daemons import spvnode
from mine import mine_run
from rpc_attack import HEADERS, KEY, UPTIME, head, many, post, say, status_of, victim_in
from rpc_victim import Victim

from merkle.proofs import MAX_HEADERS
from spvnode.rpc.limits import MAX_BATCH, MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_USER_SUBSCRIPTIONS

GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    yield from victim_in(tmp_path_factory.mktemp("rpc"))


def test_batch_bombs(victim: Victim) -> None:
    calls = [{"jsonrpc": "2.0", "id": n, "method": "getheaderproof", "params": [7]} for n in range(MAX_BATCH)]
    full, long = json.dumps(calls).encode(), json.dumps([UPTIME] * 40_000).encode()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(24):
                nursery.start_soon(post, victim, full)
                nursery.start_soon(post, victim, long)
        assert (await post(victim, long))[0] == 500
        status, body = await post(victim, full)
        assert (status, len(json.loads(body))) == (200, MAX_BATCH)
        assert (await post(victim, b"[" * 1000 + b"]" * 1000))[0] == 500

    with victim.attacked("batch bombs"):
        trio.run(main)


@pytest.mark.parametrize("form", ["json", "hex", "columns"])
def test_the_greatest_proofs(victim: Victim, form: str) -> None:
    heights = random.Random(3).sample(range(HEADERS), MAX_HEADERS)
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "getheaderproofs", "params": [heights, None, form]} for n in range(8)
    ]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(post, victim, json.dumps(calls).encode())
        status, body = await post(victim, json.dumps(calls[0]).encode())
        assert (status, json.loads(body)["result"]["count"]) == (200, MAX_HEADERS)

    with victim.attacked(f"greatest proofs, {form}"):
        trio.run(main)


def test_replies_are_not_read(victim: Victim) -> None:
    """As many great replies as there are connections, and nobody takes them."""
    heights = random.Random(4).sample(range(HEADERS), MAX_HEADERS)
    great = [{**UPTIME, "method": "getheaderproofs", "params": [heights, None, "columns"]}] * 4
    many_small = [{**UPTIME, "method": "getheaderproof", "params": [7]}] * MAX_BATCH

    async def hold(body: bytes) -> None:
        ours = head("POST", "/", f"Authorization: {victim.cookie}", f"Content-Length: {len(body)}")
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", victim.port) as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await stream.send_all((ours + body) * 4)
                await trio.sleep_forever()

    async def main() -> None:
        with trio.move_on_after(5):
            async with trio.open_nursery() as nursery:
                for n in range(MAX_CONNECTIONS):
                    nursery.start_soon(hold, json.dumps((great, many_small)[n % 2]).encode())
        assert (await post(victim, json.dumps(many_small).encode()))[0] == 200

    with victim.attacked("not read"):
        trio.run(main)


@pytest.mark.parametrize(
    "unit", [b"[", b'{"a":', b'[{"a":', b'"",', b"[],", b"1,", b'"\\u0000",', b"{},", b"\x00", b"\xff", b'"'], ids=repr
)
def test_deep_and_wide_json(victim: Victim, unit: bytes) -> None:
    async def main() -> None:
        for start in (b"", b"[", b'{"jsonrpc":"2.0","id":1,"method":"uptime","params":['):
            body = start + unit * ((MAX_BODY_BYTES - 100) // len(unit))
            status, _ = await post(victim, body)
            assert status in (400, 500)

    with victim.attacked(f"JSON {unit!r}"):
        trio.run(main)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_body_of_a_gigabyte(victim: Victim, chunked: bool, known: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIGABYTE}"
    piece = b"x" * (1 << 20)
    part = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece

    async def one() -> None:
        lines = [framing] + ([f"Authorization: {victim.cookie}"] if known else [])
        reply = await say(victim, head("POST", "/", *lines), *[part] * 64)
        if reply:  # else the connection was cut in the middle of our sending
            assert status_of(reply) == (413 if known else 401)

    async def main() -> None:
        await many(16, one)

    with victim.attacked(f"1 GB, chunked {chunked}, known {known}"):
        trio.run(main)


def test_subscriptions_are_hoarded(victim: Victim) -> None:
    """Streams that are never read, others that come and go, and events for all of them meanwhile."""
    statuses: list[int] = []

    async def hoard(path: str) -> None:
        lines = ("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", victim.port) as stream:
                await stream.send_all(head("GET", path, *(lines if path.startswith("/ws") else ())))
                statuses.append(status_of(await stream.receive_some()))
                await trio.sleep_forever()

    async def main() -> None:
        with trio.move_on_after(3):
            async with trio.open_nursery() as nursery:
                for n in range(300):
                    nursery.start_soon(hoard, ("/events?cursor=regtest:0", "/ws?cursor=regtest:0,node:0")[n % 2])
                for n in range(20):
                    await trio.to_thread.run_sync(grow, n)
        assert statuses.count(200) + statuses.count(101) == MAX_USER_SUBSCRIPTIONS
        assert set(statuses) <= {200, 101, 429, 503, 0}
        with trio.fail_after(10):
            while (await say(victim, head("GET", "/events", "Connection: close"), patience=0.3))[9:12] != b"200":
                await trio.lowlevel.checkpoint()

    def grow(n: int) -> None:
        tip = victim.daemon.call("getblockcount")
        parent = bytes.fromhex(victim.daemon.call("getblockhash", tip))[::-1]
        last = int.from_bytes(bytes.fromhex(victim.daemon.header_hex(tip))[68:72], "little")
        victim.daemon.call("importheaders", mine_run(parent, last, 10, seed=n, spacing=1).hex())

    with victim.attacked("hoarding"):
        trio.run(main)


def test_a_flood_of_calls_is_slowed_and_then_refused(victim: Victim) -> None:
    """The victim's config gives a token 20 units a second, 100 at once; a proof costs 5."""
    place = ("--datadir", str(victim.daemon.folder))
    token = spvnode("token", "create", "flood", "--scope", "proofs", *place).stdout.strip()
    body = json.dumps({**UPTIME, "method": "getheaderproof", "params": [7]}).encode()
    replies: list[bytes] = []

    async def flood() -> None:
        lines = (f"Authorization: Bearer {token}", f"Content-Length: {len(body)}")
        reply = await say(victim, (head("POST", "/", *lines) + body) * 40, patience=6)
        replies.extend(reply.split(b"HTTP/1.1 ")[1:])

    with victim.attacked("flood"):
        trio.run(many, 16, flood)
    taken = [one for one in replies if one.startswith(b"200")]
    refused = [one for one in replies if one.startswith(b"429")]
    assert 20 <= len(taken) < 300
    assert refused
    assert all(b"\r\nretry-after: " in one and b'"code":-32005' in one for one in refused)
