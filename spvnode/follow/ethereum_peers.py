"""Beacon peers and Beacon APIs as ``getpeerinfo`` tells of them, under Core's names where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2p.beacon.peer import BeaconPeerInfo
from spvnode.ethereum.networks import Network


def peer_of(network: Network, peer: BeaconPeerInfo) -> dict[str, Any]:
    """A libp2p peer; ``status`` is what it last said to have, null while it has said nothing."""
    status = peer.status
    return {
        "peer_id": peer.id,
        "addr": peer.addr,
        "subver": peer.agent,
        "inbound": peer.inbound,
        "connection_type": "manual" if peer.static else "inbound" if peer.inbound else "outbound-full-relay",
        "conntime": int(peer.since),
        "last_useful": None if peer.last_useful is None else int(peer.last_useful),
        "bytesrecv": peer.bytes_received,
        "bytessent": peer.bytes_sent,
        "status": None
        if status is None
        else {
            "fork_digest": "0x" + status.fork_digest.hex(),
            "finalized_epoch": status.finalized_epoch,
            "finalized_root": "0x" + status.finalized_root.hex(),
            "head_slot": status.head_slot,
            "head_root": "0x" + status.head_root.hex(),
        },
        "protocols": list(peer.protocols),
        "objects_received": peer.objects_received,
        "objects_served": peer.objects_served,
        "score": round(peer.score, 1),
        "transport_protocol_type": "libp2p",
    }


def rest_peer_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """A Beacon API endpoint that answers; ``RestSource.info`` tells of the others as well."""
    return {
        "peer_id": info["peer"],
        "addr": str(info["peer"]).removeprefix("rest:"),
        "subver": "",
        "inbound": False,
        "connection_type": "manual",
        "score": info["score"],
        "api": {key: value for key, value in info.items() if key not in ("peer", "score")},
        "transport_protocol_type": "http",
    }
