"""The OpenRPC and OpenAPI documents are valid and complete; ``test_rpc_results`` holds replies against them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator
from rpc_live import live
from small_node import mainnet

from spvnode.rpc.docs import render as render_page
from spvnode.rpc.documents import document, openapi, openrpc
from spvnode.rpc.routes import ROUTES
from spvnode.rpc.table import METHODS


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
    paths = openapi(METHODS, "1")["paths"]
    assert set(paths) == {path for route in ROUTES for path in route.shown}
    assert {path: set(verbs) for path, verbs in paths.items() if "post" in verbs} == {
        "/": {"get", "post"},
        "/{network}": {"post"},
        "/proofs/verify": {"post"},
    }
    assert set(paths["/events"]["get"]["responses"]) >= {"200", "400", "404", "429"}
    assert set(paths["/ws"]["get"]["responses"]) >= {"101", "400", "404", "426", "429"}


def test_the_openapi_document_tells_what_each_method_takes_and_gives() -> None:
    found = openapi(METHODS, "1")
    rows = {row["name"]: row["result"]["schema"] for row in openrpc(METHODS, "1")["methods"]}
    for path in ("/", "/{network}"):
        told = found["paths"][path]["post"]["x-methods"]
        assert {name: one["result"] for name, one in told.items()} == rows
        assert references(told) <= set(found["components"]["schemas"])


def test_fields_come_as_they_are_declared() -> None:
    found = openrpc(METHODS, "1")["components"]["schemas"]
    assert list(found["Freshness"]["properties"]) == ["tip_age", "last_useful_event_age"]
    assert list(found["BlockHeader"]["properties"])[:3] == ["hash", "confirmations", "height"]
    assert "``" not in json.dumps(found)


def test_the_page_has_a_table_of_each_result_and_what_it_links_to() -> None:
    page = render_page()
    found = openrpc(METHODS, "1")
    for method in found["methods"]:
        section = page.partition(f"\n## {method['name']}\n")[2].partition("\n## ")[0]
        for name in references(method["result"]["schema"]):
            for field in found["components"]["schemas"][name]["properties"]:
                assert f"`{field}`" in section.partition("| field | type | |")[2], (method["name"], field)
    heads = {line.removeprefix("## ").lower() for line in page.splitlines() if line.startswith("## ")}
    assert set(re.findall(r"\]\(#([a-z]+)\)", page)) <= heads


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
