"""One look at the daemon: everything that the page shows, asked once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spvnode.client import RpcFailed

if TYPE_CHECKING:
    from spvnode.client.concurrent import AsyncClient

TIPS = {True: ("getoptimisticheader", "slot"), False: ("getblockchaininfo", "headers")}
"""By whether the network is of Ethereum's kind: where its tip is told."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at ``at`` (monotonic seconds). ``networks`` by name: ``getsyncinfo``, with ``tip`` (height or
    slot, None before the chain has begun) and ``peers``."""

    at: float
    node: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"node": self.node, "networks": self.networks}


async def take_look(
    client: AsyncClient, only: tuple[str, ...] = (), clock: Callable[[], float] = time.monotonic
) -> Look:
    """Asks for everything once. Raises ClientError."""
    node = await client.getnodeinfo()
    networks = {name: await _look_at(client, name) for name in only or node["networks"]}
    return Look(clock(), dict(node), networks)


async def _look_at(client: AsyncClient, network: str) -> Mapping[str, Any]:
    about = await client.getsyncinfo(network)
    peers = await client.getpeerinfo(network)
    method, key = TIPS["grounds" in about]
    try:
        tip = (await client.call(method, {"network": network}))[key]
    except RpcFailed:  # the chain has not begun
        tip = None
    return {**about, "peers": peers, "tip": tip}
