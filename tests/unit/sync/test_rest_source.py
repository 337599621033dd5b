"""The REST source against loopback beacon nodes with recorded data: paging, quirks of real servers, claims and live
updates, lies, failures and return."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from eth_vectors import archive, real_json, real_network
from rest_server import SSZ, Asked, BeaconServer, Script, answer, serving

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import BeaconApi
from p2p.rest.client import RestClient, Timing
from p2p.rest.endpoint import Endpoint, parse_endpoint
from spvnode.ethereum import items
from spvnode.ethereum.containers import LightClientFinalityUpdate, beacon_root, decode
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.units import Root, Slot
from spvnode.following import Tip
from spvnode.sync import events as ev
from spvnode.sync.beacon_rest import RestSource
from spvnode.sync.cross_check import KEPT, MAX_SOURCES, Disagreement, FinalityLedger
from spvnode.sync.rest_peer import PAGE, PAGE_S, RestPeer, RestTiming
from spvnode.sync.source import Items
from spvnode.types import Hash32, Height, Work

NIMBUS, LODESTAR = "mainnet-capella-nimbus21", "devnet-lodestar-deneb-electra"
FIRST, LAST = 800, 820
OPTIMISTIC_SLOT = 6730831
QUICK = RestTiming(
    poll=0.05, finality_every=2, silence=0.5, no_events=60.0, retry_first=0.05, retry_cap=0.1, patience=2, events=False
)
FINALITY = LightClientFinalityUpdate
PATH = "/eth/v1/beacon/light_client/"


class Inbox:
    """Hears what the driver would."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self._changed = trio.Event()

    async def post(self, event: ev.Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, kind: type[Any], count: int = 1) -> list[Any]:
        """The first ``count`` events of ``kind``, once they are there."""
        with trio.fail_after(8):
            while True:
                found = [event for event in self.events if isinstance(event, kind)]
                if len(found) >= count:
                    return found
                self._changed = trio.Event()
                await self._changed.wait()


@dataclass
class Rig:
    source: RestSource
    inbox: Inbox
    endpoints: tuple[Endpoint, ...]
    disagreements: list[Disagreement]

    def peer(self, index: int = 0) -> str:
        return f"rest:{self.endpoints[index].name}"

    def info(self, index: int = 0) -> dict[str, Any]:
        return self.source.info()[index]

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(8):
            while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
                await trio.sleep(0.02)


@asynccontextmanager
async def rig(
    *servers: Script,
    name: str = NIMBUS,
    tip: int | None = LAST,
    now: int = OPTIMISTIC_SLOT,
    timing: RestTiming = QUICK,
    finalized: tuple[Slot, Root] | None = None,
    run: bool = True,
) -> AsyncIterator[Rig]:
    network = real_network(name)
    async with AsyncExitStack() as stack:
        endpoints = tuple([await stack.enter_async_context(serving(server)) for server in servers])
        client = RestClient(timing=Timing(connect=1.0, idle=0.5, deadline=1.0))
        disagreements: list[Disagreement] = []
        source = RestSource(
            network,
            BeaconApi(client),
            endpoints,
            tip=lambda: None if tip is None else Tip(Height(tip), Hash32(bytes(32)), Work(0)),
            finalized=lambda: finalized,
            on_disagreement=disagreements.append,
            timing=timing,
            clock=lambda: network.start_of(Slot(now)),
        )
        inbox = Inbox()
        nursery = await stack.enter_async_context(trio.open_nursery())
        if run:
            nursery.start_soon(source.run, inbox)
        yield Rig(source, inbox, endpoints, disagreements)
        nursery.cancel_scope.cancel()
        await client.aclose()


def with_rig(test: Callable[[Rig], Awaitable[None]], *servers: Script, **options: Any) -> None:
    async def main() -> None:
        async with rig(*servers, **options) as made:
            await test(made)

    trio.run(main)


def fetch(server: BeaconServer, start: int, count: int) -> Items | RemoteFault:
    found: list[Items | RemoteFault] = []

    async def test(made: Rig) -> None:
        found.append(await made.source.fetch_range(made.peer(), Height(start), count))

    with_rig(test, server, name=server.name, run=False)
    return found[0]


def ssz_of(run: bytes) -> list[bytes]:
    assert all(item.kind is items.Kind.UPDATE for item in items.split(run))
    return [item.ssz for item in items.split(run)]


def recorded(server: BeaconServer) -> list[bytes]:
    return [entry[2][12:] for entry in server.entries()]


# -- ranges


