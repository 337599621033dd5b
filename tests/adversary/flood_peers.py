"""Full nodes as a header client sees them: ``python -m tests.adversary.flood_peers FLOOD HONEST COUNT`` serves the
regtest headers of FLOOD on COUNT loopback ports, and those of HONEST on one more, each to whoever dials, and prints the
ports. A thread a connection: it is not what is measured."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from pathlib import Path

from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import REGTEST
from spvnode.types import HEADER_SIZE
from tests.bench.wire_peer import serve

EVERY = 2_000
"""Whoever follows a chain by whole messages asks from these places, and from its end."""


def places(headers: bytes) -> dict[bytes, int]:
    """Heights by hash, where they are asked for; a map of all of them would be larger than the headers."""
    count = len(headers) // HEADER_SIZE
    heights = [*range(EVERY, count, EVERY), *range(max(1, count - EVERY), count + 1)]
    hashes = {header_hash(headers[(height - 1) * HEADER_SIZE : height * HEADER_SIZE]): height for height in heights}
    return {bytes(REGTEST.genesis_hash): 0} | {bytes(one): height for one, height in hashes.items()}


def listen(headers: bytes, heights: dict[bytes, int]) -> int:
    """A port on which they are served."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=attend, args=(client,), daemon=True).start()

    def attend(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # it has hung up
            serve(client, headers, heights, {})

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def main(flood: str, honest: str, count: str) -> None:
    """Until it is killed."""
    low, good = Path(flood).read_bytes(), Path(honest).read_bytes()
    low_places = places(low)
    ports = [listen(low, low_places) for _ in range(int(count))]
    sys.stdout.write(json.dumps([*ports, listen(good, places(good))]) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
