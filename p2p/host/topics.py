"""The gossip topics that a host has joined, whatever order they are joined and left in."""

from __future__ import annotations

from typing import Any

import trio

from p2p.host.fences.node import Node
from p2p.port import MessageCallback, Validator


class Topics:
    """What is wanted changes at once; upstream, which waits for its peers' queues in between, follows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._wanted: dict[str, tuple[Validator, MessageCallback]] = {}
        self._changing = trio.Lock()

    def join(self, topic: str, validator: Validator, on_message: MessageCallback) -> None:
        """See ``Host.subscribe``."""
        self._wanted[topic] = (validator, on_message)
        self._node.pubsub.set_topic_validator(topic, self._judge, is_async_validator=False)
        self._node.pubsub.manager.run_task(self._follow, topic)

    def leave(self, topic: str) -> None:
        """See ``Host.unsubscribe``."""
        if self._wanted.pop(topic, None) is not None:
            self._node.pubsub.manager.run_task(self._follow, topic)

    async def _follow(self, topic: str) -> None:
        pubsub = self._node.pubsub
        async with self._changing:
            if topic in self._wanted:
                await pubsub.subscribe(topic)
            else:
                await pubsub.unsubscribe(topic)
                if topic not in self._wanted:
                    pubsub.remove_topic_validator(topic)

    def _judge(self, forwarder: Any, message: Any) -> bool:
        """Validate and deliver one message of a topic of ours."""
        if forwarder == self._node.peer_id:
            return True
        for topic in message.topicIDs:
            wanted = self._wanted.get(topic)
            if wanted is None or not wanted[0](str(forwarder), message.data):
                return False
            wanted[1](str(forwarder), message.data)
        return True
