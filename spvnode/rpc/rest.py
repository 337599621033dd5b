"""Bitcoin Core's REST interface (``src/rest.cpp``, v28.1), as far as headers go: same paths, bodies and errors.

``/rest/...`` is the first Bitcoin network's, ``/<network>/rest/...`` that network's. ``GET`` and ``HEAD`` without
credentials on loopback, as in Core: all of it is public. Whatever needs transactions, blocks or a mempool is answered
with 404 and says so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from spvnode.errors import InputError
from spvnode.inputs import parse_hash, shown
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.methods.chain import OfChain, get_blockchain_info
from spvnode.rpc.methods.lookup import describe_run
from spvnode.rpc.registry import Context
from spvnode.rpc.response import JSON, SSZ, TEXT, Response
from spvnode.rpc.results import BlockchainInfo, BlockHeader, schema_of
from spvnode.rpc.route import BINARY, BLOCK_HASH, STRING, About, Query, about
from spvnode.types import Height, hash_hex
from spvnode.view import ChainView, NodeView

PATH = re.compile(r"(?:/(?P<network>[a-z][a-z0-9-]{0,31}))?/rest/(?P<path>.*)", re.DOTALL)
"""Every path that is this interface's, with or without a network before it."""
MAX_REST_HEADERS_RESULTS: Final = 2_000
"""Core's: headers in one answer."""
DEFAULT_COUNT: Final = "5"
"""Core's, of headers where no count is named."""
MAX_QUERY_FIELDS: Final = 32
"""Parameters in a query string; Core's interface has one. Any local client can fill it."""
PIECE: Final = 100
"""Headers that are written as JSON before others have their turn: 2 ms. 2,000 at once would be 35, for who has no
credentials; the whole of them lies in no memory."""
FORMATS: Final = ("bin", "hex", "json")

_NUMBER = re.compile(r"[0-9]{1,10}\Z")
_NO_FORMAT = "output format not found (available: .bin, .hex, .json)"
_NOT_SERVED = "not served: a header node holds no transactions, blocks or mempool"
_ERRORS: dict[int, Any] = {400: None, 404: None, 503: None}


class RestError(Exception):
    """A refusal: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class RestCall:
    """``path``: what follows the route's own part, without its format; ``form`` is the format, empty when none was
    named that there is."""

    context: Context
    chain: ChainView
    path: str
    form: str
    query: Mapping[str, list[str]]


@about(About(replies={JSON: schema_of(BlockchainInfo)}, errors=_ERRORS))
def chain_info(call: RestCall) -> Response:
    """``getblockchaininfo``'s reply."""
    if call.form != "json":
        raise RestError(404, "output format not found (available: json)")
    if call.path:
        raise RestError(404, "no such path")
    return _json(get_blockchain_info(call.context, OfChain(network=call.chain.network)))


@about(
    About(
        replies={JSON: {"type": "array", "items": schema_of(BlockHeader)}, SSZ: BINARY, TEXT: STRING},
        query=(
            Query("count", {"type": "string", "pattern": "^([1-9][0-9]{0,2}|1[0-9]{3}|2000)$"}, text="How many; 5."),
        ),
        path={"hash": BLOCK_HASH, "format": {"enum": list(FORMATS)}},
        errors=_ERRORS,
    )
)
def headers(call: RestCall) -> Response:
    """Up to 2,000 headers from ``hash`` upward on the active chain; none for a hash that is not on it. The older form
    ``/rest/headers/{count}/{hash}.{format}`` is taken as well."""
    parts = call.path.split("/")
    if len(parts) == 2:
        count, block_hash = parts
    elif len(parts) == 1:
        count, block_hash = call.query.get("count", [DEFAULT_COUNT])[0], parts[0]
    else:
        raise RestError(400, "Invalid URI format. Expected /rest/headers/<hash>.<ext>?count=<count>")
    if not _NUMBER.match(count) or not 1 <= int(count) <= MAX_REST_HEADERS_RESULTS:
        known = f"(1-{MAX_REST_HEADERS_RESULTS})"
        raise RestError(400, f"Header count is invalid or out of acceptable range {known}: {_cut(count)}")
    try:
        found = call.chain.height_of(parse_hash(block_hash, "hash"))
    except InputError:
        raise RestError(400, f"Invalid hash: {_cut(block_hash)}") from None
    if call.form == "json":
        run = iter(()) if found is None else describe_run(call.chain, found, int(count))
        return Response(200, kind=JSON, parts=_listed(run)) if int(count) > PIECE else _json(list(run))
    return _raw(call.form, b"" if found is None else call.chain.headers(found, int(count)))


