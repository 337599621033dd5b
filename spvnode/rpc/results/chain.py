"""Of methods about a chain of headers. Under Core's names what Core has (v28.1), with Core's types."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from spvnode.rpc.results.standing import EitherStanding, HeaderStanding, Hex, Json, note, schema_of


class BlockHeader(TypedDict):
    """A header, verbose, as Core has it."""

    hash: Hex
    confirmations: Annotated[int, note("The block itself counted; -1 on a side branch.")]
    height: int
    version: int
    versionHex: Hex
    merkleroot: Hex
    time: Annotated[int, note("Unix seconds, as the header has it.")]
    mediantime: Annotated[int, note("Median of this and the ten headers before, Unix seconds.")]
    nonce: int
    bits: Hex
    difficulty: float
    chainwork: Annotated[Hex, note("Expected hashes up to this block, 64 hex digits without 0x; see `start`.")]
    nTx: Annotated[int, note("Always 0: headers do not tell how many transactions a block has. As Core's without it.")]
    previousblockhash: NotRequired[Annotated[Hex, note("Not of the genesis block.")]]
    nextblockhash: NotRequired[Annotated[Hex, note("Only below the tip of the best chain.")]]


class OneBlockHeader(BlockHeader, HeaderStanding):
    """``getblockheader``'s."""


class BlockchainInfo(HeaderStanding):
    """``getblockchaininfo``'s."""

    chain: Annotated[str, note("Core's name: `main`, `test`, `testnet4`, `signet`, `regtest`.")]
    blocks: Annotated[int, note("Height of the tip; the same as `headers`: no blocks are kept.")]
    headers: int
    bestblockhash: Hex
    difficulty: float
    time: Annotated[int, note("Of the tip, Unix seconds.")]
    mediantime: int
    verificationprogress: Annotated[float, note("0 to 1, estimated from the tip's age.")]
    initialblockdownload: bool
    chainwork: Annotated[Hex, note("64 hex digits without 0x; counts from `start` unless `start.complete`.")]
    size_on_disk: Annotated[int, note("Bytes of the headers alone.")]
    pruned: bool
    warnings: Annotated[list[str], note("Why it is not ready.")]


class ChainTip(TypedDict):
    """One of ``getchaintips``."""

    height: int
    hash: Hex
    branchlen: Annotated[int, note("Headers beside the best chain; 0 for its own tip.")]
    status: Annotated[
        Literal["active", "headers-only"], note("`headers-only`: a branch of valid headers with less work.")
    ]


class EventTip(TypedDict):
    """A tip: height and hash, or slot and root."""

    height: int
    hash: Hex


Event = TypedDict(
    "Event",
    {
        "seq": Annotated[int, note("Its number, the cursor of who has handled it.")],
        "time": Annotated[float, note("When it was committed, Unix seconds.")],
        "kind": Annotated[
            Literal["extend", "reorg", "fork", "fault", "backfill", "advance", "finality"], note("What happened.")
        ],
        "fork_height": Annotated[int, note("The last block that both tips share.")],
        "from": Annotated[EventTip, note("The tip before.")],
        "to": Annotated[EventTip, note("The tip after. Of a beacon chain slot and root.")],
        "chainwork": Annotated[Hex | None, note("At the new tip; null for a beacon chain.")],
        "undo_count": int,
        "redo_count": int,
        "undo": Annotated[
            list[Hex], note("Blocks that left the chain, from the old tip downward; cut when very long.")
        ],
        "redo": Annotated[list[Hex], note("Blocks that came for them, upward; cut likewise.")],
        "detail": Annotated[str, note("In words, where there is more to say.")],
    },
)
"""An entry of the durable log of one network."""


class Events(TypedDict):
    """``getevents``'s."""

    events: Annotated[
        list[Annotated[Json, Meta(extra_json_schema={"anyOf": [schema_of(Event), {"type": "object"}]})]],
        note("Oldest first. Of the network `node`: what `/events` tells of watches and readiness."),
    ]
    cursor: Annotated[int, note("What to ask with next time.")]


class Imported(HeaderStanding):
    """``importheaders``'s."""

    accepted: Annotated[int, note("Headers that were new.")]
    height: Annotated[int, note("Of the tip afterwards.")]
    bestblockhash: Hex
    advanced: Annotated[int, note("By how many blocks the tip rose.")]


