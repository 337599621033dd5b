"""docs/cli.md, written from the commands and the config structs (by ``spvnode.docs``)."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

import click
import msgspec
from msgspec.structs import fields

from spvnode.cli.exits import MEANINGS
from spvnode.cli.shell import COMMANDS, group
from spvnode.config import Config

_HEAD = """\
<!-- written by `make docs` from the source: do not edit -->

# Command line

`spvnode COMMAND --help` says the same. Results go to stdout (with `--json` as JSON, heights, hashes and counts under
Bitcoin Core's names), errors to stderr as one line `error: <field>: <problem>`. Commands find the daemon by the unix
socket in the data directory.
"""
_CONFIG = """\
## Settings

From the lowest to the highest: defaults, `spvnode.toml` (in the data directory, or `--config FILE`, or
`SPVNODE_CONFIG`), the environment, flags. In the environment a key is in capitals with two underscores between levels
and commas between list items: `SPVNODE_SYNC__IN_FLIGHT=2`, `SPVNODE_NETWORKS=bitcoin,signet`,
`SPVNODE_CHECKPOINT=bitcoin:HEIGHT:HASH`. An unknown key or variable is an error.

```toml
networks = ["bitcoin", "signet"]

[mesh]
peers = ["/ip4/192.0.2.7/tcp/8343/p2p/12D3KooWPHprL8EPRZefMrxminyzMoCMRX6SVQLT2z5fA8gPCsom"]

[[checkpoint]]
network = "bitcoin"
height = 2016
hash = "00000000a141216a896c54f211301c436e557a8d55900637bbdce14c6c7bddef"
```

Two more variables choose native code, for comparisons: `SPVNODE_KERNELS=python` does without it, `SPVNODE_SHA256=NAME`
forces one implementation of SHA-256 (a wrong name lists those that this CPU can run).

| key | type | default | meaning |
|---|---|---|---|
"""


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        if command is not None:
            parts.append(f"## spvnode {name}\n\n" + _help(command, f"spvnode {name}"))
            for under in command.commands.values() if isinstance(command, click.Group) else ():
                parts.append(_help(under, f"spvnode {name} {under.name}"))
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    parts.append(f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}")
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _keys(Config, ""))
    return "\n".join([*parts, _CONFIG + rows])


def _help(command: click.Command, name: str) -> str:
    options = group.context_settings["help_option_names"]
    context = click.Context(command, info_name=name, terminal_width=100, help_option_names=options)
    return f"```\n{command.get_help(context)}\n```\n"


def _keys(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """(key, type, default, meaning) of each setting, as cells of a table."""
    meanings = _meanings(struct)
    schema = msgspec.json.schema_components([struct])[1][struct.__name__]["properties"]
    for field in fields(struct):
        nested = _nested(field.type)
        for table in nested:
            tag = table.__struct_config__.tag
            yield from _keys(table, f"{prefix}{field.name}[{tag}]." if tag else f"{prefix}{field.name}.")
        if not nested:
            default = "required" if field.required else f"`{msgspec.json.encode(field.default).decode()}`"
            yield f"`{prefix}{field.name}`", _kind(schema[field.name]), default, meanings[field.name]


def _meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The string below each field of ``struct``, on one line."""
    body = ast.parse(inspect.getsource(struct)).body[0]
    found = {}
    for node, after in pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            found[node.target.id] = " ".join(str(ast.literal_eval(after.value)).split()).replace("``", "`")
    return found


def _nested(field_type: Any) -> list[type[msgspec.Struct]]:
    """The struct of a table, or of each table in an array of tables, which may be of several kinds."""
    if isinstance(field_type, type) and issubclass(field_type, msgspec.Struct):
        return [field_type]
    return [found for part in get_args(field_type) for found in _nested(part)]


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return _kind(next(part for part in schema["anyOf"] if part.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    return str(schema["type"]) + (f", {low} to {high}" if low is not None else "")
