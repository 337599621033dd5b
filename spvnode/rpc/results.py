"""What methods answer with, as types: the schemas of the OpenRPC and OpenAPI documents are made of them.

They describe and do not check: replies are plain dictionaries. A method whose row in the table names none of them
answers with what its function's annotation says.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Hex = str
Json = dict[str, Any]


class Freshness(TypedDict):
    """Seconds; null while there is nothing."""

    tip_age: float | None
    last_useful_event_age: float | None


class Start(TypedDict):
    """Where trust in a chain of headers begins."""

    kind: str
    height: int
    hash: Hex
    complete: bool


class Grounds(TypedDict):
    """What a beacon chain rests on."""

    kind: str
    slot: int
    root: Hex
    vouched_by: list[str]


class Standing(TypedDict):
    """How much a reply about a chain deserves belief. ``start`` on Bitcoin's networks, ``grounds`` on Ethereum's."""

    network: str
    freshness: Freshness
    ready: bool
    start: NotRequired[Start | None]
    grounds: NotRequired[Grounds | None]


class BlockHeader(TypedDict):
    """A header, verbose, as Core has it."""

    hash: Hex
    confirmations: int
    height: int
    version: int
    versionHex: Hex
    merkleroot: Hex
    time: int
    mediantime: int
    nonce: int
    bits: Hex
    difficulty: float
    chainwork: Hex
    nTx: int
    previousblockhash: NotRequired[Hex]
    nextblockhash: NotRequired[Hex]


class OneBlockHeader(BlockHeader, Standing):
    """``getblockheader``'s."""


class BlockchainInfo(Standing):
    """``getblockchaininfo``'s."""

    chain: str
    blocks: int
    headers: int
    bestblockhash: Hex
    difficulty: float
    time: int
    mediantime: int
    verificationprogress: float
    initialblockdownload: bool
    chainwork: Hex
    size_on_disk: int
    pruned: bool
    warnings: list[str]


class ChainTip(TypedDict):
    """One of ``getchaintips``."""

    height: int
    hash: Hex
    branchlen: int
    status: Literal["active", "headers-only"]


class ReachedNetwork(TypedDict):
    """One kind of address."""

    name: str
    limited: bool
    reachable: bool
    proxy: str
    proxy_randomize_credentials: bool


class LocalAddress(TypedDict):
    """Where others reach us."""

    address: str
    port: int
    score: int


class NetworkInfo(Standing):
    """``getnetworkinfo``'s."""

    version: int
    subversion: str
    protocolversion: int
    localservices: Hex
    localservicesnames: list[str]
    localrelay: bool
    timeoffset: int
    networkactive: bool
    connections: int
    connections_in: int
    connections_out: int
    networks: list[ReachedNetwork]
    relayfee: float
    incrementalfee: float
    localaddresses: list[LocalAddress]
    warnings: list[str]
    peer_id: str | None


class Banned(TypedDict):
    """One of ``listbanned``."""

    address: str
    ban_created: int
    banned_until: int
    ban_duration: int
    time_remaining: int


class Events(TypedDict):
    """``getevents``'s."""

    events: list[Json]
    cursor: int


class NodeInfo(TypedDict):
    """``getnodeinfo``'s."""

    version: str
    peer_id: str | None
    listen_addrs: list[str]
    networks: list[str]
    uptime: int
    rpc: list[str]
    beacon: dict[str, Json]


class Named(TypedDict):
    """A block."""

    height: int
    hash: Hex


class HeaderProof(Standing):
    """``getheaderproof``'s."""

    height: int
    hash: Hex
    confirmations: int
    cp_height: int
    root: Hex
    hex: Hex
    bundle: Json


class HeaderProofs(Standing):
    """``getheaderproofs``'s: one of the last three, by ``format``."""

    cp_height: int
    root: Hex
    count: int
    bundle: NotRequired[Json]
    hex: NotRequired[Hex]
    columns: NotRequired[list[Hex]]


class TxProof(HeaderProof):
    """``gettxproof``'s."""

    txid: Hex
    position: int
    tx_count: int


class AncestryProof(Standing):
    """``getancestryproof``'s."""

    ancestor: Named
    descendant: Named
    old_root: Hex
    new_root: Hex
    hex: Hex
    bundle: Json


class Confirmations(Standing):
    """``getconfirmations``'s."""

    confirmations: int
    height: int
    hash: Hex
    in_active_chain: bool
    time: int
    mediantime: int
    work_above: Hex
    txids: NotRequired[list[Hex]]
    positions: NotRequired[list[int]]


class Agreement(TypedDict):
    """Peers, by what they last said of a claim."""

    connected: int
    agree: int
    differ: int
    behind: int
    silent: int
    transports: dict[str, int]


class History(TypedDict):
    """What the event log tells against a claim."""

    reorganizations: int
    touched: int
    newest: list[Json]
    faults: int


class Reasons(Standing):
    """``why``'s; the rest depends on the kind of chain."""

    claim: str
    says: str
    height: int
    vouched_by: list[str]
    peers: Agreement
    age: float
    history: History
    hash: NotRequired[Hex]
    root: NotRequired[Hex]
    confirmations: NotRequired[int]
    work: NotRequired[Json]
    checkpoints: NotRequired[Json]
    participation: NotRequired[Json | None]
    finalized: NotRequired[bool]
    slots_above: NotRequired[int]


class Verdict(TypedDict):
    """``verifyheaderproof``'s, beside the bundle's own fields."""

    valid: bool
    reason: str
    says: str
    rests_on: str
    claimed: list[str]


class Checkpoint(Standing):
    """``getcheckpoint``'s."""

    height: int
    hash: Hex
    header: Hex
    chainwork: Hex | None
    peaks: list[Hex]


def schema_of(kind: type) -> dict[str, Any]:
    """A reference to the schema of one of these types, in a document that has all of them."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


class ReachedTip(Standing):
    """Of the calls that wait."""

    hash: Hex
    height: int


class WatchId(TypedDict):
    """Of ``watch``."""

    id: int


class WatchEntry(TypedDict):
    """One of ``listwatches``."""

    id: int
    network: str
    kind: Literal["confirmations", "time", "reorg"]
    hash: NotRequired[Hex]
    confirmations: NotRequired[int]
    time: NotRequired[int]
    made: int
    owner: str | None
