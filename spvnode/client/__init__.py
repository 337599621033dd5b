"""A daemon's RPC for Python programs.

::

    from spvnode import client

    node = client.connect()                       # this user's daemon, by its unix socket
    node.getblockcount()
    for event in node.events(kinds=["reorg"]):
        print(event.data["undo"], event.cursor)
    for verdict in node.verify_proofs(bundles):   # any number of them, in bytes, as they come
        print(verdict.valid, verdict.root_matches)

    node = client.connect("http://127.0.0.1:8342", token="...")
    async with client.connect_async() as node:    # the same with await, on trio or asyncio
        await node.getblockcount()

Importing this loads nothing but the standard library, and little of that (its values are named tuples: ``dataclasses``
would cost 10 ms); ``connect_async`` loads anyio and h11.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spvnode.client.blocking import Client, Events
from spvnode.client.errors import Busy, ClientError, Passing, Refused, RpcFailed, Unreachable
from spvnode.client.exchange import TIMEOUT
from spvnode.client.place import Place, find_place
from spvnode.client.retries import Retries
from spvnode.client.stream import Event
from spvnode.client.upload import ProofVerdict

if TYPE_CHECKING:
    from spvnode.client.concurrent import AsyncClient

__all__ = [
    "Busy",
    "Client",
    "ClientError",
    "Event",
    "Events",
    "Passing",
    "Place",
    "ProofVerdict",
    "Refused",
    "Retries",
    "RpcFailed",
    "Unreachable",
    "connect",
    "connect_async",
    "find_place",
]


def connect(
    where: str | Path | None = None,
    *,
    token: str | None = None,
    cookie: str | Path | None = None,
    timeout: float = TIMEOUT,
    retries: Retries | None = None,
) -> Client:
    """A client of the daemon at ``where``: a data directory (default: this user's), or ``http(s)://HOST[:PORT]``, which
    wants a ``token`` or the ``cookie`` file. Nothing is asked yet. Raises InputError."""
    return Client(find_place(where, token=token, cookie=cookie), timeout=timeout, retries=retries)


def connect_async(
    where: str | Path | None = None,
    *,
    token: str | None = None,
    cookie: str | Path | None = None,
    timeout: float = TIMEOUT,
    retries: Retries | None = None,
) -> AsyncClient:
    """The same for trio and asyncio: a client at once, not awaited, and as such or after ``async with``."""
    from spvnode.client.concurrent import AsyncClient  # noqa: PLC0415 - anyio costs what blocking programs need not pay

    return AsyncClient(find_place(where, token=token, cookie=cookie), timeout=timeout, retries=retries)
