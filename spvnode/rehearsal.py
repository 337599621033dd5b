"""Everything that a start tries and that can be tried beside a running daemon, in one place: for the start itself, for
a reload, and for ``spvnode doctor``. Nothing is taken into force here, and nothing is written.

What is left to the start alone: the locks of the stores, the addresses to listen on, and what a store has begun with.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from spvnode import tracing
from spvnode.config import Config
from spvnode.errors import InputError
from spvnode.plugins.room import Loaded, Room
from spvnode.rpc.events.feed import require_choice
from spvnode.rpc.events.webhooks import read_secret
from spvnode.rpc.server import tls_context
from spvnode.rpc.settings import Settings, load_settings
from spvnode.store.folder import stored_networks

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it, ready to be put in force."""

    settings: Settings
    tls: ssl.SSLContext | None
    plugins: Loaded


async def rehearse(
    config: Config, datadir: Path, plugins: Room, begun: Callable[[], Collection[str]] | None = None
) -> Rehearsed:
    """Raises InputError for the first thing that does not hold. ``begun``: networks that have a chain, and ask their
    checkpoint file no more; where nobody knows, those that have a store."""
    known = stored_networks(datadir) if begun is None else begun()
    loaded = await plugins.load(config.plugin, config.filters)
    settings, tls = await abandoned(partial(_read, config, datadir, known))
    return Rehearsed(settings, tls, loaded)


async def abandoned(work: Callable[[], T]) -> T:
    """The result of ``work`` in a thread that nobody waits for who has to go: it only reads, and a file that never
    ends, a pipe say, must not keep the daemon from its own end."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)  # type: ignore[call-arg]  # the stubs are older


def _read(config: Config, datadir: Path, begun: Collection[str]) -> tuple[Settings, ssl.SSLContext | None]:
    settings = load_settings(config.rpc, datadir)
    tls = tls_context(config.rpc.tls_cert, config.rpc.tls_key)
    for hook in config.rpc.webhook:
        read_secret(Path(hook.secret_file).expanduser())
        try:
            require_choice(config.networks, hook.networks, hook.kinds)
        except InputError as error:
            raise InputError(f"rpc.webhook.{error.field}", f"{hook.name}: {error.problem}") from error
    if config.electrum.enabled:
        from spvnode.electrum import server  # noqa: PLC0415 - for those who want it

        server.tls_context(config.electrum.tls_cert, config.electrum.tls_key)
    for name in config.networks:
        _read_beacon(config, name, begun)
    tracing.require(config.trace)
    return settings, tls


def _read_beacon(config: Config, network: str, begun: Collection[str]) -> None:
    """A devnet's settings, and the file that trust begins at. Who follows no Ethereum network never loads its rules."""
    beacon = config.beacon_for(network)
    if beacon is None or not (beacon.config or beacon.checkpoint_file):
        return
    from spvnode.follow.checkpoint_file import read_checkpoint_file  # noqa: PLC0415 - see above
    from spvnode.follow.ethereum_network import network_of  # noqa: PLC0415

    params = network_of(beacon)
    if beacon.checkpoint_file and network not in begun:
        read_checkpoint_file(Path(beacon.checkpoint_file), params)
