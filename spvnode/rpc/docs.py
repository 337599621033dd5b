"""docs/rpc.md, written from the table of methods (by ``spvnode.docs``)."""

from __future__ import annotations

from spvnode.rpc import limits
from spvnode.rpc.errors import MEANINGS
from spvnode.rpc.registry import Method, describe
from spvnode.rpc.table import METHODS

_HEAD = f"""\
<!-- written by `make docs` from the source: do not edit -->

# RPC

JSON-RPC over HTTP/1.1: on the unix socket `<datadir>/rpc.sock` for the user who runs the daemon, and on loopback TCP
(`rpc.bind`) with the cookie of `<datadir>/.cookie` as Basic credentials.

    curl --unix-socket ~/.local/share/spvnode/rpc.sock http://localhost/ \\
         -d '{{"jsonrpc": "2.0", "id": 1, "method": "getblockcount"}}'
    curl -u "$(cat ~/.local/share/spvnode/.cookie)" http://127.0.0.1:8342/ \\
         -d '{{"jsonrpc": "2.0", "id": 1, "method": "getblockcount"}}'

`POST /<network>` means the same as the parameter `network`; without either the first configured network answers.
Parameters by name or by position; `null` stands for "not given". Calls with `"jsonrpc": "2.0"` get a reply by that
specification, in an HTTP 200; all others one in Bitcoin Core's older manner (`result`, `error` and `id` always there;
HTTP 400 for an invalid request, 404 for an unknown method, 500 for other errors). Batches: up to {limits.MAX_BATCH}
calls. A body may have {limits.MAX_BODY_BYTES:,} bytes and {limits.MAX_JSON_DEPTH} levels of brackets.

Objects about a chain also say how much they deserve belief: `freshness` (`tip_age`, and `last_useful_event_age` since
a peer last told something, in seconds), `ready` (as `/readyz`), `start` (where trust begins: `genesis`, or a
`checkpoint` that the operator named; `complete` when all from genesis up is held and was checked).

Without credentials, `GET`: `/livez` (the process lives), `/readyz` (200, or 503 with the reasons by network),
`/metrics` (Prometheus).

| error | meaning |
|---|---|
"""


def render() -> str:
    """The page."""
    errors = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    return _HEAD + errors + "".join(_section(method) for method in METHODS.values())


def _section(method: Method) -> str:
    lines = ["", f"## {method.name}", "", f"`{method.usage}`", "", f"{method.summary} Scope: {method.scope}.", ""]
    if method.parameters:
        lines += ["| parameter | type | |", "|---|---|---|"]
        for field in method.parameters:
            kind, text = describe(method.params, field.name)
            lines.append(f"| `{field.name}` | {kind}{'' if field.required else ', optional'} | {text} |")
        lines.append("")
    result = " ".join((method.call.__doc__ or "").split()).replace("``", "`")
    return "\n".join([*lines, f"Result: {result}", ""])
