"""The OpenRPC and the OpenAPI document, both derived: methods from their table, paths from the tables of routes, types
from the parameters' structs and ``results``. There is no second list."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, get_type_hints

import msgspec

from spvnode.rpc.beacon_api.app import EVENTS_ROUTE, ROUTES
from spvnode.rpc.beacon_api.events import Events
from spvnode.rpc.errors import MEANINGS
from spvnode.rpc.page import PAGES
from spvnode.rpc.registry import Method
from spvnode.rpc.response import JSON
from spvnode.rpc.rest import ROUTES as REST_ROUTES
from spvnode.rpc.results import BlockchainInfo, BlockHeader
from spvnode.rpc.route import ANY_STATUS, PLAIN, STRING, About, Query, Schema, about, about_of
from spvnode.rpc.upload import PATH as UPLOAD_PATH
from spvnode.rpc.upload import Uploads

OPENRPC_VERSION: Final = "1.3.2"
OPENAPI_VERSION: Final = "3.1.0"
OPENRPC_PATH: Final = "/openrpc.json"
OPENAPI_PATH: Final = "/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_TEXT: Final = {"text/plain": {"schema": STRING}}

Json = dict[str, Any]
Route = tuple[str, Callable[..., object]]


# -- types


def result_type(method: Method) -> Any:
    """What its row says, else its function's annotation."""
    if method.result is not None:
        return method.result
    found = get_type_hints(method.call)["return"]
    return type(None) if found is None else found


def _schemas(methods: Sequence[Method]) -> tuple[list[Json], list[Json], Json]:
    """Schemas of all parameters, of all results, and the components that they refer to."""
    kinds = [method.params for method in methods] + [result_type(method) for method in methods]
    found, components = msgspec.json.schema_components([*kinds, BlockHeader, BlockchainInfo], ref_template=_REF)
    return list(found[: len(methods)]), list(found[len(methods) : 2 * len(methods)]), components


def _properties(schema: Json, components: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Json = components.get(name, schema).get("properties", {})
    return found


# -- OpenRPC


def openrpc(methods: Mapping[str, Method], version: str) -> Json:
    """The document that ``rpc.discover`` answers with (spec.open-rpc.org)."""
    rows = list(methods.values())
    params, results, components = _schemas(rows)
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {"title": "spvnode", "version": version, "license": {"name": "MIT"}},
        "methods": [
            _method(row, _properties(given, components), result)
            for row, given, result in zip(rows, params, results, strict=True)
        ],
        "components": {"schemas": components},
    }


def _method(method: Method, properties: Json, result: Json) -> Json:
    return {
        "name": method.name,
        "summary": method.summary,
        "description": _told(method.call),
        "tags": [{"name": str(method.scope)}],
        "paramStructure": "either",
        "params": [
            {
                "name": field.encode_name,
                "required": field.required,
                "description": properties[field.encode_name].get("description", ""),
                "schema": properties[field.encode_name],
            }
            for field in method.parameters
        ],
        "result": {"name": "result", "schema": result},
        "errors": [{"code": int(code), "message": text} for code, text in MEANINGS.items()],
    }


# -- OpenAPI


