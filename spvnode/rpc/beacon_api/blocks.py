"""``/eth/v1/beacon/{genesis,headers,states}``: as far as a light client knows blocks and states."""

from __future__ import annotations

from typing import Any

from spvnode.ethereum.containers import BeaconBlockHeader, beacon_root
from spvnode.inputs import shown
from spvnode.rpc.beacon_api.call import ApiError, Call, data_reply, data_route, hex_of, parse_number
from spvnode.rpc.beacon_api.data import header_json
from spvnode.rpc.beacon_api.light_client import parse_root
from spvnode.rpc.response import Response
from spvnode.rpc.route import about
from spvnode.view import BeaconView


@about(data_route())
def genesis(call: Call) -> Response:
    """Time, validators root and fork version."""
    network = call.chain.params
    return data_reply(
        {
            "genesis_time": str(network.genesis_time),
            "genesis_validators_root": hex_of(network.genesis_validators_root),
            "genesis_fork_version": hex_of(network.schedule.forks[0].version),
        }
    )


@about(
    data_route(
        path={
            "block_id": {
                "type": "string",
                "pattern": "^(head|finalized|genesis|justified|[0-9]{1,19}|0x[0-9a-fA-F]{64})$",
            }
        }
    )
)
def header(call: Call) -> Response:
    """``finalized``, ``head`` (the optimistic header), or by slot or root one of the few headers that are held.

    Without ``signature``: the proposer's is not part of light-client data.
    """
    chain = call.chain
    found = _find(chain, call.path["block_id"])
    final = found.slot <= chain.finalized.beacon.slot
    data: dict[str, Any] = {
        "root": hex_of(beacon_root(found)),
        "canonical": True,
        "header": {"message": header_json(chain.params, found)},
    }
    # The committee signs what it has executed, but until then the block may still be left behind.
    return data_reply(data, execution_optimistic=not final, finalized=final)


def _find(chain: BeaconView, block_id: str) -> BeaconBlockHeader:
    if block_id in ("head", "finalized"):
        return (chain.finalized if block_id == "finalized" else chain.optimistic).beacon
    held = _held(chain)
    if block_id.startswith("0x"):
        root = parse_root(block_id, "block_id")
        found = next((one for one in held if beacon_root(one) == root), None)
    else:
        if block_id in ("genesis", "justified"):
            raise ApiError(404, f"the {block_id} block's header is not held by a light client")
        slot = parse_number(block_id, "block_id")
        found = next((one for one in held if one.slot == slot), None)
    if found is None:
        raise ApiError(404, f"no header of block {shown(block_id)} is held; head and finalized are")
    return found


def _held(chain: BeaconView) -> list[BeaconBlockHeader]:
    """Those of the chain that became final: a signed header beside ``optimistic`` might be on another branch."""
    return [chain.finalized.beacon, chain.optimistic.beacon, chain.bootstrap.header.beacon]


@about(data_route())
def finality_checkpoints(call: Call) -> Response:
    """The finalized checkpoint in the state of ``head``. The justified ones are left out: no light-client data proves
    them, and of the finalized block's own state it proves nothing of the kind."""
    chain, state_id = call.chain, call.path["state_id"]
    if state_id != "head":
        raise ApiError(404, f"of state {shown(state_id)} no checkpoint is known to a light client; of head one is")
    if chain.finality_update is None:
        raise ApiError(404, f"{call.network}: no finality update has come yet")
    found = chain.finalized.beacon
    # A checkpoint's block is the last one up to the first slot of its epoch.
    epoch = -(-found.slot // chain.params.preset.slots_per_epoch)
    finalized = {"epoch": str(epoch), "root": hex_of(beacon_root(found))}
    return data_reply({"finalized": finalized}, execution_optimistic=False, finalized=False)
