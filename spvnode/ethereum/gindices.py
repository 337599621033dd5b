"""Where the proven parts lie in ``BeaconState`` and ``BeaconBlockBody``: generalized indices, by fork.

The specs freeze these numbers; that they follow from the containers is a test. Source: consensus-specs
``{altair,capella,electra,gloas}/light-client/sync-protocol.md``, Constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from merkle.ssz import floorlog2
from spvnode.ethereum.forks import Fork


@dataclass(frozen=True, slots=True)
class Gindices:
    """``execution`` is of the execution header, from gloas on of its block hash; 1 where there is none."""

    finalized_root: int
    current_sync_committee: int
    next_sync_committee: int
    execution: int

    @property
    def depths(self) -> Mapping[str, int]:
        """Branch lengths as the container tables name them."""
        return {
            "COMMITTEE_DEPTH": floorlog2(self.current_sync_committee),
            "FINALITY_DEPTH": floorlog2(self.finalized_root),
            "EXECUTION_DEPTH": floorlog2(self.execution),
        }


GINDICES: Mapping[Fork, Gindices] = MappingProxyType(
    {
        Fork.ALTAIR: Gindices(105, 54, 55, 1),
        Fork.CAPELLA: Gindices(105, 54, 55, 25),
        Fork.DENEB: Gindices(105, 54, 55, 25),
        Fork.ELECTRA: Gindices(169, 86, 87, 25),
        Fork.GLOAS: Gindices(735, 2945, 2946, 2856),
    }
)
"""By layout (``forks.LAYOUTS``)."""

EXECUTION_BLOCK_HASH_GINDEX = 412
"""``execution_payload.block_hash`` in capella's ``BeaconBlockBody``: a gloas header's branch for a capella block."""
EXECUTION_BLOCK_HASH_GINDEX_DENEB = 812
"""The same from deneb to fulu, where the execution header is one level deeper."""