@pytest.mark.parametrize("ssz", [True, False])
def test_a_range_comes_as_items_in_order(ssz: bool) -> None:
    server = BeaconServer(NIMBUS, ssz=ssz)
    found = fetch(server, FIRST, 21)
    assert isinstance(found, Items)
    assert (found.start, found.limited, ssz_of(found.items)) == (FIRST, False, recorded(server))


def test_fetch_after_takes_the_period_that_is_needed() -> None:
    async def test(made: Rig) -> None:
        found = await made.source.fetch_after(made.peer(), 818, 2)
        assert isinstance(found, Items)
        assert (found.start, items.count(found.items)) == (818, 2)
        with pytest.raises(TypeError):
            await made.source.fetch_after(made.peer(), [b""], 2)
        gone = await made.source.fetch_range("rest:other", Height(1), 2)
        assert isinstance(gone, RemoteFault)
        assert gone.scored

    with_rig(test, BeaconServer(NIMBUS), run=False)


def test_what_is_beyond_the_end_is_left_for_later() -> None:
    for missing in ("404", "500"):
        server = BeaconServer(NIMBUS, missing=missing)
        found = fetch(server, 815, 200)
        assert isinstance(found, Items), found
        assert (found.start, found.ends, found.limited) == (815, True, False)
        assert ssz_of(found.items) == recorded(server)[15:]


def test_a_server_that_fails_the_whole_range_for_one_missing_period_is_asked_for_less() -> None:
    server = BeaconServer(LODESTAR, missing="500")
    found = fetch(server, 0, 100)
    assert isinstance(found, Items)
    assert (found.ends, ssz_of(found.items)) == (True, recorded(server))
    assert len(server.asked) < 16


class ShortPeriods:
    """A chain of 500 periods, made of one recorded update whose slot is moved; fails from its n-th answer on."""

    def __init__(self, fail_at: int = 1000) -> None:
        self.network = real_network(LODESTAR)
        server = BeaconServer(LODESTAR)
        about = server.manifest["files"]["updates"]["entries"][2]
        self.update = server.entries()[2][2]
        self.at = self.update.index(int(about["attested_slot"]).to_bytes(8, "little"))
        self.pages: list[int] = []
        self.fail_at = fail_at

    async def __call__(self, stream: trio.abc.Stream, request: Asked) -> None:
        start, count = int(request.query["start_period"]), int(request.query["count"])
        self.pages.append(count)
        if len(self.pages) >= self.fail_at:
            await stream.send_all(answer(b"slow down", status="429 Too Many Requests"))
            return
        slots = self.network.preset.update_timeout
        made = [
            self.update[: self.at] + (period * slots).to_bytes(8, "little") + self.update[self.at + 8 :]
            for period in range(start, min(start + count, 500))
        ]
        await stream.send_all(answer(b"".join(made), SSZ))


def test_400_periods_come_in_pages_within_the_bound() -> None:
    server = ShortPeriods()

    async def test(made: Rig) -> None:
        found = await made.source.fetch_range(made.peer(), Height(100), 400)
        assert isinstance(found, Items)
        assert (items.count(found.items), found.limited, found.ends) == (400, False, False)
        found = await made.source.fetch_range(made.peer(), Height(490), 32)
        assert isinstance(found, Items)
        assert (items.count(found.items), found.limited, found.ends) == (10, False, True)

    with_rig(test, server, name=LODESTAR, run=False)
    assert PAGE == 32
    assert server.pages == [32] * 12 + [16] + [32]


class SlowLine(BeaconServer):
    """Its line carries a page of 8 periods as JSON in a second, and no longer one."""

    async def __call__(self, stream: trio.abc.Stream, asked: Asked) -> None:
        self.asked.append(asked)
        data = self.respond(asked)
        for at in range(0, len(data), 32_000):
            await stream.send_all(data[at : at + 32_000])
            await trio.sleep(0.05)


def test_a_slow_line_gets_shorter_pages_and_no_points() -> None:
    server = SlowLine(NIMBUS, ssz=False)
    got: list[bytes] = []

    async def test(made: Rig) -> None:
        while len(got) < LAST - FIRST + 1:
            start = FIRST + len(got)
            reply = await made.source.fetch_range(made.peer(), Height(start), LAST - start + 1)
            if isinstance(reply, Items):
                got.extend(ssz_of(reply.items))
            else:
                assert (reply.reason, reply.scored) == (FaultReason.DRIP, True)
        assert made.info()["score"] == 0

    with_rig(test, server, run=False)
    assert got == recorded(server)
    assert [int(asked.query["count"]) for asked in server.asked][:2] == [21, 10]


