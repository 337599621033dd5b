"""Of ``watch`` and its kin."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from spvnode.rpc.results.standing import Hex, note


class WatchId(TypedDict):
    """Of ``watch``."""

    id: Annotated[int, note("What `unwatch` takes.")]


class WatchEntry(TypedDict):
    """One of ``listwatches``."""

    id: int
    network: str
    kind: Literal["confirmations", "time", "reorg", "script"]
    hash: NotRequired[Annotated[Hex, note("Of the block; where a transaction was found. Not for `time` and `script`.")]]
    confirmations: NotRequired[Annotated[int, note("For `confirmations`: how many it shall have.")]]
    time: NotRequired[Annotated[int, note("For `time`, Unix seconds.")]]
    txid: NotRequired[Annotated[Hex, note("Of the transaction that `confirmations` counts.")]]
    scripts: NotRequired[Annotated[list[Hex], note("Looked for in blocks.")]]
    scanned: NotRequired[Annotated[int, note("Height up to which blocks were looked into.")]]
    waiting_for: NotRequired[
        Annotated[str | None, note("Why not up to the tip, or why no peer can be asked about the next block.")]
    ]
    made: Annotated[int, note("When, Unix seconds.")]
    owner: Annotated[str | None, note("A token's subject; null for the operator.")]
