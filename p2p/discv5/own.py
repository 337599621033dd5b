"""Our own record: what we know of ourselves, signed again whenever that changes.

Where a node listens on all interfaces it does not know its address. Others tell where our packets come from (PONG); we
believe what several networks agree on (devp2p, discv5-theory.md, "Maintaining The Local Node Record").
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from p2p.discv5 import enr as records
from p2p.discv5.endpoint import Endpoint, is_v6, packed_host, relayable, subnet
from p2p.discv5.enr import Enr
from p2p.discv5.fields import from_int

VOTES_NEEDED: Final = 5
"""Networks that must say the same, and be more than half of all that say something."""
MAX_VOTES: Final = 32
"""Networks whose word is kept, the latest of each, the oldest out. Whoever answers our PING fills it."""


class OwnRecord:
    """``tcp`` is libp2p's port, None where it does not listen; ``wall`` is Unix seconds."""

    def __init__(self, secret: bytes, tcp: int | None, eth2: bytes, wall: Callable[[], float]) -> None:
        self._secret = secret
        self._wall = wall
        self._fields: dict[bytes, bytes] = {b"eth2": eth2}
        if tcp is not None:
            self._fields[b"tcp"] = from_int(tcp)
        self._votes: dict[bool, OrderedDict[str, Endpoint]] = {False: OrderedDict(), True: OrderedDict()}
        self._told: set[bool] = set()
        self.enr: Enr = records.make(secret, self._next_seq(0), self._fields)

    def set_eth2(self, eth2: bytes) -> None:
        """Our ENRForkID, 16 bytes; nothing happens when it is the same."""
        self._update({b"eth2": eth2})

    def set_endpoint(self, at: Endpoint) -> None:
        """Where we are reached for certain, by configuration. What others say of this address family counts no more."""
        self._told.add(is_v6(at.host))
        self._place(at)

    def vote(self, voter: str, at: Endpoint) -> None:
        """A node at ``voter`` says that our packets come from ``at``."""
        family = is_v6(at.host)
        if family in self._told or not at.port or not relayable(voter, at.host):
            return
        votes = self._votes[family]
        network = subnet(voter)
        votes[network] = at
        votes.move_to_end(network)
        if len(votes) > MAX_VOTES:
            votes.popitem(last=False)
        (winner, count), *_ = Counter(votes.values()).most_common(1)
        if count >= VOTES_NEEDED and 2 * count > len(votes):
            self._place(winner)

    def _place(self, at: Endpoint) -> None:
        """IPv6 gets ports of its own, even the same ones: there are clients that look at no others for it."""
        six = b"6" if is_v6(at.host) else b""
        fields = {b"ip" + six: packed_host(at.host), b"udp" + six: from_int(at.port)}
        if b"tcp" in self._fields:
            fields[b"tcp" + six] = self._fields[b"tcp"]
        self._update(fields)

    def _update(self, fields: dict[bytes, bytes]) -> None:
        new = {**self._fields, **fields}
        if new != self._fields:
            self._fields = new
            self.enr = records.make(self._secret, self._next_seq(self.enr.seq), new)

    def _next_seq(self, last: int) -> int:
        """Milliseconds of the clock: a restart goes on counting without a file, and a clock set back does not."""
        return max(last + 1, int(self._wall() * 1_000))