def test_the_length_of_pages_follows_the_line() -> None:
    peer = RestPeer(parse_endpoint("http://127.0.0.1"))
    lengths = []
    for took in (math.inf, PAGE_S + 1, PAGE_S, 0.1, math.inf, math.inf, math.inf, math.inf, math.inf, 0.1):
        peer.paged(peer.page, took)
        lengths.append(peer.page)
    assert lengths == [16, 8, 8, 16, 8, 4, 2, 1, 1, 2]
    peer.paged(1, 0.1)  # a short one says nothing of the line
    assert peer.page == 2
    peer.page = PAGE
    peer.paged(PAGE, 0.1)
    assert peer.page == PAGE


def test_good_pages_stand_when_a_later_one_fails() -> None:
    async def test(made: Rig) -> None:
        found = await made.source.fetch_range(made.peer(), Height(100), 128)
        assert isinstance(found, Items)
        assert (items.count(found.items), found.limited, found.ends) == (64, True, False)
        again = await made.source.fetch_range(made.peer(), Height(164), 64)
        assert isinstance(again, RemoteFault)
        assert again.reason is FaultReason.REFUSED
        assert "slow down" in again.evidence

    with_rig(test, ShortPeriods(fail_at=3), name=LODESTAR, run=False)


def test_a_server_that_lost_old_periods_has_none_of_them() -> None:
    server = BeaconServer(NIMBUS, first=810)
    found = fetch(server, FIRST, 20)
    assert isinstance(found, Items)
    assert (found.items, found.ends, len(server.asked)) == (b"", True, 1)
    assert isinstance(fetch(server, 810, 2), Items)


def test_what_is_wrong_after_good_ones_leaves_these_standing() -> None:
    """A skipped period, and a broken one."""
    entries = [entry[2] for entry in BeaconServer(NIMBUS).entries()]
    broken = entries[1][:8] + b"\x01\x02\x03\x04" + entries[1][12:]
    for after, score in ((entries[2], 0.0), (broken, 10.0), (entries[0], 50.0)):
        server = BeaconServer(NIMBUS, replace={PATH + "updates": answer(entries[0] + after, SSZ)})

        async def test(made: Rig, score: float = score) -> None:
            found = await made.source.fetch_range(made.peer(), Height(FIRST), 21)
            assert isinstance(found, Items)
            assert (ssz_of(found.items), found.limited, found.ends) == ([entries[0][12:]], True, False)
            assert made.info()["score"] == score

        with_rig(test, server, run=False)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(b"\x01", SSZ), FaultReason.BAD_FRAME),
        (answer(b"<html>", "text/html"), FaultReason.PROTOCOL),
        (answer(b"", status="302 Found", headers={"location": "/"}), FaultReason.PROTOCOL),
        (answer(b"", status="501 Not Implemented"), FaultReason.REFUSED),
        (answer(b"\x00" * 2_000_000, SSZ), FaultReason.OVERSIZED),
        (answer(b"[" * 100_000), FaultReason.OVERSIZED),
        (answer(b"{}", status="404 Not Found"), FaultReason.NOT_FOUND),
    ],
)
def test_a_bad_answer_is_the_peers_fault(reply: bytes, expected: FaultReason) -> None:
    server = BeaconServer(NIMBUS, replace={PATH + "updates": reply})
    found = fetch(server, FIRST, 21)
    assert isinstance(found, RemoteFault)
    assert (found.reason, found.peer[:15], found.network) == (expected, "rest:127.0.0.1:", NIMBUS)


# -- claims and live updates


def file_items(name: str, *kinds: items.Kind) -> dict[items.Kind, bytes]:
    names = {items.Kind.FINALITY: "finality_update", items.Kind.OPTIMISTIC: "optimistic_update"}
    return {kind: archive("real")[f"{name}/{names[kind]}.ssz"] for kind in kinds or names}


@pytest.mark.parametrize("ssz", [True, False])
def test_a_poll_claims_what_is_final_and_pushes_what_is_new_once(ssz: bool) -> None:
    async def test(made: Rig) -> None:
        claim = (await made.inbox.until(ev.PeerTip))[0]
        assert (claim.peer, claim.tip.height, claim.tip.work, claim.base) == (made.peer(), 821, 0, -1)
        pushed = await made.inbox.until(ev.Pushed, 2)
        await made.until(lambda: made.info()["polls"] >= 5)
        assert [event.start for event in pushed] == [LAST + 1] * 2
        assert {item.kind: item.ssz for event in pushed for item in items.split(event.items)} == file_items(NIMBUS)
        assert len([event for event in made.inbox.events if isinstance(event, ev.Pushed)]) == 2
        assert len([event for event in made.inbox.events if isinstance(event, ev.PeerTip)]) == 1
        assert made.info()["up"] is True
        assert made.info()["finalized_slot"] == 6730752
        json.dumps(made.source.info())

    with_rig(test, BeaconServer(NIMBUS, ssz=ssz))


