"""``BeaconChain``: one beacon chain on its store. A ``spvnode.sync.chain.Chain`` for the driver, a
``spvnode.view.BeaconView`` for who reads.

It is followed as best updates by sync-committee period: item number P is the update of period P, the tip's height is
the last period whose update made the next committee known (one below the bootstrap's right after it, perhaps -1), the
tip's hash is the optimistic header's root. Finality and optimistic updates move headers without a number.

The order of a change is the driver's: ``plan`` (reads only, may run in a worker thread), ``write`` (one batch),
``apply`` in one step on the event loop's thread, which cannot fail. The store comes in through a port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from spvnode.beacon_commit import BeaconCommit, Block, ExecutionRow
from spvnode.bls import Verifier
from spvnode.ethereum import bundle
from spvnode.ethereum import items as framing
from spvnode.ethereum.containers import (
    LightClientBootstrap,
    LightClientFinalityUpdate,
    LightClientHeader,
    LightClientOptimisticUpdate,
    LightClientUpdate,
    SyncCommittee,
    hash_tree_root,
)
from spvnode.ethereum.gate import Gate, Judgement
from spvnode.ethereum.held import (
    Held,
    block_of,
    finalized_header,
    first_period,
    known_period,
    optimistic_header,
    signers,
)
from spvnode.ethereum.items import Item
from spvnode.ethereum.networks import Network
from spvnode.ethereum.planning import Change, is_change, plan_items
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.received import BLAME, Refused
from spvnode.ethereum.records import execution_rows, pack, unpack, unpack_execution, wire_form
from spvnode.ethereum.restoring import Restored, StoredRows, begin_store, restore
from spvnode.ethereum.store import LightClientStore
from spvnode.following import Blame, Outcome, Terms, Tip, Verdict
from spvnode.types import Hash32, Height, Work
from spvnode.view import BeaconStart, ExecutionRecord

MAX_UPDATES = 128
"""Updates in one answer (``MAX_REQUEST_LIGHT_CLIENT_UPDATES``): 3.5 MB. Readers and peers ask for more in turns."""

RUN_ITEMS = 32
"""Updates a fetch: 0.9 MB, and a quarter of what clients allow a peer in ten seconds."""
COMMON_DEPTH = 0
"""Finality is common to all honest peers: whoever has a period has an update that serves."""
SYNC_EVERY = 128
"""Updates between durable writes inside a long burst: what a power cut may cost."""
MAX_KNOWN = 4 * RUN_ITEMS
"""Updates that a lead may repeat in one burst. An honest one repeats the current period's."""
UPDATE_TERMS = Terms(framing.count, framing.cut, RUN_ITEMS, COMMON_DEPTH, SYNC_EVERY, MAX_KNOWN)


class BeaconRows(StoredRows, Protocol):
    """What a followed beacon chain needs of its store (``spvnode.store.beacon.BeaconStore``)."""

    def execution(self, block: int | Hash32) -> bytes | None:
        """Row of an execution record."""

    def committee_keys(self, root: Hash32) -> bytes | None:
        """Row of a committee's decoded keys."""

    def begin(self, start: BeaconStart, bootstrap: bytes, *, executions: Sequence[ExecutionRow], now: float) -> None:
        """Writes where trust begins."""

    def commit(self, commit: BeaconCommit, *, now: float, sync: bool) -> None:
        """One atomic write."""

    def discard(self, *, above: int | None, singles: Sequence[str], tip: Block, detail: str, now: float) -> None:
        """Drops what does not hold."""

    def put_committee_keys(self, keys: Mapping[Hash32, bytes]) -> None:
        """Keeps decoded keys, and no others."""


