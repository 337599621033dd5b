"""The Beacon API's routes that a light client asks, with content negotiation and status codes made into faults.

SSZ is preferred; a server that refuses or does not know it is asked for JSON from then on. Source: Ethereum Beacon APIs
v4, Beacon and Events. Servers differ from it and from each other: Lodestar says 500 where data is missing, Teku 501
where a route is not built, old ones know JSON alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import trio

from p2p.faults import MAX_EVIDENCE, FaultReason, RemoteFault
from p2p.rest.client import OK, Answer, RestClient, retry_after
from p2p.rest.endpoint import Endpoint

SSZ = "application/octet-stream"
JSON = "application/json"
BOTH = f"{SSZ};q=1.0,{JSON};q=0.9"
MAX_UPDATES = 128
"""``MAX_REQUEST_LIGHT_CLIENT_UPDATES``: servers refuse or cut more."""
JSON_FACTOR = 3
"""JSON of an object takes 2.1 times its SSZ (hex), and line breaks where a server likes them."""
JSON_EXTRA = 4_096
"""Bytes beside: names of fields, envelope."""
SMALL = 16 << 10
"""Bytes of an answer that is one small JSON object (genesis 0.3 kB, block header 1 kB)."""
VERSION_HEADER = "eth-consensus-version"
TOPICS = ("light_client_finality_update", "light_client_optimistic_update")
MAX_PAUSE = 300.0
"""Seconds that a server may make us wait by ``Retry-After``; it cannot shut us out for longer at a time."""
_NOT_ACCEPTABLE = (406, 415)
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class Reply:
    """A 200's body. ``version``: the fork's name that the server gave, lower case; empty where it gave none (in JSON it
    stands inside)."""

    ssz: bool
    version: str
    body: bytes = field(repr=False)


class BeaconApi:
    """Every method takes as long as ``RestClient.get`` and returns the fault where there is no 200. ``most``: bytes of
    the longest SSZ that one object may have."""

    def __init__(self, client: RestClient) -> None:
        self.client = client
        self._json_only: set[str] = set()
        self._paused: dict[str, float] = {}

    async def bootstrap(self, endpoint: Endpoint, root: bytes, most: int) -> Reply | RemoteFault:
        """``LightClientBootstrap`` of the block ``root`` (32 bytes)."""
        return await self._get(endpoint, f"/eth/v1/beacon/light_client/bootstrap/0x{root.hex()}", most)

    async def updates(self, endpoint: Endpoint, start: int, count: int, most: int) -> Reply | RemoteFault:
        """``LightClientUpdate`` of the periods ``start`` .. ``start + count - 1``, fewer where it has no more.
        ``count`` at most ``MAX_UPDATES`` (ValueError)."""
        if not 1 <= count <= MAX_UPDATES:
            raise ValueError(f"count: {count}, expected 1 to {MAX_UPDATES}")
        route = f"/eth/v1/beacon/light_client/updates?start_period={start}&count={count}"
        return await self._get(endpoint, route, count * (most + 12))

    async def latest(
        self, endpoint: Endpoint, kind: Literal["finality", "optimistic"], most: int
    ) -> Reply | RemoteFault:
        """The newest ``LightClientFinalityUpdate`` or ``LightClientOptimisticUpdate``."""
        return await self._get(endpoint, f"/eth/v1/beacon/light_client/{kind}_update", most)

    async def genesis(self, endpoint: Endpoint) -> Reply | RemoteFault:
        """Genesis time, validators root and fork version, in JSON."""
        return await self._get(endpoint, "/eth/v1/beacon/genesis", 0)

    async def header(self, endpoint: Endpoint, block: int | str) -> Reply | RemoteFault:
        """The canonical block header at a slot, or ``finalized``, in JSON."""
        return await self._get(endpoint, f"/eth/v1/beacon/headers/{block}", 0)

    def prefers_json(self, endpoint: Endpoint) -> bool:
        """Whether it has refused SSZ."""
        return endpoint.name in self._json_only

    async def _get(self, endpoint: Endpoint, route: str, most: int) -> Reply | RemoteFault:
        """``most`` 0: small JSON."""
        wait = self._paused.get(endpoint.name, 0.0) - trio.current_time()
        if wait > 0:
            return RemoteFault(FaultReason.REFUSED, endpoint.name, f"asked us to wait {wait:.0f} s more")
        limits = {SSZ: most, JSON: JSON_FACTOR * most + JSON_EXTRA} if most else {JSON: SMALL}
        if most and not self.prefers_json(endpoint):
            answer = await self.client.get(endpoint, route, accept=BOTH, limits=limits)
            if isinstance(answer, RemoteFault) or answer.status not in _NOT_ACCEPTABLE:
                return self._reply(endpoint, answer)
            self._json_only.add(endpoint.name)
        limits.pop(SSZ, None)
        return self._reply(endpoint, await self.client.get(endpoint, route, accept=JSON, limits=limits))

    def _reply(self, endpoint: Endpoint, answer: Answer | RemoteFault) -> Reply | RemoteFault:
        if isinstance(answer, RemoteFault):
            return answer
        if answer.status == OK:
            version = answer.headers.get(VERSION_HEADER, "")[:20].strip().lower()
            return Reply(answer.media == SSZ, version, answer.body)
        if answer.status in _BUSY:
            self._paused[endpoint.name] = trio.current_time() + retry_after(answer, MAX_PAUSE)
        words = endpoint.veiled(_words(answer))[:MAX_EVIDENCE]
        return RemoteFault(_reason(answer.status), endpoint.name, f"HTTP {answer.status}: {words}")


def events_route() -> str:
    """Of the stream of new light-client updates."""
    return "/eth/v1/events?topics=" + ",".join(TOPICS)


def _reason(status: int) -> FaultReason:
    # 500 is what Lodestar says for "No partialUpdate available for period N"; a server that is truly broken has, to us,
    # not what we asked for either.
    if status in (404, 500):
        return FaultReason.NOT_FOUND
    if status < OK or 201 <= status < 400:
        return FaultReason.PROTOCOL  # an answer without the object; redirects are not followed
    return FaultReason.REFUSED


def _words(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return "a redirect, not followed"
    return " ".join(answer.body.decode("utf-8", "replace").split())
