"""schemathesis against the live server, over a real socket: whatever the OpenAPI document lets one ask, and what it
does not. The chains behind it are real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beacon_view import followed
from rpc_live import live_thread
from small_node import mainnet

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
    with live_thread(folder, node):
        yield node.url, node.auth


def run(served: tuple[str, str], *arguments: str, cwd: Path) -> None:
    url, auth = served
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "-H", f"Authorization: {auth}"]
    settings = ["--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "5"]
    phases = ["--checks", "all", "--phases", "coverage,fuzzing"]
    every = [*command, *settings, *phases, *arguments]
    done = subprocess.run(every, capture_output=True, text=True, cwd=cwd, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout


def test_every_route(served: tuple[str, str], tmp_path: Path) -> None:
    # The streams have no end; the three others are below.
    streams = ["--exclude-path", "/eth/v1/events"]
    others = [part for path in ("/", "/{network}", "/proofs/verify") for part in ("--exclude-path", path)]
    run(served, *streams, *others, cwd=tmp_path)


def test_json_rpc(served: tuple[str, str], tmp_path: Path) -> None:
    """By design: in Core's older manner an error comes with HTTP 500, in JSON-RPC 2.0's with 200."""
    only = ["--include-path", "/", "--include-path", "/{network}"]
    run(served, *only, "--exclude-checks", "not_a_server_error,negative_data_rejection", cwd=tmp_path)


def test_uploads(served: tuple[str, str], tmp_path: Path) -> None:
    """No schema can say which bytes are a proof."""
    run(served, "--include-path", "/proofs/verify", "--exclude-checks", "positive_data_acceptance", cwd=tmp_path)
