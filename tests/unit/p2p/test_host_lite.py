"""What importing and running the host costs, and what it leaves alone. In fresh processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d ")
MIB = 1 << 20
MAX_RSS = 61 * MIB
"""Of a process with host and gossipsub running. Stock libp2p takes 83 MB; ours 58, of which 4 are
structlog's pretty printer where that is installed."""
NEVER = {
    "Crypto",
    "OpenSSL",
    "aioquic",
    "dns",
    "grpc",
    "httpx",
    "miniupnpc",
    "prometheus_client",
    "requests",
    "service_identity",
    "trio_websocket",
    "zeroconf",
}
"""Packages that a TCP node has no use for."""


def run(script: str, *args: str) -> Any:
    """What ``script`` prints in a process of its own, as JSON; log lines begin with a date."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    (line,) = [line for line in process.stdout.splitlines() if not LOG_LINE.match(line)]
    return json.loads(line)


IMPORTS = """
import json, sys
import {module}
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] in ("libp2p", "trio",
"cryptography"))))
"""


@pytest.mark.parametrize("module", ["p2p", "p2p.port", "p2p.host", "p2p.host.identity", "p2p.host.limits"])
def test_imports_that_must_be_cheap_import_nothing(module: str) -> None:
    assert run(IMPORTS.format(module=module)) == []


RUNNING = """
import json, logging, os, sys, threading
from pathlib import Path
import trio
from p2p.host import open_host
from p2p.port import HostConfig

async def main():
    async with open_host(HostConfig(Path(sys.argv[1]) / "identity")) as host:
        host.subscribe("topic", lambda peer, data: True, lambda peer, data: None)
        await trio.sleep(1.2)
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        root = logging.getLogger()
        import prometheus_client, dns.name
        print(json.dumps({
            "rss": rss,
            "packages": before,
            "stand_ins": [type(module).__name__ for module in (prometheus_client, dns.name)],
            "root": [root.level, len(root.handlers)],
            "threads": threading.active_count(),
        }))

import p2p.host.host
before = sorted({name.split(".")[0] for name in sys.modules})
trio.run(main)
"""


@pytest.fixture(scope="module")
def running() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return run(RUNNING, folder)


def test_a_running_host_is_small(running: Any) -> None:
    assert running["rss"] < MAX_RSS


def test_only_what_a_tcp_node_needs_is_imported(running: Any) -> None:
    assert not NEVER & set(running["packages"])


def test_no_stand_in_is_left_where_others_would_find_it(running: Any) -> None:
    assert running["stand_ins"] == ["module", "module"]


def test_the_root_logger_is_left_alone(running: Any) -> None:
    warning = 30
    assert running["root"] == [warning, 0]


def test_no_thread_is_started(running: Any) -> None:
    assert running["threads"] == 1


LOGGING = """
import json, logging, sys
records = []
class Keep(logging.Handler):
    def emit(self, record): records.append(record.getMessage())
logging.getLogger().addHandler(Keep())
logging.getLogger().setLevel(logging.DEBUG)
import p2p.host.fences
import libp2p.network.connection.swarm_connection as connection
logging.getLogger("libp2p.network.swarm").error("of a stranger's making")
connection.logging.warning("of a stranger's making")
logging.getLogger("ours").warning("ours")
print(json.dumps(records))
"""


def test_what_libp2p_logs_reaches_nobody() -> None:
    assert run(LOGGING) == ["ours"]


def test_another_release_is_refused() -> None:
    script = """
import importlib.metadata, json
importlib.metadata.version = lambda name: "0.9.0"
from p2p.host import lite
try:
    lite.install()
except lite.UnsupportedLibp2p as error:
    print(json.dumps(str(error)))
"""
    assert run(script) == "libp2p 0.8.1 is needed, 0.9.0 is installed"


def test_it_works_when_all_of_libp2p_was_imported_before() -> None:
    script = """
import json, sys, tempfile
from pathlib import Path
import libp2p, trio
from p2p.host import open_host
from p2p.port import HostConfig

async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_host(HostConfig(Path(folder) / "a")) as here,
            open_host(HostConfig(Path(folder) / "b")) as there,
        ):
            print(json.dumps(await here.connect(there.addrs[0]) == there.peer_id))

trio.run(main)
"""
    assert run(script) is True


def test_an_rsa_identity_is_an_unknown_kind_of_key() -> None:
    script = """
import json
import p2p.host.fences
from libp2p.crypto.exceptions import MissingDeserializerError
from libp2p.crypto.pb import crypto_pb2
from libp2p.crypto.serialization import deserialize_public_key
try:
    deserialize_public_key(crypto_pb2.PublicKey(key_type=crypto_pb2.KeyType.RSA,
    data=b"x").SerializeToString())
except MissingDeserializerError as error:
    print(json.dumps("unknown"))
"""
    assert run(script) == "unknown"
