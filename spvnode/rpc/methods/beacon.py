"""Methods about a beacon chain: its finalized and optimistic header, proofs of them, and accounts under them.

Hashes and roots are ``0x`` hex in their natural order, as everywhere in Ethereum.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from merkle.errors import ProofError
from spvnode.ethereum.bundle import decode, to_json
from spvnode.ethereum.containers import beacon_root
from spvnode.ethereum.execution import execution_fields
from spvnode.ethereum.items import Kind
from spvnode.rpc.errors import Code, RpcError
from spvnode.rpc.methods.beacon_header import (
    describe_header,
    describe_record,
    describe_signatures,
    find_record,
    find_state,
    hex_of,
    parse_block,
)
from spvnode.rpc.methods.lookup import standing
from spvnode.rpc.registry import ChainParams, Context


class GetFinalizedHeader(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getfinalizedheader``."""

    block: Annotated[
        int | str | None, Meta(description="An older execution block, by number or hash. Default: the newest header.")
    ] = None


class OfBeacon(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Only the network."""


class GetBeaconHeaderProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``getbeaconheaderproof``."""

    header: Annotated[Literal["finalized", "optimistic"], Meta(description="Which header.")] = "finalized"
    format: Annotated[Literal["hex", "json"], Meta(description="The bundle's bytes in hex, or its JSON object.")] = (
        "hex"
    )


class VerifyAccountProof(ChainParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of ``verifyaccountproof``."""

    proof: Annotated[dict[str, Any], Meta(description="The `result` of an `eth_getProof` (EIP-1186), from anywhere.")]
    block: Annotated[
        int | str,
        Meta(
            description="The execution block that the answer is about: `finalized`, `optimistic`, or the number, hash "
            "or state root of one that is held."
        ),
    ] = "finalized"


def get_finalized_header(context: Context, params: GetFinalizedHeader) -> dict[str, Any]:
    """``slot``, ``epoch``, ``time`` and ``age`` (seconds); ``root``, ``parent_root``, ``state_root``, ``body_root``,
    ``proposer_index``; ``execution``: ``block_number``, ``block_hash``, ``state_root``, ``receipts_root``,
    ``transactions_root``, ``timestamp`` and the rest of the execution block's header (null before capella);
    ``finalized``; ``participation`` (of the sync committee), ``attested_slot`` and ``signature_slot`` of the update
    that shows it (null right after the start). With ``block``: what was kept of that block, the first line and the
    six named fields of ``execution``; error -5 where nothing was."""
    chain = context.beacon(params.network)
    now = context.node.now()
    if params.block is not None:
        record = find_record(chain, parse_block(params.block, "block"))
        found = {**describe_record(chain, record, now), "finalized": True}
    else:
        update = chain.finality_update
        # What it rests on may have come as the best update of a period; then there is none of this kind to show.
        shows = update is not None and update.finalized_header.beacon == chain.finalized.beacon
        signatures = describe_signatures(chain, update if shows else None)
        found = {**describe_header(chain, chain.finalized, now), "finalized": True, **signatures}
    return {**found, **standing(context, chain.network)}


def get_optimistic_header(context: Context, params: OfBeacon) -> dict[str, Any]:
    """The fields of ``getfinalizedheader`` for the newest header that the sync committee signed. ``finalized`` is false
    as long as it may still be left behind by another; ``finalized_slot`` tells how far finality has come."""
    chain = context.beacon(params.network)
    header = chain.optimistic
    shown_by = (chain.optimistic_update, chain.finality_update)
    update = next((one for one in shown_by if one and one.attested_header.beacon == header.beacon), None)
    final = chain.finalized.beacon.slot
    return {
        **describe_header(chain, header, context.node.now()),
        "finalized": header.beacon.slot <= final,
        "finalized_slot": final,
        **describe_signatures(chain, update),
        **standing(context, chain.network),
    }


def get_beacon_header_proof(context: Context, params: GetBeaconHeaderProof) -> dict[str, Any]:
    """``header``, ``slot`` and ``root``; ``checkpoint_root``, which is all that the proof rests on; ``updates`` (how
    many committee periods lie between), ``bytes``; the bundle as ``hex`` or ``bundle`` (JSON), enough for
    ``spvnode verify``; ``execution``: fields of the execution block, each with its branch to ``root``. 26 kB and 27 kB
    a period, twice that in either form. Error -1 while an update that it needs has not come."""
    chain = context.beacon(params.network)
    try:
        raw = chain.bundle(params.header, made_at=int(context.node.now()))
    except ValueError as error:
        raise RpcError(Code.MISC_ERROR, f"no proof can be made yet: {error}") from error
    bundle = decode(raw)
    header = chain.finalized if params.header == "finalized" else chain.optimistic
    return {
        "header": params.header,
        "slot": header.beacon.slot,
        "root": hex_of(beacon_root(header.beacon)),
        "checkpoint_root": hex_of(bundle.checkpoint_root),
        "updates": sum(item.kind is Kind.UPDATE for item in bundle.items),
        "bytes": len(raw),
        **({"bundle": to_json(bundle)} if params.format == "json" else {"hex": raw.hex()}),
        "execution": {field.name: field.as_json() for field in execution_fields(chain.params, header)},
        **standing(context, chain.network),
    }


def verify_account(context: Context, params: VerifyAccountProof) -> dict[str, Any]:
    """``valid``, ``reason`` (the first field that does not hold), ``says`` (what it proves, in words), ``account``
    (``exists``, ``nonce``, ``balance`` in wei, ``storage_root``, ``code_hash``, and the ``storage`` that was asked for;
    null unless valid), ``block`` (the ``state_root`` that it was checked against, and whose). Nothing that the answer
    says is believed unless its proofs show it. Error -5 for a block that is not held."""
    from spvnode.ethereum.accounts import verify_account_proof  # noqa: PLC0415 - 50 ms, for Keccak-256 alone

    chain = context.beacon(params.network)
    state = find_state(chain, params.block)
    where = f"at {'finalized' if state.finalized else 'optimistic'} block {state.block_number} of {chain.network}"
    try:
        account = verify_account_proof(params.proof, state.root)
    except ProofError as error:
        found = {"valid": False, "reason": str(error), "says": f"proves nothing {where}", "account": None}
    else:
        says = f"{hex_of(account.address)} {'has this account' if account.exists else 'does not exist'} {where}"
        found = {"valid": True, "reason": "", "says": says, "account": account.as_json()}
    return {**found, "block": state.as_json(), **standing(context, chain.network)}
