"""The plugins of a configuration: loaded together, called one at a time in a worker thread, counted, switched off.

While a call runs, a task ticks for its deadline; while none does, nothing happens here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from spvnode.config_plugins import PluginConfig
from spvnode.errors import InputError
from spvnode.extras import how_to_install
from spvnode.logs import get_logger
from spvnode.metrics import Metrics
from spvnode.plugins.faults import PluginFault
from spvnode.plugins.host import CHECK, FILTER, NO_WINDOW, TICK_SECONDS, Lines, Window
from spvnode.rpc.events.filters import require_filter

if TYPE_CHECKING:
    from wasmtime import Engine

    from spvnode.plugins.guest import Guest

MAX_FAULTS_IN_A_ROW = 5
"""At different data: then a plugin is switched off until the configuration is read again. It would go on so, and each
costs a deadline. The same event may come again for any reader who asks for it, and counts once: nobody shall switch a
plugin off with the one that it fails at."""
SLICE_SECONDS = 0.05
"""Of calls for one reader, before the next one has its turn; a shutdown waits for that and one deadline."""
MISSING = f"wants WebAssembly: {how_to_install('plugins')}"

log = get_logger("plugins")
Outcome = int | PluginFault
T = TypeVar("T")


@dataclass(slots=True)
class Plugin:
    """One that is loaded, and what became of it. Changed in the worker thread alone."""

    config: PluginConfig
    guest: Guest
    calls: int = 0
    faults: int = 0
    fuel: int = 0
    failed: set[int] = field(default_factory=set)
    """Hashes of what it failed at since it last did not; up to ``MAX_FAULTS_IN_A_ROW``."""
    off: bool = False
    last: PluginFault | None = None
    lines: Lines = field(default_factory=Lines)
    """Of ours about its faults: one that fails at every other event must not flood the log."""

    def state(self) -> dict[str, Any]:
        """For ``getplugins``."""
        return {
            "name": self.config.name,
            "state": "off" if self.off else "on",
            "exports": sorted(self.guest.exports),
            "capabilities": list(self.config.capabilities),
            "headers": list(self.config.headers),
            "calls": self.calls,
            "faults": self.faults,
            "fuel": self.fuel,
            "lines_dropped": self.guest.desk.lines.dropped,
            "last_fault": None if self.last is None else {"reason": str(self.last.reason), "detail": self.last.detail},
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """Plugins that are ready, by name, and the engine that they share."""

    engine: Engine | None = None
    plugins: Mapping[str, Plugin] = field(default_factory=dict)

    def filters(self) -> Collection[str]:
        """Names of those that filter events."""
        return [name for name, one in self.plugins.items() if FILTER in one.guest.exports]


NOTHING = Loaded()


class Room:
    """One daemon's. Calls are for the event loop's thread."""

    def __init__(self, metrics: Metrics | None = None, clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._loaded = NOTHING
        self._turn = trio.Lock()  # see ``guest``: one call at a time
        self.changed = trio.Event()
        """Set, and replaced, when other plugins are in force."""

    async def load(self, configs: Sequence[PluginConfig], filters: Collection[str] = ()) -> Loaded:
        """Compiles and tries them; nothing is in force yet. ``filters``: those that webhooks want. Raises InputError,
        also where the extra is not installed."""
        if not configs:
            return NOTHING
        async with self._turn:
            engine = await trio.to_thread.run_sync(start_engine)
            loaded = await _ticked(engine, partial(load, engine, configs, self._clock))
        if isinstance(loaded, InputError):
            raise loaded
        for name in filters:
            require_filter(name, loaded.filters(), "rpc.webhook.filter")
        return loaded

    def put(self, loaded: Loaded) -> None:
        """Puts them in force, with counts that begin at 0. A call that runs now ends with the old ones."""
        if loaded.plugins or self._loaded.plugins:
            log.info("plugins", names=list(loaded.plugins))
        self._loaded = loaded
        self.changed.set()
        self.changed = trio.Event()

    @property
    def names(self) -> Collection[str]:
        """Of those that filter events."""
        return self._loaded.filters()

    @property
    def checks(self) -> Sequence[tuple[str, str]]:
        """(plugin, network) of all whose headers are looked at."""
        found = self._loaded.plugins.values()
        return [(one.config.name, network) for one in found for network in one.config.headers]

    def states(self) -> Sequence[Mapping[str, Any]]:
        """What ``getplugins`` answers."""
        return [one.state() for one in self._loaded.plugins.values()]

    def is_off(self, name: str) -> bool:
        """Whether the plugin has been switched off."""
        found = self._loaded.plugins.get(name)
        return found is not None and found.off

    async def keep(self, name: str, events: Sequence[bytes]) -> Sequence[bool]:
        """For each event (JSON) whether the filter keeps it. What it fails at is kept, and so is everything where the
        plugin is off or gone."""
        found = await self._ask(name, FILTER, events)
        return [outcome != 0 for outcome in found] + [True] * (len(events) - len(found))

    async def check(self, name: str, headers: Sequence[bytes], window: Window = NO_WINDOW) -> Sequence[Outcome]:
        """What the plugin says about each header (u32le height, then the header), in their order: 0 where it is fine.
        Fewer than were given where the plugin is switched off."""
        return await self._ask(name, CHECK, headers, window)

    async def _ask(self, name: str, export: str, data: Sequence[bytes], window: Window = NO_WINDOW) -> list[Outcome]:
        """One outcome for each of ``data``; fewer where the plugin is switched off or gone."""
        found: list[Outcome] = []
        while len(found) < len(data):
            async with self._turn:
                loaded = self._loaded
                plugin = loaded.plugins.get(name)
                if plugin is None or plugin.off or loaded.engine is None or export not in plugin.guest.exports:
                    break
                job = partial(self._run, plugin, export, data[len(found) :], window)
                found += await _ticked(loaded.engine, job)
        return found

    def _run(self, plugin: Plugin, export: str, data: Sequence[bytes], window: Window) -> list[Outcome]:
        """In the worker thread: calls for ``SLICE_SECONDS``."""
        return list(self._calls(plugin, export, data, window, time.perf_counter() + SLICE_SECONDS))

    def _calls(
        self, plugin: Plugin, export: str, data: Sequence[bytes], window: Window, until: float
    ) -> Iterator[Outcome]:
        for one in data:
            outcome, fuel = plugin.guest.call(export, one, window)
            self._count(plugin, one, outcome, fuel)
            yield outcome
            if plugin.off or time.perf_counter() >= until:
                return

    def _count(self, plugin: Plugin, data: bytes, outcome: Outcome, fuel: int) -> None:
        name = plugin.config.name
        plugin.calls += 1
        plugin.fuel += fuel
        self._metrics.plugin_calls.labels(name).inc()
        self._metrics.plugin_fuel.labels(name).inc(fuel)
        if not isinstance(outcome, PluginFault):
            plugin.failed.clear()
            return
        plugin.faults += 1
        first = not plugin.failed
        plugin.failed.add(hash(data))
        plugin.last = outcome
        self._metrics.plugin_faults.labels(name, str(outcome.reason)).inc()
        if first and plugin.lines.take(self._clock()):  # once a burst
            log.warning("plugin failed", plugin=name, reason=str(outcome.reason), detail=outcome.detail)
        if len(plugin.failed) >= MAX_FAULTS_IN_A_ROW:
            plugin.off = True
            log.error("plugin switched off", plugin=name, faults_in_a_row=len(plugin.failed))


def start_engine() -> Engine:
    """Loads the sandbox. Blocking; raises InputError."""
    try:
        from spvnode.plugins.guest import make_engine  # noqa: PLC0415 - 8 MB, for those who have plugins
    except (ImportError, OSError, RuntimeError) as error:  # not installed, or not made for this machine
        raise InputError("plugin", f"{MISSING} ({error})") from error
    return make_engine()


def load(engine: Engine, configs: Sequence[PluginConfig], clock: Callable[[], float]) -> Loaded | InputError:
    """Compiles and tries them; what is wrong with one is returned, as a nursery would wrap it. Blocking."""
    from spvnode.plugins.guest import Guest  # noqa: PLC0415 - see above

    try:
        return Loaded(engine, {one.name: Plugin(one, Guest(engine, one, clock)) for one in configs})
    except InputError as error:
        return error


async def _ticked(engine: Engine, job: Callable[[], T]) -> T:
    """Runs ``job`` in a thread, with the ticks that deadlines are counted by; also while the daemon ends."""
    ticking = trio.CancelScope(shield=True)

    async def tick() -> None:
        with ticking:
            while True:
                await trio.sleep(TICK_SECONDS)
                engine.increment_epoch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        try:
            return await trio.to_thread.run_sync(job)
        finally:
            ticking.cancel()
