"""Our host as beacon peers need it, and js-libp2p over mplex: no multiplexer but mplex on its side, either key on both,
each dialing the other. `make interop` runs it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.host import DEFAULT_LIMITS, Limits, open_host
from p2p.host.host import LibP2PHost
from p2p.port import MPLEX, YAMUX, ConnectionInfo, GossipProfile, HostConfig, Stream, StreamClosed
from tests.interop.js_peer import JsPeer

pytestmark = pytest.mark.interop

Js = Callable[..., JsPeer]
ASK = "/test/ask/1"
TOPIC = "/eth2/00000000/test/ssz_snappy"
PATIENCE = 30.0
TIMES = 40
REQUEST = b"request " * 12_500
"""100 kB, and 4 MB of response: more than one stream may hold unread."""


def altair_id(topic: str, data: bytes) -> bytes:
    """As the beacon chain names a message that is compressed."""
    domain = bytes.fromhex("01000000") + len(topic).to_bytes(8, "little")
    return hashlib.sha256(domain + topic.encode() + data).digest()[:20]


async def answer(stream: Stream) -> None:
    """Read to the end; then say it TIMES times."""
    request = await to_end(stream)
    for _ in range(TIMES):
        await stream.write(request)


async def to_end(stream: Stream) -> bytes:
    """In pieces of 1,000 bytes, of which all that is sent here is made."""
    data = bytearray()
    with pytest.raises(StreamClosed) as ended:
        await _read_into(data, stream)
    assert ended.value.clean
    return bytes(data)


async def _read_into(data: bytearray, stream: Stream) -> None:
    while True:
        data += await stream.read_exactly(1_000)


@asynccontextmanager
async def beacon_host(
    folder: Path, limits: Limits = DEFAULT_LIMITS, muxers: tuple[str, ...] = (YAMUX, MPLEX)
) -> AsyncIterator[LibP2PHost]:
    profile = GossipProfile(degree=8, degree_low=6, heartbeat=0.7, message_id=altair_id)
    config = HostConfig(folder / "identity", key_type="secp256k1", muxers=muxers, gossip=profile)
    async with open_host(config, limits=limits) as host:
        host.handle(ASK, answer)
        yield host


async def tell(peer: JsPeer, command: str, /, **given: Any) -> Any:
    return await trio.to_thread.run_sync(lambda: peer.tell(command, **given))


async def _until(probe: Callable[[], bool]) -> None:
    """Ask the js peer until it says so, in a thread: our host goes on meanwhile."""
    with trio.fail_after(PATIENCE):
        while not await trio.to_thread.run_sync(probe):  # noqa: ASYNC110 - in another process
            await trio.sleep(0.1)


async def link(host: LibP2PHost, peer: JsPeer, *, we_dial: bool) -> ConnectionInfo:
    """Connect, and return what our side knows once the peer has identified itself."""
    told = trio.Event()
    host.on_identified(lambda who: told.set() if who == peer.id else None)
    if we_dial:
        assert await host.connect(peer.addr) == peer.id
    else:
        assert await tell(peer, "dial", addr=host.addrs[0]) == host.peer_id
    with trio.fail_after(PATIENCE):
        await told.wait()
    (info,) = host.connections()
    return info


@pytest.mark.parametrize("muxer", ["mplex", "yamux"])
@pytest.mark.parametrize("key", ["Ed25519", "secp256k1"])
@pytest.mark.parametrize("we_dial", [True, False], ids=["we dial", "js dials"])
def test_requests_both_ways(js: Js, tmp_path: Path, we_dial: bool, key: str, muxer: str) -> None:
    async def main() -> None:
        async with beacon_host(tmp_path) as host:
            peer = js(key=key, muxer=muxer)
            await tell(peer, "respond", protocol=ASK, times=TIMES)
            info = await link(host, peer, we_dial=we_dial)
            assert {ASK, "/ipfs/id/1.0.0", "/meshsub/1.1.0"} <= set(info.protocols)
            assert info.agent.startswith("js-libp2p")
            [theirs] = await tell(peer, "connections")
            direction, name = ("inbound" if we_dial else "outbound"), (MPLEX if muxer == "mplex" else YAMUX)
            assert (theirs["direction"], theirs["multiplexer"], theirs["peer"]) == (direction, name, host.peer_id)
            assert host.peer_id.startswith("16Uiu2HA")
            await _requests(host, peer)
            assert await tell(peer, "ping", peer=host.peer_id) >= 0
            said = await tell(peer, "identify", peer=host.peer_id)
            assert (said["peer"], ASK in said["protocols"]) == (host.peer_id, True)

    trio.run(main)


async def _requests(host: LibP2PHost, peer: JsPeer) -> None:
    with trio.fail_after(PATIENCE):
        stream = await host.open_stream(peer.id, ["/test/ask/2", ASK])
        assert stream.protocol == ASK
        await stream.write(REQUEST)
        await stream.close()
        assert await to_end(stream) == REQUEST * TIMES
        data = base64.b64encode(REQUEST).decode()
        got = await tell(peer, "request", peer=host.peer_id, protocol=ASK, data=data)
        assert base64.b64decode(got) == REQUEST * TIMES


def test_hundreds_of_streams_leave_nothing_behind(js: Js, tmp_path: Path) -> None:
    async def main() -> None:
        async with beacon_host(tmp_path) as host:
            peer = js(muxer="mplex")
            await tell(peer, "respond", protocol=ASK, times=1)
            await link(host, peer, we_dial=True)
            for number in range(300):
                stream = await host.open_stream(peer.id, ASK)
                await stream.write(b"%d" % number)
                await stream.close()
                assert await stream.read_exactly(len(b"%d" % number)) == b"%d" % number
                if number % 3 == 0:
                    await stream.reset()
                else:
                    assert await to_end(stream) == b""
            (conn,) = host._node.swarm.get_connections()
            assert len(conn.muxed_conn.streams) < 8

    trio.run(main)


def test_gossip_with_ids_of_the_beacon_chain(js: Js, tmp_path: Path) -> None:
    async def main() -> None:
        async with beacon_host(tmp_path) as host:
            got: list[bytes] = []
            host.subscribe(TOPIC, lambda peer, data: True, lambda peer, data: got.append(data))
            peer = js(muxer="mplex", key="secp256k1", ids="altair", topics=(TOPIC,))
            await link(host, peer, we_dial=True)
            await _until(lambda: host.peer_id in peer.tell("mesh", topic=TOPIC))
            with trio.fail_after(PATIENCE):
                await tell(peer, "publish", topic=TOPIC, data=base64.b64encode(b"from js").decode())
                while got != [b"from js"]:  # noqa: ASYNC110 - filled by a callback
                    await trio.sleep(0.05)
                await host.publish(TOPIC, b"from us")
            await _until(lambda: b"from us" in [base64.b64decode(one["data"]) for one in peer.heard(TOPIC)])
            host.unsubscribe(TOPIC)
            await tell(peer, "publish", topic=TOPIC, data=base64.b64encode(b"too late").decode())
            await _until(lambda: host.peer_id not in peer.tell("mesh", topic=TOPIC))
            assert got == [b"from js"]

    trio.run(main)


def test_a_change_is_pushed_both_ways(js: Js, tmp_path: Path) -> None:
    async def main() -> None:
        async with beacon_host(tmp_path) as host:
            peer = js(muxer="mplex")
            await link(host, peer, we_dial=False)
            await tell(peer, "respond", protocol="/test/late/1", times=1)
            with trio.fail_after(PATIENCE):
                while "/test/late/1" not in host.connections()[0].protocols:  # noqa: ASYNC110 - in another process
                    await trio.sleep(0.05)

    trio.run(main)


def test_a_quiet_peer_stays_and_a_stopped_one_does_not(js: Js, tmp_path: Path) -> None:
    """Mplex has no ping of its own: js-libp2p answers our question for a protocol."""

    async def main() -> None:
        limits = Limits(keepalive_interval=0.5, keepalive_timeout=2)
        async with beacon_host(tmp_path, limits, (MPLEX,)) as host:
            peer = js(muxer="mplex", quiet=True)
            await link(host, peer, we_dial=True)
            await trio.sleep(6)
            assert [info.peer for info in host.connections()] == [peer.id]
            peer.stop()
            try:
                with trio.fail_after(PATIENCE):
                    while host.connections():  # noqa: ASYNC110 - there is no event for this
                        await trio.sleep(0.1)
            finally:
                peer.go_on()

    trio.run(main)
