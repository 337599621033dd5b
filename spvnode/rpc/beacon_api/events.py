"""``/eth/v1/events``: server-sent events as the newest finality and optimistic update change."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import trio

from spvnode.ethereum.records import Kept
from spvnode.inputs import shown
from spvnode.rpc.beacon_api.call import ERRORS, ApiError, Call
from spvnode.rpc.beacon_api.data import as_json
from spvnode.rpc.response import EVENTS, Response
from spvnode.rpc.route import STRING, About, Query, about
from spvnode.view import BeaconView, NodeView

FINALITY, OPTIMISTIC = "light_client_finality_update", "light_client_optimistic_update"
TOPICS = (FINALITY, OPTIMISTIC)
MAX_SUBSCRIBERS = 16
"""Streams at once: any local process can open them, and each holds one of the server's 64 connections."""
POLL_SECONDS = 0.5
"""Between two looks at what is committed. Updates come every 12 s, and a look compares two objects."""
KEEPALIVE_SECONDS = 10.0
"""Of silence before a comment is sent, which shows a client that has left."""
COMMENT = b":\n\n"


class Events:
    """The streams of one daemon. Nothing is queued: a stream looks at the newest state each time, so that a slow reader
    misses updates that were overtaken, and costs no memory."""

    def __init__(self) -> None:
        self.subscribers = 0

    @about(
        About(
            replies={EVENTS: STRING},
            query=(Query("topics", {"enum": list(TOPICS)}, required=True),),
            errors=ERRORS,
        )
    )
    def answer(self, call: Call) -> Response:
        """Server-sent events without end, by ``topics``: ``light_client_finality_update``,
        ``light_client_optimistic_update``. Each tells a newest update that has changed; one that a later one has
        overtaken is not told."""
        given = [topic for value in call.query.get("topics", ()) for topic in value.split(",") if topic]
        if not given:
            raise ApiError(400, f"topics: must be given: {', '.join(TOPICS)}")
        for topic in given:
            if topic not in TOPICS:
                raise ApiError(400, f"topics: {shown(topic)} is not offered; these are: {', '.join(TOPICS)}")
        if self.subscribers >= MAX_SUBSCRIBERS:
            raise ApiError(503, f"{MAX_SUBSCRIBERS} clients follow events already")
        chosen = [topic for topic in TOPICS if topic in given]
        seen = _newest(call.chain)
        return Response(200, kind=EVENTS, parts=self._stream(call.node, call.network, chosen, seen), endless=True)

    async def _stream(
        self, node: NodeView, network: str, topics: list[str], seen: Mapping[str, Kept | None]
    ) -> AsyncGenerator[bytes, None]:
        self.subscribers += 1
        try:
            yield COMMENT  # the head of the answer goes out with it
            said = trio.current_time()
            while True:
                await trio.sleep(POLL_SECONDS)
                chain = node.beacons.get(network)  # for a moment there is none, when a store is opened anew
                parts = [] if chain is None else _changes(chain, topics, seen)
                if chain is not None:
                    seen = _newest(chain)
                if not parts and trio.current_time() - said >= KEEPALIVE_SECONDS:
                    parts = [COMMENT]
                for part in parts:
                    yield part
                    said = trio.current_time()
        finally:
            self.subscribers -= 1


def _newest(chain: BeaconView) -> dict[str, Kept | None]:
    return {FINALITY: chain.finality_update, OPTIMISTIC: chain.optimistic_update}


def _changes(chain: BeaconView, topics: list[str], seen: Mapping[str, Kept | None]) -> list[bytes]:
    """One event for each topic whose object is another one now."""
    newest = _newest(chain)
    found = [(topic, newest[topic]) for topic in topics if newest[topic] != seen[topic]]
    return [
        b"event: " + topic.encode() + b"\ndata: " + as_json(chain.params, value) + b"\n\n"
        for topic, value in found
        if value is not None
    ]