@about(
    About(
        replies={
            JSON: {"type": "object", "properties": {"blockhash": BLOCK_HASH}, "required": ["blockhash"]},
            SSZ: BINARY,
            TEXT: STRING,
        },
        path={"height": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "format": {"enum": list(FORMATS)}},
        errors=_ERRORS,
    )
)
def block_hash_by_height(call: RestCall) -> Response:
    """The hash at a height of the active chain."""
    if not _NUMBER.match(call.path) or int(call.path) >= 1 << 31:
        raise RestError(400, f"Invalid height: {_cut(call.path)}")
    height = int(call.path)
    if not call.chain.base <= height <= call.chain.tip_height:
        raise RestError(404, "Block height out of range")
    block_hash = call.chain.block_hash(Height(height))
    if call.form == "json":
        return _json({"blockhash": hash_hex(block_hash)})
    # Core writes the hash's text in hex, but its bytes in internal order.
    return Response(200, f"{hash_hex(block_hash)}\n".encode()) if call.form == "hex" else _raw(call.form, block_hash)


Answer = Callable[[RestCall], Response]

ROUTES: Mapping[str, Answer] = MappingProxyType(
    {
        "/rest/chaininfo.json": chain_info,
        "/rest/headers/{hash}.{format}": headers,
        "/rest/blockhashbyheight/{height}.{format}": block_hash_by_height,
    }
)
"""What is served."""
_HEADS = {path.removeprefix("/rest/").partition("{")[0].removesuffix(".json"): call for path, call in ROUTES.items()}
NOT_SERVED = ("tx/", "block/", "blockfilter/", "blockfilterheaders/", "mempool/", "getutxos", "deploymentinfo")
"""Core's other paths."""


class CoreRest:
    """The interface of one daemon: all its Bitcoin networks."""

    def __init__(self, view: NodeView) -> None:
        self._node = view

    def answer(self, method: str, network: str | None, path: str, query: bytes) -> Response:
        """The answer to one request. Never raises for what the client sent."""
        if method not in ("GET", "HEAD"):
            return Response(405, b"GET only\r\n", headers=((b"allow", b"GET, HEAD"),))
        try:
            return self._answer(network, path, query)
        except RestError as error:
            return Response(error.status, f"{error.message}\r\n".encode())

    def _answer(self, network: str | None, path: str, query: bytes) -> Response:
        path, form = _split_format(path)
        head = next((head for head in _HEADS if path.startswith(head)), None)
        if head is None:
            known = any(path.startswith(head) for head in NOT_SERVED)
            raise RestError(404, _NOT_SERVED if known else "no such path")
        context = Context(self._node, {}, lambda: None, network)
        try:
            chain = context.chain(None)
        except RpcError as error:
            if error.code is Code.IN_WARMUP:
                raise RestError(503, f"Service temporarily unavailable: {error.message}") from None
            raise RestError(404, error.message) from None
        call = RestCall(context, chain, path.removeprefix(head), form, _parameters(query))
        return _HEADS[head](call)


def _split_format(path: str) -> tuple[str, str]:
    """What Core's ``ParseDataFormat`` makes of it: the path, and a known format or none."""
    stem, dot, form = path.rpartition(".")
    return (stem, form) if dot and form in FORMATS else (path, "")


def _json(content: object) -> Response:
    return Response(200, msgspec.json.encode(content) + b"\n", JSON)


async def _listed(run: Iterator[object]) -> AsyncGenerator[bytes, None]:
    """``_json`` of a list, in pieces."""
    before = b"["
    while some := list(islice(run, PIECE)):
        yield before + msgspec.json.encode(some)[1:-1]
        before = b","
    yield b"]\n" if before == b"," else b"[]\n"


def _raw(form: str, content: bytes) -> Response:
    if form == "bin":
        return Response(200, content, SSZ)
    if form == "hex":
        return Response(200, content.hex().encode() + b"\n")
    raise RestError(404, _NO_FORMAT)


def _cut(text: str) -> str:
    """As Core repeats it, but bounded, and nothing that is not to be printed."""
    return text if len(text) <= 64 and text.isascii() and text.isprintable() else shown(text)


def _parameters(query: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:  # UnicodeDecodeError is one
        raise RestError(400, f"query: is no list of up to {MAX_QUERY_FIELDS} name=value pairs") from None
