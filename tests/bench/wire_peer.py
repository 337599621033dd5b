"""A full node as far as a header client sees one. ``python -m tests.bench.wire_peer FILE`` serves the regtest headers
of FILE on a loopback port, which it prints. Plain v1, blocking, its answers made beforehand: it is not what is
measured."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from merkle.hashing import sha256d_headers
from p2p.bitcoin import messages as m
from p2p.bitcoin.payloads import NOWHERE
from p2p.bitcoin.v2 import V1Transport
from p2p.faults import RemoteFault
from spvnode.bitcoin.params import REGTEST

MESSAGE = m.MAX_HEADERS * m.HEADER_SIZE
SERVICES = int(m.Services.NETWORK | m.Services.WITNESS)


def main(headers: bytes) -> None:
    """Until it is killed."""
    digests = sha256d_headers(headers)
    heights = {digests[at : at + 32]: at // 32 + 1 for at in range(0, len(digests), 32)} | {REGTEST.genesis_hash: 0}
    wire = V1Transport(REGTEST.magic)
    ready = {at: wire.encode(m.Headers(headers[at : at + MESSAGE])) for at in range(0, len(headers) + 1, MESSAGE)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            client, _ = server.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve(client, headers, heights, ready)


def serve(client: socket.socket, headers: bytes, heights: dict[bytes, int], ready: dict[int, bytes]) -> None:
    """One connection, to its end."""
    wire = V1Transport(REGTEST.magic)
    for message in heard(client, wire):
        match message:
            case m.Version():
                height = len(headers) // m.HEADER_SIZE
                hello = m.Version(70_016, SERVICES, 0, NOWHERE, 0, NOWHERE, 0, 1, "/bench:1/", height, False)
                client.sendall(wire.encode(hello) + wire.encode(m.Verack()))
            case m.Ping(nonce):
                client.sendall(wire.encode(m.Pong(nonce)))
            case m.GetHeaders(locator):
                at = next((heights[one] for one in locator if one in heights), 0) * m.HEADER_SIZE
                client.sendall(ready.get(at) or wire.encode(m.Headers(headers[at : at + MESSAGE])))
            case _:
                pass


def heard(client: socket.socket, wire: V1Transport) -> Iterator[m.Message]:
    """What the other side says; ends with it, or where it does not speak v1."""
    while True:
        try:
            data = client.recv(65_536)
        except ConnectionError:
            return
        for fed in wire.feed(data):
            if isinstance(fed, RemoteFault):
                return
            yield fed
        if not data:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_bytes())
