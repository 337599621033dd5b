"""Lines of the protocol, as bytes and as calls: JSON-RPC 2.0, and 1.0 for who says nothing of 2.0. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from spvnode.electrum.errors import Code, ElectrumError
from spvnode.electrum.limits import MAX_BATCH, MAX_ID, MAX_METHOD_NAME, MAX_PARAMS

CallId = int | float | str | None


class _Request(Struct, frozen=True):
    """A call as it comes. Members that nobody knows are let pass, as aiorpcX does."""

    method: str
    params: Raw = Raw(b"[]")
    id: CallId | UnsetType = UNSET
    jsonrpc: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``reply``: whether an answer is wanted (a notification wants none). ``modern``: JSON-RPC 2.0."""

    method: str
    raw_params: bytes
    """A list or an object of JSON; empty where it was too long to be kept."""
    id: CallId
    reply: bool
    modern: bool

    def params(self) -> list[Any] | dict[str, Any]:
        """By position or by name. Raises ElectrumError."""
        if not self.raw_params:
            raise ElectrumError(Code.INVALID_PARAMS, f"parameters of more than {MAX_PARAMS} bytes")
        try:
            return _params.decode(self.raw_params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ElectrumError(Code.INVALID_PARAMS, str(error)) from None


@dataclass(frozen=True, slots=True)
class Line:
    """What one line asks for; a bad call among those of a batch is its error."""

    calls: tuple[Call | ElectrumError, ...]
    batch: bool


_requests = msgspec.json.Decoder(_Request)
_params: msgspec.json.Decoder[list[Any] | dict[str, Any]] = msgspec.json.Decoder(list[Any] | dict[str, Any])
_batches = msgspec.json.Decoder(list[Raw])


def parse_line(raw: bytes) -> Line:
    """The calls of a line without its end. Raises ElectrumError, which ends the connection where the line is no JSON:
    whoever sends that speaks another protocol, a web page's HTTP perhaps."""
    if not raw.lstrip().startswith(b"["):
        return Line((_call(raw),), batch=False)
    try:
        parts = _batches.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ElectrumError(Code.PARSE_ERROR, "invalid JSON", ends=True) from None
    if not 1 <= len(parts) <= MAX_BATCH:
        count = len(parts)
        del parts  # up to 3 MB, which would stay with the error until it is told
        raise ElectrumError(Code.INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} calls, not {count}")
    return Line(tuple(_either(bytes(part)) for part in parts), batch=True)


def _either(raw: bytes) -> Call | ElectrumError:
    try:
        return _call(raw)
    except ElectrumError as error:
        return error


def _call(raw: bytes) -> Call:
    try:
        found = _requests.decode(raw)
    except msgspec.ValidationError as error:
        raise ElectrumError(Code.INVALID_REQUEST, f"invalid request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ElectrumError(Code.PARSE_ERROR, "invalid JSON", ends=True) from None
    if isinstance(found.id, str) and len(found.id) > MAX_ID:
        raise ElectrumError(Code.INVALID_REQUEST, f"invalid request: an id longer than {MAX_ID} characters")
    params = bytes(found.params).strip()
    if params[:1] not in (b"[", b"{"):
        raise ElectrumError(Code.INVALID_REQUEST, "invalid request: params is neither a list nor an object")
    modern = found.jsonrpc == "2.0"
    # Of 1.0, a notification is what has the id null; of 2.0, what has none.
    wanted = found.id is not UNSET if modern else found.id is not UNSET and found.id is not None
    kept = params if len(params) <= MAX_PARAMS else b""
    return Call(found.method[:MAX_METHOD_NAME], kept, None if found.id is UNSET else found.id, wanted, modern)


def result(call: Call, value: object) -> bytes:
    """The answer to a call."""
    if call.modern:
        return msgspec.json.encode({"jsonrpc": "2.0", "result": value, "id": call.id})
    return msgspec.json.encode({"result": value, "error": None, "id": call.id})


def failure(call: Call | None, error: ElectrumError) -> bytes:
    """The same with an error; without ``call`` nobody knows which one was meant."""
    told = {"code": int(error.code), "message": str(error)}
    if call is None or call.modern:
        return msgspec.json.encode({"jsonrpc": "2.0", "error": told, "id": None if call is None else call.id})
    return msgspec.json.encode({"result": None, "error": told, "id": call.id})


def notification(method: str, params: list[Any], *, modern: bool) -> bytes:
    """What is told unasked."""
    if modern:
        return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})
    return msgspec.json.encode({"method": method, "params": params, "id": None})


def joined(replies: list[bytes]) -> bytes:
    """The reply of a batch."""
    return b"[" + b",".join(replies) + b"]"