class BlockFilter(HeaderStanding):
    """``getblockfilter``'s."""

    filter: Annotated[Hex, note("The BIP158 basic filter.")]
    header: Annotated[Hex, note("Its BIP157 filter header.")]
    vouched_by: Annotated[list[str], note("Peers that all name this filter header.")]
    disbelieved: Annotated[list[str], note("Peers that named another, and were refuted by a block.")]
    disputed_by: Annotated[list[str], note("Peers that name this filter with another header, unsettled.")]


class Confirmations(HeaderStanding):
    """``getconfirmations``'s."""

    confirmations: Annotated[int, note("The block itself counted; -1 on a side branch, which counts for nothing.")]
    height: int
    hash: Hex
    in_active_chain: bool
    time: Annotated[int, note("Of the header, Unix seconds.")]
    mediantime: int
    work_above: Annotated[Hex, note("Work of the blocks on top of it, 64 hex digits.")]
    txids: NotRequired[Annotated[list[Hex], note("With `proof`: the transactions that it proves to be in the block.")]]
    positions: NotRequired[Annotated[list[int], note("With `proof`: their places in the block.")]]


class ReachedTip(HeaderStanding):
    """Of the calls that wait."""

    hash: Annotated[Hex, note("Of the tip.")]
    height: int


class Agreement(TypedDict):
    """Peers, by what they last said of a claim."""

    connected: int
    agree: int
    differ: int
    behind: Annotated[int, note("Not as far as the claim.")]
    silent: Annotated[int, note("Have said nothing of it.")]
    transports: Annotated[dict[str, int], note("Those that agree, by transport.")]


ShownReorg = TypedDict(
    "ShownReorg",
    {
        "seq": int,
        "time": float,
        "fork_height": int,
        "from": EventTip,
        "to": EventTip,
        "undo_count": int,
        "redo_count": int,
    },
)
"""A reorganization as ``why`` lists it."""


class History(TypedDict):
    """What the event log tells against a claim."""

    reorganizations: int
    touched: Annotated[int, note("Those that took a block of this height out of the chain.")]
    newest: list[ShownReorg]
    faults: Annotated[int, note("Times that damage was found and healed.")]


class WorkGrounds(TypedDict):
    """Work, 64 hex digits each."""

    above: Annotated[Hex, note("Of the blocks on top.")]
    chain: Annotated[Hex, note("Of the whole chain.")]
    minimum: Annotated[Hex, note("Below which no chain is believed.")]
    counted_from_genesis: bool


class CheckpointGrounds(TypedDict):
    """Checkpoints that are built in."""

    passed: Annotated[int, note("How many the chain has passed.")]
    last: Annotated[int | None, note("Height of the last of these.")]
    above_the_block: Annotated[bool, note("Whether that one is at or above the block.")]


class Participation(TypedDict):
    """Who signed."""

    participants: int
    committee_size: int
    share: float


class Reasons(EitherStanding):
    """``why``'s; the rest depends on the kind of chain."""

    claim: Annotated[str, note("What is claimed of the block, in words.")]
    says: Annotated[str, note("What it rests on, in words.")]
    height: Annotated[int, note("Of Ethereum the slot.")]
    vouched_by: Annotated[list[str], note("Who vouches for the start of trust.")]
    peers: Agreement
    age: Annotated[float, note("Seconds since the block says that it was made.")]
    history: History
    hash: NotRequired[Annotated[Hex, note("Bitcoin, as the next seven.")]]
    confirmations: NotRequired[int]
    in_active_chain: NotRequired[bool]
    time: NotRequired[int]
    mediantime: NotRequired[int]
    work_above: NotRequired[Hex]
    work: NotRequired[WorkGrounds]
    checkpoints: NotRequired[CheckpointGrounds]
    slot: NotRequired[Annotated[int, note("Ethereum, as the next six.")]]
    root: NotRequired[Hex]
    finalized: NotRequired[bool]
    slots_above: NotRequired[Annotated[int, note("Up to the newest signed header.")]]
    participation: NotRequired[Annotated[Participation | None, note("Of the sync committee; null at the checkpoint.")]]
    attested_slot: NotRequired[int | None]
    signature_slot: NotRequired[int | None]
