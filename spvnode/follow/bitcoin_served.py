"""What we serve to the mesh of one chain: committed headers and proofs, straight from the view."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from p2p.mesh.codec import MAX_HEADERS, Hello
from spvnode.bitcoin.chain import HeaderChain
from spvnode.bitcoin.params import ChainParams
from spvnode.types import Hash32, Height

PROTOCOL_REVISION = 1
"""``version`` in our hello."""


class ChainHolder(Protocol):
    """Whatever has the chain, once there is one."""

    @property
    def params(self) -> ChainParams:
        """Of the network."""

    @property
    def headers(self) -> HeaderChain | None:
        """The chain, None before it has begun."""


class Served:
    """``p2p.mesh.serving.Provider`` over one chain, looked up at each call: it may not have begun yet, and a finished
    backfill replaces it."""

    def __init__(self, source: ChainHolder, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock

    def hello(self) -> Hello:
        """What we have. Work is 0 (unknown) while it is not counted from genesis."""
        chain, genesis = self._source.headers, self._source.params.genesis_hash
        if chain is None:
            return Hello(PROTOCOL_REVISION, genesis, 0, 0, genesis, 0)
        work = chain.chainwork(chain.tip_height) if chain.work_known else 0
        return Hello(PROTOCOL_REVISION, genesis, chain.base, chain.tip_height, chain.tip_hash, work)

    def headers_after(self, locator: tuple[bytes, ...], count: int) -> tuple[int, bytes] | None:
        """See ``Provider``."""
        chain = self._source.headers
        if chain is None:
            return None
        return chain.headers_after_locator([Hash32(entry) for entry in locator], min(count, MAX_HEADERS))

    def headers_range(self, start: int, count: int) -> bytes:
        """See ``Provider``."""
        chain = self._source.headers
        if chain is None or not chain.base <= start <= chain.tip_height:
            return b""
        return chain.headers(Height(start), min(count, MAX_HEADERS))

    def proof(self, height: int, cp_height: int) -> bytes | None:
        """See ``Provider``."""
        chain = self._source.headers
        if chain is None or not chain.base <= height <= cp_height <= chain.tip_height:
            return None
        return chain.bundle(Height(height), Height(cp_height), made_at=int(self._clock()))