@pytest.mark.parametrize("tip", [None, 700, LAST - 1])
def test_nothing_is_pushed_before_the_chain_knows_the_committee(tip: int | None) -> None:
    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip)
        await made.until(lambda: made.info()["polls"] >= 3)
        assert not [event for event in made.inbox.events if isinstance(event, ev.Pushed)]

    with_rig(test, BeaconServer(NIMBUS), tip=tip)


def test_a_finality_update_that_did_not_get_through_is_pushed_again() -> None:
    async def test(made: Rig) -> None:
        pushed = await made.inbox.until(ev.Pushed, 5)
        kinds = [item.kind for event in pushed for item in items.split(event.items)]
        assert kinds.count(items.Kind.OPTIMISTIC) == 1

    with_rig(test, BeaconServer(NIMBUS), finalized=(Slot(6730720), Root(bytes(32))))


def test_an_update_from_the_future_is_no_claim() -> None:
    async def test(made: Rig) -> None:
        await made.until(lambda: made.info()["failures_in_a_row"] >= 2)
        assert made.inbox.events == []
        assert made.info()["last_fault"]["reason"] == "time-too-new"

    with_rig(test, BeaconServer(NIMBUS), now=OPTIMISTIC_SLOT - 100)


def test_events_come_live_and_polls_get_rarer() -> None:
    kinds = {"light_client_finality_update": "finality_update", "light_client_optimistic_update": "optimistic_update"}
    events = [(name, json.dumps(real_json(NIMBUS, f"{file}.json")).encode()) for name, file in kinds.items()]
    lacking = answer(b"{}", status="404 Not Found")
    server = BeaconServer(NIMBUS, events=[("head", b"{}"), *events], replace={PATH + "optimistic_update": lacking})

    async def test(made: Rig) -> None:
        found = await made.inbox.until(ev.Pushed, 2)
        assert {item.kind for event in found for item in items.split(event.items)} == set(file_items(NIMBUS))
        assert made.info()["events"] is True

    # The endpoint fails to answer one of the two polls: it is no claim until the other one has come.
    with_rig(test, server, timing=RestTiming(poll=0.05, silence=2.0, retry_first=0.05, retry_cap=0.1, patience=99))


@pytest.mark.parametrize("events", ["none", "hung", "garbage"])
def test_a_stream_that_is_missing_or_hangs_or_lies_leaves_polling(events: str) -> None:
    server = BeaconServer(NIMBUS)
    if events == "none":
        server.replace["/eth/v1/events"] = answer(b"{}", status="404 Not Found")
    elif events == "garbage":
        server.events = [("light_client_finality_update", b"{]")]

    async def test(made: Rig) -> None:
        await made.until(lambda: made.info()["polls"] >= 12)
        assert made.info()["up"] is True
        assert made.info()["events"] is False
        assert made.info()["score"] == (100.0 if events == "garbage" else 0.0)

    timing = RestTiming(poll=0.05, silence=0.2, no_events=60, retry_first=0.05, retry_cap=0.1)
    with_rig(test, server, timing=timing)


# -- failures


def test_an_endpoint_that_goes_away_is_withdrawn_and_comes_back() -> None:
    server = BeaconServer(NIMBUS)

    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip)
        broken = answer(b"oops", status="503 Service Unavailable")
        server.replace = dict.fromkeys((PATH + "finality_update", PATH + "optimistic_update"), broken)
        assert (await made.inbox.until(ev.PeerLeft))[0].peer == made.peer()
        assert made.info()["up"] is False
        assert "503" in made.info()["last_fault"]["evidence"]
        server.replace = {}
        await made.inbox.until(ev.PeerTip, 2)
        await made.until(lambda: made.info()["failures_in_a_row"] == 0)

    with_rig(test, server)


def test_one_endpoint_that_hangs_delays_no_other() -> None:
    async def hang(stream: trio.abc.Stream, request: Asked) -> None:
        await trio.sleep_forever()

    async def test(made: Rig) -> None:
        claims = await made.inbox.until(ev.PeerTip)
        assert claims[0].peer == made.peer(1)
        assert made.info(0)["up"] is False

    with_rig(test, hang, BeaconServer(NIMBUS))