def openapi(methods: Mapping[str, Method], version: str) -> Json:
    """The document of all paths (OpenAPI 3.1)."""
    _, _, components = _schemas(list(methods.values()))
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "spvnode",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "JSON-RPC is at `/` and `/{network}`; its methods are in `/openrpc.json`. "
            "The routes under `/rest` and `/eth` may have a network before them: `/signet/rest/...`.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/": {"get": _operation("/", PAGES["/"], about_of(PAGES["/"])), "post": _json_rpc(methods, network=False)},
            "/{network}": {"post": _json_rpc(methods, network=True)},
            UPLOAD_PATH: {"post": _operation(UPLOAD_PATH, Uploads.answer, about_of(Uploads.answer))},
            **{path: {"get": _operation(path, call, about_of(call))} for path, call in _gets()},
        },
        "components": {
            "schemas": {**components, **_ENVELOPES},
            "securitySchemes": {
                "cookie": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _gets() -> list[Route]:
    found: list[Route] = [*OPEN_ROUTES.items(), *REST_ROUTES.items(), *ROUTES.items()]
    found += [(path, call) for path, call in PAGES.items() if path != "/"]  # which has a second operation
    return [*found, (EVENTS_ROUTE, Events.answer)]


def _operation(path: str, call: Callable[..., object], known: About) -> Json:
    parameters = [_path_parameter(name, known) for name in _PARAMETER.findall(path)]
    found: Json = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_") or "index",
        "summary": _told(call).partition(". ")[0].rstrip(".")[:120],
        "description": _told(call),
        "parameters": parameters + [_query_parameter(query) for query in known.query],
        "responses": _responses(known),
    }
    if known.body is not None:
        media, schema = known.body
        found["requestBody"] = {"required": True, "content": {media.decode(): {"schema": schema}}}
    if known.credentials:
        found["security"] = [{"cookie": []}, {"token": []}]
    return found


def _path_parameter(name: str, known: About) -> Json:
    schema = known.path.get(name, {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9]+$"})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(query: Query) -> Json:
    found = {"name": query.name, "in": "query", "required": query.required, "schema": query.schema}
    return {**found, "description": query.text} if query.text else found


def _responses(known: About) -> Json:
    ok: Json = {"description": "As asked."}
    if known.replies:
        ok["content"] = {media.decode(): {"schema": schema} for media, schema in known.replies.items()}
    found: Json = {"200": ok}
    refusals: dict[int, Schema | None] = {401: None, 403: None, 405: None, 429: None, **known.errors}
    for status, schema in refusals.items():
        told: Json = {"description": "As told." if status == ANY_STATUS else HTTPStatus(status).phrase}
        if schema is None:
            told["content"] = _TEXT
        elif schema:
            told["content"] = {"application/json": {"schema": schema}}
        found["default" if status == ANY_STATUS else str(status)] = told
    return found


def _json_rpc(methods: Mapping[str, Method], *, network: bool) -> Json:
    call = {"$ref": "#/components/schemas/JsonRpcCall"}
    reply = {"$ref": "#/components/schemas/JsonRpcReply"}
    answer = {"application/json": {"schema": {"anyOf": [reply, {"type": "array", "items": reply}]}}}
    single = {"application/json": {"schema": reply}}
    names = ", ".join(f"`{name}`" for name in methods)
    name: Json = {"type": "string", "pattern": "^[a-z0-9-]{1,32}$"}
    where = [{"name": "network", "in": "path", "required": True, "schema": name}]
    return {
        "operationId": "json_rpc_of_network" if network else "json_rpc",
        "summary": "JSON-RPC" + (", for one network" if network else ""),
        "description": f"Methods: {names}.",
        "parameters": where if network else [],
        "security": [{"cookie": []}, {"token": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [call, {"type": "array", "items": call}]}}},
        },
        "responses": {
            "200": {"description": "A reply, or one of each call.", "content": answer},
            "204": {"description": "Notifications only."},
            "400": {"description": "An invalid request.", "content": single},
            "401": {"description": "No credentials.", "content": _TEXT},
            "403": {
                "description": "A scope that the token lacks, or a foreign Host.",
                "content": {**single, **_TEXT},
            },
            "404": {"description": "No such method, or network.", "content": {**single, **_TEXT}},
            "413": {"description": "Too long.", "content": _TEXT},
            "429": {"description": "Too many calls.", "content": {**single, **_TEXT}},
            "500": {"description": "Another error, in the older manner.", "content": single},
        },
    }


_ENVELOPES: Final[Json] = {
    "JsonRpcCall": {
        "type": "object",
        "required": ["method"],
        "properties": {
            "jsonrpc": {"enum": ["2.0", "1.1", "1.0"]},
            "id": {"type": ["string", "integer", "null"]},
            "method": {"type": "string"},
            "params": {"type": ["array", "object"]},
        },
    },
    "JsonRpcReply": {
        "type": "object",
        "required": ["id"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["string", "number", "null"]},
            "result": {},
            "error": {
                "type": ["object", "null"],
                "required": ["code", "message"],
                "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
            },
        },
    },
}


# -- open paths


@about(PLAIN)
def livez() -> None:
    """The process lives."""


_READY: Final[Json] = {
    "type": "object",
    "required": ["ready", "networks"],
    "properties": {"ready": {"type": "boolean"}, "networks": {"type": "object"}},
}


@about(About(replies={JSON: _READY}, errors={503: _READY}))
def readyz() -> None:
    """Whether replies deserve belief, with the reasons by network; 503 while they do not."""


@about(PLAIN)
def metrics() -> None:
    """Prometheus metrics."""


def describe_methods() -> None:
    """The methods, as an OpenRPC document."""


def describe_paths() -> None:
    """The paths, as an OpenAPI document."""


OPEN_ROUTES: Final[Mapping[str, Callable[..., object]]] = {
    "/livez": livez,
    "/readyz": readyz,
    "/metrics": metrics,
    OPENRPC_PATH: describe_methods,
    OPENAPI_PATH: describe_paths,
}
"""``GET`` paths about the daemon, answered by ``http``."""


def _told(call: Callable[..., object]) -> str:
    return " ".join((call.__doc__ or "").split()).replace("``", "`")


@lru_cache(maxsize=2)
def document(path: str, version: str) -> bytes:
    """The document served at ``path``, one of ``OPENRPC_PATH`` and ``OPENAPI_PATH``."""
    from spvnode.rpc.table import METHODS  # noqa: PLC0415 - the table names ``rpc.discover``, which needs this module

    return msgspec.json.encode((openrpc if path == OPENRPC_PATH else openapi)(METHODS, version))
