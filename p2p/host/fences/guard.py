"""The firewall around whatever serves a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from libp2p.io.exceptions import IOException
from libp2p.stream_muxer.exceptions import MuxedStreamError

from p2p.port import PortError

log = structlog.get_logger(__name__)


def firewalled(handler: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """A handler that fails costs its own stream, which is reset, and nothing else."""

    async def guarded(stream: Any) -> None:
        try:
            await handler(stream)
        except (IOException, MuxedStreamError, PortError):
            await stream.reset()  # the remote ended the stream while we used it: every day's business
        except Exception:
            # Firewall: the next frame up is the connection, and one stream must not end that.
            log.exception("stream handler failed", peer=str(stream.muxed_conn.peer_id))
            await stream.reset()

    return guarded