def test_another_network_is_found_out_before_anything_is_believed() -> None:
    genesis = answer(json.dumps({"data": {"genesis_validators_root": "0x" + "11" * 32}}).encode())
    server = BeaconServer(NIMBUS, replace={"/eth/v1/beacon/genesis": genesis})

    async def test(made: Rig) -> None:
        await made.until(lambda: made.info()["last_fault"] is not None)
        assert made.info()["last_fault"]["reason"] == "wrong-network"
        assert made.inbox.events == []

    with_rig(test, server)


def test_a_server_with_light_client_routes_alone_is_taken() -> None:
    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip)

    with_rig(test, BeaconServer(NIMBUS, genesis=False))


def test_offences_silence_an_endpoint_for_a_while() -> None:
    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip, 2)
        offence = RemoteFault(FaultReason.INVALID_HEADER, made.peer(0), "invalid-signature")
        await made.source.report(offence)
        left = await made.inbox.until(ev.PeerLeft)
        assert [event.peer for event in left] == [made.peer(0)]
        assert 100 < made.info(0)["resting"] <= 120
        # The last one that is left is kept whatever it does.
        await made.source.report(RemoteFault(FaultReason.INVALID_HEADER, made.peer(1), "invalid-signature"))
        assert made.info(1)["up"] is True

    with_rig(test, BeaconServer(NIMBUS), BeaconServer(NIMBUS))


def test_a_bug_of_ours_in_one_endpoints_task_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("spvnode.sync.beacon_rest.decode_one", broken)
    server = BeaconServer(NIMBUS)

    async def test(made: Rig) -> None:
        await made.until(lambda: len(server.asked) >= 4)

    with_rig(test, server)


def test_claims_end_with_the_pump() -> None:
    async def main() -> None:
        async with rig(BeaconServer(NIMBUS), run=False) as made:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.source.run, made.inbox)
                await made.inbox.until(ev.PeerTip)
                nursery.cancel_scope.cancel()
            assert isinstance(made.inbox.events[-1], ev.PeerLeft)

    trio.run(main)


# -- disagreement


def forged_finality() -> bytes:
    """The recorded finality update with another finalized header in the same slot."""
    data = real_json(NIMBUS, "finality_update.json")
    data["data"]["finalized_header"]["beacon"]["state_root"] = "0x" + "66" * 32
    return answer(json.dumps(data).encode())


def test_endpoints_that_call_different_blocks_final_are_evidence() -> None:
    lying = BeaconServer(NIMBUS, replace={PATH + "finality_update": forged_finality()})

    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip, 2)
        assert len(made.disagreements) == 1
        found = made.disagreements[0]
        assert found.slot == 6730752
        assert sorted(found.roots.values()) == sorted([(made.peer(0),), (made.peer(1),)])

    with_rig(test, BeaconServer(NIMBUS), lying)


def test_our_own_chain_has_a_say() -> None:
    network = real_network(NIMBUS)
    update = decode(network.preset, Fork.CAPELLA, FINALITY, file_items(NIMBUS)[items.Kind.FINALITY])
    ours = (Slot(update.finalized_header.beacon.slot), beacon_root(update.finalized_header.beacon))
    lying = BeaconServer(NIMBUS, replace={PATH + "finality_update": forged_finality()})

    async def test(made: Rig) -> None:
        await made.inbox.until(ev.PeerTip)
        assert [sorted(found.roots.values()) for found in made.disagreements] == [[("ours",), (made.peer(),)]]

    with_rig(test, lying, finalized=ours)


def statements(ledger: FinalityLedger, said: Sequence[tuple[str, int, int]]) -> list[bool]:
    return [ledger.note(name, Slot(slot), Root(bytes([root]) * 32)) is not None for name, slot, root in said]


def test_a_source_can_push_out_only_its_own_statements() -> None:
    ledger = FinalityLedger()
    statements(ledger, [("a", 32, 1)])
    statements(ledger, [("liar", slot, 2) for slot in range(100, 100 + 10 * KEPT)])
    assert statements(ledger, [("b", 32, 3), ("b", 32, 3), ("c", 32, 1)]) == [True, False, True]
    statements(ledger, [("a", slot, 1) for slot in range(64, 64 + KEPT)])
    assert (
        statements(FinalityLedger(), [(f"s{n}", 1, n % 250) for n in range(2 * MAX_SOURCES)]).count(True) < MAX_SOURCES
    )
