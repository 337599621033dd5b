"""The part of ``make run`` that shows Ethereum: two daemons, real mainnet updates, a proof, a stranger's check.

The bundled file holds a mainnet bootstrap of May 2024 and the updates of two sync-committee periods. A loopback server
hands them out as a Beacon API does; the first daemon checks and follows that, the second follows the first over libp2p.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from spvnode.demo_node import DemoError, Node, say, verify

NETWORK = "ethereum"
BUNDLED = "ethereum-1150-1151.items"
"""Of github:argumentcomputer/zk-light-clients a4a5d863, ``ethereum/test-assets``."""
CHECKPOINT = "0xefb4338d596b9d335b2da176dc85ee97469fc80c7e2d35b9b9c1558b4602077a"
FINALIZED_SLOT = 9_430_496
"""Where the bundled data end."""
VERSION = "deneb"
_LIGHT_CLIENT = "/eth/v1/beacon/light_client"

SETTINGS = """networks = ["{network}"]
[[beacon]]
network = "{network}"
checkpoint = "{root}"
allow_stale_checkpoint = true
listen = ["/ip4/127.0.0.1/tcp/0"]
{source}
"""
"""Bundled data are old, and their age is the one thing that cannot be shown."""


def bundled() -> tuple[bytes, list[bytes], bytes, bytes]:
    """SSZ of the bootstrap, the updates as the API frames them, the last one's finality and optimistic update."""
    from spvnode.ethereum.containers import LightClientUpdate, decode, encode  # noqa: PLC0415 - BLS and tables
    from spvnode.ethereum.forks import Fork  # noqa: PLC0415
    from spvnode.ethereum.full_node import (  # noqa: PLC0415
        create_light_client_finality_update,
        create_light_client_optimistic_update,
    )
    from spvnode.ethereum.items import split  # noqa: PLC0415
    from spvnode.ethereum.presets import MAINNET  # noqa: PLC0415

    bootstrap, *updates = split(files("spvnode").joinpath("data", BUNDLED).read_bytes())
    last = decode(MAINNET, Fork.DENEB, LightClientUpdate, updates[-1].ssz)
    finality, optimistic = create_light_client_finality_update(last), create_light_client_optimistic_update(last)
    framed = [(4 + len(one.ssz)).to_bytes(8, "little") + one.digest + one.ssz for one in updates]
    return bootstrap.ssz, framed, encode(MAINNET, finality), encode(MAINNET, optimistic)


@contextmanager
def serving(first_period: int = 1150) -> Iterator[str]:
    """The bundled data behind a Beacon API on loopback; its URL."""
    bootstrap, updates, finality, optimistic = bundled()
    single = {
        f"{_LIGHT_CLIENT}/bootstrap/{CHECKPOINT}": bootstrap,
        f"{_LIGHT_CLIENT}/finality_update": finality,
        f"{_LIGHT_CLIENT}/optimistic_update": optimistic,
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == f"{_LIGHT_CLIENT}/updates":
                start = int(parse_qs(url.query)["start_period"][0]) - first_period
                self._send(200, b"".join(updates[max(start, 0) :]))
            else:
                found = single.get(url.path)
                self._send(404 if found is None else 200, found or b"")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Eth-Consensus-Version", VERSION)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def start(node: Node, source: str) -> None:
    """Starts the daemon at the bundled checkpoint with one source, a line of its config."""
    node.folder.mkdir(mode=0o700, exist_ok=True)
    (node.folder / "spvnode.toml").write_text(SETTINGS.format(network=NETWORK, root=CHECKPOINT, source=source))
    node.start("--no-mesh", "--no-discovery")


def follow(node: Node) -> int:
    """Waits until it has finalized what the bundled data end with; returns the slot."""

    def slot() -> int:
        header = node.ask("header", "finalized", "--network", NETWORK) or {}
        found = int(header.get("slot", -1))
        return found if found >= FINALIZED_SLOT else 0

    return int(node.wait(slot, "to follow Ethereum"))


def show(folder: Path) -> None:
    """The demonstration. Raises DemoError."""
    first, second = Node("fourth", folder), Node("fifth", folder)
    try:
        with serving() as url:
            say("6  Ethereum: following real mainnet updates from a Beacon API, every signature checked ...")
            start(first, f'apis = ["{url}"]')
            follow(first)
            addresses = first.wait(lambda: first.beacon_addresses(NETWORK), "to listen")
        say("7  Ethereum: a second node, which knows only the first, follows it over libp2p ...")
        start(second, f'peers = ["{addresses[0]}"]')
        slot = follow(second)
        say(f"8  asking the second node to prove the finalized header of slot {slot:,} ...")
        proof = folder / "beacon.proof"
        made = second.command("proof", "finalized", "--network", NETWORK, "-o", str(proof))
        if made.returncode:
            raise DemoError(f"no proof: {made.stderr.strip()}")
    finally:
        first.stop()
        second.stop()
    say("9  all nodes stopped; verifying that proof offline ...")
    text = verify(proof)
    say(f"\nEthereum proof: {proof.stat().st_size:,} bytes\n{text}")
