"""Helios, a foreign light client, syncs from our Beacon API; and refuses it when we are made to serve tampered data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from beacon_view import TRUSTED_ROOT, RealBeacon, followed
from rpc_live import live
from small_node import SmallNode

from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientUpdate,
    SyncAggregate,
    SyncCommittee,
    beacon_root,
)
from tests.interop.js_peer import HERE, PATIENCE
from tests.support.recheck import RECHECK, ProofDoesNotHold

pytestmark = pytest.mark.interop

PERIOD = 810
"""In the middle of the 21 that are recorded."""


class Tampered(RealBeacon):
    """What ``followed`` has, with a change to one kind of what is served."""

    def __init__(self, kind: str, change: Callable[[Any], Any]) -> None:
        honest = followed()
        super().__init__()
        self.store, self.best = honest.store, dict(honest.best)
        self.finality_update, self.optimistic_update = honest.finality_update, honest.optimistic_update
        if kind == "bootstrap":
            self.bootstrap = change(self.bootstrap)
        elif kind == "finality_update":
            self.finality_update = change(self.finality_update)
        else:
            self.best[PERIOD] = change(self.best[PERIOD])


def sync(tmp_path: Path, beacon: RealBeacon, network: str = "") -> dict[str, Any]:
    """What Helios says after a sync from a server of ours with ``beacon`` behind it."""

    async def main() -> bytes:
        with trio.fail_after(PATIENCE):
            async with live(tmp_path, SmallNode("bitcoin", beacons={"ethereum": beacon})) as server:
                url = f"http://127.0.0.1:{server.port}{network}"
                command = ["node", str(HERE / "helios.mjs"), url, "0x" + TRUSTED_ROOT.hex()]
                done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
                return done.stdout

    found: dict[str, Any] = json.loads(trio.run(main).splitlines()[-1])
    return found


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def without_signers(aggregate: SyncAggregate) -> SyncAggregate:
    return replace(aggregate, sync_committee_bits=bytes(len(aggregate.sync_committee_bits)))


def other_committee(committee: SyncCommittee) -> SyncCommittee:
    """With its first two members swapped: every key a real one."""
    keys = committee.pubkeys
    return replace(committee, pubkeys=keys[48:96] + keys[:48] + keys[96:])


def bad_signature(update: LightClientUpdate | LightClientFinalityUpdate) -> Any:
    other = replace(update.sync_aggregate, sync_committee_signature=signature_of_another())
    return replace(update, sync_aggregate=other)


def signature_of_another() -> bytes:
    """A valid point, and a real committee's signature, of another block."""
    return followed().best[PERIOD + 1].sync_aggregate.sync_committee_signature


def bad_state_root(update: LightClientFinalityUpdate) -> LightClientFinalityUpdate:
    header = update.finalized_header
    beacon = replace(header.beacon, state_root=flipped(header.beacon.state_root, 3))
    return replace(update, finalized_header=replace(header, beacon=beacon))


def bad_execution(update: LightClientFinalityUpdate) -> LightClientFinalityUpdate:
    header = update.finalized_header
    assert header.execution is not None
    execution = replace(header.execution, state_root=flipped(header.execution.state_root, 0))
    return replace(update, finalized_header=replace(header, execution=execution))


def bad_next_committee(update: LightClientUpdate) -> LightClientUpdate:
    return replace(update, next_sync_committee=other_committee(update.next_sync_committee))


def bad_first_committee(bootstrap: LightClientBootstrap) -> LightClientBootstrap:
    return replace(bootstrap, current_sync_committee=other_committee(bootstrap.current_sync_committee))


def nobody_signed(update: LightClientUpdate) -> LightClientUpdate:
    return replace(update, sync_aggregate=without_signers(update.sync_aggregate))


@pytest.mark.parametrize("network", ["", "/ethereum"])
def test_helios_syncs_from_us(tmp_path: Path, network: str) -> None:
    finalized = "0x" + beacon_root(followed().finalized.beacon).hex()
    assert sync(tmp_path, followed(), network) == {"finalized": finalized}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("bootstrap", bad_first_committee, "invalid current sync committee proof"),
        ("update", bad_signature, "invalid sync committee signature"),
        ("update", bad_next_committee, "invalid next sync committee proof"),
        ("update", nobody_signed, "insufficient participation"),
        ("finality_update", bad_signature, "invalid sync committee signature"),
        ("finality_update", bad_state_root, "invalid finality proof"),
        ("finality_update", bad_execution, "invalid execution payload proof"),
    ],
)
def test_helios_refuses_what_is_tampered_with(
    tmp_path: Path, kind: str, change: Callable[[Any], Any], reason: str
) -> None:
    found = sync(tmp_path, Tampered(kind, change))
    assert "finalized" not in found
    assert reason in found["refused"]
    with pytest.raises(ProofDoesNotHold):  # as the verifier of these tests refuses it
        RECHECK.settle()


def test_helios_does_not_find_a_bootstrap_that_we_do_not_hold(tmp_path: Path) -> None:
    other = RealBeacon()
    other.start = replace(other.start, root=beacon_root(followed().finalized.beacon))
    assert "could not fetch bootstrap" in sync(tmp_path, other)["refused"]
