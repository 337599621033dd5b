"""A real host in a process of its own, to be attacked. Run: host_victim.py DIR JSON, where JSON has ``without`` (fences
to leave out), ``limits`` (overrides) and ``muxers``. Prints its address, then serves until it is killed."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import structlog
import trio

from p2p.host import Limits, open_host
from p2p.host.host import LibP2PHost
from p2p.port import YAMUX, HostConfig, Stream

ECHO, SLEEP, RAISE, ASK = "/test/echo/1", "/test/sleep/1", "/test/raise/1", "/test/ask/1"
TOPIC = "/test/topic/1"
BOOM = b"boom"


async def echo(stream: Stream) -> None:
    while True:
        await stream.write(await stream.read_exactly(1))


async def sleep(stream: Stream) -> None:
    await trio.sleep_forever()


async def fail(stream: Stream) -> None:
    raise RuntimeError(f"a bug in a handler, met by {stream.peer}")


def validate(peer: str, data: bytes) -> bool:
    if data == BOOM:
        raise RuntimeError("a bug in a validator")
    return True


class Victim:
    """Says how it is, as JSON, to whoever opens a stream of /test/ask/1."""

    def __init__(self, host: LibP2PHost) -> None:
        self.host = host
        self.delivered: list[bytes] = []
        for protocol, handler in ((ECHO, echo), (SLEEP, sleep), (RAISE, fail), (ASK, self.answer)):
            host.handle(protocol, handler)
        host.subscribe(TOPIC, validate, lambda peer, data: self.delivered.append(data))

    def status(self) -> dict[str, Any]:
        node = self.host._node
        return {
            "rss": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            "connections": [info.peer for info in self.host.connections()],
            "streams": sum(len(conn.muxed_conn.streams) for conn in node.swarm.get_connections()),
            "delivered": len(self.delivered),
            "peerstore": len(node.peerstore.peer_ids()),
            "mesh": [str(peer) for peer in node.gossip.mesh.get(TOPIC, ())],
            "back_off": len(node.gossip.back_off),
            "threads": threading.active_count(),
        }

    async def answer(self, stream: Stream) -> None:
        data = json.dumps(self.status()).encode()
        await stream.write(len(data).to_bytes(4, "big") + data)
        await stream.close()


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    options = json.loads(sys.argv[2])
    limits = Limits(**options.get("limits", {}))
    config = HostConfig(
        Path(sys.argv[1]) / "identity",
        max_connections=options.get("max_connections", 64),
        muxers=tuple(options.get("muxers", (YAMUX,))),
    )
    async with open_host(config, limits=limits, without=options.get("without", ())) as host:
        Victim(host)
        print(host.addrs[0], flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
