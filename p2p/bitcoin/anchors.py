"""Anchors: peers of the last run that are dialed first, whatever the address book says.

Whoever has filled the book still does not get all connections after a restart (as Bitcoin Core's anchors.dat).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from p2p import statefile
from p2p.bitcoin.netaddr import Endpoint, NetAddressError, parse_endpoint

MAX_ANCHORS: Final = 2
"""As many as Bitcoin Core keeps (MAX_BLOCK_RELAY_ONLY_ANCHORS): peers that follow the chain and have no other use."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    anchors: list[str]


def load_anchors(path: Path) -> list[Endpoint]:
    """The anchors of the last run; none where there is no file, or a damaged one (it is set aside)."""
    stored = statefile.load(path, _File)
    found = []
    for text in (stored.anchors if stored else [])[:MAX_ANCHORS]:
        try:
            found.append(parse_endpoint(text))
        except NetAddressError:
            continue
    return found


def save_anchors(path: Path, anchors: Iterable[Endpoint]) -> None:
    """Replace them; whenever they change, for a killed process saves nothing. Raises OSError."""
    statefile.save(path, _File(1, [str(endpoint) for endpoint in anchors][:MAX_ANCHORS]))
