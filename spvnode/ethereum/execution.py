"""What a light-client header proves of its execution block, field by field, up to the beacon block's root.

    field -> execution header -> (``execution_branch``) -> body root -> beacon block root

From capella to fulu the header holds the whole execution header, so each of its fields has a branch. A gloas header
holds the block hash alone. Before capella there is nothing. The beacon block root is also what EIP-4788 gives to
contracts on the chain, so a branch serves there as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from merkle.ssz import (
    CHUNK,
    compute_merkle_branch_root,
    concat_generalized_indices,
    floorlog2,
    get_subtree_index,
)
from merkle.ssz_types import Container
from spvnode.ethereum.containers import LightClientHeader, schema_for
from spvnode.ethereum.forks import Fork
from spvnode.ethereum.gindices import EXECUTION_BLOCK_HASH_GINDEX, EXECUTION_BLOCK_HASH_GINDEX_DENEB, GINDICES
from spvnode.ethereum.headers import EXECUTION_PAYLOAD_GINDEX, is_valid_light_client_header, min_layout
from spvnode.ethereum.networks import Network
from spvnode.ethereum.units import compute_epoch_at_slot

PROVEN_FIELDS: Final = (
    "block_number",
    "block_hash",
    "state_root",
    "receipts_root",
    "transactions_root",
    "timestamp",
)
"""Fields of the execution header that are given with a branch."""

_BLOCK_HASH = "block_hash"
_EMPTY_HASH = bytes(CHUNK)


@dataclass(frozen=True, slots=True)
class ExecutionField:
    """One field of the execution block. ``leaf``: its SSZ chunk, 32 bytes; ``branch``: siblings, bottom up, in a row.

    ``gindex`` is the generalized index of ``leaf`` in the beacon block header.
    """

    name: str
    value: bytes | int
    leaf: bytes
    gindex: int
    branch: bytes

    def as_json(self) -> dict[str, Any]:
        """Hex with 0x; ``value`` is a number where the field is one."""
        siblings = [self.branch[at : at + CHUNK] for at in range(0, len(self.branch), CHUNK)]
        return {
            "value": self.value if isinstance(self.value, int) else "0x" + self.value.hex(),
            "leaf": "0x" + self.leaf.hex(),
            "gindex": self.gindex,
            "branch": ["0x" + sibling.hex() for sibling in siblings],
        }


def execution_fields(network: Network, header: LightClientHeader) -> tuple[ExecutionField, ...]:
    """The fields that ``header`` proves; none where it has no execution block, or does not prove it."""
    if not is_valid_light_client_header(network, header):
        return ()
    body_gindex, body_branch = _body(header)
    found = _block_hash_alone(network, header) if header.fork is Fork.GLOAS else _inner_fields(network, header)
    return tuple(
        ExecutionField(
            field.name,
            field.value,
            field.leaf,
            concat_generalized_indices((body_gindex, field.gindex)),
            field.branch + body_branch,
        )
        for field in found
    )


def proves_execution_field(field: ExecutionField, beacon_root: bytes) -> bool:
    """Whether the branch leads from the field to ``beacon_root``, and ``value`` is what the leaf says."""
    value = int.from_bytes(field.leaf, "little") if isinstance(field.value, int) else field.leaf
    if (
        value != field.value
        or len(field.leaf) != CHUNK
        or field.gindex != _GINDICES.get(len(field.branch), {}).get(field.name)
    ):
        return False
    return compute_merkle_branch_root(field.leaf, field.branch, get_subtree_index(field.gindex)) == beacon_root


def _body(header: LightClientHeader) -> tuple[int, bytes]:
    """Generalized index of the body root in the beacon block header, and its siblings."""
    return _BEACON_HEADER.field_gindex("body_root"), _BEACON_HEADER.field_branch(header.beacon, "body_root")


def _inner_fields(network: Network, header: LightClientHeader) -> list[ExecutionField]:
    """Up to the body root, from the execution header."""
    execution = header.execution
    if execution is None or execution.block_hash == _EMPTY_HASH:
        return []
    kind = _execution_type(network, header)
    return [
        ExecutionField(
            name,
            getattr(execution, name),
            kind.fields[name].hash_tree_root(getattr(execution, name)),
            concat_generalized_indices((EXECUTION_PAYLOAD_GINDEX, kind.field_gindex(name))),
            kind.field_branch(execution, name) + header.execution_branch,
        )
        for name in PROVEN_FIELDS
    ]


def _block_hash_alone(network: Network, header: LightClientHeader) -> list[ExecutionField]:
    """Up to the body root, from a gloas header's block hash; its branch begins with zeros for an older block."""
    block_hash = header.execution_block_hash
    if block_hash is None or block_hash == _EMPTY_HASH:
        return []
    epoch = compute_epoch_at_slot(network.preset, header.beacon.slot)
    gindex = EXECUTION_BLOCK_HASH_GINDEX
    if epoch >= network.schedule.epoch_of(Fork.GLOAS):
        gindex = GINDICES[Fork.GLOAS].execution
    elif epoch >= network.schedule.epoch_of(Fork.DENEB):
        gindex = EXECUTION_BLOCK_HASH_GINDEX_DENEB
    branch = header.execution_branch[-floorlog2(gindex) * CHUNK :]
    return [ExecutionField(_BLOCK_HASH, block_hash, block_hash, gindex, branch)]


def _execution_type(network: Network, header: LightClientHeader) -> Container:
    """The execution header's type at the header's slot: a later layout may hold it."""
    epoch = compute_epoch_at_slot(network.preset, header.beacon.slot)
    layout = Fork.DENEB if epoch >= network.schedule.epoch_of(Fork.DENEB) else Fork.CAPELLA
    return schema_for("mainnet", min_layout(layout, header.fork))["ExecutionPayloadHeader"]


_BEACON_HEADER = schema_for("mainnet", Fork.ALTAIR)["BeaconBlockHeader"]


def _known_gindices() -> dict[int, dict[str, int]]:
    """Where each field may lie, by the length of its branch: a verifier must not take the position from the prover."""
    body = _BEACON_HEADER.field_gindex("body_root")
    tables: dict[int, dict[str, int]] = {}
    for fork in (Fork.CAPELLA, Fork.DENEB):
        kind = schema_for("mainnet", fork)["ExecutionPayloadHeader"]
        for name in PROVEN_FIELDS:
            gindex = concat_generalized_indices((body, EXECUTION_PAYLOAD_GINDEX, kind.field_gindex(name)))
            tables.setdefault(floorlog2(gindex) * CHUNK, {})[name] = gindex
    gloas = concat_generalized_indices((body, GINDICES[Fork.GLOAS].execution))
    tables.setdefault(floorlog2(gloas) * CHUNK, {})[_BLOCK_HASH] = gloas
    return tables


_GINDICES = MappingProxyType(_known_gindices())
