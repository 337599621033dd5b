"""``/eth/v1/beacon/light_client/``: bootstrap, updates, and the newest finality and optimistic update."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import replace

import trio

from spvnode.ethereum.records import Kept
from spvnode.inputs import shown
from spvnode.rpc.beacon_api.call import ERROR, ERRORS, ApiError, Call
from spvnode.rpc.beacon_api.data import as_chunk, as_json, as_ssz, version_of
from spvnode.rpc.response import JSON, SSZ, Response
from spvnode.rpc.route import BINARY, ROOT, UINT64, About, Query, Schema, about
from spvnode.types import Hash32

MAX_REQUEST_LIGHT_CLIENT_UPDATES = 128
"""Updates in one answer (consensus-specs ``altair/light-client/p2p-interface.md``): a client asks again for more."""
_VERSIONED: Schema = {"type": "object", "required": ["version", "data"]}
_ERRORS = {**ERRORS, 406: ERROR}
_ONE = About(replies={JSON: _VERSIONED, SSZ: BINARY}, errors=_ERRORS)
_ROOT = re.compile(r"0x[0-9a-fA-F]{64}\Z")


@about(replace(_ONE, path={"block_root": ROOT}))
def bootstrap(call: Call) -> Response:
    """Of the block root in the path."""
    root = parse_root(call.path["block_root"], "block_root")
    found = call.chain.bootstrap_at(root)
    if found is None:
        raise ApiError(404, f"no bootstrap of block {call.path['block_root']} is held")
    return _one(call, found)


@about(_ONE)
def finality_update(call: Call) -> Response:
    """The newest."""
    return _one(call, call.chain.finality_update)


@about(_ONE)
def optimistic_update(call: Call) -> Response:
    """The newest."""
    return _one(call, call.chain.optimistic_update)


def _one(call: Call, value: Kept | None) -> Response:
    if value is None:
        raise ApiError(404, f"{call.network}: no update has come yet")
    network = call.chain.params
    version = ((b"eth-consensus-version", version_of(network, value).encode()),)
    if call.wants_ssz:
        return Response(200, as_ssz(network, value), SSZ, version)
    return Response(200, as_json(network, value), JSON, version)


@about(
    About(
        replies={JSON: {"type": "array", "items": _VERSIONED}, SSZ: BINARY},
        query=(Query("start_period", UINT64, required=True), Query("count", UINT64, required=True)),
        errors=_ERRORS,
    )
)
def updates(call: Call) -> Response:
    """Best updates by period, from ``start_period`` to the first that is not held; an empty list is an answer too."""
    start = call.number("start_period")
    count = min(call.number("count"), MAX_REQUEST_LIGHT_CLIENT_UPDATES)
    chain = call.chain
    end = min(start + count, chain.periods[1] + 1)
    ssz = call.wants_ssz
    return Response(200, kind=SSZ if ssz else JSON, parts=_parts(call, start, end, ssz=ssz))


async def _parts(call: Call, start: int, end: int, *, ssz: bool) -> AsyncGenerator[bytes, None]:
    """One by one, so that 128 of them (7 MB of JSON, 1 ms each) neither lie in memory nor hold up the loop."""
    encode, opening, between, closing = (as_chunk, b"", b"", b"") if ssz else (as_json, b"[", b",", b"]")
    before = opening
    for period in range(start, end):
        chain = call.chain
        found = chain.updates(period, 1)
        if not found:
            break
        yield before + encode(chain.params, found[0])
        before = between
        await trio.lowlevel.checkpoint()
    yield closing if before == between else opening + closing


def parse_root(text: str, name: str) -> Hash32:
    """``0x`` and 64 hex digits; ApiError 400."""
    if not _ROOT.match(text):
        raise ApiError(400, f"{name}: {shown(text)} is no root (0x and 64 hex digits)")
    return Hash32(bytes.fromhex(text[2:]))
