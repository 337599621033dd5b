"""The table of methods: the one place that says what can be called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spvnode.rpc.methods import beacon, chain, node, proof
from spvnode.rpc.registry import Method, NoParams, Scope

READ, ADMIN = Scope.READ, Scope.ADMIN

_ROWS = (
    Method(
        "getbeaconheaderproof",
        beacon.GetBeaconHeaderProof,
        "A portable proof of a beacon chain's header.",
        READ,
        beacon.get_beacon_header_proof,
    ),
    Method("getbestblockhash", chain.OfChain, "The hash of the best header.", READ, chain.get_best_block_hash),
    Method("getblockchaininfo", chain.OfChain, "The state of one chain.", READ, chain.get_blockchain_info),
    Method("getblockcount", chain.OfChain, "The height of the best header.", READ, chain.get_block_count),
    Method("getblockhash", chain.GetBlockHash, "The hash at a height.", READ, chain.get_block_hash),
    Method("getblockheader", chain.GetBlockHeader, "A header by its hash.", READ, chain.get_block_header),
    Method("getchaintips", chain.OfChain, "The best chain and its competitors.", READ, chain.get_chain_tips),
    Method("getcheckpoint", proof.GetCheckpoint, "A trust start for another node.", READ, proof.get_checkpoint),
    Method("getevents", chain.GetEvents, "What happened, from the durable log.", READ, chain.get_events),
    Method(
        "getfinalizedheader",
        beacon.GetFinalizedHeader,
        "The newest finalized header of a beacon chain.",
        READ,
        beacon.get_finalized_header,
        aliases={"number": "block", "hash": "block"},
    ),
    Method(
        "getheaderproof",
        proof.GetHeaderProof,
        "A portable proof of a header.",
        READ,
        proof.get_header_proof,
        aliases={"height": "block", "hash": "block"},
    ),
    Method("getnodeinfo", NoParams, "Identity and addresses of this node.", READ, node.get_node_info),
    Method(
        "getoptimisticheader",
        beacon.OfBeacon,
        "The newest signed header of a beacon chain.",
        READ,
        beacon.get_optimistic_header,
    ),
    Method("getpeerinfo", chain.OfChain, "The connected peers.", READ, chain.get_peer_info),
    Method("getsyncinfo", chain.OfChain, "How the synchronisation goes.", READ, proof.get_sync_info),
    Method("help", node.Help, "All methods, or one of them.", READ, node.help_text),
    Method("importheaders", proof.ImportHeaders, "Checks and commits headers.", ADMIN, proof.import_headers),
    Method("stop", NoParams, "Ends the daemon.", ADMIN, node.stop),
    Method("uptime", NoParams, "Seconds since the start.", READ, node.uptime),
    Method(
        "verifyaccountproof",
        beacon.VerifyAccountProof,
        "Checks an account or storage proof.",
        READ,
        beacon.verify_account,
    ),
    Method("verifyheaderproof", proof.VerifyHeaderProof, "Checks a proof.", READ, proof.verify_header_proof),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
"""Every method by name."""