class BeaconChain:
    """``open`` what a store holds, or ``begin`` one. ``faults`` says what opening had to drop, in words."""

    terms = UPDATE_TERMS
    whole = True
    """Nothing lies below the start of trust that would have to be filled in."""

    def __init__(self, network: Network, rows: BeaconRows, verifier: Verifier, restored: Restored) -> None:
        """For ``open`` and ``begin``."""
        start = rows.start
        if start is None:
            raise ValueError("the store has no start")
        self.params = network
        self.start = start
        self.faults = restored.faults
        self.rows = rows
        self._verifier = verifier
        self._gate = Gate(network, verifier)
        self._held = restored.held
        self._tip = self._tip_of(restored.held)
        self._last_update = max((period for period in rows.periods), default=self._first - 1)
        self._kept_keys: frozenset[Hash32] = frozenset()

    @classmethod
    def open(
        cls, network: Network, rows: BeaconRows, *, clock: Callable[[], float], verifier: Verifier | None = None
    ) -> BeaconChain | None:
        """The chain that ``rows`` hold, verified again as ``restoring`` says; what does not hold is dropped from them.

        None while there is no bootstrap of ``rows.start`` (or no start at all): it has to ``begin``. Blocking: 0.3 s
        for 400 periods. ``clock``: Unix seconds, for a fault event. Raises StoreError.
        """
        verifier = verifier or Verifier()

        kept: set[Hash32] = set()
        used: list[SyncCommittee] = []

        def warm(committee: SyncCommittee) -> None:
            used.append(committee)
            root = hash_tree_root(network.preset, committee)
            keys = rows.committee_keys(root)
            if keys and verifier.take_decoded_keys(committee.pubkeys, committee.aggregate_pubkey, keys):
                kept.add(root)

        restored = restore(network, rows, verifier, warm)
        if restored is None:
            return None
        if restored.faults:
            rows.discard(
                above=restored.above,
                singles=restored.singles,
                tip=block_of(restored.held.store.optimistic_header),
                detail="; ".join(restored.faults),
                now=clock(),
            )
        chain = cls(network, rows, verifier, restored)
        chain.keep_keys(kept, [*used, *signers(restored.held.store)])
        return chain

    @classmethod
    def begin(
        cls,
        network: Network,
        rows: BeaconRows,
        bootstrap: LightClientBootstrap,
        start: BeaconStart,
        *,
        clock: Callable[[], float],
        verifier: Verifier | None = None,
    ) -> BeaconChain | Rejection:
        """Begins a store at ``bootstrap``, whose block is ``start.root``; a Rejection when it does not prove itself.

        The root of a start that the store knows already brings back what hangs on it; any other drops what is there.
        """
        made = begin_store(network, start, bootstrap)
        if isinstance(made, Rejection):
            return made
        rows.begin(start, pack(network, bootstrap), executions=execution_rows([bootstrap.header]), now=clock())
        chain = cls.open(network, rows, clock=clock, verifier=verifier)
        if chain is None:
            raise ValueError("the bootstrap that was just stored cannot be read back")
        return chain

    # -- as the driver sees it: ``spvnode.sync.chain.Chain``

    @property
    def network(self) -> str:
        """Its name."""
        return self.params.name

    @property
    def tip(self) -> Tip:
        """The last period whose update is complete; the hash is the optimistic header's root."""
        return self._tip

    @property
    def base(self) -> Height:
        """The bootstrap's period."""
        return Height(self._first)

    def locator(self) -> int:
        """The period whose update is needed next."""
        return self._tip.height + 1

    def plan(self, items: bytes, now: int) -> Verdict:
        """Checks a run by every rule; changes nothing. 1.4 ms an update, 0.9 ms in a batch, 35 ms more for a committee
        that is seen for the first time."""
        planned = plan_items(
            self.params, self._held, items, self.params.slot_at(now), self._verifier, self._best_update
        )
        count = framing.count(items)
        if isinstance(planned, Refused):
            blame = BLAME.get(planned.reason, Blame.SENDER)
            return Verdict(Outcome.REJECTED, count, reason=planned.reason, index=planned.index, blame=blame)
        last = -1 if planned.completed is None else planned.completed
        outcome = Outcome.EXTENDS if is_change(planned) else Outcome.DUPLICATE
        return Verdict(outcome, count, planned, last=last)

    def write(self, verdict: Verdict, *, now: int, sync: bool) -> None:
        """Stores a planned change in one batch; and before it the decoded keys of committees that are new. After a
        StoreError the change is not stored."""
        change = self._planned(verdict)
        # First, or a failure here would come upon a change that is stored, and be taken for one that is not. The
        # committee before stays as well: opening verifies the update that brought its successor.
        self.keep_keys(self._kept_keys, [*signers(change.before.store), *signers(change.after.store)])
        self.rows.commit(change.commit, now=now, sync=sync)

    def apply(self, verdict: Verdict) -> Tip:
        """Makes a stored change visible."""
        change = self._planned(verdict)
        self._held = change.after
        self._tip = self._tip_of(change.after)
        self._last_update = max((self._last_update, *(period for period, _ in change.commit.updates)))
        return self._tip

    def plan_below(self, items: bytes) -> Verdict:
        """For chains that fill in what lies below their base. This one is ``whole``: nobody asks."""
        raise TypeError(f"{self.network}: nothing is below the start of trust")

    def write_below(self, verdict: Verdict, *, sync: bool) -> None:
        """As ``plan_below``."""
        raise TypeError(f"{self.network}: nothing is below the start of trust")

    def apply_below(self, verdict: Verdict) -> Height:
        """As ``plan_below``."""
        raise TypeError(f"{self.network}: nothing is below the start of trust")

    def finish_below(self) -> Verdict:
        """As ``plan_below``."""
        raise TypeError(f"{self.network}: nothing is below the start of trust")

    # -- as readers see it: ``spvnode.view.BeaconView``

    @property
    def store(self) -> LightClientStore:
        """The light-client store, in the layout of the schedule's newest fork."""
        return self._held.store

    @property
    def finalized(self) -> LightClientHeader:
        """The last finalized header, in the layout that it came in."""
        return finalized_header(self._held)

    @property
    def optimistic(self) -> LightClientHeader:
        """The last signed header, in the layout that it came in."""
        return optimistic_header(self._held)

    @property
    def finality_update(self) -> LightClientFinalityUpdate | None:
        """What ``finalized`` rests on; None right after a bootstrap."""
        return self._held.finality

    @property
    def optimistic_update(self) -> LightClientOptimisticUpdate | None:
        """What ``optimistic`` rests on; None right after a bootstrap."""
        return self._held.optimistic

    @property
    def bootstrap(self) -> LightClientBootstrap:
        """The trusted start."""
        return self._held.bootstrap

    @property
    def periods(self) -> tuple[int, int]:
        """First and last period with a best update; the last is below the first when there is none."""
        return self._first, self._last_update

    def bootstrap_at(self, root: Hash32) -> LightClientBootstrap | None:
        """A stored bootstrap."""
        return unpack(self.params, LightClientBootstrap, self.rows.bootstrap(root))

    def updates(self, start_period: int, count: int) -> Sequence[LightClientUpdate]:
        """Best updates from ``start_period``, up to ``count``, ``MAX_UPDATES``, or the first gap. 0.1 ms each."""
        found = []
        for row in self._update_rows(start_period, count):
            update = unpack(self.params, LightClientUpdate, row)
            if update is None:
                break
            found.append(update)
        return found

    def execution(self, block: int | Hash32) -> ExecutionRecord | None:
        """A finalized execution header by its number or hash."""
        row = self.rows.execution(block)
        return None if row is None else unpack_execution(row)

    def bundle(self, header: str, *, made_at: int) -> bytes:
        """Canonical beacon bundle from the start of trust to ``finalized`` or ``optimistic``; ValueError for another
        ``header``. 30 KB a period."""
        return bundle.encode(bundle.make_bundle(self, header, made_at))

    # -- as peers see it: fork digest and SSZ

    def wire_bootstrap(self, root: Hash32) -> tuple[bytes, bytes] | None:
        """A stored bootstrap."""
        row = self.rows.bootstrap(root)
        return None if row is None else wire_form(self.params, row)

    def wire_updates(self, start_period: int, count: int) -> list[tuple[bytes, bytes]]:
        """As ``updates``, without decoding."""
        return [wire_form(self.params, row) for row in self._update_rows(start_period, count)]

    def wire_finality(self) -> tuple[bytes, bytes] | None:
        """``finality_update``."""
        held = self._held.finality
        return None if held is None else wire_form(self.params, pack(self.params, held))

    def wire_optimistic(self) -> tuple[bytes, bytes] | None:
        """``optimistic_update``."""
        held = self._held.optimistic
        return None if held is None else wire_form(self.params, pack(self.params, held))

    def judge(self, item: Item, now: float) -> Judgement:
        """What becomes of a gossiped finality or optimistic update; see ``gate``."""
        return self._gate.judge(self._held.store, item, now)

    def keep_keys(self, kept: Set[Hash32], used: Sequence[SyncCommittee]) -> None:
        """Stores the decoded keys of ``used``, as far as they have been decoded; ``kept`` are the roots of the
        committees whose keys are stored."""
        self._kept_keys = frozenset(kept)
        committees = {hash_tree_root(self.params.preset, committee): committee for committee in used}
        if committees.keys() <= kept:
            return
        keys = {
            root: self._verifier.decoded_keys(entry.pubkeys, entry.aggregate_pubkey)
            for root, entry in committees.items()
        }
        found = {root: data for root, data in keys.items() if data is not None}
        if not found.keys() <= kept:
            self.rows.put_committee_keys(found)
            self._kept_keys = frozenset(found)

    # -- inside

    @property
    def _first(self) -> int:
        return first_period(self.params, self._held)

    def _tip_of(self, held: Held) -> Tip:
        return Tip(Height(known_period(self.params, held.store)), block_of(held.store.optimistic_header).root, Work(0))

    def _best_update(self, period: int) -> LightClientUpdate | None:
        if period > self._last_update:
            return None  # spares a catch-up the look into the store
        return unpack(self.params, LightClientUpdate, self.rows.update(period))

    def _update_rows(self, start: int, count: int) -> Iterator[bytes]:
        first, last = self.periods
        if start < first:
            return
        for period in range(start, min(start + min(count, MAX_UPDATES), last + 1)):
            row = self.rows.update(period)
            if row is None:
                return
            yield row

    def _planned(self, verdict: Verdict) -> Change:
        change = verdict.change
        if not isinstance(change, Change) or change.before is not self._held or verdict.outcome is not Outcome.EXTENDS:
            raise TypeError(f"{verdict.outcome} is not for committing, or was planned on another state")
        return change
