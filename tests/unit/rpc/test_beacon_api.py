"""The Beacon API's routes over a real server, with mainnet's recorded periods behind it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from beacon_view import SET, TRUSTED_ROOT, RealBeacon, followed, recorded_updates
from eth_vectors import archive, real_json
from hypothesis import given
from hypothesis import strategies as st
from rpc_live import Live, live
from small_node import SmallNode

from merkle.ssz_json import from_json
from spvnode.ethereum.containers import LightClientUpdate, container, encode
from spvnode.ethereum.networks import ETHEREUM
from spvnode.rpc.beacon_api.accept import MAX_ACCEPTED, preferred
from spvnode.rpc.beacon_api.app import MAX_QUERY_FIELDS, PATH, ROUTES, BeaconApi
from spvnode.rpc.beacon_api.light_client import MAX_REQUEST_LIGHT_CLIENT_UPDATES
from spvnode.rpc.beacon_api.router import MAX_SEGMENT
from spvnode.rpc.response import JSON
from spvnode.rpc.response import SSZ as SSZ_KIND

ROOT = "0x" + TRUSTED_ROOT.hex()
LIGHT = "/eth/v1/beacon/light_client"
SSZ = "Accept: application/octet-stream;q=1,application/json;q=0.9"
FINALIZED_SLOT, HEAD_SLOT = 6730752, 6730830


def with_server(tmp_path: Path, body: Callable[[Live], Awaitable[None]], node: SmallNode | None = None) -> None:
    """Runs ``body`` against a live server that follows mainnet's beacon chain."""

    async def main() -> None:
        with trio.fail_after(30):
            async with live(tmp_path, node or SmallNode(beacons={"ethereum": followed()})) as server:
                await body(server)

    trio.run(main)


def unchunked(headers: dict[str, str], body: bytes) -> bytes:
    """The body without HTTP's chunks."""
    if headers.get("transfer-encoding") != "chunked":
        return body
    parts = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            assert body == b"\r\n"
            return b"".join(parts)
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]


