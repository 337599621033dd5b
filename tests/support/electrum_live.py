"""A real Electrum server on loopback over a node of real headers, and a bare client for it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from certificates import self_signed
from small_node import SmallNode, mainnet

from spvnode.config_electrum import ElectrumConfig
from spvnode.electrum.server import Addresses, serve_electrum
from spvnode.metrics import Metrics


class Client:
    """Speaks lines of JSON; answers may come in any order."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.next_id = 0
        self._buffer = b""
        self._waiting: list[Any] = []

    async def send(self, *messages: object) -> None:
        await self.stream.send_all(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def line(self) -> Any:
        """The next message; None at the end."""
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some(65_536)
            if not data:
                return None
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(raw)

    async def ask(self, method: str, *params: object, **named: object) -> Any:
        """The result; an error comes as (code, message)."""
        self.next_id += 1
        await self.send({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": named or list(params)})
        return await self.answer(self.next_id)

    async def answer(self, call_id: object) -> Any:
        """Of a call that was sent."""
        while True:
            found = await self.line()
            assert found is not None, "the server closed the connection"
            if "id" in found and found["id"] == call_id:
                error = found.get("error")
                return (error["code"], error["message"]) if error else found["result"]
            self._waiting.append(found)

    async def told(self) -> Any:
        """The next notification."""
        if self._waiting:
            return self._waiting.pop(0)
        return await self.line()


class Live:
    """The running server."""

    def __init__(self, node: SmallNode, metrics: Metrics, addresses: Addresses, cert: Path | None) -> None:
        self.node = node
        self.metrics = metrics
        self.addresses = addresses
        self.cert = cert
        self.open: list[trio.abc.AsyncResource] = []

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def tcp(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.addresses.tcp[0].port)
        self.open.append(stream)
        return stream

    async def client(self, version: object = "1.4") -> Client:
        """Connected, and agreed on a version; None: nothing said yet."""
        found = Client(await self.tcp())
        if version is not None:
            assert isinstance(await found.ask("server.version", "test", version), list)
        return found

    async def tls_client(self) -> Client:
        assert self.cert is not None
        context = ssl.create_default_context(cafile=str(self.cert))
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", self.addresses.tls[0].port, ssl_context=context, https_compatible=True
        )
        self.open.append(stream)
        return Client(stream)

    async def exchange(self, raw: bytes) -> bytes:
        """Sends ``raw``, says that nothing follows, and returns all that comes back."""
        async with await self.tcp() as stream:
            await stream.send_all(raw)
            await stream.send_eof()
            return b"".join([part async for part in stream])


async def no_news() -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def electrum(
    node: SmallNode | None = None,
    *,
    network: str = "bitcoin",
    news: Callable[[], Awaitable[None]] = no_news,
    tls: Path | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Serves ``node``. ``tls``: a folder for a certificate. ``settings`` as in the configuration."""
    node, metrics = node or mainnet(20), Metrics()
    cert = None
    if tls is not None:
        cert, key = self_signed(tls, "localhost")
        settings |= {"tls_bind": "127.0.0.1:0", "tls_cert": str(cert), "tls_key": str(key)}
    config = ElectrumConfig(**{"bind": "127.0.0.1:0", "rate": 0, **settings})

    async def serve(task_status: Any) -> None:
        await serve_electrum(node, network, config, news=news, metrics=metrics, task_status=task_status)

    async with trio.open_nursery() as nursery:
        live = Live(node, metrics, await nursery.start(serve), cert)
        try:
            yield live
        finally:
            for one in live.open:
                await trio.aclose_forcefully(one)
        nursery.cancel_scope.cancel()
