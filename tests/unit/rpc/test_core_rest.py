"""Core's REST interface: bodies, errors and status codes as Core 28.1 gives them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio
from mine import mine_run
from small_node import SmallNode, mainnet, vector

from spvnode.bitcoin.params import NETWORKS
from spvnode.bitcoin.start import Checkpoint
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.methods.grounds import find_place
from spvnode.rpc.methods.lookup import describe_header, describe_run
from spvnode.rpc.response import Response
from spvnode.rpc.rest import MAX_QUERY_FIELDS, MAX_REST_HEADERS_RESULTS, NOT_SERVED, PATH, PIECE, CoreRest
from spvnode.rpc.table import METHODS
from spvnode.types import Hash32, Height, Work, hash_hex

NODE = mainnet(3_000)
HASH_1 = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"


def get(path: str, query: str = "", *, node: SmallNode = NODE, method: str = "GET") -> Response:
    found = PATH.fullmatch(path)
    assert found is not None, path
    return CoreRest(node).answer(method, found["network"], found["path"], query.encode("latin-1"))


def pieces(path: str, query: str = "") -> list[bytes]:
    """A body as it is sent."""
    response = get(path, query)

    async def main() -> list[bytes]:
        return [response.body] if response.parts is None else [part async for part in response.parts]

    return trio.run(main)


def refused(path: str, query: str = "", **more: Any) -> tuple[int, str]:
    response = get(path, query, **more)
    assert response.kind.startswith(b"text/plain")
    assert response.body.endswith(b"\r\n")
    return response.status, response.body.decode().removesuffix("\r\n")


def call(method: str, *params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return json.loads(trio.run(Dispatcher(NODE, METHODS, Metrics()).answer, body).body)["result"]


def test_chaininfo_is_getblockchaininfo() -> None:
    response = get("/rest/chaininfo.json")
    assert (response.status, response.kind) == (200, b"application/json")
    assert json.loads(response.body) == call("getblockchaininfo")
    assert response.body.endswith(b"\n")
    for path in ("/rest/chaininfo.hex", "/rest/chaininfo", "/rest/chaininfo.xml"):
        assert refused(path) == (404, "output format not found (available: json)")


@pytest.mark.parametrize(("path", "query", "count"), [
    (f"/rest/headers/{HASH_1}", "", 5),
    (f"/rest/headers/{HASH_1}", "count=1", 1),
    (f"/rest/headers/{HASH_1}", "count=2000", 2_000),
    (f"/rest/headers/7/{HASH_1}", "", 7),
    (f"/rest/headers/7/{HASH_1}", "count=1", 7),
    (f"/bitcoin/rest/headers/3/{HASH_1}", "", 3),
])  # fmt: skip
def test_headers_in_every_format(path: str, query: str, count: int) -> None:
    raw = vector("mainnet_0-32259")[80 : 80 * (count + 1)]
    response = get(path + ".bin", query)
    assert (response.status, response.kind, response.body) == (200, b"application/octet-stream", raw)
    assert get(path + ".hex", query).body == raw.hex().encode() + b"\n"
    rows = json.loads(b"".join(pieces(path + ".json", query)))
    assert len(rows) == count
    ours = set(call("getblockheader", HASH_1)) - {"network", "freshness", "ready", "start"}
    assert set(rows[0]) == ours
    assert [row["height"] for row in rows] == list(range(1, count + 1))


def test_many_headers_come_in_pieces_between_which_others_have_their_turn() -> None:
    for count, parts in ((PIECE, 1), (PIECE + 1, 3), (2_000, 2_000 // PIECE + 1)):
        found = pieces(f"/rest/headers/{HASH_1}.json", f"count={count}")
        assert len(found) == parts
        assert (
            b"".join(found) == msgspec.json.encode(list(describe_run(NODE.chains["bitcoin"], Height(1), count))) + b"\n"
        )
    assert pieces(f"/rest/headers/{'00' * 32}.json", "count=2000") == [b"[]\n"]


def test_headers_end_at_the_tip_and_unknown_hashes_have_none() -> None:
    tip = call("getbestblockhash")
    assert len(get(f"/rest/headers/{tip}.bin").body) == 80
    assert json.loads(get(f"/rest/headers/{tip}.json", "count=9").body)[0]["confirmations"] == 1
    unknown = "ab" * 32
    assert get(f"/rest/headers/{unknown}.bin").body == b""
    assert json.loads(get(f"/rest/headers/{unknown}.json").body) == []


def test_rows_told_from_the_one_before_are_those_of_getblockheader() -> None:
    node = SmallNode("regtest")
    params = NETWORKS["regtest"]
    node.add("regtest", mine_run(params.genesis_hash, int.from_bytes(params.genesis_header[68:72], "little"), 40))
    below = vector("mainnet_0-32259")
    start = Checkpoint(Height(2_016), Hash32(NODE.real["bitcoin"].block_hash(Height(2_016))),
                       below[2_016 * 80 : 2_017 * 80], Work(77), ())  # fmt: skip
    begun = SmallNode("bitcoin", checkpoints={"bitcoin": start})
    begun.add("bitcoin", below[2_017 * 80 : 2_060 * 80])
    for chain in (node.real["regtest"], begun.real["bitcoin"], NODE.real["bitcoin"]):
        for first in (chain.base, Height(chain.base + 1), Height(chain.base + 15), Height(chain.tip_height - 2)):
            rows = list(describe_run(chain, first, 20))
            assert rows == [describe_header(chain, find_place(chain, first + i)) for i in range(len(rows))]


@pytest.mark.parametrize("count", ["5a", "-5", "0", "2001", "9" * 35, "", " 5", "+5", "1_0", "٣"])
def test_a_count_that_core_refuses(count: str) -> None:
    problem = f"Header count is invalid or out of acceptable range (1-{MAX_REST_HEADERS_RESULTS}): "
    if count.isascii() and " " not in count and "+" not in count:
        assert refused(f"/rest/headers/{HASH_1}.json", f"count={count}") == (400, problem + count)
    status, text = refused(f"/rest/headers/{count}/{HASH_1}.json")
    assert (status, text.startswith(problem)) == (400, True)


def test_hashes_and_paths_that_core_refuses() -> None:
    assert refused("/rest/headers/abc.json") == (400, "Invalid hash: abc")
    assert refused(f"/rest/headers/{'zz' * 32}.bin") == (400, f"Invalid hash: {'zz' * 32}")
    form = "Invalid URI format. Expected /rest/headers/<hash>.<ext>?count=<count>"
    assert refused("/rest/headers/1/2/3.json") == (400, form)
    known = "output format not found (available: .bin, .hex, .json)"
    assert refused(f"/rest/headers/{HASH_1}", "count=5") == (404, known)
    # A format that it does not know stays in the hash, as in Core.
    status, text = refused(f"/rest/headers/{HASH_1}.xml")
    assert (status, text.startswith("Invalid hash: ")) == (400, True)
    assert refused("/rest/headers/" + "x" * 5_000 + ".json")[0] == 400
    assert len(refused("/rest/headers/" + "x" * 5_000 + ".json")[1]) < 200
    assert refused("/rest/headers/\x00\x1b[31m.json")[1].isprintable()


def test_block_hash_by_height() -> None:
    assert json.loads(get("/rest/blockhashbyheight/1.json").body) == {"blockhash": HASH_1}
    assert get("/rest/blockhashbyheight/1.hex").body == HASH_1.encode() + b"\n"
    assert hash_hex(get("/rest/blockhashbyheight/1.bin").body) == HASH_1
    assert refused("/rest/blockhashbyheight/3000.json") == (404, "Block height out of range")
    for height in ("-1", "abc", "", "1.5", "2147483648", "9" * 40):
        status, text = refused(f"/rest/blockhashbyheight/{height}.json")
        assert (status, text.startswith("Invalid height: ")) == (400, True)
    assert refused("/rest/blockhashbyheight/1")[0] == 404


@pytest.mark.parametrize("path", [f"/rest/{head}x.json" for head in NOT_SERVED])
def test_what_a_header_node_has_not(path: str) -> None:
    assert refused(path) == (404, "not served: a header node holds no transactions, blocks or mempool")


def test_other_paths_methods_and_networks() -> None:
    assert refused("/rest/") == refused("/rest/nothing.json") == (404, "no such path")
    assert refused("/rest/chaininfo/x.json") == (404, "no such path")
    response = get("/rest/chaininfo.json", method="POST")
    assert (response.status, response.headers) == (405, ((b"allow", b"GET, HEAD"),))
    assert refused("/signet/rest/chaininfo.json")[0] == 404
    assert refused(f"/rest/headers/{HASH_1}.bin", "&".join(["a=1"] * (MAX_QUERY_FIELDS + 1)))[0] == 400
    assert refused(f"/rest/headers/{HASH_1}.bin", "count=\xff")[0] == 400


def test_the_first_bitcoin_network_is_meant_and_one_that_has_not_begun_is_warming_up() -> None:
    node = SmallNode("regtest", "bitcoin", beacons={"ethereum": None})
    assert json.loads(get("/rest/chaininfo.json", node=node).body)["chain"] == "regtest"
    assert json.loads(get("/bitcoin/rest/chaininfo.json", node=node).body)["chain"] == "main"
    assert refused("/ethereum/rest/chaininfo.json", node=node)[0] == 404
    del node.real["regtest"]
    status, text = refused("/rest/chaininfo.json", node=node)
    assert (status, text.startswith("Service temporarily unavailable: regtest has not begun")) == (503, True)
