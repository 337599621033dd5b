"""Which of the nodes that we hear of to hand on: those of our network that say where libp2p listens.

Nothing else is asked of a record, neither subnets nor custody: a light client needs a peer that serves light-client
data, and only its protocol list tells that.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2p.discv5.endpoint import relayable, subnet
from p2p.discv5.enr import Enr

MAX_FOUND: Final = 2_048
"""Nodes remembered as handed on, the oldest out. 100 bytes each. Strangers fill it."""
MAX_FOUND_PER_SUBNET: Final = 8
"""Of one /24 (IPv6: /32) among them: keys cost nothing, networks do."""
AGAIN_S: Final = 1_800.0
"""After which the same record is handed on again: whoever dials may have had no room, or failed."""


@dataclass(frozen=True, slots=True)
class _Found:
    seq: int
    network: str
    since: float


class Candidates:
    """Calls ``found`` with records whose fork digest ``accepts``, each once in ``AGAIN_S`` unless it changes."""

    def __init__(self, own_id: bytes, accepts: Callable[[bytes], bool], found: Callable[[Enr], None]) -> None:
        self._own_id = own_id
        self._accepts = accepts
        self._found = found
        self._known: OrderedDict[bytes, _Found] = OrderedDict()
        self._subnets: Counter[str] = Counter()
        self.handed_on = 0

    def __len__(self) -> int:
        return len(self._known)

    def heard(self, enr: Enr, told_by: str, now: float) -> bool:
        """A node at ``told_by`` told of ``enr``; True when it was handed on."""
        digest = enr.fork_digest
        if digest is None or enr.node_id == self._own_id:
            return False
        hosts = [host for host, _ in enr.tcp_endpoints()]
        if not hosts or not all(relayable(told_by, host) for host in hosts):
            return False
        if not self._is_news(enr, now) or not self._accepts(digest):
            return False
        if not self._remember(enr, subnet(hosts[0]), now):
            return False
        self.handed_on += 1
        self._found(enr)
        return True

    def _is_news(self, enr: Enr, now: float) -> bool:
        known = self._known.get(enr.node_id)
        return known is None or enr.seq > known.seq or now - known.since >= AGAIN_S

    def _remember(self, enr: Enr, network: str, now: float) -> bool:
        """False when its network has had its share; a node that moves frees its old place."""
        self._forget(enr.node_id)
        if self._subnets[network] >= MAX_FOUND_PER_SUBNET:
            return False
        if len(self._known) >= MAX_FOUND:
            self._forget(next(iter(self._known)))
        self._known[enr.node_id] = _Found(enr.seq, network, now)
        self._subnets[network] += 1
        return True

    def _forget(self, node_id: bytes) -> None:
        known = self._known.pop(node_id, None)
        if known is None:
            return
        self._subnets[known.network] -= 1
        if not self._subnets[known.network]:
            del self._subnets[known.network]
