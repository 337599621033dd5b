"""Where trust begins: roots, files, quorums of endpoints and of peers, with recorded bootstraps over loopback."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from eth_vectors import archive, real_json, real_network, unhex
from rest_server import Asked, BeaconServer, Script, answer, flattened, serving

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import BeaconApi
from p2p.rest.client import RestClient, Timing
from spvnode.errors import InputError
from spvnode.ethereum.containers import BeaconBlockHeader, beacon_root
from spvnode.ethereum.units import Root, Slot
from spvnode.follow.checkpoint_file import MAX_FILE, read_checkpoint_file
from spvnode.follow.evidence import MAX_FILES, Conflict, write_conflict
from spvnode.follow.quorum import MAX_CANDIDATES
from spvnode.follow.trust import Refusal, RefusalReason, Start, TrustConfig, TrustStart
from spvnode.follow.witness import Finalized, PeerWitness, RestWitness, Witness, checkpoint_epoch

SET = "mainnet-capella-nimbus21"
NETWORK = real_network(SET)
MANIFEST = real_json(SET, "manifest.json")
ROOT = Root(unhex(MANIFEST["trusted_block_root"]))
HEADER = real_json(SET, "bootstrap.json")["data"]["header"]["beacon"]
SLOT = int(HEADER["slot"])
OTHER = {**HEADER, "state_root": "0x" + "66" * 32}
LC = "/eth/v1/beacon/light_client/"
BOOTSTRAP = f"{LC}bootstrap/0x{ROOT.hex()}"
QUICK = {"retry_first": 0.02, "retry_cap": 0.05}
DAY = 7_200
"""Slots."""


def block_root(header: dict[str, str]) -> Root:
    fields = {name: int(value) if value.isdigit() else unhex(value) for name, value in header.items()}
    return beacon_root(BeaconBlockHeader(**fields))  # type: ignore[arg-type]


def finality(header: dict[str, str]) -> bytes:
    """An answer in which ``header`` is what is final. Its proofs do not hold: it is a word, not a proof."""
    data = real_json(SET, "finality_update.json")
    data["data"]["finalized_header"]["beacon"] = header
    return answer(json.dumps(data).encode())


def node(header: dict[str, str] = HEADER, **options: Any) -> BeaconServer:
    """A beacon node that calls ``header`` final."""
    server = BeaconServer(SET, **options)
    server.replace = {LC + "finality_update": finality(header), **server.replace}
    return server


def establish(
    config: TrustConfig,
    *servers: Script,
    folder: Path,
    now: int = SLOT + DAY,
    peers: Sequence[Witness] = (),
    watch: Callable[[TrustStart], Any] | None = None,
) -> Start | Refusal | str:
    """What comes of it. Where it goes on trying: the first problem, or what comes after ``watch`` has acted."""
    found: list[Start | Refusal | InputError | str] = []

    async def first_problem(trust: TrustStart) -> None:
        while not trust.problem:  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.01)
        found.append(trust.problem)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            endpoints = [await stack.enter_async_context(serving(server)) for server in servers]
            client = RestClient(timing=Timing(connect=0.5, idle=0.3, deadline=0.5))
            witnesses: list[Witness] = [RestWitness(NETWORK, BeaconApi(client), endpoint) for endpoint in endpoints]
            trust = TrustStart(
                NETWORK,
                config,
                lambda: [*witnesses, *peers],
                folder=folder,
                clock=lambda: NETWORK.start_of(Slot(now)),
            )
            with trio.fail_after(8):
                async with trio.open_nursery() as nursery:

                    async def run() -> None:
                        try:
                            found.append(await trust.establish())
                        except InputError as error:
                            found.append(error)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(run)
                    if watch is None:
                        await first_problem(trust)
                        nursery.cancel_scope.cancel()
                    else:
                        nursery.start_soon(watch, trust)
            await client.aclose()

    trio.run(main)
    if isinstance(found[0], InputError):
        raise found[0]
    return found[0]


def evidence(found: object) -> Any:
    assert isinstance(found, Refusal), found
    assert found.reason is RefusalReason.CONFLICT
    assert found.evidence is not None
    assert found.evidence.stat().st_mode & 0o777 == 0o600
    record = json.loads(found.evidence.read_bytes())
    assert (record["network"], record["problem"]) == (SET, found.detail)
    assert record["genesis_validators_root"] == "0x" + NETWORK.genesis_validators_root.hex()
    return record


def started(found: object, kind: str, vouched: int) -> Start:
    assert isinstance(found, Start), found
    assert (found.begin.root, found.begin.slot, found.begin.kind) == (ROOT, SLOT, kind)
    assert len(found.begin.vouched_by) == vouched
    assert found.bootstrap.item.ssz == archive("real")[f"{SET}/bootstrap.ssz"]
    return found


# -- a root from the configuration


@pytest.mark.parametrize("ssz", [True, False])
def test_a_configured_root_begins_with_its_bootstrap(ssz: bool, tmp_path: Path) -> None:
    found = establish(TrustConfig(root=ROOT, **QUICK), node(ssz=ssz), folder=tmp_path)
    assert started(found, "root", 1).begin.vouched_by == ("config",)
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_built_in_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is built in"):
        establish(TrustConfig(rest_quorum=0), node(), folder=tmp_path)


def test_a_bootstrap_that_is_not_the_roots_is_passed_over(tmp_path: Path) -> None:
    data = real_json(SET, "bootstrap.json")
    liars = []
    for change in ("header", "committee", "branch"):
        lie = json.loads(json.dumps(data))
        if change == "header":
            lie["data"]["header"]["beacon"]["proposer_index"] = "1"
        elif change == "committee":
            lie["data"]["current_sync_committee"]["pubkeys"][3] = lie["data"]["current_sync_committee"]["pubkeys"][4]
        else:
            lie["data"]["current_sync_committee_branch"][0] = "0x" + "00" * 32
        liars.append(node(replace={BOOTSTRAP: answer(json.dumps(lie).encode())}))
    started(establish(TrustConfig(root=ROOT, **QUICK), *liars, node(), folder=tmp_path), "root", 1)
    problem = establish(TrustConfig(root=ROOT, **QUICK), *liars, folder=tmp_path)
    assert isinstance(problem, str)
    for reason in ("untrusted-root", "invalid-current-committee-branch"):
        assert reason in problem
    assert problem.count("rest:127.0.0.1") == 3


def test_a_root_that_nobody_has_is_said_so_with_every_reason(tmp_path: Path) -> None:
    execution_hash = Root(b"\x77" * 32)
    problem = establish(TrustConfig(root=execution_hash, **QUICK), node(), node(missing="500"), folder=tmp_path)
    assert isinstance(problem, str)
    assert f"no source has a bootstrap for 0x{'77' * 32}" in problem
    assert "not an execution block hash" in problem
    assert "HTTP 404" in problem
    assert "HTTP 500" in problem
    problem = establish(TrustConfig(root=ROOT, **QUICK), folder=tmp_path)
    assert problem == f"no source has a bootstrap for 0x{ROOT.hex()}: there is no source"


def test_sources_that_are_down_are_waited_for(tmp_path: Path) -> None:
    server = node()
    down = answer(b"", status="503 Service Unavailable")
    server.replace[BOOTSTRAP] = down

    async def watch(trust: TrustStart) -> None:
        while "503" not in trust.problem:  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.01)
        del server.replace[BOOTSTRAP]

    started(establish(TrustConfig(root=ROOT, **QUICK), server, folder=tmp_path, watch=watch), "root", 1)


def test_a_configured_root_that_an_endpoint_contradicts_is_refused(tmp_path: Path) -> None:
    agrees, contradicts = node(headers={str(SLOT): HEADER}), node(headers={str(SLOT): OTHER})
    started(establish(TrustConfig(root=ROOT, **QUICK), agrees, node(), folder=tmp_path), "root", 1)
    record = evidence(establish(TrustConfig(root=ROOT, **QUICK), agrees, contradicts, folder=tmp_path))
    said = {(entry["source"].partition(":")[0], entry["root"]) for entry in record["statements"]}
    assert said == {
        ("config", "0x" + ROOT.hex()),
        ("rest", "0x" + ROOT.hex()),
        ("rest", "0x" + block_root(OTHER).hex()),
    }


# -- age


def test_a_checkpoint_older_than_the_weak_subjectivity_period_is_refused_unless_allowed(tmp_path: Path) -> None:
    config = TrustConfig(root=ROOT, **QUICK)
    found = establish(config, node(), folder=tmp_path, now=SLOT + 400 * DAY)
    assert isinstance(found, Refusal)
    assert (found.reason, found.evidence) == (RefusalReason.STALE, None)
    assert re.search(r" is \d+ epochs \(400 d\) old; beyond \d+ epochs \(\d+ (d|h)\) it is not safe", found.detail)
    allowed = TrustConfig(root=ROOT, allow_stale=True, **QUICK)
    started(establish(allowed, node(), folder=tmp_path, now=SLOT + 400 * DAY), "root", 1)


def test_endpoints_that_are_stuck_in_the_past_are_waited_for(tmp_path: Path) -> None:
    found = establish(TrustConfig(**QUICK), node(), node(), folder=tmp_path, now=SLOT + 400 * DAY)
    assert isinstance(found, str)
    assert "epochs (400 d) old" in found


def test_a_checkpoint_ahead_of_our_clock_waits_for_the_clock(tmp_path: Path) -> None:
    found = establish(TrustConfig(root=ROOT, **QUICK), node(), folder=tmp_path, now=SLOT - DAY)
    assert isinstance(found, str)
    assert "our clock says" in found


# -- files


def write(folder: Path, data: bytes) -> Path:
    path = folder / "checkpoint"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "text", [f"0x{ROOT.hex()}", f"# mine\n\n  0x{ROOT.hex().upper()}  \n", f"0x{ROOT.hex()}:204800\n"]
)
def test_a_file_with_a_root(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text.encode())
    found = started(establish(TrustConfig(file=path, **QUICK), node(), folder=tmp_path / "n"), "file", 1)
    assert found.begin.vouched_by == ("checkpoint",)


@pytest.mark.parametrize("form", ["json", "ssz"])
def test_a_file_with_a_bootstrap_needs_no_source(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, archive("real")[f"{SET}/bootstrap.{form}"])
    started(establish(TrustConfig(file=path, **QUICK), folder=tmp_path / "n"), "file", 1)


def test_a_file_whose_committee_is_false_falls_back_on_sources(tmp_path: Path) -> None:
    data = real_json(SET, "bootstrap.json")
    data["data"]["current_sync_committee"]["pubkeys"][0] = "0x" + "11" * 48
    path = write(tmp_path, json.dumps(data).encode())
    started(establish(TrustConfig(file=path, **QUICK), node(), folder=tmp_path / "n"), "file", 1)
    problem = establish(TrustConfig(file=path, **QUICK), folder=tmp_path / "n")
    assert "checkpoint file: invalid-current-committee-branch" in str(problem)


def test_root_and_file_that_differ_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"0x" + b"77" * 32)
    record = evidence(establish(TrustConfig(root=ROOT, file=path), node(), folder=tmp_path / "n"))
    assert {entry["source"] for entry in record["statements"]} == {"config", "checkpoint"}
    path = write(tmp_path, archive("real")[f"{SET}/bootstrap.ssz"])
    started(establish(TrustConfig(root=ROOT, file=path), folder=tmp_path / "n"), "root", 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0x1234",
        b"deadbeef" * 8,
        b"0x" + b"77" * 32 + b"\n0x" + b"78" * 32,
        b'{"data": {}}',
        b"\x00" * 100,
        b"a" * (MAX_FILE + 1),
    ],
)
def test_a_file_that_is_no_checkpoint_is_the_users_to_mend(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint file"):
        read_checkpoint_file(write(tmp_path, data), NETWORK)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        establish(TrustConfig(file=tmp_path / "none"), node(), folder=tmp_path)


# -- quorums of endpoints


def test_k_endpoints_that_agree(tmp_path: Path) -> None:
    found = started(establish(TrustConfig(**QUICK), node(), node(), node(), folder=tmp_path), "quorum", 3)
    assert all(name.startswith("rest:127.0.0.1:") for name in found.begin.vouched_by)


def test_one_endpoint_is_not_two(tmp_path: Path) -> None:
    found = establish(TrustConfig(**QUICK), node(), folder=tmp_path)
    assert str(found).startswith("1 of the 2 sources")
    started(establish(TrustConfig(rest_quorum=1, **QUICK), node(), folder=tmp_path), "quorum", 1)


def test_those_that_do_not_answer_are_named(tmp_path: Path) -> None:
    async def hang(stream: trio.abc.Stream, asked: Asked) -> None:
        await trio.sleep_forever()

    busy = node(replace={LC + "finality_update": answer(b"full", status="503 Busy")})
    found = str(establish(TrustConfig(**QUICK), node(), hang, busy, folder=tmp_path))
    assert found.startswith("1 of the 2 sources")
    assert "stalled" in found
    assert "HTTP 503: full; HTTP 404" in found
    started(establish(TrustConfig(**QUICK), node(), hang, node(), folder=tmp_path), "quorum", 2)


def test_endpoints_that_contradict_each_other_are_refused_whoever_is_more(tmp_path: Path) -> None:
    record = evidence(establish(TrustConfig(**QUICK), node(), node(), node(OTHER), folder=tmp_path))
    roots = [entry["root"] for entry in record["statements"]]
    assert sorted(map(roots.count, set(roots))) == [1, 2]
    assert {entry["epoch"] for entry in record["statements"]} == {checkpoint_epoch(NETWORK, SLOT)}


EARLIER = {**HEADER, "slot": str(SLOT - 32), "proposer_index": "7"}
LATER = {**HEADER, "slot": str(SLOT + 32), "proposer_index": "8"}


def test_endpoints_an_epoch_apart_agree_on_the_older_block(tmp_path: Path) -> None:
    """The one that is ahead vouches by its canonical header, or by having the bootstrap."""
    for ahead in (node(LATER, headers={str(SLOT): HEADER}), node(LATER)):
        started(establish(TrustConfig(**QUICK), node(), ahead, folder=tmp_path), "quorum", 2)
    assert not list(tmp_path.iterdir())


def test_one_that_is_ahead_on_another_chain_is_a_contradiction(tmp_path: Path) -> None:
    ahead = node(LATER, headers={str(SLOT): OTHER})
    record = evidence(establish(TrustConfig(**QUICK), node(), node(), ahead, folder=tmp_path))
    assert record["statements"][-1]["says"] == "canonical"


def test_one_that_lags_has_no_say(tmp_path: Path) -> None:
    lagging = node(EARLIER, headers={str(SLOT): OTHER})
    started(establish(TrustConfig(**QUICK), node(), lagging, node(), folder=tmp_path), "quorum", 2)


def test_a_claim_from_the_future_has_no_say(tmp_path: Path) -> None:
    future = node({**HEADER, "slot": str(SLOT + 10 * DAY)})
    found = str(establish(TrustConfig(**QUICK), node(), future, folder=tmp_path))
    assert "our clock says" in found
    started(establish(TrustConfig(**QUICK), node(), future, node(), folder=tmp_path), "quorum", 2)


def test_another_network_has_no_say(tmp_path: Path) -> None:
    genesis = answer(json.dumps({"data": {"genesis_validators_root": "0x" + "22" * 32}}).encode())
    wrong = node(replace={"/eth/v1/beacon/genesis": genesis})
    found = str(establish(TrustConfig(**QUICK), node(), wrong, folder=tmp_path))
    assert "wrong-network" in found


def test_a_quorum_whose_checkpoint_nobody_serves_asks_again_for_a_newer_one(tmp_path: Path) -> None:
    """A node that was itself begun at a checkpoint cannot serve the bootstrap of that one."""
    servers = [node(LATER), node(LATER)]

    async def watch(trust: TrustStart) -> None:
        while "no source has a bootstrap" not in trust.problem:  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.01)
        for server in servers:
            server.replace[LC + "finality_update"] = finality(HEADER)

    started(establish(TrustConfig(**QUICK), *servers, folder=tmp_path, watch=watch), "quorum", 2)


def test_a_node_without_finality_update_is_asked_for_its_finalized_header(tmp_path: Path) -> None:
    lacking = {LC + "finality_update": answer(b"No finality update available", status="500 Internal Server Error")}
    servers = [node(headers={"finalized": HEADER}, replace=lacking) for _ in range(2)]
    started(establish(TrustConfig(**QUICK), *servers, folder=tmp_path), "quorum", 2)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 1}', b'{"data": {"header": {"message": {}}}}', b"\xff"])
def test_a_header_that_is_none_is_a_fault(body: bytes, tmp_path: Path) -> None:
    lacking = {
        LC + "finality_update": answer(b"", status="404 Not Found"),
        "/eth/v1/beacon/headers/finalized": answer(body),
    }
    found = str(establish(TrustConfig(rest_quorum=1, **QUICK), node(replace=lacking), folder=tmp_path))
    assert "bad-frame: HTTP 404: ; header" in found


def test_old_servers_take_part(tmp_path: Path) -> None:
    """Flat headers and no version, in the layout of their time."""
    data = flattened(real_json("goerli-bellatrix-helios2022", "bootstrap.json"))
    assert "beacon" not in data["data"]["header"]
    network = real_network("goerli-bellatrix-helios2022")
    path = write(tmp_path, json.dumps(data).encode())
    assert read_checkpoint_file(path, network).root == unhex(
        real_json("goerli-bellatrix-helios2022", "manifest.json")["trusted_block_root"]
    )


# -- quorums of peers


def peer(name: str, root: bytes = ROOT, epoch: int = SLOT // 32, serves: bool = True) -> PeerWitness:
    async def ask(_: str, wanted: bytes) -> tuple[bytes, bytes] | RemoteFault:
        if serves and wanted == ROOT:
            return bytes.fromhex("bba4da96"), archive("real")[f"{SET}/bootstrap.ssz"]
        return RemoteFault(FaultReason.NOT_FOUND, name, "ResourceUnavailable")

    return PeerWitness(NETWORK, name, epoch, root, ask)


PEERS = TrustConfig(rest_quorum=0, peer_quorum=3, **QUICK)


def test_k_peers_that_agree(tmp_path: Path) -> None:
    peers = [peer(name, serves=name == "c") for name in "abc"]
    found = started(establish(PEERS, folder=tmp_path, peers=peers), "peers", 3)
    assert found.begin.vouched_by == ("a", "b", "c")


def test_a_few_peers_cannot_stop_or_turn_a_quorum(tmp_path: Path) -> None:
    liars = [peer(f"liar{n}", root=b"\x55" * 32) for n in range(2)]
    started(establish(PEERS, folder=tmp_path, peers=[*liars, *(peer(name) for name in "abc")]), "peers", 3)
    many = [peer(f"m{n}", root=bytes([n + 1]) * 32, epoch=SLOT // 32 + 1 + n) for n in range(3 * MAX_CANDIDATES)]
    found = establish(PEERS, folder=tmp_path, peers=[*many, *(peer(name) for name in "abc")])
    assert isinstance(found, Start)
    assert set("abc") <= set(found.begin.vouched_by)


def test_two_quorums_of_peers_contradict_each_other(tmp_path: Path) -> None:
    liars = [peer(f"liar{n}", root=b"\x55" * 32) for n in range(3)]
    record = evidence(establish(PEERS, folder=tmp_path, peers=[*liars, *(peer(name) for name in "abc")]))
    assert len(record["statements"]) == 6


def test_light_clients_that_name_genesis_have_no_say(tmp_path: Path) -> None:
    peers = [peer(name, root=bytes(32), epoch=0) for name in "abc"]
    assert "names no finalized block" in str(establish(PEERS, folder=tmp_path, peers=peers))


def test_endpoints_come_before_peers_and_peers_serve_a_configured_root(tmp_path: Path) -> None:
    both = TrustConfig(rest_quorum=2, peer_quorum=2, **QUICK)
    peers = [peer("a"), peer("b")]
    started(establish(both, node(), node(), folder=tmp_path, peers=peers), "quorum", 2)
    started(establish(both, folder=tmp_path, peers=peers), "peers", 2)
    started(establish(TrustConfig(root=ROOT, **QUICK), folder=tmp_path, peers=peers), "root", 1)


# -- evidence


def test_evidence_files_are_bounded_and_the_newest_are_kept(tmp_path: Path) -> None:
    for at in range(1_000, 1_000 + 3 * MAX_FILES):
        conflict = Conflict(network="n", genesis_validators_root="0x", made_at=at, problem="p", statements=())
        path = write_conflict(tmp_path / "deep" / "n", conflict)
        assert path.name == f"trust-conflict-{at}.json"
    kept = sorted(int(file.stem.rpartition("-")[2]) for file in path.parent.iterdir())
    assert kept == list(range(1_000 + 2 * MAX_FILES, 1_000 + 3 * MAX_FILES))


def test_a_conflict_is_refused_also_where_the_evidence_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    found = establish(TrustConfig(**QUICK), node(), node(OTHER), folder=in_the_way / "n")
    assert isinstance(found, Refusal)
    assert (found.reason, found.evidence) == (RefusalReason.CONFLICT, None)
    assert os.listdir(tmp_path) == ["file"]


def test_a_checkpoint_epoch_is_the_one_that_begins_at_or_after_the_block() -> None:
    assert [checkpoint_epoch(NETWORK, slot) for slot in (0, 1, 31, 32, 33)] == [0, 1, 1, 1, 2]
    assert Finalized(checkpoint_epoch(NETWORK, 64), ROOT).slot is None
