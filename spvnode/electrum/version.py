"""Which version of the protocol a connection speaks: https://electrum-protocol.readthedocs.io, "Version Negotiation"
and ``server.version``."""

from __future__ import annotations

import re

from spvnode.electrum.errors import Code, ElectrumError

Version = tuple[int, ...]
PROTOCOL_MIN: Version = (1, 4)
PROTOCOL_MAX: Version = (1, 6)
LISTS: Version = (1, 6)
"""From here on headers come as a list, and ``server.version`` comes first."""
BEFORE_LISTS: Version = (1, 4, 3)
"""The last one before: 1.5 was skipped."""
_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){1,2}\Z")


def shown(version: Version) -> str:
    """``1.4``; a third number only where it says something."""
    return ".".join(map(str, version))


def parse_version(text: object) -> Version:
    """``"1.4.2"``; trailing zeros of the third place are dropped. Raises ElectrumError, which ends the connection."""
    if not isinstance(text, str) or not _VERSION.match(text):
        raise ElectrumError(Code.BAD_REQUEST, 'a protocol version is a string such as "1.4"', ends=True)
    numbers = tuple(int(part) for part in text.split("."))
    return numbers[:2] if numbers[2:] == (0,) else numbers


def negotiate(wanted: object, *, first: bool) -> Version:
    """The highest version that both speak. ``wanted``: a version, or a list of the least and the highest. ``first``:
    whether nothing was sent before; who did so speaks at most what came before 1.6. Raises ElectrumError, which ends
    the connection, where there is none."""
    pair = wanted if isinstance(wanted, list) else [wanted, wanted]
    if len(pair) != 2:
        raise ElectrumError(Code.BAD_REQUEST, "protocol_version: the least and the highest version", ends=True)
    low, high = parse_version(pair[0]), parse_version(pair[1])
    chosen = min(high, PROTOCOL_MAX)
    if chosen >= LISTS and not first:
        chosen = BEFORE_LISTS
    if chosen < max(low, PROTOCOL_MIN):
        late = "" if first else "; from 1.6 on server.version comes first"
        served = f"{shown(PROTOCOL_MIN)} to {shown(PROTOCOL_MAX)}"
        raise ElectrumError(Code.BAD_REQUEST, f"unsupported protocol version: {served} are served{late}", ends=True)
    return chosen
