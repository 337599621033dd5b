"""The libp2p host: the only room that imports libp2p, and only when a host is opened.

``import p2p.host`` costs nothing; ``open_host`` imports the library (0.35 s of CPU, 25 MB) on first use.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from p2p.host.identity import Identity, IdentityError, load_or_create
from p2p.host.limits import DEFAULT_LIMITS, Limits
from p2p.host.listening import ListenError

if TYPE_CHECKING:
    from p2p.host.host import LibP2PHost
    from p2p.port import HostConfig

__all__ = ["DEFAULT_LIMITS", "Identity", "IdentityError", "Limits", "ListenError", "load_or_create", "open_host"]


def open_host(
    config: HostConfig,
    *,
    limits: Limits = DEFAULT_LIMITS,
    agent: str = "spvnode",
    without: Collection[str] = (),
) -> AbstractAsyncContextManager[LibP2PHost]:
    """Run a host as long as the context lasts: ``async with open_host(HostConfig(path)) as host``.

    ``agent`` is what identify tells others about us. ``without`` names fences to leave out: for the tests that show
    what each one is for. Entering raises IdentityError or ListenError (and ValueError: a multiplexer that is none).
    """
    from p2p.host.host import run_host  # noqa: PLC0415 - see above

    return run_host(config, limits, agent, without)
