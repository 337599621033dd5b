"""Starts ``tests/adversary/host_victim.py`` and talks to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from p2p.host import DEFAULT_LIMITS, Limits, open_host
from p2p.host.host import LibP2PHost
from p2p.port import YAMUX, HostConfig

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "adversary" / "host_victim.py"
ASK = "/test/ask/1"
ECHO = "/test/echo/1"


@dataclass(frozen=True, slots=True)
class VictimProcess:
    process: subprocess.Popen[bytes]
    addr: str
    log: Path

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def alive(self) -> bool:
        return self.process.poll() is None

    async def dies(self, within: float) -> bool:
        with trio.move_on_after(within):
            await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        return not self.alive()


@contextmanager
def victim(**options: Any) -> Iterator[VictimProcess]:
    """``without``: fences to leave out. ``limits``: overrides. ``max_connections``. ``muxers``."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), folder, json.dumps(options)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        try:
            assert process.stdout is not None
            addr = process.stdout.readline().decode().strip()
            assert addr, log.read_text()
            yield VictimProcess(process, addr, log)
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@asynccontextmanager
async def observer(
    limits: Limits = DEFAULT_LIMITS, muxers: tuple[str, ...] = (YAMUX,), without: Collection[str] = ()
) -> AsyncIterator[LibP2PHost]:
    """An honest host in this process."""
    with tempfile.TemporaryDirectory() as folder:
        config = HostConfig(Path(folder) / "identity", (), muxers=muxers)
        async with open_host(config, limits=limits, without=without) as host:
            yield host


async def ask(host: LibP2PHost, peer: str) -> dict[str, Any]:
    """How the victim is; see ``Victim.status`` there."""
    stream = await host.open_stream(peer, ASK)
    answer = await stream.read_exactly(int.from_bytes(await stream.read_exactly(4), "big"))
    await stream.close()
    result: dict[str, Any] = json.loads(answer)
    return result


async def echoes(host: LibP2PHost, peer: str) -> bool:
    """Whether the victim serves an honest peer."""
    stream = await host.open_stream(peer, ECHO)
    await stream.write(b"?")
    same = await stream.read_exactly(1) == b"?"
    await stream.reset()
    return same
