"""A full look at a stored beacon chain, for ``spvnode check``: every signature, where opening verifies the newest only.
Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from spvnode.bls import Verifier
from spvnode.ethereum.containers import LightClientBootstrap
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.records import unpack
from spvnode.ethereum.restoring import StoredRows, begin_store, restore, verify_all


@dataclass(frozen=True, slots=True)
class BeaconAudit:
    """``first`` and ``last``: periods whose updates hold, signatures and all (the last is below the first when none
    does); ``problems``: what is wrong, in words."""

    first: int
    last: int
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def audit(network: Network, rows: StoredRows, verifier: Verifier) -> BeaconAudit:
    """Verifies all that ``rows`` hold, from the trusted root up. 2 ms an update."""
    start = rows.start
    bootstrap = None if start is None else unpack(network, LightClientBootstrap, rows.bootstrap(start.root))
    if start is None or bootstrap is None:
        return BeaconAudit(0, -1, ("there is no bootstrap of a trusted block",))
    begun = begin_store(network, start, bootstrap)
    if isinstance(begun, Rejection):
        return BeaconAudit(0, -1, (f"the bootstrap does not hold: {begun.reason}",))
    first = begun.finalized_header.beacon.slot // network.preset.update_timeout
    _, last = verify_all(network, begun, rows, verifier)
    problems = [f"updates after period {last} do not hold"] if any(period > last for period in rows.periods) else []
    restored = restore(network, rows, verifier, lambda _: None)
    problems += [f"the {name} update does not hold" for name in (restored.singles if restored else ())]
    return BeaconAudit(first, last, tuple(problems))
