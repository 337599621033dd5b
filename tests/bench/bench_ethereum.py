"""Ethereum: one update and many, 400 periods of catch-up, and a daemon that follows both chains.

Signatures are compared with blspy's own functions on keys that were decoded before; the updates are made up at the
mainnet preset, signed by 486 of 512. CPU is of all threads.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import blspy

from spvnode.bls import MAX_BATCH, SignatureSet, Verifier, set_bits
from spvnode.demo_beacon import CHECKPOINT, FINALIZED_SLOT, serving
from spvnode.ethereum.catchup import process_light_client_updates
from spvnode.ethereum.containers import LightClientUpdate, beacon_root, encode
from spvnode.ethereum.items import Item, Kind, join
from spvnode.ethereum.light_client import (
    check_light_client_update,
    initialize_light_client_store,
    process_light_client_update,
)
from spvnode.ethereum.presets import MAINNET
from spvnode.ethereum.records import slot_of, wire_digest
from spvnode.ethereum.store import LightClientStore
from spvnode.ethereum.units import Slot
from tests.bench.bench_daemon import address, ask, spvnode, status_field, wait_for
from tests.bench.row import Row
from tests.support.eth_long_chain import LongChain

PERIODS = 400
SAMPLES = 15
FEW = 4
"""Periods of which the slow reference shows its pace."""
NOW = Slot(10**9)
ROOT = Path(__file__).parents[2]
BITCOIN = "bitcoin-0-32259.headers.xz"


def rows() -> list[Row]:
    """What ``make bench`` prints of Ethereum: about a minute."""
    chain = LongChain(1)
    return [*signature_rows(chain), *catchup_rows(chain), *daemon_rows()]


def ratio(ours: Callable[[], object], reference: Callable[[], object], clock: Callable[[], float]) -> float:
    """Best time of the reference over best time of ours, of interleaved samples."""
    best = [float("inf")] * 2
    for _ in range(SAMPLES):
        for index, work in enumerate((ours, reference)):
            began = clock()
            work()
            best[index] = min(best[index], clock() - began)
    return best[1] / best[0]


# -- signatures


def signature_rows(made: LongChain) -> list[Row]:
    """One update, and 64 of one committee, which is decoded."""
    store, updates = one_committee(made)
    verifier, first = Verifier(), updates[0]
    one_by_one(made, store, updates[:1], verifier)
    reference = blspy_one_by_one(made, store, updates)
    alone = cpu_ratio(lambda: reference(1), lambda: one_by_one(made, store, [first], verifier))
    batch = partial(in_a_batch, made, store, updates, verifier)
    ours = partial(one_by_one, made, store, updates, verifier)
    periods = list(made.updates(MAX_BATCH))
    fresh = cpu_ratio(
        lambda: in_a_batch(made, store, periods, Verifier()),
        lambda: one_by_one(made, store, periods[:FEW], Verifier()),
    )
    name = f"{MAX_BATCH} updates in one batch"
    decoded, single = "ours one by one, committee decoded before", "blspy fast_aggregate_verify, keys decoded before"
    return [
        Row("one update, all of process_light_client_update", single, alone, 1.25, at_least=False),
        Row(f"{name}, wall time on two cores", decoded, ratio(batch, ours, time.perf_counter), 2.2),
        Row(f"{name}, CPU", decoded, cpu_ratio(batch, ours), 1.5),
        Row(f"{name}, a committee each, CPU", "ours one by one, decoding 512 keys each", fresh * MAX_BATCH / FEW, 2.2),
    ]


def cpu_ratio(ours: Callable[[], object], reference: Callable[[], object]) -> float:
    return ratio(ours, reference, time.process_time)


def one_committee(made: LongChain) -> tuple[LightClientStore, list[LightClientUpdate]]:
    """A store and updates that follow each other, all signed by its current committee."""
    bootstrap = made.bootstrap()
    store = initialize_light_client_store(made.network, beacon_root(bootstrap.header.beacon), bootstrap)
    if not isinstance(store, LightClientStore):
        raise TypeError(store)
    return store, [made.update(Slot(200 + 100 * place)) for place in range(MAX_BATCH)]


def one_by_one(
    made: LongChain, store: LightClientStore, updates: Sequence[LightClientUpdate], verifier: Verifier
) -> LightClientStore:
    for update in updates:
        after = process_light_client_update(made.network, store, update, NOW, verifier)
        if not isinstance(after, LightClientStore):
            raise TypeError(after)
        store = after
    return store


def in_a_batch(
    made: LongChain, store: LightClientStore, updates: Sequence[LightClientUpdate], verifier: Verifier
) -> LightClientStore:
    done = process_light_client_updates(made.network, store, updates, NOW, verifier)
    if any(done.outcomes):
        raise TypeError(done.outcomes)
    return done.store


def blspy_one_by_one(
    made: LongChain, store: LightClientStore, updates: Sequence[LightClientUpdate]
) -> Callable[[int], None]:
    """Verifies the first n signatures as blspy does it by itself, on decoded keys; nothing but the signatures."""
    claims = []
    for update in updates:
        claim = check_light_client_update(made.network, store, update, NOW)
        if not isinstance(claim, SignatureSet):
            raise TypeError(claim)
        rows = [claim.pubkeys[at : at + 48] for at in range(0, len(claim.pubkeys), 48)]
        claims.append((rows, claim))
    decoded = {row: blspy.G1Element.from_bytes(row) for row in claims[0][0]}
    ready = [
        (
            [decoded[rows[member]] for member in set_bits(int.from_bytes(claim.bits, "little"))],
            claim.message,
            blspy.G2Element.from_bytes(claim.signature),
        )
        for rows, claim in claims
    ]

    def verify(count: int) -> None:
        for keys, message, signature in ready[:count]:
            if not blspy.PopSchemeMPL.fast_aggregate_verify(keys, message, signature):
                raise ValueError("a good signature was refused")

    return verify


# -- catching up


def catchup_rows(made: LongChain) -> list[Row]:
    """400 periods, each with a committee of its own, from a peer that has them at hand."""
    bootstrap = made.bootstrap()
    values = [(Kind.BOOTSTRAP, bootstrap), *((Kind.UPDATE, update) for update in made.updates(PERIODS))]
    run = join(Item(kind, wire_digest(made.network, slot_of(value)), encode(MAINNET, value)) for kind, value in values)
    with tempfile.TemporaryDirectory(prefix="spv-") as text:
        folder = Path(text)
        (folder / "items.bin").write_bytes(run)
        follow, reopen = in_process("follow", folder), in_process("open", folder)
    name = f"{PERIODS} periods of catch-up"
    each = "each a committee of its own; machine, rules, store"
    grown, size = follow["peak_mb"] - follow["before_mb"], f"{len(run) / 1e6:.0f} MB of updates"
    return [
        Row(f"{name}, wall time per period", each, follow["wall_ms"], 10, "ms", at_least=False),
        Row(f"{name}, CPU per period", each, follow["cpu_ms"], 3, "ms", at_least=False),
        Row(f"{name}, memory that it takes at most", size, grown, 40, "MB", at_least=False),
        Row(f"opening {PERIODS} stored periods, CPU", "read, replayed, newest signature", reopen["cpu_s"], 0.5, "s",
            at_least=False),
    ]  # fmt: skip


def in_process(mode: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.beacon_catchup", mode, str(folder)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # behind its log
    return answer


# -- a daemon with both chains


SETTINGS = """networks = ["bitcoin", "ethereum"]
[[wire]]
network = "bitcoin"
enabled = false
[[beacon]]
network = "ethereum"
checkpoint = "{root}"
allow_stale_checkpoint = true
discovery = false
listen = ["/ip4/127.0.0.1/tcp/0"]
apis = ["{url}"]
"""


def daemon_rows() -> list[Row]:
    """``spvnode run``, mesh and beacon wire listening on loopback: bundled mainnet headers and updates."""
    with tempfile.TemporaryDirectory(prefix="spv-") as text, serving() as url:
        folder = Path(text)
        folder.chmod(0o700)
        headers = folder / "headers.bin"
        headers.write_bytes(lzma.decompress(files("spvnode").joinpath("data", BITCOIN).read_bytes()))
        spvnode(folder, "import", str(headers), "--network", "bitcoin")
        (folder / "spvnode.toml").write_text(SETTINGS.format(root=CHECKPOINT, url=url))
        command = ["run", "--datadir", text, "--rpc", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "spvnode", *command], stderr=log, stdout=log)
        try:
            address(folder)  # the mesh listens, and with it the beacon wire
            wait_for(partial(is_synced, folder), "no finalized header")
            time.sleep(1)  # what the sync borrowed is given back
            rest, peak = status_field(process.pid, "VmRSS"), status_field(process.pid, "VmHWM")
        finally:
            process.terminate()
            process.wait(30)
    name = "daemon with both chains, mesh and beacon wire"
    reference = "32,260 headers, 2 periods, one Beacon API"
    return [
        Row(f"{name}: memory once synced", reference, rest, 120, "MB", at_least=False),
        Row(f"{name}: its peak", reference, peak, 130, "MB", at_least=False),
    ]


def is_synced(folder: Path) -> bool:
    """Whether it has finalized what the bundled updates end with."""
    header = ask(folder, "header", "finalized", "--network", "ethereum") or {}
    return int(header.get("slot", -1)) >= FINALIZED_SLOT


if __name__ == "__main__":
    for row in rows():
        print(f"{'ok  ' if row.good else 'MISS'} {row.name} ({row.reference}): {row.value:,.3f} {row.unit}")
