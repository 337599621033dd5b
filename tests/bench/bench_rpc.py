"""What the RPC of a real daemon with 1,000,000 headers answers, on loopback and on the unix socket: how soon, and how
much in a second of its CPU. One proof a call, proofs as JSON in batches, and proofs checked from an upload.

The reference runs beside it in the same run, and has nothing to do but HTTP: it reads as many bytes and answers with as
many. ``rpc_client`` loads both.
"""

from __future__ import annotations

import json
import random
import struct
import tempfile
from pathlib import Path

from daemons import Daemon, spvnode
from mine import regtest_chain

from tests.bench.bench_wire import CACHE, HEADERS
from tests.bench.row import Row
from tests.bench.rpc_client import Load, Server, ask, call, daemon_server, load, reference
from tests.bench.rpc_reference import NAME

CALLS = 1_000
ROUNDS = 3
"""Of each measurement, ours and the reference's by turns; the quickest counts."""
CONNECTIONS = 8
BATCH = 1_000
"""Headers in one ``getheaderproofs``."""
BATCHES = 5
COLUMNS = 1_000
"""Headers in one column bundle."""
UPLOAD = 40
"""Bundles in one upload, 30 MB."""
UPLOADS = 1
CONFIG = "[rpc.rates]\noperator = 0\n"
"""Not the bound on how often one may call is what is measured."""


def rows() -> list[Row]:
    """Some half a minute, once the headers are there."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    regtest_chain(HEADERS, cache=CACHE, spacing=60)
    with tempfile.TemporaryDirectory(prefix="spv-") as text:
        folder = Path(text)
        node = folder / "node"
        assert spvnode("import", str(CACHE), "--network", "regtest", "--datadir", str(node)).returncode == 0
        (node / "spvnode.toml").write_text(CONFIG)
        daemon = Daemon(node, "regtest")
        daemon.start("--no-mesh")
        try:
            daemon.wait_height(HEADERS)
            with reference(folder) as other:
                mine = daemon_server(daemon)
                loads: list[Load] = []
                found = [row for part in (calls, batches, uploads) for row in part(mine, other, loads)]
                share = max(one.client / one.server for one in loads)
                name = "CPU of the one who asks in all this, at most"
                return [*found, Row(name, "CPU of the daemon meanwhile", share, 0.9, at_least=False)]
        finally:
            daemon.stop()


def calls(mine: Server, other: Server, loads: list[Load]) -> list[Row]:
    """One header proof a call: the wait where one asks, the rate where ``CONNECTIONS`` do."""
    heights = random.Random(9).choices(range(HEADERS), k=CALLS)
    proofs = [mine.request(call("getheaderproof", height)) for height in heights]
    found: list[Row] = []
    for unix, place in ((False, "HTTP"), (True, "unix socket")):
        alone, beside = duel(mine, other, proofs, loads, unix=unix)
        many, many_beside = duel(mine, other, proofs, loads, unix=unix, connections=CONNECTIONS)
        name = f"getheaderproof over {place}"
        found += [
            Row(f"{name}: p50", against(beside.at(0.5), "ms"), alone.at(0.5), 1.5, "ms", at_least=False),
            Row(f"{name}: p99", against(beside.at(0.99), "ms"), alone.at(0.99), 10, "ms", at_least=False),
            Row(
                f"{name}, {CONNECTIONS} connections",
                against(many_beside.rate, "/s"),
                many.rate,
                1_000,
                "calls/s of CPU",
            ),
        ]
        least, beside = duel(
            mine, other, [mine.request(call("uptime"))] * CALLS, loads, unix=unix, connections=CONNECTIONS
        )
        name = f"the least call over {place}, {CONNECTIONS} connections"
        found.append(
            Row(f"{name}: times the reference's rate", f"{NAME}, no JSON, no key", least.rate / beside.rate, 0.4)
        )
    return found


def duel(
    mine: Server, other: Server, requests: list[bytes], loads: list[Load], *, unix: bool, connections: int = 1
) -> tuple[Load, Load]:
    """The quickest round of each, of the same requests; the reference's have another path."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(load(mine, requests, unix=unix, connections=connections))
        path = f"/{ours[-1].size}"
        theirs.append(load(other, [filler(other, one, path) for one in requests], unix=unix, connections=connections))
    loads += ours
    return min(ours, key=lambda one: one.at(0.99)), min(theirs, key=lambda one: one.at(0.99))


def filler(other: Server, request: bytes, path: str) -> bytes:
    """A request of the length of ``request`` to the reference."""
    return other.request(b"x" * max(1, len(request) - len(other.request(b"", path))), path)


def against(value: float, unit: str) -> str:
    """The reference with what it took."""
    return f"{NAME}, as many bytes: {value:,.3g} {unit}"


def batches(mine: Server, other: Server, loads: list[Load]) -> list[Row]:
    """Proofs of headers anywhere in the chain, as JSON."""
    rng = random.Random(10)
    asked = [mine.request(call("getheaderproofs", rng.sample(range(HEADERS), BATCH))) for _ in range(BATCHES)]
    found: list[Row] = []
    for unix, place in ((False, "HTTP"), (True, "unix socket")):
        made, beside = duel(mine, other, asked, loads, unix=unix)
        name = f"header proofs as JSON, {BATCH:,} a call, over {place}"
        found.append(Row(name, against(BATCH * beside.rate, "/s"), BATCH * made.rate, 20_000, "proofs/s of CPU"))
    return found


def uploads(mine: Server, other: Server, loads: list[Load]) -> list[Row]:
    """Column bundles, checked as they come. The reference reads them and does not look."""
    rng = random.Random(11)
    frames = []
    for _ in range(UPLOAD):
        heights = rng.sample(range(HEADERS), COLUMNS)
        answer = json.loads(ask(mine, mine.request(call("getheaderproofs", heights, None, "columns"))))
        frames += [bytes.fromhex(one) for one in answer["result"]["columns"]]
    body = b"".join(struct.pack("<I", len(one)) + one for one in frames)
    count = COLUMNS * UPLOAD
    found: list[Row] = []
    for unix, place in ((False, "HTTP"), (True, "unix socket")):
        made, beside = duel(mine, other, [mine.request(body, "/proofs/verify")] * UPLOADS, loads, unix=unix)
        name = f"headers checked from an upload over {place}"
        found.append(Row(name, against(count * beside.rate, "/s"), count * made.rate, 300_000, "headers/s of CPU"))
    told = json.loads(ask(mine, mine.request(body, "/proofs/verify")))
    assert (told["valid"], told["headers"]) == (UPLOAD, count)
    return found
