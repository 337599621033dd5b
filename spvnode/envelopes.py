"""What our own tools print around a proof bundle: a JSON-RPC reply, the result of a method, the bytes in hex.

A bundle itself comes back as it was. Which one a file is, its first bytes tell: canonical bytes begin with their
version, 1 to 8, JSON with a brace, hex with a digit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from spvnode.errors import InputError
from spvnode.inputs import shown

MAX_ENVELOPE_BRACKETS: Final = 16_384
"""Opening brackets of a text that is looked into: a result about 2,016 headers has a few for each. The parser recurses,
and whoever wrote the file chose how deep; the interpreter's own limit is below, unless a library has raised it."""
MAX_DEPTH: Final = 64
"""Of brackets in brackets; a reply has five."""
_HEX = re.compile(rb"\"?(0x)?[0-9a-fA-F\s]+\"?\Z")
_BRACKETS = re.compile(rb"[\[{\]}]")


def opened(data: bytes | Mapping[str, Any], field: str) -> bytes | Mapping[str, Any]:
    """The bundle in ``data``: in the ``result`` of a reply, under ``bundle``, ``hex`` or the only one of ``columns``;
    or ``data``, where it is no such envelope. ``InputError`` naming ``field`` where a reply is an error, or holds more
    bundles than one."""
    if isinstance(data, bytes) and _HEX.match(data.strip()):
        return _from_hex(data) or data
    parsed = _parsed(data) if isinstance(data, bytes) else data
    # Of a bundle the text itself is checked, which shows how each value is written.
    found = None if parsed is None or "version" in parsed else _inside(parsed, field)
    return data if found is None else found


def _inside(envelope: Mapping[str, Any], field: str) -> bytes | Mapping[str, Any] | None:
    error = envelope.get("error")
    if isinstance(error, Mapping):
        raise InputError(field, f"is a reply with an error and no proof: {shown(str(error.get('message')))}")
    result = envelope.get("result", envelope)
    if isinstance(result, str):
        return _from_hex(result.encode(errors="replace"))
    if not isinstance(result, Mapping):
        return None
    bundle, text, columns = (result.get(name) for name in ("bundle", "hex", "columns"))
    if isinstance(columns, list) and len(columns) > 1:
        raise InputError(field, f"holds {len(columns)} bundles, under columns: check each by itself")
    if isinstance(columns, list) and columns:
        text = columns[0]
    if isinstance(bundle, Mapping):
        return bundle
    if isinstance(bundle, str):
        text = bundle
    if isinstance(text, str):
        return _from_hex(text.encode(errors="replace"))
    return result if "version" in result and result is not envelope else None


def _from_hex(text: bytes) -> bytes | None:
    try:
        return bytes.fromhex(text.decode("ascii").strip().strip('"').removeprefix("0x"))
    except ValueError:
        return None


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    """The JSON object; None where it is none, names a field twice, or has more brackets than a reply needs."""
    if text.lstrip()[:1] != b"{" or not _is_shallow(text):
        return None
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_shallow(text: bytes) -> bool:
    opening = depth = 0
    for bracket in _BRACKETS.finditer(text):
        opens = bracket[0] in b"[{"
        opening += opens
        depth += 1 if opens else -1
        if opening > MAX_ENVELOPE_BRACKETS or depth > MAX_DEPTH:
            return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is named twice")
    return found
