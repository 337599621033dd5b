"""The methods: from the parameters of a call to its result. Shapes and names of parameters are those of the protocol
(https://electrum-protocol.readthedocs.io, 1.4 to 1.6); errors are worded as ElectrumX words them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from spvnode.electrum.blocks import Blocks, require_height
from spvnode.electrum.errors import Code, ElectrumError
from spvnode.electrum.limits import MAX_HEADERS
from spvnode.electrum.messages import Call
from spvnode.electrum.tips import Tip, Tips
from spvnode.electrum.version import LISTS, PROTOCOL_MAX, PROTOCOL_MIN, Version, negotiate, shown
from spvnode.errors import InputError
from spvnode.inputs import MAX_HEIGHT, parse_hash
from spvnode.types import HEADER_SIZE, Height, hash_hex
from spvnode.view import ChainView

HEADERS_UNIT = 250
"""Headers that cost as much as a call does: some 0.2 ms of CPU."""
BLOCK_UNITS = 20
"""What a call costs that may need a block: up to 80 ms of CPU, and a peer's patience."""

Index = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
P = TypeVar("P", bound=Struct)


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class HeaderParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``blockchain.block.header``."""

    height: Index
    cp_height: Index = 0


class HeadersParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``blockchain.block.headers``."""

    start_height: Index
    count: Index
    cp_height: Index = 0


class SubscribeParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``blockchain.headers.subscribe``. ``raw`` went with 1.4, but clients still give it; headers are always raw."""

    raw: bool = True


class MerkleParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``blockchain.transaction.get_merkle``."""

    tx_hash: str
    height: Index


class PositionParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``blockchain.transaction.id_from_pos``."""

    height: Index
    tx_pos: Index
    merkle: bool = False


class PeerParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``server.add_peer``."""

    features: dict[str, Any]


@dataclass(slots=True)
class Talk:
    """What one connection has agreed on. ``told``: the tip that it was last told, once it has subscribed."""

    version: Version | None = None
    silent: bool = True
    """Nothing was asked yet."""
    subscribed: bool = False
    told: Tip | None = None
    modern: bool = True
    """Notifications are JSON-RPC 2.0, as was the call that subscribed."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one server answers from. ``hosts``: where it listens, as ``server.features`` says it."""

    tips: Tips
    blocks: Blocks
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def software(self) -> str:
        """Our name and version."""
        return f"spvnode {self.tips.node.version}"


def read_params(params: list[Any] | dict[str, Any], shape: type[P]) -> P:
    """By position or by name. ElectrumError where they do not fit."""
    names = [one.name for one in fields(shape)]
    if isinstance(params, list):
        if len(params) > len(names):
            raise ElectrumError(Code.INVALID_PARAMS, f"{len(params)} parameters, at most {len(names)}")
        params = dict(zip(names, params, strict=False))
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as error:
        raise ElectrumError(Code.INVALID_PARAMS, str(error)) from None


# -- the server


def server_version(served: Served, talk: Talk, params: list[Any] | dict[str, Any], *, first: bool) -> list[str]:
    """``server.version``: ours, and the protocol's that both speak. What else is given is let pass."""
    if talk.version is not None:
        raise ElectrumError(Code.BAD_REQUEST, "server.version already sent")
    default = shown(PROTOCOL_MIN)
    if isinstance(params, dict):
        wanted = params.get("protocol_version", default)
    else:
        wanted = params[1] if len(params) > 1 else default
    talk.version = negotiate(wanted, first=first)
    return [served.software, shown(talk.version)]


def server_features(served: Served, _talk: Talk, _params: Nothing) -> dict[str, Any]:
    """``server.features``; beside the protocol's keys, what answers rest on."""
    chain, node = served.tips.chain(), served.tips.node
    readiness = node.readiness(served.tips.network)
    return {
        "hosts": served.hosts,
        "genesis_hash": hash_hex(chain.genesis_hash),
        "hash_function": "sha256",
        "server_version": served.software,
        "protocol_min": shown(PROTOCOL_MIN),
        "protocol_max": shown(PROTOCOL_MAX),
        "pruning": None,
        "headers_only": True,
        "ready": readiness.ready,
        "reasons": list(readiness.reasons),
        "freshness": dict(node.freshness(served.tips.network)),
        "start": {"kind": chain.start.kind, "height": chain.start.height, "hash": hash_hex(chain.start.hash)},
    }


def server_banner(served: Served, _talk: Talk, _params: Nothing) -> str:
    """``server.banner``."""
    return (
        f"{served.software}: a light node of {served.tips.network}. It checks and serves headers, and proofs of "
        "transactions from blocks of its peers. It has no index of scripts, no mempool, and broadcasts nothing."
    )


def server_donation_address(_served: Served, _talk: Talk, _params: Nothing) -> str:
    """``server.donation_address``: none."""
    return ""


def server_peers(_served: Served, _talk: Talk, _params: Nothing) -> list[Any]:
    """``server.peers.subscribe``: we know of none."""
    return []


def server_add_peer(_served: Served, _talk: Talk, _params: PeerParams) -> bool:
    """``server.add_peer``: no list is kept."""
    return False


def server_ping(_served: Served, _talk: Talk, _params: Nothing) -> None:
    """``server.ping``."""


# -- headers


def block_header(served: Served, _talk: Talk, params: HeaderParams) -> object:
    """``blockchain.block.header``."""
    chain = served.tips.chain()
    header = chain.header(require_height(chain, params.height)).hex()
    if not params.cp_height:
        return header
    return {"header": header, **_proof(chain, params.height, params.cp_height)}


