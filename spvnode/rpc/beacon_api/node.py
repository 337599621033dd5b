"""``/eth/v1/config/`` and ``/eth/v1/node/``: the rules of the network, and who is asked."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from spvnode.ethereum.forks import Fork
from spvnode.ethereum.networks import Network
from spvnode.ethereum.presets import MIN_SYNC_COMMITTEE_PARTICIPANTS
from spvnode.rpc.beacon_api.call import ERRORS, ApiError, Call, data_reply, data_route, hex_of
from spvnode.rpc.beacon_api.light_client import MAX_REQUEST_LIGHT_CLIENT_UPDATES
from spvnode.rpc.response import JSON, Response
from spvnode.rpc.route import ANY_STATUS, NO_BODY, STRING, About, Query, about

CHAIN_IDS: Mapping[str, int] = MappingProxyType({"ethereum": 1, "sepolia": 11_155_111, "hoodi": 560_048})
"""``DEPOSIT_CHAIN_ID`` of the public networks (their config.yaml): clients tell networks apart by it."""
CONFIG_NAMES: Mapping[str, str] = MappingProxyType({"ethereum": "mainnet"})
"""``CONFIG_NAME`` where it is not our name."""
HEALTHY, SYNCING, NOT_BEGUN = 200, 206, 503
"""What ``health`` answers, by the Beacon API. Load balancers look at nothing else."""
_ANSWERS = frozenset(status.value for status in HTTPStatus if status >= HTTPStatus.OK)
"""Those that can end a request, and that the server has words for."""


@about(data_route())
def spec(call: Call) -> Response:
    """The constants that we know: a light client's, under the specs' names."""
    network = call.chain.params
    preset, churn = network.preset, network.churn
    values: dict[str, Any] = {
        "PRESET_BASE": preset.name,
        "CONFIG_NAME": CONFIG_NAMES.get(network.name, network.name),
        "SECONDS_PER_SLOT": str(network.slot_duration_ms // 1000),
        "SLOT_DURATION_MS": str(network.slot_duration_ms),
        "SLOTS_PER_EPOCH": str(preset.slots_per_epoch),
        "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": str(preset.epochs_per_sync_committee_period),
        "SYNC_COMMITTEE_SIZE": str(preset.sync_committee_size),
        "MIN_SYNC_COMMITTEE_PARTICIPANTS": str(MIN_SYNC_COMMITTEE_PARTICIPANTS),
        "UPDATE_TIMEOUT": str(preset.update_timeout),
        "MAX_REQUEST_LIGHT_CLIENT_UPDATES": str(MAX_REQUEST_LIGHT_CLIENT_UPDATES),
        **{name.upper(): str(getattr(churn, name)) for name in churn.__dataclass_fields__},
        **_fork_values(network),
    }
    if network.name in CHAIN_IDS:
        values |= dict.fromkeys(("DEPOSIT_CHAIN_ID", "DEPOSIT_NETWORK_ID"), str(CHAIN_IDS[network.name]))
    return data_reply(values)


def _fork_values(network: Network) -> dict[str, Any]:
    genesis, *later = network.schedule.forks
    values: dict[str, Any] = {"GENESIS_FORK_VERSION": hex_of(genesis.version)}
    for entry in later:
        values[f"{entry.name.upper()}_FORK_VERSION"] = hex_of(entry.version)
        values[f"{entry.name.upper()}_FORK_EPOCH"] = str(entry.epoch)
    if any(entry.fork is Fork.ELECTRA for entry in later):
        values["MAX_BLOBS_PER_BLOCK_ELECTRA"] = str(network.schedule.max_blobs_per_block_electra)
    values["BLOB_SCHEDULE"] = [
        {"EPOCH": str(entry.epoch), "MAX_BLOBS_PER_BLOCK": str(entry.max_blobs_per_block)}
        for entry in network.schedule.blob_schedule
    ]
    return values


@about(data_route())
def fork_schedule(call: Call) -> Response:
    """Every scheduled fork, the first with itself before it."""
    forks = call.chain.params.schedule.forks
    return data_reply(
        [
            {
                "previous_version": hex_of(before.version),
                "current_version": hex_of(entry.version),
                "epoch": str(entry.epoch),
            }
            for before, entry in pairwise((forks[0], *forks))
        ]
    )


@about(data_route())
def version(call: Call) -> Response:
    """Of this program."""
    return data_reply({"version": f"spvnode/{call.node.version}"})


@about(data_route())
def syncing(call: Call) -> Response:
    """How far the optimistic header is behind the clock. ``is_syncing`` is the contrary of /readyz; blocks are never
    executed here, which is what ``is_optimistic`` and ``el_offline`` say."""
    chain = call.chain
    head = chain.optimistic.beacon.slot
    distance = max(0, chain.params.slot_at(call.node.now()) - head)
    return data_reply(
        {
            "head_slot": str(head),
            "sync_distance": str(distance),
            "is_syncing": not call.node.readiness(call.network).ready,
            "is_optimistic": True,
            "el_offline": True,
        }
    )


@about(
    About(
        replies={},
        query=(Query("syncing_status", {"type": "string", "enum": [str(one) for one in sorted(_ANSWERS)]}),),
        errors={**ERRORS, 206: NO_BODY, 503: NO_BODY, ANY_STATUS: NO_BODY},
    )
)
def health(call: Call) -> Response:
    """200 when ready, 206 (or ``syncing_status``) when not, 503 before the network has begun. No body."""
    syncing_status = call.number("syncing_status") if "syncing_status" in call.query else SYNCING
    if syncing_status not in _ANSWERS:
        raise ApiError(400, f"syncing_status: {syncing_status} is no HTTP status of an answer")
    if call.network not in call.node.beacons:
        return Response(NOT_BEGUN, kind=JSON)
    ready = call.node.readiness(call.network).ready
    return Response(HEALTHY if ready else syncing_status, kind=JSON)


@about(data_route())
def identity(call: Call) -> Response:
    """``peer_id`` and addresses on the network's own wire, empty while that is off; ``enr`` where discovery runs."""
    found = call.node.wires.get(call.network, {})
    enr = {"enr": found["enr"]} if found.get("enr") else {}
    addresses = list(found.get("addresses", ()))
    return data_reply(
        {"peer_id": found.get("peer_id", ""), **enr, "p2p_addresses": addresses, "discovery_addresses": []}
    )


@about(data_route(Query("state", STRING), Query("direction", STRING)))
def peers(call: Call) -> Response:
    """Those that are connected; nobody else is listed. ``state`` and ``direction`` select."""
    states, directions = call.query.get("state", ()), call.query.get("direction", ())
    found = [_peer(peer) for peer in call.node.peers(call.network)]
    chosen = [
        peer
        for peer in found
        if (not states or peer["state"] in _listed(states))
        and (not directions or peer["direction"] in _listed(directions))
    ]
    return data_reply(chosen, meta={"count": len(chosen)})


@about(data_route())
def peer_count(call: Call) -> Response:
    """By state."""
    count = str(len(call.node.peers(call.network)))
    return data_reply({"disconnected": "0", "connecting": "0", "connected": count, "disconnecting": "0"})


def _listed(values: Any) -> set[str]:
    """A query parameter given several times, or with commas."""
    return {part for value in values for part in value.split(",")}


def _peer(peer: Mapping[str, Any]) -> dict[str, str]:
    return {
        "peer_id": str(peer.get("peer_id", "")),
        "last_seen_p2p_address": str(peer.get("addr", "")),
        "state": "connected",
        "direction": "inbound" if peer.get("inbound") else "outbound",
    }
