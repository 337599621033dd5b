"""The Req/Resp protocols of a light client, as a table: ids, versions, sizes, and how many chunks an answer has.

Ids are ``/eth2/beacon_chain/req/<name>/<version>/ssz_snappy`` (phase0 p2p, "Protocol identification").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from p2p.beacon import messages as m
from p2p.beacon.provider import KindName

PREFIX: Final = "/eth2/beacon_chain/req"

MAX_REQUEST_LIGHT_CLIENT_UPDATES: Final = 128
"""Updates in one response (altair light-client p2p); a peer that asks for more gets as many."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One kind of question and answer."""

    name: str
    requests: dict[int, int]
    """SSZ bytes of the request, by version, the preferred one first; 0 where it has no body."""
    responses: dict[int, int] = field(default_factory=dict)
    """SSZ bytes of the response, by version, where they are fixed."""
    kind: KindName | None = None
    """Where they are not, what the response holds; each chunk then begins with a context."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Protocol ids, the preferred first."""
        return tuple(f"{PREFIX}/{self.name}/{version}/ssz_snappy" for version in self.requests)


STATUS: Final = Exchange("status", {2: m.STATUS_SIZES[2], 1: m.STATUS_SIZES[1]}, m.STATUS_SIZES)
METADATA: Final = Exchange("metadata", {3: 0, 2: 0, 1: 0}, m.METADATA_SIZES)
PING: Final = Exchange("ping", {1: m.UINT64_SIZE}, {1: m.UINT64_SIZE})
GOODBYE: Final = Exchange("goodbye", {1: m.UINT64_SIZE}, {1: m.UINT64_SIZE})
BOOTSTRAP: Final = Exchange("light_client_bootstrap", {1: m.ROOT_SIZE}, kind="bootstrap")
UPDATES: Final = Exchange("light_client_updates_by_range", {1: m.RANGE_SIZE}, kind="update")
FINALITY: Final = Exchange("light_client_finality_update", {1: 0}, kind="finality")
OPTIMISTIC: Final = Exchange("light_client_optimistic_update", {1: 0}, kind="optimistic")

EXCHANGES: Final = (STATUS, METADATA, PING, GOODBYE, BOOTSTRAP, UPDATES, FINALITY, OPTIMISTIC)
LIGHT_CLIENT: Final = (BOOTSTRAP, UPDATES, FINALITY, OPTIMISTIC)
LIGHT_CLIENT_IDS: Final = frozenset(one for exchange in LIGHT_CLIENT for one in exchange.ids)

_BY_ID: Final = {one: exchange for exchange in EXCHANGES for one in exchange.ids}


def exchange_of(protocol: str) -> tuple[Exchange, int]:
    """The exchange and version of an id of ours; KeyError for another."""
    return _BY_ID[protocol], int(protocol.rsplit("/", 2)[-2])
