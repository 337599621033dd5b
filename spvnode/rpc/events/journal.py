"""The node's own log and its watches, in one file that is replaced as a whole: a watch that fires and the notice of it
are written together, so that a crash between them cannot be.

What grows: ``MAX_NOTICES`` notices and ``MAX_WATCHES`` watches of some 300 bytes each, in memory and in the file;
``MAX_SCANS`` of the watches have scripts and coins besides, 36 kB each at most. Of the notices each owner's go by
themselves, oldest first, so the numbers of those that are kept have holes; ``State.lost`` tells whose they may be.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from spvnode.errors import StoreError
from spvnode.logs import get_logger

NODE_LOG = "node"
"""Name of this log in cursors; no network may be called so."""
MAX_NOTICES = 2_000
"""Notices kept. Watches fire seldom, readiness changes seldom: weeks, unless a busy script is watched. Some 500 bytes
each."""
MAX_OWNER_NOTICES = 500
"""Of one token's subject among them. One more drops its own oldest, and nobody else's."""
MAX_TOKEN_NOTICES = 1_000
"""Of all tokens' subjects together: half, so that they cannot push out what the node tells all and the operator. One
more drops the oldest of who has the most: who has few keeps them whatever others do."""
MAX_WATCHES = 1_000
"""Watches at once. Every caller with the scope ``read`` can add some; each is looked at with every event."""
MAX_USER_WATCHES = 100
"""Of one token's subject among them."""
MAX_SCANS = 100
"""Watches at once that look into blocks: for scripts, and for transactions. 3.6 MB at most in the file."""
MAX_USER_SCANS = 10
"""Of one token's subject among them."""
MAX_COINS = 100
"""Outputs that a watch for scripts keeps in mind, the newest, to know them when they are spent: 72 bytes each. Anybody
who pays the script fills it."""

log = get_logger("events")


class Watch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something to be told about. ``hash`` and ``txid`` are hex as the network's tools print them; ``next_height`` is
    the lowest height that has not been looked at.

    A watch that looks into blocks (``scans``) has ``scripts`` in hex, which a transaction is looked for by, or else in
    every block; ``at`` is the hash of the block below ``next_height``, where it is known. ``news``: it was made while
    we were far behind, and blocks mined before that are none of its business. ``coins`` are the outputs found that pay
    a script which will not show when they are spent, as TXID:INDEX, with the script's position."""

    id: int
    network: str
    kind: Literal["confirmations", "time", "reorg", "script"]
    owner: str
    hash: str = ""
    confirmations: int = 0
    time: int = 0
    next_height: int = 0
    made: int = 0
    txid: str = ""
    scripts: tuple[str, ...] = ()
    at: str = ""
    news: bool = False
    coins: dict[str, int] = {}

    @property
    def scans(self) -> bool:
        """Whether it is of those that look into blocks: for scripts, or for a transaction."""
        return self.kind == "script" or bool(self.txid)

    @property
    def searching(self) -> bool:
        """Whether it looks into blocks now: a transaction that was found is searched for no more."""
        return self.scans and not self.hash


class Notice(Struct, frozen=True, omit_defaults=True):
    """One entry of the node's log. ``owner``: who alone is told, empty for everybody."""

    seq: int
    time: float
    kind: str
    network: str
    owner: str = ""
    data: dict[str, Any] = {}


class _File(Struct, frozen=True):
    version: Literal[1, 2, 3]
    """1 had no watches that look into blocks; until 2 the numbers of notices had no holes."""
    next_seq: int
    next_watch: int
    watches: list[Watch]
    notices: list[Notice]
    cursors: dict[str, int]
    """By network: up to which of its events the watches have been looked at."""
    ready: dict[str, bool]
    """By network: what was last told."""
    checked: dict[str, int] = {}
    """By ``PLUGIN/NETWORK``: up to which of its events a plugin has seen the headers."""
    lost: dict[str, int] = {}
    """By owner: the number of its newest notice that is no longer kept."""


