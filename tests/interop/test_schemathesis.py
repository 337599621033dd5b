"""schemathesis against the live server, over a real socket: whatever the OpenAPI document lets one ask, and what it
does not. The chains behind it are real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from beacon_view import followed
from event_node import with_hub
from rpc_live import Live, live, live_thread
from small_node import SmallNode, mainnet

from spvnode.rpc.services import Services

pytestmark = pytest.mark.interop

PATIENCE = 240.0
EXAMPLES = 25
"""A check of each operation: 600 requests together, 15 s."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL and credentials."""
    folder = tmp_path_factory.mktemp("served")
    node = mainnet(3_000)
    node.beacon_views["ethereum"] = followed()
    with live_thread(folder, node, with_events):
        yield node.url, node.auth


@asynccontextmanager
async def with_events(folder: Path, node: SmallNode) -> AsyncIterator[Live]:
    """With a hub, so that there are streams to ask for."""
    async with with_hub(node, folder) as hub, live(folder, node, services=Services(hub=hub)) as server:
        yield server


def run(served: tuple[str, str], *arguments: str, cwd: Path) -> None:
    url, auth = served
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "-H", f"Authorization: {auth}"]
    settings = ["--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "5"]
    phases = ["--checks", "all", "--phases", "coverage,fuzzing"]
    every = [*command, *settings, *phases, *arguments]
    done = subprocess.run(every, capture_output=True, text=True, cwd=cwd, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout


def test_every_route(served: tuple[str, str], tmp_path: Path) -> None:
    # A stream that is asked for as it should be has no end, and is in the tests of events; the others are below.
    apart = ("/eth/v1/events", "/events", "/ws", "/", "/{network}", "/proofs/verify")
    run(served, *(part for path in apart for part in ("--exclude-path", path)), cwd=tmp_path)


def test_streams_that_are_asked_for_wrongly(served: tuple[str, str], tmp_path: Path) -> None:
    """Only what breaks the schema is sent, so that every answer ends."""
    run(served, "--include-path", "/events", "--mode", "negative", cwd=tmp_path)


def test_the_websocket(served: tuple[str, str], tmp_path: Path) -> None:
    """No request of OpenAPI is a handshake, so that all that is well formed is told 426."""
    run(served, "--include-path", "/ws", "--exclude-checks", "positive_data_acceptance", cwd=tmp_path)


def test_json_rpc(served: tuple[str, str], tmp_path: Path) -> None:
    """By design: in Core's older manner an error comes with HTTP 500, in JSON-RPC 2.0's with 200."""
    only = ["--include-path", "/", "--include-path", "/{network}"]
    run(served, *only, "--exclude-checks", "not_a_server_error,negative_data_rejection", cwd=tmp_path)


def test_uploads(served: tuple[str, str], tmp_path: Path) -> None:
    """No schema can say which bytes are a proof."""
    run(served, "--include-path", "/proofs/verify", "--exclude-checks", "positive_data_acceptance", cwd=tmp_path)
