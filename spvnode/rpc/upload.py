"""``POST /proofs/verify``: thousands of bundles in one body, checked as they come.

The body is a row of frames, u32 little-endian length and a bundle of any version in bytes. Only the frame that is being
read lies in memory, and the checks run in a worker thread; version 8 (``getheaderproofs`` with ``columns``) is made for
this door, at some 400,000 headers a second. The reply has one line a bundle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec
import trio

from merkle.verify import Verdict
from merkle.verify_columns import MAX_COLUMNS_BYTES
from merkle.verify_more import MAX_BYTES
from spvnode.ethereum.networks import NETWORKS as BEACON_NETWORKS
from spvnode.proofs import verify_any
from spvnode.rpc.methods.lookup import standing
from spvnode.rpc.registry import Context
from spvnode.rpc.response import JSON, SSZ, TEXT, Response
from spvnode.rpc.route import BINARY, About, about
from spvnode.types import Height, hash_hex
from spvnode.view import ChainView, NodeView

PATH: Final = "/proofs/verify"
COST: Final = 100
"""Off the rate of whoever uploads: a body may keep a core busy for seconds."""
MAX_UPLOAD_BYTES: Final = 256 << 20
"""Of one body: 360,000 headers with their branches. Nothing of it is kept: not memory bounds it, but time."""
MAX_UPLOAD_BUNDLES: Final = 10_000
"""Frames in one body: each is a line of the reply, 300 bytes."""
MAX_FRAME_BYTES: Final = max(MAX_BYTES, MAX_COLUMNS_BYTES)
"""Of one bundle. A beacon chain's longer ones go to ``verifyheaderproof``."""
MAX_UPLOADS: Final = 2
"""Bodies that are being read at once, of each listener: 2 frames and their copies, 9 MB. More wait their turn."""
TURN_BYTES: Final = 1 << 20
"""Of frames that one turn of the worker takes."""
_LENGTH: Final = 4

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BadUpload(Exception):
    """A body that is no row of frames: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Uploads:
    """The door of one daemon."""

    def __init__(self, node: NodeView) -> None:
        self._node = node
        self._places = trio.Semaphore(MAX_UPLOADS)
        self._worker = trio.CapacityLimiter(1)

    @about(
        About(
            replies={
                JSON: {
                    "type": "object",
                    "required": ["bundles", "valid", "headers", "results", "networks"],
                    "properties": {
                        "bundles": {"type": "integer"},
                        "valid": {"type": "integer"},
                        "headers": {"type": "integer"},
                        "results": {"type": "array", "items": {"type": "object"}},
                        "networks": {"type": "object"},
                    },
                }
            },
            body=(SSZ, BINARY),
            errors={400: None, 413: None},
            credentials=True,
        )
    )
    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive) -> Response:
        """Checks a row of bundles. ``bundles``, how many are ``valid``, how many ``headers`` the valid ones prove, and
        ``results``, one object a bundle: ``valid``, ``reason``, ``version``, ``network``, ``root``, ``count`` and
        ``root_matches`` (whether this node's own tree has that root; null where it cannot tell); ``networks``:
        freshness and grounds of each that was compared with."""
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > MAX_UPLOAD_BYTES:
            return _refusal(413, f"body: longer than {MAX_UPLOAD_BYTES} bytes")
        async with self._places:
            work = _Work(self._node)
            try:
                await self._read(work, receive)
            except BadUpload as error:
                return _refusal(error.status, error.message)
        return Response(200, msgspec.json.encode(work.reply()), JSON)

    async def _read(self, work: _Work, receive: Receive) -> None:
        buffer, seen, more = bytearray(), 0, True
        while more:
            message = await receive()
            part = message.get("body", b"")
            more = message["type"] != "http.disconnect" and message.get("more_body", False)
            buffer += part
            seen += len(part)
            if seen > MAX_UPLOAD_BYTES:
                raise BadUpload(413, f"body: longer than {MAX_UPLOAD_BYTES} bytes")
            if len(buffer) >= TURN_BYTES or not more or _wanted(buffer) <= len(buffer) > MAX_COLUMNS_BYTES // 2:
                await self._turn(work, buffer)
        if buffer:
            raise BadUpload(400, f"body: ends within frame {len(work.results)}")
        if not work.results:
            raise BadUpload(400, "body: holds no bundle")

    async def _turn(self, work: _Work, buffer: bytearray) -> None:
        frames = _frames(buffer, MAX_UPLOAD_BUNDLES - len(work.results))
        if frames:
            verdicts = await trio.to_thread.run_sync(work.check, frames, limiter=self._worker)
            work.take(verdicts)


def _wanted(buffer: bytearray) -> int:
    """Bytes that the first frame takes; 4 where its length is not there yet."""
    if len(buffer) < _LENGTH:
        return _LENGTH
    length = int.from_bytes(buffer[:_LENGTH], "little")
    if length > MAX_FRAME_BYTES:
        raise BadUpload(413, f"a frame of {length} bytes is above {MAX_FRAME_BYTES}")
    return _LENGTH + length


def _frames(buffer: bytearray, most: int) -> list[bytes]:
    """Takes every whole frame off ``buffer``."""
    found: list[bytes] = []
    at = 0
    while len(buffer) - at > _LENGTH:
        end = at + _wanted(buffer[at : at + _LENGTH])
        if end > len(buffer):
            break
        if len(found) >= most:
            raise BadUpload(413, f"body: more than {MAX_UPLOAD_BUNDLES} bundles")
        found.append(bytes(memoryview(buffer)[at + _LENGTH : end]))
        at = end
    del buffer[:at]
    return found


class _Work:
    """One upload: what was found so far. ``check`` runs in a worker, the rest on the loop."""

    def __init__(self, node: NodeView) -> None:
        self._node = node
        self._now = node.now()
        self._networks = {**BEACON_NETWORKS, **{name: chain.params for name, chain in node.beacons.items()}}
        self._roots: dict[tuple[str, int], str] = {}
        self._compared: set[str] = set()
        self.results: list[dict[str, Any]] = []
        self._valid = self._headers = 0

    def check(self, frames: list[bytes]) -> list[Any]:
        return [verify_any(frame, self._now, networks=self._networks) for frame in frames]

    def take(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            fields = verdict.fields
            line: dict[str, Any] = {"valid": verdict.ok, "reason": verdict.reason}
            if verdict.ok:
                self._valid += 1
                self._headers += fields.get("count", 1)
                cp_height, root = _tree(fields)
                line |= {name: fields.get(name) for name in ("version", "network")} | {"root": root}
                line |= {"cp_height": cp_height, "count": fields.get("count", 1), "root_matches": self._matches(fields)}
            self.results.append(line)

    def _matches(self, fields: Mapping[str, Any]) -> bool | None:
        network, (height, root) = str(fields.get("network")), _tree(fields)
        chain: ChainView | None = self._node.chains.get(network)
        if chain is None or height is None or chain.range_start != fields["range_start"]:
            return None
        if not chain.base <= height <= chain.tip_height:
            return None
        self._compared.add(network)
        key = network, height
        if key not in self._roots:
            self._roots[key] = hash_hex(chain.root(Height(height)))
        return self._roots[key] == str(root)

    def reply(self) -> dict[str, Any]:
        context = Context(self._node, {}, lambda: None)
        return {
            "bundles": len(self.results),
            "valid": self._valid,
            "headers": self._headers,
            "results": self.results,
            "networks": {name: standing(context, name) for name in sorted(self._compared)},
        }


def _tree(fields: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Where the tree of a proof ends, and its root; of an ancestry's, the newer one."""
    return fields.get("cp_height", fields.get("new_height")), fields.get("root", fields.get("new_root"))


def _refusal(status: int, message: str) -> Response:
    return Response(status, f"{message}\n".encode(), TEXT)