def block_headers(served: Served, talk: Talk, params: HeadersParams) -> dict[str, Any]:
    """``blockchain.block.headers``; cut at the tip."""
    chain = served.tips.chain()
    if params.start_height < chain.base:
        require_height(chain, params.start_height)
    raw = chain.headers(Height(params.start_height), min(params.count, MAX_HEADERS))
    count = len(raw) // HEADER_SIZE
    reply: dict[str, Any] = {"count": count, "max": MAX_HEADERS}
    if (talk.version or PROTOCOL_MIN) >= LISTS:
        reply["headers"] = [raw[at : at + HEADER_SIZE].hex() for at in range(0, len(raw), HEADER_SIZE)]
    else:
        reply["hex"] = raw.hex()
    if count and params.cp_height:
        reply |= _proof(chain, params.start_height + count - 1, params.cp_height)
    return reply


def _proof(chain: ChainView, height: int, cp_height: int) -> dict[str, Any]:
    """``branch`` and ``root`` of the tree over all headers up to ``cp_height``."""
    if not height <= cp_height <= chain.tip_height:
        problem = f"header height {height} must be <= cp_height {cp_height} which must be <= chain height"
        raise ElectrumError(Code.BAD_REQUEST, f"{problem} {chain.tip_height}")
    if chain.range_start:
        problem = f"no proofs: this node began at height {chain.range_start} without the header tree below it"
        raise ElectrumError(Code.UNAVAILABLE, problem)
    branch = chain.branch(Height(height), Height(cp_height))
    return {"branch": [hash_hex(node) for node in branch], "root": hash_hex(chain.root(Height(cp_height)))}


def headers_subscribe(served: Served, talk: Talk, _params: SubscribeParams) -> dict[str, Any]:
    """``blockchain.headers.subscribe``."""
    chain = served.tips.chain()
    talk.subscribed, talk.told = True, served.tips.now()
    return describe_tip(chain)


def describe_tip(chain: ChainView) -> dict[str, Any]:
    """The best header, as subscribers are told."""
    return {"hex": chain.header(chain.tip_height).hex(), "height": chain.tip_height}


# -- transactions


async def get_merkle(served: Served, params: MerkleParams) -> object:
    """``blockchain.transaction.get_merkle``."""
    try:
        txid = parse_hash(params.tx_hash, "tx_hash")
    except InputError as error:
        raise ElectrumError(Code.INVALID_PARAMS, str(error)) from None
    return await served.blocks.merkle(txid, Height(params.height))


async def id_from_pos(served: Served, params: PositionParams) -> object:
    """``blockchain.transaction.id_from_pos``."""
    return await served.blocks.at(Height(params.height), params.tx_pos, merkle=params.merkle)


# -- the table

VERSION = "server.version"
SUBSCRIBE = "blockchain.headers.subscribe"
HEADERS = "blockchain.block.headers"
Plain = Callable[[Served, Talk, Any], object]
Slow = Callable[[Served, Any], Awaitable[object]]
PLAIN: Mapping[str, tuple[Plain, type[Struct]]] = {
    "blockchain.block.header": (block_header, HeaderParams),
    HEADERS: (block_headers, HeadersParams),
    SUBSCRIBE: (headers_subscribe, SubscribeParams),
    "server.add_peer": (server_add_peer, PeerParams),
    "server.banner": (server_banner, Nothing),
    "server.donation_address": (server_donation_address, Nothing),
    "server.features": (server_features, Nothing),
    "server.peers.subscribe": (server_peers, Nothing),
    "server.ping": (server_ping, Nothing),
}
"""Answered at once."""
SLOW: Mapping[str, tuple[Slow, type[Struct]]] = {
    "blockchain.transaction.get_merkle": (get_merkle, MerkleParams),
    "blockchain.transaction.id_from_pos": (id_from_pos, PositionParams),
}
"""Answered once a peer gave the block."""
KNOWN = frozenset({VERSION, *PLAIN, *SLOW})
"""All that is served."""
NOT_SERVED = {
    "blockchain.address.": "it has no index of addresses",
    "blockchain.estimatefee": "it sees no unconfirmed transactions",
    "blockchain.outpoint.": "it has no index of outputs",
    "blockchain.relayfee": "it relays no transactions",
    "blockchain.scripthash.": "it has no index of scripts",
    "blockchain.scriptpubkey.": "it has no index of scripts",
    "blockchain.transaction.broadcast": "it relays no transactions",
    "blockchain.transaction.get": "it has no index of transactions",
    "mempool.": "it has no mempool",
}
"""Beginnings of what else the protocol has, and why a node of headers cannot answer it."""


def not_served(method: str) -> ElectrumError:
    """The answer to a method that is not ``KNOWN``."""
    for prefix, why in NOT_SERVED.items():
        if method.startswith(prefix):
            problem = f"{method} is not served: this is a node of headers, {why}"
            return ElectrumError(Code.METHOD_NOT_FOUND, problem)
    return ElectrumError(Code.METHOD_NOT_FOUND, f'unknown method "{method}"')


def cost(call: Call) -> int:
    """Units of a caller's rate that a call takes."""
    if call.method in SLOW:
        return BLOCK_UNITS
    if call.method != HEADERS:
        return 1
    try:
        return 1 + min(read_params(call.params(), HeadersParams).count, MAX_HEADERS) // HEADERS_UNIT
    except ElectrumError:  # which is its answer, too
        return 1
