"""Part of docs/rpc.md: the chain of steps, and what the configuration may add to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spvnode.config_middleware import MAX_MIDDLEWARE
from spvnode.metrics import Metrics
from spvnode.rpc.auth import Cookie
from spvnode.rpc.pipeline.chain import Pipeline
from spvnode.rpc.pipeline.chosen import STEPS
from spvnode.rpc.pipeline.step import Step
from spvnode.rpc.settings import Desk

_PHASES = {"pre_route": "before", "in_route": "in", "post_call": "after", "post_route": "after"}


def pipeline_section() -> str:
    """The section."""
    made = Pipeline(Cookie(Path(), b""), Desk(), Metrics())
    before, after = (_rows((type(step), step.__doc__) for step in steps) for steps in (made.before, made.after))
    return _TEXT.format(
        before=before,
        after=after,
        most=MAX_MIDDLEWARE,
        chosen=_rows((step, table.__doc__) for table, step in STEPS.items()),
    )


def _rows(steps: Iterable[tuple[type[Step], str | None]]) -> str:
    return "".join(f"| `{step.name}` | {_phases(step)} | {' '.join((text or '').split())} |\n" for step, text in steps)


def _phases(step: type[Step]) -> str:
    found = [word for name, word in _PHASES.items() if getattr(step, name) is not getattr(Step, name)]
    return ", ".join(dict.fromkeys(found))


_TEXT = """
# Middleware

Every request goes through a chain of small steps: before the route is looked for, in the route (each JSON-RPC call once
more by itself), and after it, when there is an answer or a refusal. These are always there, in this order:

| step | when | |
|---|---|---|
{before}| ... | | what `[[rpc.middleware]]` names, in its order |
{after}
Up to {most} more come from the configuration; their keys are in cli.md:

| step | when | |
|---|---|---|
{chosen}
```toml
[[rpc.middleware]]
step = "request-id"

[[rpc.middleware]]
step = "deny"                                # nobody ends the daemon or bans peers over TCP
methods = ["stop", "setban", "clearbanned"]

[[rpc.middleware]]
step = "response-headers"
headers = {{ "strict-transport-security" = "max-age=63072000" }}

[[rpc.middleware]]
step = "access-log"
sample = 0.1
```

`spvnode reload` and SIGHUP change the chain as a whole, or, where something does not hold, not at all; a request ends
with the chain that it began with. Steps about methods are about JSON-RPC alone: what a method tells, other paths may
tell as well (`/rest` much of `getblockchaininfo` and `getblockheader`, `/proofs/verify` what `verifyheaderproof` does,
`/ws` the same as `/events`), so a `deny` that means the matter names those paths too. The Electrum port has no
middleware. No table takes a built-in step away or moves it. Steps that refuse never stand before
this user on the unix socket, so that every mistake can be undone there, nor before `/livez` and `/readyz`, as a
supervisor that is refused would restart a healthy node. No step sees what is refused before it is a request (a head
that is none, a connection too many); of a stream they see the beginning.
"""
