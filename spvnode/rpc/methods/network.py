"""Bitcoin Core's methods about peers (v28.1): who is connected, whom to keep, whom to shut out.

Peers are named as the wire has them: multiaddrs with ``/p2p/PEER`` on libp2p, addresses and peer ids as ``getpeerinfo``
lists them. Bans hold on every wire and for every network at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from spvnode.inputs import shown
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.methods.lookup import standing
from spvnode.rpc.registry import ChainParams, Context, NoParams
from spvnode.view import PeerControl

CORE_VERSION = 280_100
"""``version``: of Bitcoin Core, whose names and shapes the replies have; clients choose theirs by it."""
PROTOCOL_VERSION = 70_016
"""Of the peer-to-peer protocol that Core 28.1 speaks."""
DEFAULT_BAN_SECONDS = 24 * 60 * 60
"""Core's ``-bantime``."""
_NO_WIRE = "Error: Peer-to-peer functionality missing or disabled"


class AddNode(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``addnode``."""

    node: Annotated[str, Meta(max_length=512, description="Address of the peer, as the wire has it: a multiaddr.")]
    command: Annotated[
        Literal["add", "remove", "onetry"],
        Meta(description="`add` keeps connected to it until the daemon ends, `remove` no longer, `onetry` dials once."),
    ]
    v2transport: Annotated[bool | None, Meta(description="For Core's clients; every transport here is encrypted.")] = (
        None
    )


class DisconnectNode(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``disconnectnode``."""

    address: Annotated[str, Meta(max_length=512, description="`addr` or `peer_id` of `getpeerinfo`.")] = ""
    nodeid: Annotated[int | None, Meta(description="`id` of the latest `getpeerinfo`.")] = None


class SetBan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``setban``."""

    subnet: Annotated[str, Meta(max_length=128, description="An IP address, a network as 192.0.2.0/24, or a peer id.")]
    command: Annotated[Literal["add", "remove"], Meta(description="`add` bans, `remove` lifts the ban.")]
    bantime: Annotated[int, Meta(ge=0, description="Seconds; 0 is a day. With `absolute` a Unix time.")] = 0
    absolute: Annotated[bool, Meta(description="`bantime` is when it ends.")] = False


def get_network_info(context: Context, params: ChainParams) -> dict[str, Any]:
    """Core's fields, about the peers of one network; and ``peer_id``, ``network``, ``freshness``, ``ready`` and what it
    rests on. ``version`` is Core's whose shapes the replies have, ``subversion`` says who we are. A header node offers
    no service to Bitcoin's network and relays no transaction: ``localservices`` and fees are 0."""
    network = context.network(params.network)
    node = context.node
    inbound = [bool(peer.get("inbound")) for peer in node.peers(network)]
    return {
        "version": CORE_VERSION,
        "subversion": f"/spvnode:{node.version}/",
        "protocolversion": PROTOCOL_VERSION,
        "localservices": f"{0:016x}",
        "localservicesnames": [],
        "localrelay": False,
        "timeoffset": 0,
        "networkactive": bool(node.controls(network)) or bool(inbound),
        "connections": len(inbound),
        "connections_in": sum(inbound),
        "connections_out": len(inbound) - sum(inbound),
        "networks": [_reached(name) for name in ("ipv4", "ipv6", "onion", "i2p", "cjdns")],
        "relayfee": 0.0,
        "incrementalfee": 0.0,
        "localaddresses": [found for addr in node.listen_addrs if (found := _local(addr))],
        "warnings": list(node.readiness(network).reasons),
        "peer_id": node.peer_id,
        **standing(context, network),
    }


def _reached(name: str) -> dict[str, Any]:
    """Only IP is dialed without a proxy."""
    reachable = name in ("ipv4", "ipv6")
    return {
        "name": name,
        "limited": not reachable,
        "reachable": reachable,
        "proxy": "",
        "proxy_randomize_credentials": False,
    }


def _local(multiaddr: str) -> dict[str, Any] | None:
    parts = multiaddr.split("/")
    if len(parts) < 5 or not parts[4].isdigit():
        return None
    return {"address": parts[2], "port": int(parts[4]), "score": 1}


def get_connection_count(context: Context, params: ChainParams) -> int:
    """How many peers of the network are connected."""
    return len(context.node.peers(context.network(params.network)))


def add_node(context: Context, params: AddNode) -> None:
    """null. Error -23 where it is kept already, -24 where it was not added, -31 where no wire is up that takes such an
    address. Kept until the daemon ends; ``mesh.peers`` in the configuration outlives it."""
    control = _control(context.node.controls(context.network(params.network)), params.node)
    try:
        if params.command == "onetry":
            control.once(params.node)
        elif params.command == "add":
            if not control.add(params.node):
                raise RpcError(Code.CLIENT_NODE_ALREADY_ADDED, "Error: Node already added")
        elif not control.remove(params.node):
            raise RpcError(Code.CLIENT_NODE_NOT_ADDED, "Error: Node has not been added.")
    except ValueError as error:
        raise RpcError(Code.INVALID_PARAMETER, f"node: {error}") from None


def _control(controls: Sequence[PeerControl], address: str) -> PeerControl:
    if not controls:
        raise RpcError(Code.CLIENT_P2P_DISABLED, _NO_WIRE)
    found = next((control for control in controls if control.takes(address)), None)
    if found is None:
        problem = f"node: {shown(address)} is no address of a wire that is up, such as /ip4/192.0.2.7/tcp/8343/p2p/PEER"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return found


def disconnect_node(context: Context, params: DisconnectNode) -> None:
    """null, once the peer is being parted from. Error -29 where nobody has that name."""
    network = context.network(params.network)
    controls = context.node.controls(network)
    if not controls:
        raise RpcError(Code.CLIENT_P2P_DISABLED, _NO_WIRE)
    if bool(params.address) == (params.nodeid is not None):
        raise RpcError(Code.INVALID_PARAMS, "Only one of address and nodeid should be provided.")
    name = params.address or _peer_of(context, network, params.nodeid)
    parted = [control.disconnect(name) for control in controls]
    if not any(parted):
        raise RpcError(Code.CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes")


def _peer_of(context: Context, network: str, nodeid: int | None) -> str:
    found = [peer for peer in context.node.peers(network) if peer.get("id") == nodeid]
    if not found:
        raise RpcError(Code.CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes")
    return str(found[0].get("peer_id") or found[0].get("addr"))


async def set_ban(context: Context, params: SetBan) -> None:
    """null, once the ban is on disk and whom it meets is being parted from. A ban shuts out configured peers, too.
    Error -23 where it is banned already, -30 where it is no address or was not banned."""
    bans, now = context.node.bans, context.node.now()
    until = float(params.bantime) if params.absolute else now + (params.bantime or DEFAULT_BAN_SECONDS)
    if params.command == "add" and params.absolute and until <= now:
        raise RpcError(Code.INVALID_PARAMETER, "Error: Absolute timestamp is in the past")
    try:
        done = bans.add(params.subnet, now, until) if params.command == "add" else bans.remove(params.subnet)
    except ValueError as error:
        raise RpcError(Code.CLIENT_INVALID_IP_OR_SUBNET, f"Error: Invalid IP/Subnet: {error}") from None
    if not done and params.command == "add":
        raise RpcError(Code.CLIENT_NODE_ALREADY_ADDED, "Error: IP/Subnet already banned")
    if not done:
        problem = "Error: Unban failed. Requested address/subnet was not previously manually banned."
        raise RpcError(Code.CLIENT_INVALID_IP_OR_SUBNET, problem)
    await context.node.save_bans()


def list_banned(context: Context, params: NoParams) -> list[dict[str, Any]]:
    """The operator's bans that are in force: ``address`` (network or peer id), ``ban_created``, ``banned_until``,
    ``ban_duration``, ``time_remaining``. Peers that the node itself leaves alone for a time are not among them."""
    now = context.node.now()
    return [
        {
            "address": ban.subject,
            "ban_created": int(ban.since),
            "banned_until": int(ban.until),
            "ban_duration": int(ban.until) - int(ban.since),
            "time_remaining": max(0, int(ban.until - now)),
        }
        for ban in context.node.bans.entries(now)
    ]


async def clear_banned(context: Context, params: NoParams) -> None:
    """null, once all bans are lifted, on disk as well."""
    context.node.bans.clear()
    await context.node.save_bans()
