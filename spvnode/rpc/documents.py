"""The OpenRPC and the OpenAPI document, both derived: methods from their table, paths from the tables of routes, types
from the parameters' structs and ``results``. There is no second list."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from spvnode.rpc.errors import MEANINGS
from spvnode.rpc.pipeline.step import JSON_RPC
from spvnode.rpc.registry import Method
from spvnode.rpc.route import ANY_STATUS, STRING, About, Query, about_of
from spvnode.rpc.schemas import properties, schemas

OPENRPC_VERSION: Final = "1.3.2"
OPENAPI_VERSION: Final = "3.1.0"
OPENRPC_PATH: Final = "/openrpc.json"
OPENAPI_PATH: Final = "/openapi.json"
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_TEXT: Final = {"text/plain": {"schema": STRING}}
_DOOR: Final = (401, 403, 429, 503)
"""Statuses with which the chain refuses before any route is asked, in a sentence of text."""

Json = dict[str, Any]


# -- OpenRPC


def openrpc(methods: Mapping[str, Method], version: str) -> Json:
    """The document that ``rpc.discover`` answers with (spec.open-rpc.org)."""
    rows = list(methods.values())
    params, results, components = schemas(rows)
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {"title": "spvnode", "version": version, "license": {"name": "MIT"}},
        "methods": [
            _method(row, properties(given, components), result)
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
    params, results, components = schemas(list(methods.values()))
    calls = {
        name: {"params": given, "result": result} for name, given, result in zip(methods, params, results, strict=True)
    }
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
        "paths": _paths(calls),
        "components": {
            "schemas": {**components, **_ENVELOPES},
            "securitySchemes": {
                "cookie": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _paths(calls: Mapping[str, Json]) -> Json:
    """An operation for each path that a row of the table shows."""
    from spvnode.rpc.routes import ROUTES  # noqa: PLC0415 - the rows name what serves this very document

    paths: Json = {}
    for route in ROUTES:
        verb = route.methods[0].lower() if route.methods else "get"
        for path, call in route.shown.items():
            rpc = route.name == JSON_RPC
            made = _json_rpc(calls, network="{" in path) if rpc else _operation(path, call, about_of(call))
            paths.setdefault(path, {})[verb] = made
    return paths


def _operation(path: str, call: Callable[..., object], known: About) -> Json:
    parameters = [_path_parameter(name, known) for name in _PARAMETER.findall(path)]
    found: Json = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_") or "index",
        "summary": _told(call).partition(". ")[0].rstrip(".")[:120],
        "description": _told(call),
        "parameters": parameters
        + [_parameter(one, "query") for one in known.query]
        + [_parameter(one, "header") for one in known.headers],
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


def _parameter(given: Query, place: str) -> Json:
    found = {"name": given.name, "in": place, "required": given.required, "schema": given.schema}
    return {**found, "description": given.text} if given.text else found


def _responses(known: About) -> Json:
    ok: Json = {"description": "As asked."}
    if known.replies:
        ok["content"] = {media.decode(): {"schema": schema} for media, schema in known.replies.items()}
    found: Json = {str(known.success): ok}
    for status, schema in {**dict.fromkeys(_DOOR), 405: None, **known.errors}.items():
        told: Json = {"description": "As told." if status == ANY_STATUS else HTTPStatus(status).phrase}
        content = {"application/json": {"schema": schema}} if schema else {}
        if schema is None or status in _DOOR:
            content |= _TEXT
        if content:
            told["content"] = content
        found["default" if status == ANY_STATUS else str(status)] = told
    return found


def _json_rpc(calls: Mapping[str, Json], *, network: bool) -> Json:
    call = {"$ref": "#/components/schemas/JsonRpcCall"}
    reply = {"$ref": "#/components/schemas/JsonRpcReply"}
    answer = {"application/json": {"schema": {"anyOf": [reply, {"type": "array", "items": reply}]}}}
    single = {"application/json": {"schema": reply}}
    names = ", ".join(f"`{name}`" for name in calls)
    name: Json = {"type": "string", "pattern": "^[a-z0-9-]{1,32}$"}
    where = [{"name": "network", "in": "path", "required": True, "schema": name}]
    return {
        "operationId": "json_rpc_of_network" if network else "json_rpc",
        "summary": "JSON-RPC" + (", for one network" if network else ""),
        "description": f"Methods: {names}. What each takes and gives is under `x-methods`.",
        "x-methods": calls,
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
            "503": {"description": "Under maintenance.", "content": _TEXT},
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


def _told(call: Callable[..., object]) -> str:
    return " ".join((call.__doc__ or "").split()).replace("``", "`")


@lru_cache(maxsize=2)
def document(path: str, version: str) -> bytes:
    """The document served at ``path``, one of ``OPENRPC_PATH`` and ``OPENAPI_PATH``."""
    from spvnode.rpc.table import METHODS  # noqa: PLC0415 - the table names ``rpc.discover``, which needs this module

    return msgspec.json.encode((openrpc if path == OPENRPC_PATH else openapi)(METHODS, version))
