"""The five states and every way between them. The diagram in docs/state-machine.md is drawn from this table.

Rules of the table: everything that changes state goes through ``step``; a pair that is not listed cannot happen, and
trying it is our bug, never a peer's doing.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where the head of the line is. Fetching goes on in every state but IDLE and RECOVERING."""

    IDLE = "IDLE"
    FETCHING = "FETCHING"
    VALIDATING = "VALIDATING"
    COMMITTING = "COMMITTING"
    RECOVERING = "RECOVERING"


class Trigger(StrEnum):
    """Why a state is left."""

    NEWS = "news"
    """A peer claims a better chain, items were pushed, or a backfill can go on."""
    HEAD_READY = "head ready"
    """The next run in order is here."""
    EXHAUSTED = "exhausted"
    """Nothing is left to fetch in this burst."""
    VALID = "valid"
    """The run keeps every rule."""
    NOTHING_NEW = "nothing new"
    """The run was known already."""
    RETRY = "retry"
    """The run is bad, and another peer may have a good one."""
    STORED = "stored"
    """The commit is durable as asked and visible."""
    FAULT = "fault"
    """The burst cannot go on."""
    TIMER = "timer"
    """The backoff has run out."""


TRANSITIONS: dict[tuple[State, Trigger], tuple[State, str]] = {
    (State.IDLE, Trigger.NEWS): (State.FETCHING, "ask the best claimant after our locator"),
    (State.FETCHING, Trigger.HEAD_READY): (State.VALIDATING, "validate the head of the window"),
    (State.FETCHING, Trigger.EXHAUSTED): (State.IDLE, "announce a moved tip; score a claim that came to nothing"),
    (State.FETCHING, Trigger.FAULT): (State.RECOVERING, "cancel fetches, set the backoff timer"),
    (State.VALIDATING, Trigger.VALID): (State.COMMITTING, "commit in one atomic write"),
    (State.VALIDATING, Trigger.NOTHING_NEW): (State.FETCHING, "drop the run"),
    (State.VALIDATING, Trigger.RETRY): (State.FETCHING, "score the sender, ask another peer"),
    (State.VALIDATING, Trigger.FAULT): (State.RECOVERING, "score the sender, cancel fetches, set the backoff timer"),
    (State.COMMITTING, Trigger.STORED): (State.FETCHING, "reset the backoff, top up the window"),
    (State.COMMITTING, Trigger.FAULT): (State.RECOVERING, "cancel fetches, set the backoff timer"),
    (State.RECOVERING, Trigger.NEWS): (State.IDLE, "a peer without failures has a better chain: do not wait"),
    (State.RECOVERING, Trigger.TIMER): (State.IDLE, "look for news"),
}
"""(state, trigger) -> (next state, what is done on the way)."""


def step(state: State, trigger: Trigger) -> State:
    """The next state. Raises KeyError for a pair that the table does not have."""
    return TRANSITIONS[state, trigger][0]


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> IDLE"]
    lines += [f"    {source} --> {target}: {trigger}" for (source, trigger), (target, _) in TRANSITIONS.items()]
    return "\n".join(lines)
