"""The OpenRPC and OpenAPI documents are valid, complete, and true of what the methods answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio
from beacon_view import followed
from openapi_spec_validator import OpenAPIV31SpecValidator
from rpc_live import live
from small_node import SmallNode, mainnet

from spvnode.metrics import Metrics
from spvnode.rpc.beacon_api.app import EVENTS_ROUTE, ROUTES
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.documents import OPEN_ROUTES, document, openapi, openrpc
from spvnode.rpc.http import OPEN_PATHS
from spvnode.rpc.page import PAGES
from spvnode.rpc.rest import ROUTES as REST_ROUTES
from spvnode.rpc.table import METHODS

NODE = mainnet(300)
BOTH = SmallNode("bitcoin", beacons={"ethereum": followed()})
HEX = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
CALLS: list[tuple[str, list[Any]]] = [
    ("getbestblockhash", []),
    ("getblockchaininfo", []),
    ("getblockcount", []),
    ("getblockhash", [7]),
    ("getblockheader", [HEX]),
    ("getblockheader", [HEX, False]),
    ("getchaintips", []),
    ("getcheckpoint", [0]),
    ("getconfirmations", [7]),
    ("getconnectioncount", []),
    ("getevents", []),
    ("getheaderproof", [7]),
    ("getheaderproofs", [[7, 8]]),
    ("getheaderproofs", [[7, 8], None, "hex"]),
    ("getheaderproofs", [[7, 8], None, "columns"]),
    ("getancestryproof", [7, 8]),
    ("getnetworkinfo", []),
    ("getnodeinfo", []),
    ("getpeerinfo", []),
    ("getsyncinfo", []),
    ("help", []),
    ("listbanned", []),
    ("rpc.discover", []),
    ("uptime", []),
    ("why", []),
    ("why", ["finalized"]),
    ("getfinalizedheader", []),
    ("getoptimisticheader", []),
    ("setban", ["192.0.2.7", "add"]),
    ("clearbanned", []),
]


def ask(node: SmallNode, method: str, params: list[Any]) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return json.loads(trio.run(Dispatcher(node, METHODS, Metrics()).answer, body).body)["result"]


def test_the_openapi_document_is_valid() -> None:
    OpenAPIV31SpecValidator(openapi(METHODS, "1.2.3")).validate()


def test_every_schema_of_the_openrpc_document_is_one() -> None:
    found = openrpc(METHODS, "1.2.3")
    names = set(found["components"]["schemas"])
    for method in found["methods"]:
        for schema in [*(param["schema"] for param in method["params"]), method["result"]["schema"]]:
            jsonschema.Draft202012Validator.check_schema(schema)
            assert references(schema) <= names
    assert references(found["components"]) <= names


def references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        here = {schema["$ref"].removeprefix("#/components/schemas/")} if isinstance(schema.get("$ref"), str) else set()
        return here.union(*(references(part) for part in schema.values()))
    return set().union(*(references(part) for part in schema)) if isinstance(schema, list) else set()


def test_they_list_what_the_tables_have_and_nothing_else() -> None:
    methods = openrpc(METHODS, "1")["methods"]
    assert [method["name"] for method in methods] == list(METHODS)
    for method in methods:
        row = METHODS[method["name"]]
        assert [param["name"] for param in method["params"]] == [field.encode_name for field in row.parameters]
        assert [param["required"] for param in method["params"]] == [field.required for field in row.parameters]
        assert method["description"]
        assert method["tags"] == [{"name": str(row.scope)}]
    paths = set(openapi(METHODS, "1")["paths"])
    ours = {"/", "/{network}", "/proofs/verify", EVENTS_ROUTE, *OPEN_ROUTES, *PAGES, *REST_ROUTES, *ROUTES}
    assert paths == ours
    assert set(OPEN_ROUTES) == set(OPEN_PATHS)


@pytest.mark.parametrize(("method", "params"), CALLS)
def test_replies_have_the_form_that_the_document_promises(method: str, params: list[Any]) -> None:
    found = openrpc(METHODS, "1")
    row = next(one for one in found["methods"] if one["name"] == method)
    beacon = method in ("getfinalizedheader", "getoptimisticheader") or params == ["finalized"]
    reply = ask(BOTH if beacon else NODE, method, params)
    jsonschema.validate(reply, {**row["result"]["schema"], "components": found["components"]})


def test_a_schema_would_notice_another_reply() -> None:
    found = openrpc(METHODS, "1")
    row = next(one for one in found["methods"] if one["name"] == "getblockchaininfo")
    reply = ask(NODE, "getblockchaininfo", [])
    for name in ("blocks", "freshness", "warnings"):
        for lie in ({key: value for key, value in reply.items() if key != name}, {**reply, name: "x"}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(lie, {**row["result"]["schema"], "components": found["components"]})


def test_both_are_served_and_discover_is_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with live(tmp_path, mainnet(5)) as server:
            for path in ("/openrpc.json", "/openapi.json"):
                status, headers, body = await server.request(path=path, auth=False)
                assert (status, headers["content-type"]) == (200, "application/json")
                assert body == document(path, "0.0.test")
            served = json.loads((await server.request(path="/openrpc.json", auth=False))[2])
            assert await server.call("rpc.discover") == served
            assert served["info"]["version"] == "0.0.test"

    trio.run(main)
