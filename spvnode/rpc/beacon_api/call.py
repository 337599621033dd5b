"""One request as a route sees it, and the ways to answer it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spvnode.errors import SpvnodeError
from spvnode.inputs import shown
from spvnode.rpc.beacon_api.accept import preferred
from spvnode.rpc.response import JSON, SSZ, Response
from spvnode.rpc.route import About, Query, Schema
from spvnode.view import BeaconView, NodeView

ERROR: Schema = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
"""The Beacon API's error body."""
ERRORS: dict[int, Schema | None] = {400: ERROR, 404: ERROR, 405: ERROR, 503: ERROR}
"""What any route may answer besides."""
DATA: Schema = {"type": "object", "required": ["data"]}
MAX_U64 = 2**64 - 1
"""Slots and periods are 64-bit numbers."""
_NUMBER = re.compile(r"[0-9]{1,20}\Z")


class ApiError(SpvnodeError):
    """A refusal: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Call:
    """``path`` and ``query`` are the client's: parameters by name, each of the query's with all its values."""

    node: NodeView
    network: str
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    accept: bytes | None = None

    @property
    def chain(self) -> BeaconView:
        """What is committed; ApiError 503 while the network has not begun."""
        chain = self.node.beacons.get(self.network)
        if chain is None:
            raise ApiError(503, f"{self.network} has not begun: no checkpoint is trusted yet")
        return chain

    def number(self, name: str) -> int:
        """A query parameter that must be there, an unsigned 64-bit number; ApiError 400."""
        values = self.query.get(name, ())
        if len(values) != 1:
            raise ApiError(400, f"{name}: must be given once")
        return parse_number(values[0], name)

    @property
    def wants_ssz(self) -> bool:
        """Whether the client likes SSZ better than JSON; ApiError 406 when it takes neither."""
        kind = preferred(self.accept, (JSON, SSZ))
        if kind is None:
            raise ApiError(406, f"Accept: {JSON.decode()} and {SSZ.decode()} are to be had")
        return kind == SSZ


def data_route(*query: Query, path: dict[str, Schema] | None = None) -> About:
    """A route that answers ``{"data": ...}``."""
    return About(replies={JSON: DATA}, query=query, path=path or {}, errors=ERRORS)


def parse_number(text: str, name: str) -> int:
    """``text`` as an unsigned 64-bit number; ApiError 400."""
    if not _NUMBER.match(text) or int(text) > MAX_U64:
        raise ApiError(400, f"{name}: {shown(text)} is no unsigned 64-bit number")
    return int(text)


def data_reply(data: Any, **beside: Any) -> Response:
    """``{..., "data": data}``."""
    return Response(200, msgspec.json.encode({**beside, "data": data}), JSON)


def refusal(status: int, message: str) -> Response:
    """The Beacon API's error body."""
    headers = ((b"allow", b"GET, HEAD"),) if status == 405 else ()
    return Response(status, msgspec.json.encode({"code": status, "message": message}), JSON, headers)


def hex_of(data: bytes) -> str:
    """As the Beacon API writes bytes."""
    return "0x" + data.hex()
