"""docs/rpc.md, written from the table of methods (by ``spvnode.docs``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from merkle.proofs import MAX_COLUMN_HEADERS, MAX_HEADERS
from spvnode.rpc import limits
from spvnode.rpc.beacon_api.app import EVENTS_ROUTE, ROUTES
from spvnode.rpc.beacon_api.events import MAX_SUBSCRIBERS, Events
from spvnode.rpc.beacon_api.light_client import MAX_REQUEST_LIGHT_CLIENT_UPDATES
from spvnode.rpc.docs_access import ACCESS
from spvnode.rpc.docs_pipeline import pipeline_section
from spvnode.rpc.documents import OPENAPI_PATH, OPENAPI_VERSION, OPENRPC_PATH, OPENRPC_VERSION
from spvnode.rpc.errors import MEANINGS
from spvnode.rpc.registry import Method, describe
from spvnode.rpc.rest import ROUTES as REST_ROUTES
from spvnode.rpc.schemas import nested, parts_of, properties, rows, schemas
from spvnode.rpc.table import METHODS
from spvnode.rpc.upload import MAX_FRAME_BYTES, MAX_UPLOAD_BUNDLES, MAX_UPLOAD_BYTES, Uploads
from spvnode.rpc.upload import PATH as UPLOAD_PATH

Schema = dict[str, Any]

_HEAD = f"""\
<!-- written by `make docs` from the source: do not edit -->

# RPC

JSON-RPC over HTTP/1.1: on the unix socket `<datadir>/rpc.sock` for the user who runs the daemon, and on loopback TCP
(`rpc.bind`) with the cookie of `<datadir>/.cookie` as Basic credentials.

    curl --unix-socket ~/.local/share/spvnode/rpc.sock http://localhost/ \\
         -d '{{"jsonrpc": "2.0", "id": 1, "method": "getblockcount"}}'
    curl -u "$(cat ~/.local/share/spvnode/.cookie)" http://127.0.0.1:8342/ \\
         -d '{{"jsonrpc": "2.0", "id": 1, "method": "getblockcount"}}'

`POST /<network>` means the same as the parameter `network`; without either the first configured network of the method's
kind answers: most methods are about Bitcoin's networks or about Ethereum's, the general ones about any.
Parameters by name or by position; `null` stands for "not given". Calls with `"jsonrpc": "2.0"` get a reply by that
specification, in an HTTP 200; all others one in Bitcoin Core's older manner (`result`, `error` and `id` always there;
HTTP 400 for an invalid request, 404 for an unknown method, 500 for other errors). Batches: up to {limits.MAX_BATCH}
calls. A body may have {limits.MAX_BODY_BYTES:,} bytes and {limits.MAX_JSON_DEPTH} levels of brackets.

Objects about a chain also say how much they deserve belief: `freshness` (`tip_age`, and `last_useful_event_age` since
a peer last told something, in seconds), `ready` (as `/readyz`), and what all of it rests on. On a Bitcoin network that
is `start` (where trust begins: `genesis`, or a `checkpoint` that the operator named; `complete` when all from genesis
up is held and was checked), on an Ethereum network `grounds` (the checkpoint's `root` and `slot`, and who named it:
`kind` and `vouched_by`). Ethereum's hashes are `0x` hex in their natural order.

Without credentials, `GET`: `/livez` (the process lives), `/readyz` (200, or 503 with the reasons by network),
`/metrics` (Prometheus), the documents, Bitcoin Core's REST and the Beacon API below; and the dashboard, `/`, which asks
these paths and the methods with a token of its own (`spvnode web` prints a link with one).

| error | meaning |
|---|---|
"""


_BEACON_API = f"""
# Beacon API

