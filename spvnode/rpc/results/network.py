"""Of methods about peers. Under Core's names what Core has (v28.1), with Core's types."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from spvnode.rpc.results.standing import EitherStanding, Hex, note


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


class NetworkInfo(EitherStanding):
    """``getnetworkinfo``'s."""

    version: Annotated[int, note("Of Bitcoin Core, whose shapes the replies have.")]
    subversion: Annotated[str, note("Who we are.")]
    protocolversion: int
    localservices: Annotated[Hex, note("None: a header node offers no blocks.")]
    localservicesnames: list[str]
    localrelay: bool
    timeoffset: int
    networkactive: bool
    connections: Annotated[int, note("Peers that are connected now.")]
    connections_in: int
    connections_out: int
    networks: list[ReachedNetwork]
    relayfee: float
    incrementalfee: float
    localaddresses: Annotated[list[LocalAddress], note("Of the mesh.")]
    warnings: Annotated[list[str], note("Why it is not ready.")]
    peer_id: Annotated[str | None, note("Ours on the mesh; null without it.")]


class PeerStatus(TypedDict):
    """What a beacon node last said to have."""

    fork_digest: Hex
    finalized_epoch: int
    finalized_root: Hex
    head_slot: int
    head_root: Hex


class ApiFault(TypedDict):
    """What went wrong with a Beacon API, last."""

    reason: str
    evidence: str


class ApiHealth(TypedDict):
    """A Beacon API that is asked."""

    up: Annotated[bool, note("It answers, and is counted as a peer.")]
    events: Annotated[bool, note("Its event stream delivers.")]
    finalized_slot: Annotated[int | None, note("What it calls final.")]
    age: Annotated[float | None, note("Seconds since its last good answer.")]
    latency: Annotated[float, note("Seconds of that.")]
    polls: int
    useful: Annotated[int, note("Answers that brought something new.")]
    failures_in_a_row: int
    resting: Annotated[float, note("Seconds that it is left alone for, after too many faults.")]
    last_fault: ApiFault | None


class PeerInfo(TypedDict):
    """One of ``getpeerinfo``: a peer of the mesh, of Bitcoin's network, of a beacon chain's, or a Beacon API."""

    id: Annotated[int, note("Its place in this list, for `disconnectnode`.")]
    peer_id: Annotated[str, note("Its name here: a libp2p peer id, or made from its address.")]
    addr: str
    subver: Annotated[str, note("What it calls its software.")]
    inbound: Annotated[bool, note("It dialed us.")]
    connection_type: Annotated[str, note("As in Core; `manual` is one that the operator named.")]
    score: Annotated[float, note("Fault points; 100 is too many.")]
    transport_protocol_type: Annotated[str, note("`v1`, `v2` (BIP324), `libp2p`, or `http` (a Beacon API).")]
    conntime: NotRequired[Annotated[int, note("Since when, Unix seconds.")]]
    last_useful: NotRequired[Annotated[int | None, note("When it last brought something new; null: never.")]]
    bytesrecv: NotRequired[int]
    bytessent: NotRequired[int]
    synced_headers: NotRequired[Annotated[int, note("Height that it says to have.")]]
    bestblockhash: NotRequired[Annotated[Hex, note("Its tip, where it has named one.")]]
    headers_received: NotRequired[Annotated[int, note("Headers that it sent us.")]]
    headers_served: NotRequired[Annotated[int, note("Headers that we sent it.")]]
    version: NotRequired[Annotated[int, note("Bitcoin's network, as the next five: its protocol version.")]]
    services: NotRequired[Hex]
    timeoffset: NotRequired[Annotated[int, note("Seconds that its clock is ahead of ours.")]]
    pingtime: NotRequired[Annotated[float, note("Seconds; once it has answered a ping.")]]
    startingheight: NotRequired[int]
    status: NotRequired[
        Annotated[PeerStatus | None, note("Beacon nodes, as the next three: what it last said to have.")]
    ]
    protocols: NotRequired[Annotated[list[str], note("Light-client protocols that it serves.")]]
    objects_received: NotRequired[int]
    objects_served: NotRequired[int]
    api: NotRequired[Annotated[ApiHealth, note("Beacon APIs.")]]


class Banned(TypedDict):
    """One of ``listbanned``."""

    address: Annotated[str, note("An address, a network, or a peer id.")]
    ban_created: Annotated[int, note("Unix seconds.")]
    banned_until: Annotated[int, note("Unix seconds.")]
    ban_duration: Annotated[int, note("Seconds.")]
    time_remaining: Annotated[int, note("Seconds.")]
