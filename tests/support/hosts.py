"""Real libp2p hosts in the test's own process, over loopback."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from p2p.host import DEFAULT_LIMITS, Limits, open_host
from p2p.host.host import LibP2PHost
from p2p.port import HostConfig, Stream

ECHO = "/test/echo/1"
SOMEBODY = "12D3KooWMwUGMDWAorm9xseMzsafUs1j19CYr2BcGVnwdE7gM9UM"
"""A valid peer id that is nobody's."""
PATIENCE = 20.0
"""Seconds after which a wait fails; what is waited for takes milliseconds."""


@asynccontextmanager
async def hosts(
    count: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    without: Collection[str] = (),
    max_connections: int = 64,
    listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
    **options: Any,
) -> AsyncIterator[list[LibP2PHost]]:
    """``count`` hosts that serve ECHO; ``options`` are fields of HostConfig."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = []
        for number in range(count):
            config = HostConfig(folder / f"identity-{number}", tuple(listen), max_connections, **options)
            host = await stack.enter_async_context(open_host(config, limits=limits, without=without))
            host.handle(ECHO, echo)
            opened.append(host)
        yield opened


async def echo(stream: Stream) -> None:
    """Sends back each length-prefixed message (4 bytes, big-endian)."""
    while True:
        prefix = await stream.read_exactly(4)
        await stream.write(prefix + await stream.read_exactly(int.from_bytes(prefix, "big")))


async def call(host: LibP2PHost, peer: str, message: bytes) -> bytes:
    """Send one message to a peer's ECHO and return what comes back."""
    stream = await host.open_stream(peer, ECHO)
    await stream.write(len(message).to_bytes(4, "big") + message)
    answer = (await stream.read_exactly(4 + len(message)))[4:]
    await stream.close()
    return answer


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event
            await trio.sleep(0.01)
