"""Replies held against the schemas that the documents publish, closed: no key more than they name, and none less."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jsonschema

from spvnode.rpc.documents import openrpc
from spvnode.rpc.table import METHODS


class Replies:
    """``hold`` every reply; ``methods`` and ``seen`` tell then which methods, and which keys of which type, came."""

    def __init__(self) -> None:
        self._document = openrpc(METHODS, "1.2.3")
        self._results = {method["name"]: method["result"]["schema"] for method in self._document["methods"]}
        self.components: dict[str, Any] = copy.deepcopy(self._document["components"]["schemas"])
        for schema in self.components.values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.methods: set[str] = set()
        self.seen: set[tuple[str, str]] = set()

    def hold(self, method: str, reply: Any) -> Any:
        """``reply`` again. Raises jsonschema.ValidationError."""
        schema = self._results[method]
        jsonschema.validate(reply, {**schema, "components": {"schemas": self.components}})
        self.methods.add(method)
        self._note(schema, reply)
        return reply

    def reached(self) -> set[str]:
        """Names of the components that results refer to."""
        found: set[str] = set()
        wait: list[Any] = list(self._results.values())
        while wait:
            part = wait.pop()
            if isinstance(part, Mapping):
                name = str(part.get("$ref", "")).rpartition("/")[2]
                if name and name not in found:
                    found.add(name)
                    wait.append(self.components[name])
                wait += part.values()
            elif isinstance(part, list):
                wait += part
        return found

    def _note(self, schema: Mapping[str, Any], value: Any) -> None:
        for part in schema.get("anyOf", ()):
            self._note(part, value)
        if isinstance(value, list):
            for each in value:
                self._note(schema.get("items", {}), each)
        elif isinstance(value, dict) and "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            self.seen |= {(name, key) for key in value}
            for key, part in self.components[name].get("properties", {}).items():
                if key in value:
                    self._note(part, value[key])
        elif isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
            for each in value.values():
                self._note(schema["additionalProperties"], each)
