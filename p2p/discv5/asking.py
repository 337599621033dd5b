"""Our requests, from their sending to the end of their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from p2p.discv5 import messages
from p2p.discv5.endpoint import Endpoint
from p2p.discv5.exchange import Waiting
from p2p.discv5.fence import Fence
from p2p.discv5.messages import FindNode, Message, Ping
from p2p.discv5.session import Sessions
from p2p.discv5.socket import UdpSocket
from p2p.discv5.table import Node

REQUEST_S: Final = 1.0
"""For an answer, its handshake included, as the protocol recommends."""
MAX_REQUESTS: Final = 32
"""Requests under way at a time; ours alone."""


class Asker:
    """Sends requests over ``socket`` and waits for what ``delivered`` brings."""

    def __init__(self, socket: UdpSocket, sessions: Sessions, fence: Fence, random: Callable[[int], bytes]) -> None:
        self._socket = socket
        self._sessions = sessions
        self._fence = fence
        self._random = random
        self._places = trio.CapacityLimiter(MAX_REQUESTS)
        self._waiting: dict[tuple[bytes, Endpoint, bytes], Waiting] = {}

    async def ping(self, node: Node, own_seq: int) -> Waiting:
        """PING; within ``REQUEST_S`` of being sent it is answered, or is not."""
        return await self._ask(node, Ping(self._request_id(), own_seq))

    async def find_node(self, node: Node, distances: tuple[int, ...]) -> Waiting:
        """FINDNODE; what has come of the answer by the deadline counts."""
        return await self._ask(node, FindNode(self._request_id(), distances))

    def delivered(self, node_id: bytes, at: Endpoint, message: Message) -> None:
        """A message has come. Answers that nobody waits for are passed over."""
        waiting = self._waiting.get((node_id, at, message.request_id))
        if waiting is not None:
            waiting.take(message)

    def _request_id(self) -> bytes:
        """Random, and never with leading zeros: there are nodes that take it for a number, and echo it without them."""
        first, *rest = self._random(messages.MAX_REQUEST_ID)
        return bytes([first | 0x80, *rest])

    async def _ask(self, node: Node, request: Ping | FindNode) -> Waiting:
        waiting = Waiting(node, request)
        key = (node.node_id, node.at, request.request_id)
        async with self._places:
            self._waiting[key] = waiting
            self._fence.expect(node.at)
            try:
                with trio.move_on_after(REQUEST_S):
                    message = messages.encode(request)
                    for out in self._sessions.request(node.enr, node.at, message, trio.current_time()):
                        await self._socket.send(out.data, out.to)
                    await waiting.done.wait()
            finally:
                del self._waiting[key]
                self._fence.forget(node.at)
        return waiting
