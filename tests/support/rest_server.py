"""Loopback HTTP servers for the REST tests: a raw one that a test scripts byte by byte, and a beacon node that serves
recorded data as real ones do."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from eth_vectors import archive, real_json, real_network, unhex

from merkle.ssz_json import to_json
from p2p.rest.endpoint import Endpoint, parse_endpoint
from spvnode.ethereum.containers import LightClientUpdate, container, decode
from spvnode.ethereum.forks import LAYOUTS
from spvnode.ethereum.networks import Network, fork_digests
from spvnode.ethereum.units import ForkDigest

REQUEST_LIMIT = 16 << 10


@dataclass
class Asked:
    """A request as it came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


Script = Callable[[trio.abc.Stream, Asked], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """``script`` answers every request of a connection, until one side closes it."""

    async def handle(stream: trio.abc.Stream) -> None:
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_side=True)  # type: ignore[assignment]
        async with stream:
            try:
                while True:
                    asked = await read_request(stream)
                    if asked is None:
                        return
                    await script(stream, asked)
            except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
                return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield parse_endpoint(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.abc.Stream) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(REQUEST_LIMIT)
        if not more:
            return None
        data += more
    head, *lines = data.decode().split("\r\n\r\n")[0].split("\r\n")
    path, _, query = head.split(" ")[1].partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(path, {name: value for name, _, value in pairs}, headers)


def answer(
    body: bytes, media: str = "application/json", status: str = "200 OK", headers: dict[str, str] | None = None
) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


def always(data: bytes) -> Script:
    """Sends these very bytes and hangs up."""

    async def script(stream: trio.abc.Stream, asked: Asked) -> None:
        await stream.send_all(data)
        await stream.aclose()

    return script


SSZ = "application/octet-stream"


@dataclass
class BeaconServer:
    """A beacon node with one recorded set. The fields say in what ways it is as some real ones are."""

    name: str
    ssz: bool = True
    """Speaks SSZ; else it ignores the Accept header and sends JSON, as old servers do."""
    refuses_ssz: bool = False
    """Answers 406 to an Accept header that names SSZ."""
    missing: str = "404"
    """``404``, ``500`` (Lodestar), or ``empty`` for updates."""
    flat: bool = False
    """Headers without ``beacon``, no ``version``: servers before capella."""
    versioned: bool = True
    """Sends eth-consensus-version."""
    genesis: bool = True
    events: list[tuple[str, bytes]] = field(default_factory=list)
    replace: dict[str, bytes] = field(default_factory=dict)
    """Whole answers by path."""
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Canonical headers by slot, as (beacon) JSON."""
    asked: list[Asked] = field(default_factory=list)
    first: int | None = None
    """Lowest period that it still has."""

    @property
    def network(self) -> Network:
        return real_network(self.name)

    def entries(self) -> list[tuple[int, str, bytes]]:
        """(period, fork, framed SSZ) of every update."""
        data, manifest, at, found = archive("real")[f"{self.name}/updates.ssz"], self.manifest, 0, []
        for entry in manifest["files"]["updates"]["entries"]:
            end = at + 8 + int.from_bytes(data[at : at + 8], "little")
            found.append((entry["period"], entry["version"], data[at:end]))
            at = end
        return [entry for entry in found if self.first is None or entry[0] >= self.first]

    @property
    def manifest(self) -> Any:
        return real_json(self.name, "manifest.json")

    async def __call__(self, stream: trio.abc.Stream, asked: Asked) -> None:
        self.asked.append(asked)
        if asked.path in self.replace:
            await stream.send_all(self.replace[asked.path])
            return
        if asked.path == "/eth/v1/events":
            await self._stream(stream)
            return
        await stream.send_all(self.respond(asked))

    async def _stream(self, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n")
        for name, data in self.events:
            await stream.send_all(b"event: " + name.encode() + b"\ndata: " + data + b"\n\n")
        await trio.sleep_forever()

    def respond(self, asked: Asked) -> bytes:
        if self.refuses_ssz and SSZ in asked.headers["accept"]:
            return answer(b'{"message": "only JSON here"}', status="406 Not Acceptable")
        kind = asked.path.rpartition("/")[2]
        if asked.path == "/eth/v1/beacon/genesis":
            root = "0x" + self.network.genesis_validators_root.hex()
            body = json.dumps({"data": {"genesis_validators_root": root, "genesis_time": "0"}}).encode()
            return answer(body) if self.genesis else self.lacking("no such route")
        if kind == "updates":
            return self.updates(int(asked.query["start_period"]), int(asked.query["count"]), asked)
        if kind in ("finality_update", "optimistic_update"):
            return self.single(kind, asked)
        if "/bootstrap/" in asked.path and unhex(kind) == unhex(self.manifest["trusted_block_root"]):
            return self.single("bootstrap", asked)
        if "/headers/" in asked.path and kind in self.headers:
            return answer(json.dumps({"data": {"header": {"message": self.headers[kind]}}}).encode())
        return self.lacking(f"No {kind} available")

    def lacking(self, message: str) -> bytes:
        status = "500 Internal Server Error" if self.missing == "500" else "404 Not Found"
        return answer(json.dumps({"message": message}).encode(), status=status)

    def single(self, file: str, asked: Asked) -> bytes:
        if f"{self.name}/{file}.ssz" not in archive("real"):
            return self.lacking(f"No {file} available")
        version = {"eth-consensus-version": self.manifest["files"][file]["version"]} if self.versioned else {}
        if self.wants_ssz(asked):
            return answer(archive("real")[f"{self.name}/{file}.ssz"], SSZ, headers=version)
        return answer(self.json(real_json(self.name, f"{file}.json")), headers=version)

    def updates(self, start: int, count: int, asked: Asked) -> bytes:
        found = [entry for entry in self.entries() if start <= entry[0] < start + min(count, 128)]
        if self.missing == "500" and len(found) < count:
            return self.lacking(f"No partialUpdate available for period {start + len(found)}")
        if self.wants_ssz(asked):
            return answer(b"".join(entry[2] for entry in found), SSZ)
        return answer(self.json([self.update_json(entry) for entry in found]))

    def update_json(self, entry: tuple[int, str, bytes]) -> Any:
        network, data = self.network, entry[2]
        fork = fork_digests(network)[ForkDigest(data[8:12])].fork
        assert fork is not None
        kind = container(network.preset, LAYOUTS[fork], LightClientUpdate)
        value = decode(network.preset, fork, LightClientUpdate, data[12:])
        return {"version": entry[1], "data": to_json(kind, value)}

    def wants_ssz(self, asked: Asked) -> bool:
        return self.ssz and SSZ in asked.headers["accept"]

    def json(self, data: Any) -> bytes:
        return json.dumps(flattened(data) if self.flat else data).encode()


def flattened(data: Any) -> Any:
    """As servers wrote it before capella: headers bare, forks unnamed."""
    if isinstance(data, list):
        return [flattened(entry) for entry in data]
    inner = {
        name: value["beacon"] if isinstance(value, dict) and "beacon" in value else value
        for name, value in data["data"].items()
    }
    return {"data": inner}
