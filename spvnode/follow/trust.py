"""Where trust in a beacon chain begins: a block root that the operator, k endpoints, or k peers name, never a built-in
one; and the bootstrap that belongs to it.

Order: a configured root and a file's (which must be the same); else a quorum of endpoints; else, where the operator
asks for it, a quorum of peers, which is worth as much as it costs to run k peers. Sources that are down are waited for.
Refused, with the statements kept as evidence: sources that contradict each other, or the operator. Refused too: a named
checkpoint older than the weak-subjectivity period, from which a chain of old keys could be made up (consensus-specs
``phase0/weak-subjectivity.md``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog
import trio

from p2p.backoff import Backoff
from p2p.faults import FaultReason, RemoteFault
from spvnode.errors import InputError
from spvnode.ethereum.light_client import initialize_light_client_store
from spvnode.ethereum.networks import Network
from spvnode.ethereum.reasons import Rejection
from spvnode.ethereum.units import Root, compute_epoch_at_slot
from spvnode.ethereum.weak_subjectivity import compute_weak_subjectivity_period
from spvnode.follow.checkpoint_file import FIELD, FileCheckpoint, read_checkpoint_file
from spvnode.follow.evidence import Conflict, Statement, write_conflict
from spvnode.follow.quorum import Agreed, Contradiction, Undecided, decide, hear
from spvnode.follow.witness import Witness
from spvnode.sync.rest_items import Decoded
from spvnode.units import span
from spvnode.view import BeaconStart

RETRY_FIRST = 2.0
RETRY_CAP = 120.0
"""Seconds between attempts at most: a third of an epoch, in which sources finalize another block."""
MAX_PROBLEM = 2_000
"""Characters of what is said to be missing; servers write parts of it."""
EARLY = 1
"""Slots that a checkpoint may be ahead of our clock."""
CONFIG = "config"

log = structlog.get_logger("trust")


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """``rest_quorum``, ``peer_quorum``: how many endpoints or peers must agree; 0 for not asking them. A named root or
    file comes before both. ``allow_stale``: begin at a checkpoint older than the weak-subjectivity period."""

    root: Root | None = None
    file: Path | None = None
    rest_quorum: int = 2
    peer_quorum: int = 0
    allow_stale: bool = False
    retry_first: float = RETRY_FIRST
    retry_cap: float = RETRY_CAP

    @property
    def possible(self) -> bool:
        """Whether any way to a checkpoint is given."""
        return self.root is not None or self.file is not None or self.rest_quorum > 0 or self.peer_quorum > 0


class RefusalReason(StrEnum):
    """Why there is no start."""

    CONFLICT = "conflict"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Start:
    """A checkpoint and its bootstrap, which ``initialize_light_client_store`` accepts for the root."""

    begin: BeaconStart
    bootstrap: Decoded


@dataclass(frozen=True, slots=True)
class Refusal:
    """Only the operator can go on: by naming a root, or other sources. ``evidence``: the file that says why."""

    reason: RefusalReason
    detail: str
    evidence: Path | None = None

    def __str__(self) -> str:
        return self.detail + (f" (evidence: {self.evidence})" if self.evidence else "")


def awaited(named: bool, refusal: Refusal | None) -> str:
    """What a network without a start waits for, in words; ``named``: its operator has named a checkpoint."""
    if not named:
        return "a trusted checkpoint"
    return "another checkpoint: named, but refused" if refusal else "the checkpoint: named, but no source has it yet"


@dataclass(frozen=True, slots=True)
class _Root:
    root: Root
    kind: str
    vouched_by: tuple[str, ...]
    bootstrap: Decoded | None = None
    asked_first: tuple[Witness, ...] = ()

    @property
    def named(self) -> bool:
        """By the operator."""
        return self.kind in ("root", "file")


class TrustStart:
    """``establish`` it once, before a chain is begun. ``witnesses`` is asked again at each attempt: peers come and go.
    ``folder``: the network's in the data directory, where evidence is written."""

    def __init__(
        self,
        network: Network,
        config: TrustConfig,
        witnesses: Callable[[], Sequence[Witness]],
        *,
        folder: Path,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._network = network
        self._config = config
        self._witnesses = witnesses
        self._folder = folder
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self.problem = ""
        """What the last attempt failed on, for people; empty before one has."""

    async def establish(self) -> Start | Refusal:
        """Tries until there is a start or only the operator can help. InputError where the file is no checkpoint, or
        no way to one is given."""
        if not self._config.possible:
            raise InputError("checkpoint", f"{self._network.name} needs a root, a file, or a quorum: none is built in")
        named = await self._named()
        if isinstance(named, Refusal):
            return named
        backoff = Backoff(self._config.retry_first, self._config.retry_cap, self._rng)
        while True:
            found = await self._attempt(named)
            if not isinstance(found, str):
                return found
            self.problem = found[:MAX_PROBLEM]
            log.warning("no start of trust yet", network=self._network.name, problem=self.problem)
            await trio.sleep(backoff.next())

    async def _named(self) -> _Root | Refusal | None:
        """The operator's own word."""
        config = self._config
        file: FileCheckpoint | None = None
        if config.file is not None:
            file = await trio.to_thread.run_sync(read_checkpoint_file, config.file, self._network)
            if config.root not in (None, file.root):
                words = [(CONFIG, config.root), (config.file.name, file.root)]
                said = [Statement(source=name, says="trusted", root=_hex(root)) for name, root in words if root]
                return await self._refuse("the configured root and the checkpoint file name different blocks", said)
        if config.root is not None:
            by = (CONFIG, config.file.name) if config.file is not None else (CONFIG,)
            return _Root(config.root, "root", by, file.bootstrap if file else None)
        if file is not None and config.file is not None:
            return _Root(file.root, "file", (config.file.name,), file.bootstrap)
        return None

    async def _attempt(self, named: _Root | None) -> Start | Refusal | str:
        """A start, a refusal, or what is missing for now."""
        witnesses = tuple(self._witnesses())
        root = named or await self._agreed(witnesses)
        if not isinstance(root, _Root):
            return root
        bootstrap = await self._bootstrap(root, witnesses)
        if isinstance(bootstrap, str):
            return bootstrap
        if root.named:
            refusal = await self._contradicted(root, bootstrap, witnesses)
            if refusal is not None:
                return refusal
        return self._young(root, bootstrap) or self._start(root, bootstrap)

    async def _agreed(self, witnesses: Sequence[Witness]) -> _Root | Refusal | str:
        """What a quorum says: of endpoints, or else of peers."""
        problems = []
        for kind, name, quorum in (
            ("rest", "quorum", self._config.rest_quorum),
            ("peer", "peers", self._config.peer_quorum),
        ):
            if quorum <= 0:
                continue
            asked = [witness for witness in witnesses if witness.kind == kind]
            hearing = await hear(self._network, asked, self._clock())
            match await decide(hearing, quorum, alone=kind == "rest"):
                case Agreed(root, voices):
                    return _Root(root, name, tuple(voice.name for voice in voices), asked_first=voices)
                case Contradiction(problem, said):
                    return await self._refuse(problem, said)
                case Undecided(problem):
                    problems.append(problem)
        return " | ".join(problems)

    async def _bootstrap(self, root: _Root, witnesses: Sequence[Witness]) -> Decoded | str:
        """The first that holds, those asked first that named the root."""
        reasons: list[str] = []
        absent = True
        if root.bootstrap is not None:
            wrong = self._wrong(root.root, root.bootstrap)
            if wrong is None:
                return root.bootstrap
            reasons.append(f"{FIELD}: {wrong}")
        order = [*root.asked_first, *(witness for witness in witnesses if witness not in root.asked_first)]
        for witness in order:
            found = await witness.bootstrap(root.root)
            wrong = (
                f"{found.reason}: {found.evidence}" if isinstance(found, RemoteFault) else self._wrong(root.root, found)
            )
            if wrong is None and not isinstance(found, RemoteFault):
                return found
            absent = absent and isinstance(found, RemoteFault) and found.reason is FaultReason.NOT_FOUND
            reasons.append(f"{witness.name}: {wrong}")
        hint = ""
        if root.named and absent and order:
            hint = " (a beacon block root is needed, not an execution block hash; best an epoch's first block)"
        return f"no source has a bootstrap for {_hex(root.root)}{hint}: {'; '.join(reasons) or 'there is no source'}"

    def _wrong(self, root: Root, bootstrap: Decoded) -> str | None:
        store = initialize_light_client_store(self._network, root, bootstrap.value)
        return f"{store.reason} {store.detail}" if isinstance(store, Rejection) else None

    async def _contradicted(self, root: _Root, bootstrap: Decoded, witnesses: Sequence[Witness]) -> Refusal | None:
        """Endpoints that have another block where the operator's is."""
        said: list[Statement] = []
        slot = bootstrap.slot

        async def ask(witness: Witness) -> None:
            found = await witness.root_at(slot)
            if not isinstance(found, RemoteFault):
                said.append(Statement(source=witness.name, says="canonical", root=_hex(found), slot=slot))

        async with trio.open_nursery() as nursery:
            for witness in witnesses:
                if witness.kind == "rest":
                    nursery.start_soon(ask, witness)
        others = sorted(statement.source for statement in said if statement.root != _hex(root.root))
        if not others:
            return None
        ours = [Statement(source=name, says="trusted", root=_hex(root.root), slot=slot) for name in root.vouched_by]
        return await self._refuse(
            f"{', '.join(others)}: another block in slot {slot} than the trusted one", [*ours, *said]
        )

    def _young(self, root: _Root, bootstrap: Decoded) -> Refusal | str | None:
        """None when the checkpoint's age is right."""
        network = self._network
        now, slot = network.slot_at(self._clock()), bootstrap.slot
        if slot > now + EARLY:
            return f"the checkpoint is of slot {slot}, our clock says {now}: is it right?"
        epoch, current = (compute_epoch_at_slot(network.preset, at) for at in (slot, now))
        period = compute_weak_subjectivity_period(network, epoch)
        if current <= epoch + period:
            return None
        old, most = (f"{epochs} epochs ({self._span(epochs)})" for epochs in (current - epoch, period))
        text = f"the checkpoint (epoch {epoch}) is {old} old; beyond {most} it is not safe"
        if self._config.allow_stale:
            log.warning("stale checkpoint accepted", network=network.name, problem=text)
            return None
        # Endpoints that are stuck may get on; a named root gets no younger.
        return (
            Refusal(RefusalReason.STALE, f"{text}; allow_stale_checkpoint = true in [[beacon]] allows it")
            if root.named
            else text
        )

    def _span(self, epochs: int) -> str:
        network = self._network
        return span(epochs * network.preset.slots_per_epoch * network.slot_duration_ms / 1000)

    def _start(self, root: _Root, bootstrap: Decoded) -> Start:
        begin = BeaconStart(root=root.root, slot=bootstrap.slot, kind=root.kind, vouched_by=root.vouched_by)
        self.problem = ""
        log.info("trust begins", network=self._network.name, root=_hex(root.root), slot=begin.slot, by=begin.vouched_by)
        return Start(begin, bootstrap)

    async def _refuse(self, problem: str, said: Sequence[Statement]) -> Refusal:
        conflict = Conflict(
            network=self._network.name,
            genesis_validators_root=_hex(self._network.genesis_validators_root),
            made_at=int(self._clock()),
            problem=problem,
            statements=tuple(said),
        )
        path: Path | None = None
        try:
            path = await trio.to_thread.run_sync(write_conflict, self._folder, conflict)
        except OSError as error:
            log.error("evidence not written", network=self._network.name, error=str(error))  # noqa: TRY400 - no traceback
        self.problem = problem
        log.error("start of trust refused", network=self._network.name, problem=problem, evidence=str(path))
        return Refusal(RefusalReason.CONFLICT, problem, path)


def _hex(root: bytes) -> str:
    return "0x" + root.hex()
