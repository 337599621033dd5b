"""One Ethereum network on a real store, begun from a file: what it says of itself, and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from beacon_chains import live_run, update_run
from eth_vectors import archive, real_json, unhex
from structlog.testing import capture_logs

from p2p.beacon.messages import Status
from spvnode.config import BeaconConfig, SyncConfig
from spvnode.errors import InputError, StoreError
from spvnode.ethereum.chain import BeaconChain
from spvnode.ethereum.networks import ETHEREUM
from spvnode.ethereum.units import Epoch, Root, Slot
from spvnode.follow import ethereum
from spvnode.follow.ethereum import STALE_EPOCHS, STALE_SLOTS, EthereumFollower
from spvnode.follow.trust import Refusal, RefusalReason, TrustConfig, TrustStart
from spvnode.following import Tip
from spvnode.node import Node
from spvnode.sync import events as ev
from spvnode.sync.cross_check import Disagreement
from spvnode.types import Hash32, Height, Work

NIMBUS = "mainnet-capella-nimbus21"
SIGNED = 6_730_831
"""Slot in which the recorded set ends."""
PATIENCE = 20.0
CLAIM = ev.PeerTip("peer", Tip(Height(0), Hash32(bytes(32)), Work(0)), Height(0))


class Clock:
    def __init__(self, slot: int = SIGNED) -> None:
        self.now = ETHEREUM.start_of(Slot(slot)) + 1

    def __call__(self) -> float:
        return self.now


def follower(folder: Path, clock: Clock, file: Path | None) -> EthereumFollower:
    config = BeaconConfig(
        network="ethereum", checkpoint_file=str(file or ""), p2p=False, allow_stale_checkpoint=True, discovery=False
    )
    return EthereumFollower(
        config, folder, sync=SyncConfig(), write_buffer=1 << 20, pool=trio.CapacityLimiter(4), clock=clock
    )


def bootstrap_file(folder: Path) -> Path:
    file = folder / "bootstrap.json"
    file.write_bytes(archive("real")[f"{NIMBUS}/bootstrap.json"])
    return file


def following(one: EthereumFollower, main: Callable[[], object]) -> None:
    """``main`` once ``one`` follows, with all that was recorded."""

    async def bounded() -> None:
        try:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    await trio.to_thread.run_sync(one.open)
                    nursery.start_soon(one.run)
                    while one.driver is None:  # noqa: ASYNC110 - what is waited for tells nobody
                        await trio.sleep(0.01)
                    await one.post(CLAIM)
                    for run in (update_run(NIMBUS), live_run(NIMBUS)):
                        tip = one.driver.chain.tip
                        await one.post(ev.Pushed("peer", Height(tip.height + 1), run))
                        while one.driver.chain.tip == tip:  # noqa: ASYNC110 - as above
                            await trio.sleep(0.01)
                    main()
                    nursery.cancel_scope.cancel()
        finally:
            one.close()

    trio.run(bounded)


def said(one: EthereumFollower) -> set[str]:
    return {reason for reason, holds in one.reasons().items() if holds}


def test_a_file_begins_it_and_it_is_ready_while_all_is_fresh(tmp_path: Path) -> None:
    clock = Clock()
    one = follower(tmp_path, clock, bootstrap_file(tmp_path))

    def main() -> None:
        assert one.beacon is not None
        assert one.beacon.start.root == unhex(real_json(NIMBUS, "manifest.json")["trusted_block_root"])
        assert (one.beacon.start.kind, one.beacon.start.vouched_by) == ("file", ("bootstrap.json",))
        assert said(one) == set()
        assert one.why == ""

    following(one, main)


def test_the_next_period_does_not_make_it_unready_and_many_do(tmp_path: Path) -> None:
    clock = Clock()
    one = follower(tmp_path, clock, bootstrap_file(tmp_path))

    def main() -> None:
        assert one.driver is not None
        peers, ours = one.driver.machine.peers, one.driver.machine.tip
        peers.claim("other", Tip(Height(ours.height + 1), Hash32(b"\x01" * 32), Work(0)), Height(0))
        assert peers.leaders(ours)
        assert said(one) == set()
        peers.claim("other", Tip(Height(ours.height + 3), Hash32(b"\x02" * 32), Work(0)), Height(0))
        assert [reason.partition(":")[0] for reason in said(one)] == ["synchronising"]

    following(one, main)


def test_it_tells_when_what_it_has_is_old(tmp_path: Path) -> None:
    clock = Clock()
    one = follower(tmp_path, clock, bootstrap_file(tmp_path))

    def main() -> None:
        clock.now += (STALE_SLOTS + 1) * 12
        assert len(said(one)) == 1
        assert "signed header" in said(one).pop()
        clock.now += STALE_EPOCHS * 32 * 12
        assert len(said(one)) == 2
        clock.now = ETHEREUM.start_of(Slot(SIGNED - 10))
        assert said(one) == {"the clock is behind the tip"}

    following(one, main)


def test_it_warns_of_the_fork_horizon_and_stops_being_ready_at_it(tmp_path: Path) -> None:
    clock = Clock()
    one = follower(tmp_path, clock, bootstrap_file(tmp_path))
    epoch = SIGNED // 32

    def until(last: int) -> None:
        one.params = replace(ETHEREUM, schedule=replace(ETHEREUM.schedule, known_until=Epoch(last)))

    def main() -> None:
        until(epoch + 100_000)
        assert (list(one.warnings()), said(one)) == ([], set())
        until(epoch + 1_000)  # 4.4 days
        assert "for 4 d more" in one.warnings()[0]
        with capture_logs() as logs:
            one.remind()
        assert [line["event"] for line in logs] == ["fork horizon"]
        assert said(one) == set()
        until(epoch - 1)
        assert said(one) == {"this version does not know the fork that is in force: update it"}
        assert "does not know" in one.warnings()[0]

    following(one, main)


def test_one_liar_does_not_unsettle_it_and_a_majority_does(tmp_path: Path) -> None:
    clock = Clock()
    one = follower(tmp_path, clock, bootstrap_file(tmp_path))

    def main() -> None:
        assert one.beacon is not None
        slot = one.beacon.finalized.beacon.slot
        ours, other = Root(b"\1" * 32), Root(b"\2" * 32)
        one._disagreed(Disagreement(slot, {ours: ("ours", "rest:a"), other: ("rest:b",)}))
        assert said(one) == set()
        one._disagreed(Disagreement(slot, {ours: ("ours",), other: ("rest:a", "rest:b")}))
        assert said(one) == {"most sources call another block final"}
        one._disagreed(Disagreement(Slot(slot - 200), {ours: ("ours",), other: ("rest:a", "rest:b")}))
        assert said(one) == set()

    following(one, main)


def test_without_a_start_it_waits(tmp_path: Path) -> None:
    one = follower(tmp_path, Clock(), None)

    async def main() -> None:
        await trio.to_thread.run_sync(one.open)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            await trio.sleep(0.1)
            assert one.waits
            assert one.driver is None
            nursery.cancel_scope.cancel()
        one.close()

    trio.run(main)


def test_a_named_checkpoint_waits_for_a_source_and_is_not_called_none(tmp_path: Path) -> None:
    config = BeaconConfig(network="ethereum", checkpoint="0x" + "11" * 32, p2p=False, discovery=False)
    one = EthereumFollower(
        config, tmp_path, sync=SyncConfig(), write_buffer=1 << 20, pool=trio.CapacityLimiter(4), clock=Clock()
    )
    assert follower(tmp_path, Clock(), None).waits_for == "a trusted checkpoint"

    async def main() -> None:
        await trio.to_thread.run_sync(one.open)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            with trio.fail_after(PATIENCE):
                while not one.why:  # noqa: ASYNC110 - nothing tells
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        node = Node({"ethereum": one})
        named = "the checkpoint: named, but no source has it yet"
        assert node.sync_info("ethereum")["waiting_for"] == named
        [reason] = node.readiness("ethereum").reasons
        assert reason.startswith(f"waiting for {named}: no source has a bootstrap for 0x11")
        one._refusal = Refusal(RefusalReason.STALE, "old")
        assert node.readiness("ethereum").reasons == ("waiting for another checkpoint: named, but refused: old",)
        one.close()

    trio.run(main)


@pytest.mark.parametrize(("root", "stale"), [("", True), ("begun", True), ("other", False)])
def test_only_the_begun_root_goes_on_however_old_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, stale: bool
) -> None:
    """A store that has lost its bootstrap asks for it again; another root than the one that it began at is new."""
    begun = unhex(real_json(NIMBUS, "manifest.json")["trusted_block_root"])
    following(follower(tmp_path, Clock(), bootstrap_file(tmp_path)), lambda: None)
    named = {"": "", "begun": "0x" + begun.hex(), "other": "0x" + "11" * 32}[root]
    asked: list[TrustConfig] = []

    def asking(network: object, config: TrustConfig, *args: object, **more: object) -> TrustStart:
        asked.append(config)
        raise StoreError("enough")

    monkeypatch.setattr(ethereum, "TrustStart", asking)
    monkeypatch.setattr(BeaconChain, "open", lambda *args, **more: None)
    config = BeaconConfig(network="ethereum", checkpoint=named, p2p=False, discovery=False)
    one = EthereumFollower(
        config, tmp_path, sync=SyncConfig(), write_buffer=1 << 20, pool=trio.CapacityLimiter(4), clock=Clock()
    )
    one.open()
    with pytest.raises(StoreError, match="enough"):
        trio.run(one.run)
    one.close()
    assert (asked[0].root, asked[0].allow_stale) == (begun if root != "other" else b"\x11" * 32, stale)


def test_peers_that_dialed_us_have_no_say_in_where_trust_begins(tmp_path: Path) -> None:
    one = follower(tmp_path, Clock(), None)
    status = Status(bytes(4), b"r" * 32, 5, b"h" * 32, 161)
    peers = {name: SimpleNamespace(id=name, status=status, inbound=name != "dialed") for name in ("dialed", "a", "b")}
    peers["silent"] = SimpleNamespace(id="silent", status=None, inbound=False)
    one._wire.net = SimpleNamespace(peers=peers.values)  # type: ignore[assignment]
    assert [witness.name for witness in one._witnesses()] == ["dialed"]


def test_what_it_tells_is_json(tmp_path: Path) -> None:
    one = follower(tmp_path, Clock(), bootstrap_file(tmp_path))

    def main() -> None:
        horizon = one.details()["fork_horizon"]
        assert horizon["time"] == one.params.start_of(Slot((horizon["epoch"] + 1) * 32))
        json.dumps([one.details(), one.peers(), one.identity])
        assert [event.kind for event in one.events(0, 10)]

    following(one, main)


def test_after_weeks_away_it_reminds_of_weak_subjectivity(tmp_path: Path) -> None:
    clock = Clock()
    following(follower(tmp_path, clock, bootstrap_file(tmp_path)), lambda: None)
    for days, reminded in ((1, False), (30, True)):
        clock.now = ETHEREUM.start_of(Slot(SIGNED)) + days * 86_400
        again = follower(tmp_path, clock, None)
        again.open()
        try:
            assert any("weak subjectivity" in warning for warning in again.warnings()) == reminded
            with capture_logs() as logs:
                again.remind()
            assert ("weak subjectivity" in [line["event"] for line in logs]) == reminded
            assert all("know" in line["what"] for line in logs if line["event"] == "fork horizon")
        finally:
            again.close()


def test_another_root_than_the_one_it_began_at_is_an_error(tmp_path: Path) -> None:
    following(follower(tmp_path, Clock(), bootstrap_file(tmp_path)), lambda: None)
    config = BeaconConfig(network="ethereum", checkpoint="11" * 32, p2p=False, discovery=False)
    one = EthereumFollower(
        config, tmp_path, sync=SyncConfig(), write_buffer=1 << 20, pool=trio.CapacityLimiter(4), clock=Clock()
    )
    with pytest.raises(InputError, match="new data directory"):
        one.open()
    one.close()
