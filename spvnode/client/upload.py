"""Rows of proofs for ``POST /proofs/verify``, and the daemon's verdicts. No I/O.

A row is one request: frames of a u32 little-endian length and a bundle in bytes. An endless stream of bundles goes up
in many rows, so that neither side holds more than one, and a row that failed can be sent again.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from spvnode.client.errors import ClientError
from spvnode.client.exchange import MAX_REPLY, Reply, refusal

UPLOAD_PATH = "/proofs/verify"
UPLOAD_KIND = "application/octet-stream"
ROW_BUNDLES = 1_000
"""Bundles in one request, a tenth of what the daemon takes: verdicts come while the rest is still being made."""
ROW_BYTES = 16 << 20
"""Of one request, held until it is answered: 22 full proofs of columns. The daemon takes 16 times that."""
MAX_FRAME = (1 << 32) - 1
"""What the length before a bundle can say. The daemon refuses far less, by 413."""


class ProofVerdict(NamedTuple):
    """Of one bundle. ``reason``: ``ok``, or a short name of what does not hold; the rest is None where it does not.
    ``headers``: how many it proves. ``root_matches``: whether the daemon's own tree has that root, None where it
    cannot tell. ``standing``: freshness and grounds of the chain that it was compared with."""

    valid: bool
    reason: str
    version: int | None = None
    network: str | None = None
    root: str | None = None
    cp_height: int | None = None
    headers: int | None = None
    root_matches: bool | None = None
    standing: dict[str, Any] | None = None


class Row:
    """Bundles until they are sent."""

    def __init__(self) -> None:
        self.count = 0
        self._body = bytearray()

    def is_full(self, bundle: bytes) -> bool:
        """Whether what is there must be sent before ``bundle`` is added."""
        return self.count > 0 and (self.count >= ROW_BUNDLES or len(self._body) + 4 + len(bundle) > ROW_BYTES)

    def add(self, bundle: bytes) -> None:
        """One more. ClientError for what no frame can hold."""
        if len(bundle) > MAX_FRAME:
            raise ClientError(f"a bundle of more than {MAX_FRAME} bytes")
        self._body += len(bundle).to_bytes(4, "little") + bundle
        self.count += 1

    def take(self) -> tuple[bytes, int]:
        """The request's body, and of how many bundles; it begins anew."""
        taken = bytes(self._body), self.count
        self._body.clear()
        self.count = 0
        return taken


def verdicts_of(reply: Reply, count: int) -> list[ProofVerdict]:
    """One for each of ``count`` bundles. Raises Refused, Busy, Unreachable, ClientError."""
    if reply.status != 200:
        raise refusal(reply)
    if len(reply.body) > MAX_REPLY:
        raise ClientError(f"a reply of more than {MAX_REPLY} bytes")
    try:
        answer = json.loads(reply.body)
        networks = answer["networks"]
        found = [_verdict(line, networks) for line in answer["results"]]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ClientError("a reply that holds no verdicts") from error
    if len(found) != count:
        raise ClientError(f"the reply has {len(found)} verdicts of {count}")
    return found


def _verdict(line: dict[str, Any], networks: dict[str, Any]) -> ProofVerdict:
    known = {name: line[name] for name in ProofVerdict._fields if name in line}
    compared = line.get("root_matches") is not None
    return ProofVerdict(**known, headers=line.get("count"), standing=networks[line["network"]] if compared else None)
