"""Reading the configuration again while the daemon runs: what can change does, the rest is named.

All of the new configuration is read and tried before any of it is taken, also what waits for a restart: what does not
hold changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from spvnode import logs, tracing
from spvnode.config import Config
from spvnode.errors import InputError
from spvnode.plugins.room import Room
from spvnode.rehearsal import abandoned, rehearse
from spvnode.rpc.settings import Desk

LIVE_KEYS = (
    "log.",
    "plugin",
    "rpc.connections",
    "rpc.hosts",
    "rpc.middleware",
    "rpc.rates.",
    "rpc.subscriptions",
    "rpc.token_key_file",
    "trace.",
)
"""Keys, or beginnings of keys, that a running daemon takes. The keys of tokens and what is revoked are read each time,
whether the setting has changed or not, and so are the files of plugins."""

log = structlog.get_logger("reload")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Keys that changed: taken now, and waiting for a restart."""

    applied: tuple[str, ...]
    restart: tuple[str, ...]


class Reloader:
    """One daemon's. ``read`` makes a configuration of all its sources, as at the start; ``begun`` tells which networks
    have a chain."""

    def __init__(
        self,
        started: Config,
        read: Callable[[], Config],
        datadir: Path,
        desk: Desk,
        plugins: Room,
        begun: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._started = _flat(started)
        self._live = self._started
        self._read = read
        self._datadir = datadir
        self._desk = desk
        self._plugins = plugins
        self._begun = begun
        self._turn = trio.Lock()

    async def reload(self) -> Outcome:
        """Raises InputError, and then nothing has changed."""
        async with self._turn:
            config = await abandoned(self._read)
            ready = await rehearse(config, self._datadir, self._plugins, self._begun)
            await trio.to_thread.run_sync(tracing.configure, config.trace)
            logs.configure(config.log.level, config.log.format)
            self._desk.now = ready.settings
            self._plugins.put(ready.plugins)
            found = _flat(config)
            applied = tuple(key for key in _changed(self._live, found) if key.startswith(LIVE_KEYS))
            restart = tuple(key for key in _changed(self._started, found) if not key.startswith(LIVE_KEYS))
            self._live = found
        log.info("configuration read again", applied=list(applied), needs_restart=list(restart))
        return Outcome(applied, restart)

    async def answer(self) -> Mapping[str, Any]:
        """The same for the RPC."""
        outcome = await self.reload()
        return {"applied": list(outcome.applied), "restart": list(outcome.restart)}

    async def on_signal(self) -> None:
        """The same for a signal, which nobody waits for: what is wrong goes to the log."""
        try:
            await self.reload()
        except InputError as error:
            log.error("the configuration does not hold; the old one stays", problem=str(error))  # noqa: TRY400
        except Exception:  # a firewall: what is in a file never ends a daemon that runs
            log.exception("the configuration cannot be read; the old one stays")


def _flat(config: Config) -> dict[str, Any]:
    """Every key with dots between the levels; a list is one value."""
    flat: dict[str, Any] = {}

    def add(prefix: str, table: Mapping[str, Any]) -> None:
        for key, value in table.items():
            if isinstance(value, Mapping):
                add(f"{prefix}{key}.", value)
            else:
                flat[prefix + key] = value

    add("", msgspec.to_builtins(config))
    return flat


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in new if old.get(key) != new[key]]
