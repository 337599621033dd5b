"""Questions in Bitcoin's protocol, and what answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from p2p.bitcoin import messages as m

MAX_ANNOUNCED: Final = 8
"""Headers in one announcement (Core's MAX_BLOCKS_TO_ANNOUNCE): more are announced by ``inv`` of the last."""


def headers_after(locator: Sequence[bytes], stop: bytes) -> Callable[[m.Message], bytes | None]:
    """Takes the answer to a ``getheaders``, and no announcement that came across it. An answer is empty, or begins
    right after a hash of the locator; from elsewhere (a peer that knows none of them begins at genesis) it is longer
    than any announcement. Without a locator it is the header of ``stop``."""
    wanted = frozenset(locator)

    def take(message: m.Message) -> bytes | None:
        if not isinstance(message, m.Headers):
            return None
        headers = message.headers
        if not headers or message.count > MAX_ANNOUNCED:
            return headers
        begins = headers[4:36] in wanted if wanted else header_hash(headers[: m.HEADER_SIZE]) == stop
        return headers if begins else None

    return take


def header_hash(header: bytes) -> bytes:
    """Of 80 bytes, internal order."""
    return sha256(sha256(header).digest()).digest()
