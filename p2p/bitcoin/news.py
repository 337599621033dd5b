"""What a peer is known to have, and how it is told of a new tip so that the news is some to it and fits what it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from p2p.bitcoin import messages as m
from p2p.bitcoin.questions import MAX_ANNOUNCED, header_hash

MAX_SHOWN: Final = 16
"""Hashes kept of one peer, which fills them: two announcements of the longest run. The oldest go."""
_PREV: Final = slice(4, 36)


class Shown:
    """The last blocks that a peer has shown, said, or been told to be there."""

    def __init__(self) -> None:
        self._hashes: deque[bytes] = deque(maxlen=MAX_SHOWN)

    def add(self, *hashes: bytes) -> None:
        """Of blocks that it has."""
        self._hashes.extend(block_hash for block_hash in hashes if block_hash not in self._hashes)

    def headers(self, headers: bytes) -> None:
        """A run (n * 80 bytes) of which it has the last, and so all."""
        if headers:
            self.add(header_hash(headers[-m.HEADER_SIZE :]))

    def served(self, locator: Sequence[bytes], headers: bytes) -> None:
        """It asked from its tip, and gets ``headers``."""
        self.add(*locator[:1])
        self.headers(headers)

    def news(self, headers: bytes, *, wants_headers: bool) -> m.Headers | m.Inv | None:
        """How to tell it of the last of ``headers`` (a linked run), which counts as told then. None where it has it:
        btcd asks who tells it of a block that it has for more (``getblocks``), and leaves where none comes. Headers
        where it wants them, few are new, and they follow what it has (Core as well): btcd leaves who sends others.
        ``inv`` otherwise."""
        starts = range(0, len(headers), m.HEADER_SIZE)
        last = header_hash(headers[-m.HEADER_SIZE :])
        if last in self._hashes:
            return None
        fits = next((at for at in reversed(starts) if headers[at:][_PREV] in self._hashes), None)
        self.add(last)
        if not wants_headers or fits is None or len(headers) - fits > MAX_ANNOUNCED * m.HEADER_SIZE:
            return m.Inv(m.inventory_row(m.InvKind.BLOCK, last))
        return m.Headers(headers[fits:])
