# ruff: noqa: E501
# fmt: off
"""The RPC's methods by name, with their parameters.

Written by `make docs` from the table of methods: do not edit.
"""

from __future__ import annotations

METHODS: dict[str, tuple[str, dict[str, str]]] = {
    "addnode": ("Keeps connected to a peer, or no longer.", {"node": "string", "command": '"add" or "remove" or "onetry"', "v2transport": "boolean", "network": "string"}),
    "clearbanned": ("Lifts all bans.", {}),
    "disconnectnode": ("Parts from a peer.", {"address": "string", "nodeid": "number", "network": "string"}),
    "getancestryproof": ("A portable proof that one tip is an ancestor of another.", {"ancestor": "number or string", "descendant": "number or string", "network": "string"}),
    "getbeaconheaderproof": ("A portable proof of a beacon chain's header.", {"header": '"finalized" or "optimistic"', "format": '"hex" or "json"', "network": "string"}),
    "getbestblockhash": ("The hash of the best header.", {"network": "string"}),
    "getblockchaininfo": ("The state of one chain.", {"network": "string"}),
    "getblockcount": ("The height of the best header.", {"network": "string"}),
    "getblockfilter": ("The compact filter of a block, from peers.", {"blockhash": "string", "filtertype": "string", "network": "string"}),
    "getblockhash": ("The hash at a height.", {"height": "number", "network": "string"}),
    "getblockheader": ("A header by its hash.", {"blockhash": "string", "verbose": "boolean", "network": "string"}),
    "getchaintips": ("The best chain and its competitors.", {"network": "string"}),
    "getcheckpoint": ("A trust start for another node.", {"height": "number", "network": "string"}),
    "getconfirmations": ("How deep a block, or a proven transaction, lies.", {"block": "number or string", "proof": "string", "network": "string"}),
    "getconnectioncount": ("How many peers are connected.", {"network": "string"}),
    "getevents": ("What happened, from the durable log.", {"cursor": "number", "limit": "number", "network": "string"}),
    "getfinalizedheader": ("The newest finalized header of a beacon chain.", {"block": "number or string", "network": "string", "number": "number or string", "hash": "number or string"}),
    "getheaderproof": ("A portable proof of a header.", {"block": "number or string", "cp_height": "number", "network": "string", "height": "number or string", "hash": "number or string"}),
    "getheaderproofs": ("A portable proof of many headers at once.", {"blocks": "array", "cp_height": "number", "format": '"json" or "hex" or "columns"', "network": "string"}),
    "getnetworkinfo": ("The state of the connections.", {"network": "string"}),
    "getnodeinfo": ("Identity and addresses of this node.", {}),
    "getoptimisticheader": ("The newest signed header of a beacon chain.", {"network": "string"}),
    "getpeerinfo": ("The connected peers.", {"network": "string"}),
    "getplugins": ("The plugins, and what became of them.", {}),
    "getsyncinfo": ("How the synchronisation goes.", {"network": "string"}),
    "gettxoutproof": ("A proof that a block holds transactions.", {"txids": "array", "blockhash": "string", "network": "string"}),
    "gettxproof": ("A portable proof of a transaction.", {"txid": "string", "block": "number or string", "cp_height": "number", "network": "string"}),
    "help": ("All methods, or one of them.", {"command": "string"}),
    "importheaders": ("Checks and commits headers.", {"headers": "string", "network": "string"}),
    "listbanned": ("The bans in force.", {}),
    "listwatches": ("The watches that have not ended.", {}),
    "reload": ("Reads the configuration again.", {}),
    "rpc.discover": ("An OpenRPC document of all methods.", {}),
    "setban": ("Bans an address, a network or a peer, or lifts it.", {"subnet": "string", "command": '"add" or "remove"', "bantime": "number", "absolute": "boolean"}),
    "stop": ("Ends the daemon.", {}),
    "unwatch": ("Ends a watch.", {"id": "number"}),
    "uptime": ("Seconds since the start.", {}),
    "verifyaccountproof": ("Checks an account or storage proof.", {"proof": "object", "block": "number or string", "network": "string"}),
    "verifyheaderproof": ("Checks a proof.", {"bundle": "string or object"}),
    "verifytxoutproof": ("The transactions that a proof proves.", {"proof": "string", "network": "string"}),
    "waitforblockheight": ("Answers when the chain is that high.", {"height": "number", "timeout": "number", "network": "string"}),
    "waitfornewblock": ("Answers when the tip is another.", {"timeout": "number", "current_tip": "string", "network": "string"}),
    "watch": ("Tells once something has happened to a block, a transaction, or a script.", {"kind": '"confirmations" or "time" or "reorg" or "script"', "hash": "string", "confirmations": "number", "time": "number", "txid": "string", "scripts": "array", "addresses": "array", "since": "number", "network": "string"}),
    "why": ("What believing a block rests on.", {"block": "number or string", "network": "string"}),
}
"""Method: (summary, type as JSON readers know it by parameter)."""
NOT_REPEATED = frozenset({"addnode", "clearbanned", "disconnectnode", "importheaders", "reload", "setban", "stop", "unwatch", "watch"})
"""Methods that a client must not call twice where it is not known what became of the first time."""
