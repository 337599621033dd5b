"""What a node gives to Bitcoin's peers: committed headers, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class Provider(Protocol):
    """What we have: committed, always. Called on the trio thread."""

    def height(self) -> int:
        """Of our tip; 0 before there is a chain."""

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes:
        """Up to ``count`` headers (n * 80 bytes) after the first hash of ``locator`` that is on our main chain, up to
        ``stop`` (zeros: no end); none where no hash is."""


class Guarded:
    """A provider behind a firewall: what fails in it is ours, and no peer's connection ends by it."""

    def __init__(self, provider: Provider, network: str) -> None:
        self._provider = provider
        self._network = network

    def height(self) -> int:
        """As the provider's; 0 where it fails."""
        try:
            return self._provider.height()
        except Exception:  # firewall: it is asked again soon; nothing is hidden
            log.exception("provider failed", network=self._network)
            return 0

    def headers_after(self, locator: Sequence[bytes], stop: bytes, count: int) -> bytes | None:
        """As the provider's; None where it fails."""
        try:
            return self._provider.headers_after(locator, stop, count)
        except Exception:  # firewall, as above
            log.exception("provider failed", network=self._network)
            return None