@dataclass(slots=True)
class State:
    """What the file holds. A change makes a new one, which ``Journal.save`` puts in force."""

    next_seq: int = 1
    next_watch: int = 1
    watches: dict[int, Watch] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)
    ready: dict[str, bool] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    """How many notices each owner has."""

    def copy(self) -> State:
        """One that may be changed."""
        return State(self.next_seq, self.next_watch, dict(self.watches), list(self.notices), dict(self.cursors),
                     dict(self.ready), dict(self.checked), dict(self.lost), dict(self.held))  # fmt: skip

    def tell(self, kind: str, network: str, now: float, data: Mapping[str, Any], owner: str = "") -> None:
        """Adds a notice; where there are too many, the oldest of who has too many goes. The new one always stays."""
        self.notices.append(Notice(self.next_seq, round(now, 3), kind, network, owner, dict(data)))
        self.held[owner] = self.held.get(owner, 0) + 1
        self.next_seq += 1
        while (crowded := self._crowded(owner)) is not None:
            self._drop(crowded)

    def _crowded(self, owner: str) -> str | None:
        """Whose oldest notice has to go, now that ``owner`` has one more."""
        if owner and self.held[owner] > MAX_OWNER_NOTICES:
            return owner
        if len(self.notices) - self.held.get("", 0) > MAX_TOKEN_NOTICES:
            return max((name for name in self.held if name), key=self.held.__getitem__)
        return "" if len(self.notices) > MAX_NOTICES else None

    def _drop(self, owner: str) -> None:
        at = next(at for at, notice in enumerate(self.notices) if notice.owner == owner)
        seq = self.notices.pop(at).seq
        self.held[owner] -= 1
        if not self.held[owner]:  # of more than a thousand tokens: everybody remembers for it, so that marks are few
            del self.held[owner]
            self.lost.pop(owner, None)
            owner = ""
        self.lost[owner] = max(seq, self.lost.get(owner, 0))


class Journal:
    """The file, and its state as last written. One task changes it (``Hub``)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads ``path``, if it is there. One that cannot be read is put aside, with a line in the log: numbers then go
        on from the clock, above all that were ever given. Raises StoreError where the system refuses."""
        self._path = path
        try:
            self.state = _decode(path.read_bytes())
        except FileNotFoundError:
            self.state = State()
        except msgspec.MsgspecError as error:
            aside = path.with_name(f"{path.name}.damaged-{int(clock())}")
            log.warning("watches cannot be read; put aside", file=str(path), aside=str(aside), error=str(error))
            path.rename(aside)
            now = int(clock())
            self.state = State(next_seq=now, next_watch=now, lost={"": now - 1})
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    @property
    def last_seq(self) -> int:
        """The newest notice's number; 0 when there has been none."""
        return self.state.next_seq - 1

    def notices(self, after: int, limit: int) -> Sequence[Notice]:
        """Up to ``limit`` with a greater number, oldest first."""
        first = bisect_right(self.state.notices, after, key=attrgetter("seq"))
        return self.state.notices[first : first + limit]

    def lost(self, sees: Callable[[str], bool]) -> int:
        """The greatest number of a notice that is no longer kept, of those that one may see: ``sees`` tells it of an
        owner, empty for everybody's."""
        return max((seq for owner, seq in self.state.lost.items() if sees(owner)), default=0)

    def write(self, state: State) -> None:
        """Puts ``state`` on the disk, synced. Blocking; raises StoreError. It is in force once it is in ``state``."""
        temporary = self._path.with_name(self._path.name + ".tmp")
        try:
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_encode(state))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error


def _encode(state: State) -> bytes:
    return msgspec.json.encode(
        _File(3, state.next_seq, state.next_watch, list(state.watches.values()), state.notices, state.cursors,
              state.ready, state.checked, state.lost)
    )  # fmt: skip


def _decode(raw: bytes) -> State:
    found = msgspec.json.decode(raw, type=_File)
    watches = {watch.id: watch for watch in found.watches}
    lost = found.lost
    if found.version < 3:  # whatever is below was dropped, whose ever it was
        lost = {"": (found.notices[0].seq if found.notices else found.next_seq) - 1}
    held = Counter(notice.owner for notice in found.notices)
    return State(found.next_seq, found.next_watch, watches, found.notices, found.cursors, found.ready, found.checked,
                 lost, dict(held))  # fmt: skip
