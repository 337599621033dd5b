"""Types as JSON Schema, and as the rows of a table: parameters from their structs, results from ``results``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, get_type_hints

import msgspec

from spvnode.rpc import results
from spvnode.rpc.registry import Method
from spvnode.rpc.results import schema_of

_LINK = re.compile(r"\[(\w+)\]\(#\w+\)")
_REF: Final = "#/components/schemas/{name}"

Json = dict[str, Any]
_SHARED: Final = (results.EitherStanding, results.HeaderStanding, results.BeaconStanding)
"""What every object about a chain has, by kind; the tables refer to it."""


def result_type(method: Method) -> Any:
    """What its row says, else its function's annotation."""
    if method.result is not None:
        return method.result
    found = get_type_hints(method.call)["return"]
    return type(None) if found is None else found


def schemas(methods: Sequence[Method]) -> tuple[list[Json], list[Json], Json]:
    """Schemas of all parameters, of all results, and the components that they, and the REST routes, refer to."""
    kinds = [method.params for method in methods] + [result_type(method) for method in methods]
    found, components = _made([*kinds, results.BlockHeader, results.BlockchainInfo, results.Event])
    return found[: len(methods)], found[len(methods) : 2 * len(methods)], components


def _made(kinds: Sequence[Any]) -> tuple[list[Json], Json]:
    found, components = msgspec.json.schema_components([*kinds, *_SHARED], ref_template=_REF)
    return list(found), {name: _readable(name, schema) for name, schema in components.items()}


def _readable(name: str, schema: Json) -> Json:
    """Properties in the order in which they are declared, which msgspec keeps for structs only; plain text."""
    declared = get_type_hints(vars(results).get(name, object))
    found = schema.get("properties", {})
    order = [key for key in declared if key in found] or list(found)
    about = " ".join(schema.get("description", "").split()).replace("``", "`")
    return {**schema, "description": about, **({"properties": {key: found[key] for key in order}} if found else {})}


def properties(schema: Json, components: Json) -> Json:
    """Those of the object that ``schema`` is, or refers to; empty for anything else."""
    found: Json = components.get(_name(schema), schema).get("properties", {})
    return found


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def nested(schema: Mapping[str, Any]) -> Iterator[str]:
    """Names of the components that ``schema`` refers to, itself aside."""
    if "$ref" in schema:
        yield _name(schema)
    for part in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(part, Mapping):
            yield from nested(part)


def rows(schema: Json, components: Json) -> Iterator[tuple[str, str, str]]:
    """(name, type, meaning) of each property; optional ones say so. What every object about a chain has is one row."""
    component = components.get(_name(schema), schema)
    found = component.get("properties", {})
    shared = _shared_by(component)
    taken = get_type_hints(shared) if shared else {}
    for name, each in found.items():
        if name not in taken:
            need = "" if name in component.get("required", ()) else ", optional"
            yield f"`{name}`", shown(each) + need, each.get("description", "")
    if shared:
        yield ", ".join(f"`{name}`" for name in taken), shown(schema_of(shared)), "How much it deserves belief."


def parts_of(result: Json) -> list[Json]:
    """What of a result may be an object: itself, one of several, or what it is a list of."""
    return [result, *result.get("anyOf", ()), *([result["items"]] if "items" in result else [])]


@cache
def plain_rows(kind: Any) -> Sequence[tuple[str, ...]]:
    """The same of a result type, for a terminal; none where it is no object. Remembered: each takes some 5 ms, and
    there are only as many as methods."""
    (result, *_), components = _made([kind])
    found = [row for part in parts_of(result) for row in rows(part, components)]
    return tuple(tuple(_LINK.sub(r"\1", cell).replace("`", "") for cell in row) for row in found)


def _shared_by(component: Mapping[str, Any]) -> type | None:
    """Which of the shared types a result has all of, beside fields of its own."""
    found = set(component.get("properties", ()))
    itself = component.get("title") in [kind.__name__ for kind in _SHARED]
    if itself or not set(get_type_hints(results.Standing)) <= set(component.get("required", ())):
        return None
    return next((kind for kind in _SHARED if set(get_type_hints(kind)) < found), None)


def shown(schema: Mapping[str, Any]) -> str:
    """A type for people: ``string``, ``array of [ChainTip](#chaintip)``, ``"active" or "headers-only"``."""
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    if "anyOf" in schema:
        return " or ".join(map(shown, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {shown(schema['items'])}"
    values = schema.get("additionalProperties")
    return f"object of {shown(values)}" if isinstance(values, Mapping) and values else str(schema.get("type", "any"))