Other light clients sync from this node by the light client's part of the
[Beacon API](https://github.com/ethereum/beacon-APIs), as from a beacon node:

    helios ethereum --consensus-rpc http://127.0.0.1:8342 --execution-rpc URL --checkpoint ROOT
    curl -H 'Accept: application/octet-stream' http://127.0.0.1:8342/eth/v1/beacon/light_client/finality_update

`GET` and `HEAD` without credentials: all of it is public, signed by sync committees, and checked by whoever reads it.
The server refuses every `Host` that is not this machine, and sends no CORS headers, so that
web pages read nothing. Where several Ethereum networks are followed, the network goes first: `/sepolia/eth/v1/...`.
The four light-client objects come as JSON or SSZ, by `Accept`, with `eth-consensus-version`; refusals as `code` and
`message`. What a light client cannot know is left out, or answered with 404. Up to {MAX_REQUEST_LIGHT_CLIENT_UPDATES}
updates in one answer; up to {MAX_SUBSCRIBERS} clients may follow events.

| route | answers |
|---|---|
"""

_REST = """
# REST

Bitcoin Core's REST interface as far as headers go, with its bodies, errors and status codes:

    curl http://127.0.0.1:8342/rest/headers/00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048.hex?count=10

`GET` and `HEAD`, on loopback without credentials. `/rest/...` is the first Bitcoin network's, `/signet/rest/...` that
network's. `{format}` is `bin`, `hex` or `json`. What needs transactions, blocks or a mempool is answered with 404.

| route | answers |
|---|---|
"""
_UPLOAD = f"""
# Proofs by the thousand

`getheaderproofs` gives up to {MAX_HEADERS:,} headers under one root with one shared multiproof, or, with the format
`columns`, as version 8 bundles of up to {MAX_COLUMN_HEADERS:,} headers that are quick to check. `POST {UPLOAD_PATH}`,
with credentials of the scope `proofs`, takes a row of frames, each a u32 little-endian length and a bundle of any
version in bytes: up to {MAX_UPLOAD_BUNDLES:,} of up to {MAX_FRAME_BYTES:,} bytes, together {MAX_UPLOAD_BYTES >> 20}
MiB.

{{upload}}

# Documents

`GET {OPENRPC_PATH}` (also the method `rpc.discover`) is an OpenRPC {OPENRPC_VERSION} document of the methods,
`GET {OPENAPI_PATH}` an OpenAPI {OPENAPI_VERSION} document of all paths. Both are derived from the tables that answer.
"""


_TYPES = """
# Types

What results are made of. `spvnode.rpc.results` has all of them, and the results themselves, as types for Python. An
optional field is left out where it does not apply; what may be null is always there.
"""


def render() -> str:
    """The page."""
    errors = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    _, found, components = schemas(list(METHODS.values()))
    given = list(zip(METHODS.values(), found, strict=True))
    methods = "".join(_section(method, result, components) for method, result in given)
    routes: dict[str, Callable[..., object]] = {**ROUTES, EVENTS_ROUTE: Events.answer}
    rest = "".join(_route(path, call) for path, call in REST_ROUTES.items())
    beacon = "".join(_route(path, call) for path, call in routes.items())
    return (
        _HEAD
        + errors
        + ACCESS
        + pipeline_section()
        + "\n# Methods\n"
        + methods
        + _TYPES
        + "".join(_type(name, components) for name in _used(found, components))
        + _UPLOAD.format(upload=_text(Uploads.answer))
        + _REST
        + rest
        + _BEACON_API
        + beacon
    )


def _route(path: str, call: Callable[..., object]) -> str:
    return f"| `{path}` | {_text(call)} |\n"


def _text(call: Callable[..., object]) -> str:
    return " ".join((call.__doc__ or "").split()).replace("``", "`")


def _section(method: Method, result: Schema, components: Schema) -> str:
    lines = ["", f"## {method.name}", "", f"`{method.usage}`", "", f"{method.summary} Scope: {method.scope}.", ""]
    if method.parameters:
        lines += ["| parameter | type | |", "|---|---|---|"]
        for field in method.parameters:
            kind, text = describe(method.params, field.name)
            lines.append(f"| `{field.name}` | {kind}{'' if field.required else ', optional'} | {text} |")
        lines.append("")
    lines += [f"Result: {_text(method.call)}", ""]
    for part in parts_of(result):
        lines += _table(part, components)
    return "\n".join(lines)


def _table(result: Schema, components: Schema) -> list[str]:
    """The fields of an object; nothing for what is none."""
    found = [f"| {name} | {kind} | {text} |" for name, kind, text in rows(result, components)]
    return ["| field | type | |", "|---|---|---|", *found, ""] if found else []


def _used(found: Sequence[Schema], components: Schema) -> list[str]:
    """The types that results' fields refer to, by name."""
    tops = [name for result in found for name in nested(result)]
    used = {"HeaderStanding", "BeaconStanding", "EitherStanding"}
    wait = [part for name in {*tops, *used} for part in properties(components[name], components).values()]
    while wait:
        for name in set(nested(wait.pop())) - used:
            used.add(name)
            wait += properties(components[name], components).values()
    return sorted(used)


def _type(name: str, components: Schema) -> str:
    about = components[name].get("description")
    return "\n".join(["", f"## {name}", "", *([about, ""] if about else []), *_table(components[name], components)])
