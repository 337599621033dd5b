"""How many datagrams are looked at. Before any cryptography: what is above the rates is dropped unread.

Senders can be forged, so what we have asked for is counted apart: a flood under somebody's name must not silence the
answers that we wait for from there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from p2p.bucket import TokenBucket
from p2p.discv5.endpoint import Endpoint, machine

MACHINE_RATE: Final = 5.0
MACHINE_BURST: Final = 20.0
"""Unasked packets a second and at once from one machine. A lookup that passes by us is a handshake of two and a few
requests."""
ALL_RATE: Final = 200.0
ALL_BURST: Final = 400.0
"""The same for all machines together: 20 us each, 40 with a challenge, so at most 1 % of a core."""
MAX_MACHINES: Final = 1_024
"""Machines counted, least recently heard out. Forged senders fill it, a fresh burst each; ``ALL_RATE`` holds."""
MAX_ANSWER_PACKETS: Final = 20
"""Packets taken for one request of ours: a challenge, as many NODES as an answer may announce, and some strays."""


class Fence:
    """Counts. ``now`` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._all = TokenBucket(ALL_RATE, ALL_BURST, now)
        self._machines: OrderedDict[str, TokenBucket] = OrderedDict()
        self._expected: dict[Endpoint, list[int]] = {}
        self.dropped = 0

    @property
    def machines(self) -> int:
        """Machines counted."""
        return len(self._machines)

    def expect(self, at: Endpoint) -> None:
        """We have asked there; bounded by how many requests we have under way. Undone by ``forget``."""
        self._expected.setdefault(at, []).append(MAX_ANSWER_PACKETS)

    def forget(self, at: Endpoint) -> None:
        """One request there has ended."""
        waiting = self._expected[at]
        waiting.pop(0)
        if not waiting:
            del self._expected[at]

    def lets_in(self, at: Endpoint, now: float) -> bool:
        """Whether to look at a packet from there."""
        if self._is_expected(at) or (self._all.take(1, now) and self._bucket(at.host, now).take(1, now)):
            return True
        self.dropped += 1
        return False

    def _is_expected(self, at: Endpoint) -> bool:
        waiting = self._expected.get(at, [])
        for index, left in enumerate(waiting):
            if left:
                waiting[index] -= 1
                return True
        return False

    def _bucket(self, host: str, now: float) -> TokenBucket:
        name = machine(host)
        bucket = self._machines.get(name)
        if bucket is None:
            bucket = self._machines[name] = TokenBucket(MACHINE_RATE, MACHINE_BURST, now)
            if len(self._machines) > MAX_MACHINES:
                self._machines.popitem(last=False)
        self._machines.move_to_end(name)
        return bucket
