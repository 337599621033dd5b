"""``[[plugin]]`` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from spvnode.errors import InputError
from spvnode.inputs import bounded, parse_network, shown
from spvnode.networks import BITCOIN

MAX_PLUGINS = 8
"""Plugins at once. Each holds its compiled code, some MB; all of them share one thread."""
MAX_FUEL = 1_000_000_000
"""About two seconds of one core: the most that one call may cost, whatever the clock does."""
MAX_MEMORY = 64 << 20
"""Bytes of one plugin's memory while it is called."""
MAX_DEADLINE_MS = 1_000
"""One call at most, and with it the wait of every reader behind it."""
CAPABILITIES = ("log", "clock", "headers")
"""What a plugin may be allowed beyond arithmetic on its own memory."""


class PluginConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[plugin]]``: a WebAssembly module that filters events or looks at new headers, in a sandbox. Wants the extra
    ``plugins``."""

    name: str
    """What ``/events?filter=NAME`` and ``rpc.webhook.filter`` call it."""
    file: str
    """The module: ``.wasm``, or ``.wat``, its text form."""
    fuel: Annotated[int, Meta(ge=10_000, le=MAX_FUEL)] = 10_000_000
    """Units of work for one call, about one for each instruction: 10,000,000 are some 20 ms."""
    memory: Annotated[int, Meta(ge=64 << 10, le=MAX_MEMORY)] = 4 << 20
    """Bytes of linear memory; whole pages of 65,536 fit in."""
    deadline_ms: Annotated[int, Meta(ge=10, le=MAX_DEADLINE_MS)] = 100
    """Milliseconds for one call."""
    capabilities: tuple[str, ...] = ()
    """``log``, ``clock``, ``headers``: what it may ask of the node. A module that imports more is refused."""
    headers: tuple[str, ...] = ()
    """Networks of Bitcoin's kind whose new headers it looks at; empty for none."""

    def __post_init__(self) -> None:
        parse_network(self.name, "plugin.name")  # the same letters: it stands in addresses
        if not bounded(self.file, "plugin.file"):
            raise InputError("plugin.file", "names no file")
        for one in self.capabilities:
            if one not in CAPABILITIES:
                raise InputError("plugin.capabilities", f"{shown(one)} is none of {', '.join(CAPABILITIES)}")
        for network in self.headers:
            parse_network(network, "plugin.headers", BITCOIN)
        for key in ("capabilities", "headers"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise InputError(f"plugin.{key}", "names one more than once")


def check_plugins(plugins: tuple[PluginConfig, ...], filters: tuple[str, ...]) -> None:
    """What holds between them: ``filters`` are the names that webhooks use. Raises InputError."""
    if len(plugins) > MAX_PLUGINS:
        raise InputError("plugin", f"{len(plugins)} entries, at most {MAX_PLUGINS}")
    names = {one.name for one in plugins}
    if len(names) < len(plugins):
        raise InputError("plugin", "two have the same name")
    for name in filters:
        if name not in names:
            raise InputError("rpc.webhook.filter", f"{shown(name)} is no [[plugin]]")
