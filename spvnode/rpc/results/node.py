"""Of methods about the node as a whole, and of how it synchronises."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from spvnode.rpc.results.network import ApiHealth
from spvnode.rpc.results.standing import EitherStanding, Hex, note


class Identity(TypedDict):
    """Who we are to an Ethereum network's nodes."""

    peer_id: str
    addresses: list[str]
    enr: Annotated[str, note("Our record; empty while discovery is off.")]


class NodeInfo(TypedDict):
    """``getnodeinfo``'s."""

    version: str
    peer_id: Annotated[str | None, note("Ours on the mesh; null without it.")]
    listen_addrs: Annotated[list[str], note("Where the mesh listens, for `--peer` of others.")]
    networks: Annotated[list[str], note("All that are followed, in the configured order.")]
    uptime: Annotated[int, note("Seconds.")]
    rpc: Annotated[list[str], note("URLs of this server on TCP.")]
    beacon: Annotated[dict[str, Identity], note("By Ethereum network, while its libp2p is up.")]


class Reloaded(TypedDict):
    """``reload``'s."""

    applied: Annotated[list[str], note("Keys that changed and were taken.")]
    restart: Annotated[list[str], note("Keys that changed and wait for a restart.")]


class PluginFailure(TypedDict):
    """The newest fault of a plugin."""

    reason: str
    detail: str


class PluginState(TypedDict):
    """One of ``getplugins``."""

    name: str
    state: Annotated[Literal["on", "off"], note("`off` after too many faults in a row, until `reload`.")]
    exports: Annotated[list[str], note("`filter_event` and `check_header`, or one of them.")]
    capabilities: list[str]
    headers: Annotated[list[str], note("Networks whose headers it looks at.")]
    calls: int
    faults: int
    fuel: Annotated[int, note("That its calls took, about one for each instruction.")]
    lines_dropped: Annotated[int, note("That it wanted to log, and were too many.")]
    last_fault: PluginFailure | None


class OpenRpc(TypedDict):
    """An OpenRPC document."""

    openrpc: str
    info: dict[str, Any]
    methods: list[dict[str, Any]]
    components: dict[str, Any]


class SourceInfo(TypedDict):
    """Where a network's data comes from, as this daemon was started."""

    kind: Annotated[Literal["network", "mesh", "api"], note("Its own peers, nodes like this one, or Beacon APIs.")]
    named: Annotated[int, note("How many the operator named.")]
    finds: Annotated[bool, note("Whether it looks for others by itself.")]
    dns: Annotated[bool, note("Whether it begins by asking name servers.")]


class NotConnected(TypedDict):
    """A peer that the operator named and that is not connected."""

    addr: Annotated[str, note("As it is dialed.")]
    problem: Annotated[str | None, note("Of the last attempt; null before the first has ended.")]


class Pool(TypedDict):
    """Fetches of all networks together."""

    limit: int
    in_use: int
    window: Annotated[int, note("Runs that are fetched or wait their turn.")]


class Burst(TypedDict):
    """The last stretch of synchronising that committed something."""

    headers: int
    seconds: float
    headers_per_second: float


class Disagreement(TypedDict):
    """A peer that stays on another branch than ours."""

    peer: str
    height: int
    hash: Hex
    seconds: Annotated[int, note("For how long.")]


class WireInfo(TypedDict):
    """Bitcoin's own network."""

    peers: int
    addresses: Annotated[int, note("In the address book.")]
    tip_stale: Annotated[bool, note("No new block for so long that an extra peer is asked.")]
    presyncs: Annotated[int, note("Peers whose chain's work is being proven.")]
    low_work_chains: Annotated[int, note("Chains that were refused for too little work.")]
    disagreements: list[Disagreement]


class ForkHorizon(TypedDict):
    """Until when this version knows an Ethereum network's forks."""

    epoch: int
    time: Annotated[int, note("Unix seconds.")]


class Api(ApiHealth):
    """A Beacon API that the operator named, whether it answers or not."""

    peer: Annotated[str, note("`rest:` and its host.")]
    score: Annotated[float, note("Fault points; 100 is too many.")]


class SyncInfo(EitherStanding):
    """``getsyncinfo``'s."""

    state: Annotated[str, note("Of the machine in state-machine.md.")]
    reasons: Annotated[list[str], note("Why it is not ready.")]
    sources: Annotated[list[SourceInfo], note("Where its data comes from.")]
    not_connected: Annotated[list[NotConnected], note("Named peers that are not there, and why.")]
    waiting_for: NotRequired[Annotated[str, note("Instead of the next twelve, while the chain has not begun.")]]
    blocks: NotRequired[Annotated[int, note("Height of the tip; of a beacon chain the last whole period.")]]
    base: NotRequired[Annotated[int, note("Lowest that is held.")]]
    complete: NotRequired[Annotated[bool, note("Everything down to the beginning is held.")]]
    checkpoint_refuted: NotRequired[Annotated[bool, note("The checkpoint is not on a valid chain.")]]
    transitions: NotRequired[Annotated[dict[str, int], note("How often, by `before>after`.")]]
    pool: NotRequired[Pool]
    headers_committed: NotRequired[Annotated[int, note("Since the start.")]]
    headers_per_second: NotRequired[Annotated[float, note("Now.")]]
    last_burst: NotRequired[Burst]
    failures_in_a_row: NotRequired[int]
    faults: NotRequired[Annotated[dict[str, int], note("How often, by reason.")]]
    claims: NotRequired[Annotated[int, note("Peers that claim something.")]]
    wire: NotRequired[Annotated[WireInfo, note("Bitcoin, where its own network is joined.")]]
    fork_horizon: NotRequired[Annotated[ForkHorizon | None, note("Ethereum, as the next five; null: no end is known.")]]
    discovered: NotRequired[Annotated[int, note("Nodes that discovery has found since the start.")]]
    enr: NotRequired[Annotated[str, note("Our record; empty while discovery is off.")]]
    trust: NotRequired[Annotated[str, note("Why there is no start of trust yet; empty once there is.")]]
    warnings: NotRequired[Annotated[list[str], note("What the operator should do.")]]
    apis: NotRequired[Annotated[list[Api], note("Beacon APIs, those that do not answer as well.")]]