async def get(server: Live, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Without any cookie."""
    status, found, body = await server.request(path=path, auth=False, headers=headers)
    return status, found, unchunked(found, body)


async def get_json(server: Live, path: str) -> Any:
    status, headers, body = await get(server, path)
    assert (status, headers["content-type"]) == (200, "application/json"), body
    return json.loads(body)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (f"{LIGHT}/bootstrap/{ROOT}", "bootstrap"),
        (f"{LIGHT}/finality_update", "finality_update"),
        (f"{LIGHT}/optimistic_update", "optimistic_update"),
        (f"/ethereum{LIGHT}/optimistic_update", "optimistic_update"),
    ],
)
def test_objects_come_as_they_were_recorded(tmp_path: Path, path: str, file: str) -> None:
    async def body(server: Live) -> None:
        found = await get_json(server, path)
        assert found == {"version": "capella", "data": real_json(SET, f"{file}.json")["data"]}
        status, headers, raw = await get(server, path, SSZ)
        assert (status, headers["content-type"]) == (200, "application/octet-stream")
        assert headers["eth-consensus-version"] == "capella"
        assert raw == archive("real")[f"{SET}/{file}.ssz"]

    with_server(tmp_path, body)


def test_updates_come_as_they_were_recorded(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        path = f"{LIGHT}/updates?start_period=800&count=128"
        status, headers, raw = await get(server, path, SSZ)
        assert (status, headers["content-type"]) == (200, "application/octet-stream")
        assert raw == archive("real")[f"{SET}/updates.ssz"]
        found = await get_json(server, path)
        kind = container(ETHEREUM.preset, recorded_updates()[0].fork, LightClientUpdate)
        assert [from_json(kind, entry["data"]) for entry in found] == list(recorded_updates())
        assert {entry["version"] for entry in found} == {"capella"}

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("start", "count", "periods"),
    [
        (800, 1, [800]),
        (815, 3, [815, 816, 817]),
        (819, 128, [819, 820]),
        (820, 2**64 - 1, [820]),
        (821, 128, []),
        (0, 128, []),
        (799, 5, []),
        (805, 0, []),
        (2**64 - 1, 128, []),
    ],
)
def test_a_range_ends_where_nothing_is_held(tmp_path: Path, start: int, count: int, periods: list[int]) -> None:
    async def body(server: Live) -> None:
        path = f"{LIGHT}/updates?start_period={start}&count={count}"
        found = await get_json(server, path)
        slots = [int(entry["data"]["attested_header"]["beacon"]["slot"]) for entry in found]
        assert [slot // 8192 for slot in slots] == periods
        sizes = []
        rest = (await get(server, path, SSZ))[2]
        while rest:
            size = int.from_bytes(rest[:8], "little")
            sizes.append(size)
            assert rest[8:12].hex() == "bba4da96"
            rest = rest[8 + size :]
        assert len(sizes) == len(periods)

    with_server(tmp_path, body)


def test_no_answer_has_more_updates_than_the_spec_allows(tmp_path: Path) -> None:
    class Long(RealBeacon):
        """Has the same update for any period: what counts here is how many are given."""

        @property
        def periods(self) -> tuple[int, int]:
            return 0, 999

        def updates(self, start_period: int, count: int) -> list[LightClientUpdate]:
            return [recorded_updates()[0]] * count

    async def body(server: Live) -> None:
        raw = (await get(server, f"{LIGHT}/updates?start_period=5&count=1000", SSZ))[2]
        size = 8 + 4 + len(encode(ETHEREUM.preset, recorded_updates()[0]))
        assert len(raw) == MAX_REQUEST_LIGHT_CLIENT_UPDATES * size

    with_server(tmp_path, body, SmallNode(beacons={"ethereum": Long()}))


def test_genesis_headers_and_checkpoints(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        genesis = (await get_json(server, "/eth/v1/beacon/genesis"))["data"]
        assert genesis == {
            "genesis_time": "1606824023",
            "genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
            "genesis_fork_version": "0x00000000",
        }
        recorded = real_json(SET, "finality_update.json")["data"]["finalized_header"]["beacon"]
        by_name = await get_json(server, "/eth/v1/beacon/headers/finalized")
        assert by_name["data"]["header"] == {"message": recorded}
        assert (by_name["finalized"], by_name["execution_optimistic"]) == (True, False)
        root = by_name["data"]["root"]
        for block_id in (root, str(FINALIZED_SLOT)):
            assert await get_json(server, f"/eth/v1/beacon/headers/{block_id}") == by_name
        head = await get_json(server, "/eth/v1/beacon/headers/head")
        assert head["data"]["header"]["message"]["slot"] == str(HEAD_SLOT)
        assert (head["finalized"], head["execution_optimistic"]) == (False, True)
        start = await get_json(server, f"/eth/v1/beacon/headers/{ROOT}")
        assert start["data"]["header"]["message"]["slot"] == "6553600"
        checkpoints = (await get_json(server, "/eth/v1/beacon/states/head/finality_checkpoints"))["data"]
        assert checkpoints == {"finalized": {"epoch": str(FINALIZED_SLOT // 32), "root": root}}

    with_server(tmp_path, body)


def test_the_rules_of_the_network(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        spec = (await get_json(server, "/eth/v1/config/spec"))["data"]
        expected = {
            "CONFIG_NAME": "mainnet",
            "PRESET_BASE": "mainnet",
            "SECONDS_PER_SLOT": "12",
            "SLOTS_PER_EPOCH": "32",
            "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": "256",
            "SYNC_COMMITTEE_SIZE": "512",
            "DEPOSIT_CHAIN_ID": "1",
            "DEPOSIT_NETWORK_ID": "1",
            "GENESIS_FORK_VERSION": "0x00000000",
            "CAPELLA_FORK_VERSION": "0x03000000",
            "CAPELLA_FORK_EPOCH": "194048",
            "FULU_FORK_EPOCH": "411392",
            "MAX_BLOBS_PER_BLOCK_ELECTRA": "9",
            "CHURN_LIMIT_QUOTIENT": "65536",
        }
        assert {name: spec[name] for name in expected} == expected
        assert spec["BLOB_SCHEDULE"][0] == {"EPOCH": "412672", "MAX_BLOBS_PER_BLOCK": "15"}
        forks = (await get_json(server, "/eth/v1/config/fork_schedule"))["data"]
        assert forks[0] == {"previous_version": "0x00000000", "current_version": "0x00000000", "epoch": "0"}
        assert forks[3] == {"previous_version": "0x02000000", "current_version": "0x03000000", "epoch": "194048"}
        assert len(forks) == 7

    with_server(tmp_path, body)


def test_who_is_asked_and_how_it_is(tmp_path: Path) -> None:
    node = SmallNode(beacons={"ethereum": followed()})
    node.clock = 1606824023 + 12 * (HEAD_SLOT + 3) + 1.0

    async def body(server: Live) -> None:
        assert (await get_json(server, "/eth/v1/node/version"))["data"] == {"version": "spvnode/0.0.test"}
        syncing = {
            "head_slot": str(HEAD_SLOT),
            "sync_distance": "3",
            "is_syncing": False,
            "is_optimistic": True,
            "el_offline": True,
        }
        assert (await get_json(server, "/eth/v1/node/syncing"))["data"] == syncing
        identity = (await get_json(server, "/eth/v1/node/identity"))["data"]
        wire = node.wires["ethereum"]  # the network's own: the mesh goes by another key
        assert (identity["peer_id"], identity["p2p_addresses"]) == (wire["peer_id"], wire["addresses"])
        peers = await get_json(server, "/eth/v1/node/peers")
        assert (peers["meta"], peers["data"][0]["direction"]) == ({"count": 1}, "outbound")
        assert (await get_json(server, "/eth/v1/node/peers?direction=inbound"))["data"] == []
        assert (await get_json(server, "/eth/v1/node/peers?state=connected,connecting"))["meta"] == {"count": 1}
        assert (await get_json(server, "/eth/v1/node/peer_count"))["data"]["connected"] == "1"
        assert (await get(server, "/eth/v1/node/health"))[0] == 200
        node.not_ready["ethereum"] = ("no peer",)
        assert (await get(server, "/eth/v1/node/health"))[0] == 206
        for status in (200, 204, 429, 503):
            assert (await get(server, f"/eth/v1/node/health?syncing_status={status}"))[0] == status
        for status in (0, 100, 101, 199, 299, 599, 600, 2**64 - 1):  # no answer can have them
            assert (await get(server, f"/eth/v1/node/health?syncing_status={status}"))[0] == 400
        assert (await get_json(server, "/eth/v1/node/syncing"))["data"]["is_syncing"] is True

    with_server(tmp_path, body, node)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"{LIGHT}/bootstrap/0x{'00' * 32}", 404, "no bootstrap of block 0x"),
        (f"{LIGHT}/bootstrap/{'00' * 32}", 400, "block_root: '0000"),
        (f"{LIGHT}/bootstrap/{'0' * MAX_SEGMENT}", 400, "block_root: "),
        (f"{LIGHT}/bootstrap/{'0' * (MAX_SEGMENT + 1)}", 404, "no such route"),
        (f"{LIGHT}/updates", 400, "start_period: must be given once"),
        (f"{LIGHT}/updates?start_period=1", 400, "count: must be given once"),
        (f"{LIGHT}/updates?start_period=1&start_period=2&count=1", 400, "start_period: must be given once"),
        (f"{LIGHT}/updates?start_period=-1&count=1", 400, "start_period: '-1' is no unsigned 64-bit number"),
        (f"{LIGHT}/updates?start_period=1&count={2**64}", 400, "count: '18446744073709551616' is no unsigned"),
        (f"{LIGHT}/updates?start_period=%D9%A1&count=1", 400, "start_period: "),
        (f"{LIGHT}/updates?start_period=1&count={'9' * 4000}", 400, "count: "),
        (f"{LIGHT}/updates?" + "&".join(f"a{n}=1" for n in range(MAX_QUERY_FIELDS + 1)), 400, "query: is no list"),
        ("/eth/v1/beacon/headers/justified", 404, "the justified block's header is not held"),
        ("/eth/v1/beacon/headers/genesis", 404, "the genesis block's header is not held"),
        ("/eth/v1/beacon/headers/7", 404, "no header of block '7' is held"),
        ("/eth/v1/beacon/headers/xyz", 400, "block_id: 'xyz' is no"),
        ("/eth/v1/beacon/headers/0xzz", 400, "block_id: '0xzz' is no root"),
        ("/eth/v1/beacon/states/finalized/finality_checkpoints", 404, "of state 'finalized' no checkpoint is known"),
        ("/eth/v2/beacon/blocks/6730752", 404, "no such route"),
        ("/eth/v1/node/health?syncing_status=1000", 400, "syncing_status: 1000 is no HTTP status"),
        ("/sepolia/eth/v1/node/version", 404, "network: sepolia is no Ethereum network that runs here"),
        ("/eth/v1/events", 400, "topics: must be given"),
        ("/eth/v1/events?topics=head,block", 400, "topics: 'head' is not offered"),
    ],
)
def test_refusals_are_the_apis_own(tmp_path: Path, path: str, status: int, message: str) -> None:
    async def body(server: Live) -> None:
        found, headers, raw = await get(server, path)
        assert (found, headers["content-type"]) == (status, "application/json")
        error = json.loads(raw)
        assert error["code"] == status
        assert error["message"].startswith(message)
        assert set(error) == {"code", "message"}

    with_server(tmp_path, body)


def test_other_methods_and_types_are_refused(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        status, headers, raw = await server.request(b"{}", path=f"{LIGHT}/finality_update")
        assert (status, headers["allow"], json.loads(raw)["code"]) == (405, "GET, HEAD", 405)
        assert (await get(server, f"{LIGHT}/finality_update", "Accept: text/html"))[0] == 406
        status, headers, raw = await server.request(path=f"{LIGHT}/finality_update", method="HEAD", auth=False)
        assert (status, raw) == (200, b"")
        assert int(headers["content-length"]) > 1000
        status, headers, raw = await server.request(
            path=f"{LIGHT}/updates?start_period=800&count=2", method="HEAD", auth=False
        )
        assert (status, raw) == (200, b"")

    with_server(tmp_path, body)


def test_a_page_that_rebinds_its_name_is_refused_and_no_origin_is_let_in(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        path = f"{LIGHT}/finality_update"
        assert (await get(server, path, "Host: evil.example"))[0] == 403
        assert (await get(server, "/eth/v1/events?topics=light_client_finality_update", "Host: evil.example"))[0] == 403
        _, headers, _ = await get(server, path, "Origin: https://evil.example")
        assert not [name for name in headers if name.startswith("access-control-")]

    with_server(tmp_path, body)


def test_before_the_first_update_and_before_the_beginning(tmp_path: Path) -> None:
    node = SmallNode(beacons={"ethereum": RealBeacon(), "hoodi": None})

    async def body(server: Live) -> None:
        for route in ("finality_update", "optimistic_update"):
            assert (await get(server, f"/ethereum{LIGHT}/{route}"))[0] == 404
        assert (await get(server, "/ethereum/eth/v1/beacon/states/head/finality_checkpoints"))[0] == 404
        assert await get_json(server, f"/ethereum{LIGHT}/updates?start_period=800&count=9") == []
        assert (await get_json(server, "/ethereum/eth/v1/beacon/headers/finalized"))["data"]["root"] == ROOT
        status, _, raw = await get(server, f"/hoodi{LIGHT}/finality_update")
        assert (status, json.loads(raw)["message"]) == (503, "hoodi has not begun: no checkpoint is trusted yet")
        assert (await get(server, "/hoodi/eth/v1/node/health"))[0] == 503
        assert (await get(server, "/hoodi/eth/v1/node/version"))[0] == 200
        status, _, raw = await get(server, f"{LIGHT}/finality_update")
        assert (status, json.loads(raw)["message"]) == (
            404,
            "network: must be named, as in /NETWORK/eth/v1/...; there are: ethereum, hoodi",
        )

    with_server(tmp_path, body, node)


def test_a_node_without_ethereum_says_so(tmp_path: Path) -> None:
    async def body(server: Live) -> None:
        status, _, raw = await get(server, "/eth/v1/node/version")
        assert (status, json.loads(raw)["message"].rpartition("; ")[2]) == (404, "there is none")
        assert (await get(server, "/bitcoin/eth/v1/node/version"))[0] == 404

    with_server(tmp_path, body, SmallNode("bitcoin"))


def test_every_route_is_of_this_apis_paths() -> None:
    for route in ROUTES:
        path = route.replace("{block_id}", "head").replace("{state_id}", "head").replace("{block_root}", ROOT)
        for network, before in ((None, ""), ("ethereum", "/ethereum"), ("eth", "/eth")):
            match = PATH.fullmatch(before + path)
            assert match is not None
            assert (match["network"], match["path"]) == (network, path)


ANY_TEXT = st.text(st.characters(max_codepoint=0x2FF), max_size=80)


@pytest.mark.fuzz
@given(
    st.one_of(st.sampled_from(sorted(ROUTES)), ANY_TEXT.map("/eth/v1/".__add__)),
    st.one_of(
        ANY_TEXT,
        st.tuples(ANY_TEXT, ANY_TEXT).map(lambda pair: f"start_period={pair[0]}&count={pair[1]}"),
    ),
    st.one_of(
        st.none(),
        st.binary(max_size=60),
        st.lists(st.sampled_from([b"*/*", b"application/*;q=0", b"text/*", b";q=9"])).map(b",".join),
    ),
    st.one_of(st.none(), ANY_TEXT, st.just("ethereum")),
)
def test_whatever_a_client_sends_is_answered(path: str, query: str, accept: bytes | None, network: str | None) -> None:
    api = BeaconApi(SmallNode(beacons={"ethereum": followed()}))
    headers = {} if accept is None else {b"accept": accept}
    response = api.answer("GET", network, path, query.encode(), headers)
    assert response.status in (200, 400, 404, 406)
    if response.status != 200:
        assert json.loads(response.body)["code"] == response.status


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        (b"", JSON),
        (b"*/*", JSON),
        (b"application/octet-stream", SSZ_KIND),
        (b"application/octet-stream;q=1,application/json;q=0.9", SSZ_KIND),
        (b"application/json;q=1,application/octet-stream;q=0.9", JSON),
        (b"APPLICATION/OCTET-STREAM ; q=0.5 , */*;q=0.1", SSZ_KIND),
        (b"application/*", JSON),
        (b"application/json;q=0, */*", SSZ_KIND),
        (b"text/html, application/json;q=0.2", JSON),
        (b"text/html", None),
        (b"application/json;q=x", None),
        (b"application/json;q=0", None),
        (b"application/json;q=nan, application/octet-stream;q=1e9", None),
        (b"text/html," * MAX_ACCEPTED + b"application/json", None),
    ],
)
def test_what_a_client_likes_best(accept: bytes | None, kind: bytes | None) -> None:
    assert preferred(accept, (JSON, SSZ_KIND)) == kind
