"""What methods may use of the running daemon beyond the views."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from spvnode.rpc.errors import Code, RpcError

if TYPE_CHECKING:
    from spvnode.rpc.events.hub import Hub


async def _no_reload() -> Mapping[str, Any]:
    raise RpcError(Code.MISC_ERROR, "there is no configuration to read again")


@dataclass(frozen=True, slots=True)
class Services:
    """``reload`` reads the configuration again; its answer is the method's. ``hub``: where events are to be had.
    ``plugins``: their state. ``urls``: where the server itself listens on TCP."""

    reload: Callable[[], Awaitable[Mapping[str, Any]]] = _no_reload
    hub: Hub | None = None
    plugins: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    urls: tuple[str, ...] = ()


def _nothing() -> None:
    pass


async def _at_once() -> None:
    pass


async def _forever(_scope: trio.CancelScope) -> None:
    await trio.sleep_forever()


@dataclass(frozen=True, slots=True)
class Patience:
    """For a call that waits. ``more_time`` gives it the time of a request once more; in ``away`` its place among the
    requests in work is another's; ``until_gone`` cancels a scope when the client leaves; ``room`` returns when there is
    memory for a great reply."""

    more_time: Callable[[], None] = _nothing
    away: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    until_gone: Callable[[trio.CancelScope], Awaitable[None]] = _forever
    room: Callable[[], Awaitable[None]] = _at_once


NO_PATIENCE = Patience()
NO_SERVICES = Services()
"""For a server on its own, as in tests."""
