"""The RPC's methods, for programs that block.

Written by `make docs` from the table of methods: do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from spvnode.rpc import results


class Methods:
    """One Python method for each of the RPC's; docs/rpc.md tells what they take and give. Results are dictionaries as
    they come, typed as ``spvnode.rpc.results`` has them."""

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of any method."""
        raise NotImplementedError

    def addnode(
        self,
        node: str,
        command: Literal["add", "remove", "onetry"],
        v2transport: bool | None = None,
        network: str | None = None,
    ) -> None:
        """Keeps connected to a peer, or no longer."""
        self.call("addnode", {"node": node, "command": command, "v2transport": v2transport, "network": network})

    def clearbanned(self) -> None:
        """Lifts all bans."""
        self.call("clearbanned")

    def disconnectnode(self, address: str | None = None, nodeid: int | None = None, network: str | None = None) -> None:
        """Parts from a peer."""
        self.call("disconnectnode", {"address": address, "nodeid": nodeid, "network": network})

    def getancestryproof(
        self, ancestor: int | str, descendant: int | str | None = None, network: str | None = None
    ) -> results.AncestryProof:
        """A portable proof that one tip is an ancestor of another."""
        found: results.AncestryProof = self.call(
            "getancestryproof", {"ancestor": ancestor, "descendant": descendant, "network": network}
        )
        return found

    def getbeaconheaderproof(
        self,
        header: Literal["finalized", "optimistic"] | None = None,
        format: Literal["hex", "json"] | None = None,
        network: str | None = None,
    ) -> results.BeaconHeaderProof:
        """A portable proof of a beacon chain's header."""
        found: results.BeaconHeaderProof = self.call(
            "getbeaconheaderproof", {"header": header, "format": format, "network": network}
        )
        return found

    def getbestblockhash(self, network: str | None = None) -> str:
        """The hash of the best header."""
        found: str = self.call("getbestblockhash", {"network": network})
        return found

    def getblockchaininfo(self, network: str | None = None) -> results.BlockchainInfo:
        """The state of one chain."""
        found: results.BlockchainInfo = self.call("getblockchaininfo", {"network": network})
        return found

    def getblockcount(self, network: str | None = None) -> int:
        """The height of the best header."""
        found: int = self.call("getblockcount", {"network": network})
        return found

    def getblockfilter(
        self, blockhash: str, filtertype: str | None = None, network: str | None = None
    ) -> results.BlockFilter:
        """The compact filter of a block, from peers."""
        found: results.BlockFilter = self.call(
            "getblockfilter", {"blockhash": blockhash, "filtertype": filtertype, "network": network}
        )
        return found

    def getblockhash(self, height: int, network: str | None = None) -> str:
        """The hash at a height."""
        found: str = self.call("getblockhash", {"height": height, "network": network})
        return found

    @overload
    def getblockheader(
        self, blockhash: str, verbose: Literal[True] | None = None, network: str | None = None
    ) -> results.OneBlockHeader: ...

    @overload
    def getblockheader(self, blockhash: str, verbose: Literal[False], network: str | None = None) -> str: ...

    @overload
    def getblockheader(
        self, blockhash: str, verbose: bool, network: str | None = None
    ) -> results.OneBlockHeader | str: ...

    def getblockheader(
        self, blockhash: str, verbose: bool | None = None, network: str | None = None
    ) -> results.OneBlockHeader | str:
        """A header by its hash."""
        found: results.OneBlockHeader | str = self.call(
            "getblockheader", {"blockhash": blockhash, "verbose": verbose, "network": network}
        )
        return found

    def getchaintips(self, network: str | None = None) -> list[results.ChainTip]:
        """The best chain and its competitors."""
        found: list[results.ChainTip] = self.call("getchaintips", {"network": network})
        return found

    def getcheckpoint(self, height: int, network: str | None = None) -> results.Checkpoint:
        """A trust start for another node."""
        found: results.Checkpoint = self.call("getcheckpoint", {"height": height, "network": network})
        return found

    def getconfirmations(
        self, block: int | str | None = None, proof: str | None = None, network: str | None = None
    ) -> results.Confirmations:
        """How deep a block, or a proven transaction, lies."""
        found: results.Confirmations = self.call(
            "getconfirmations", {"block": block, "proof": proof, "network": network}
        )
        return found

    def getconnectioncount(self, network: str | None = None) -> int:
        """How many peers are connected."""
        found: int = self.call("getconnectioncount", {"network": network})
        return found

    def getevents(
        self, cursor: int | None = None, limit: int | None = None, network: str | None = None
    ) -> results.Events:
        """What happened, from the durable log."""
        found: results.Events = self.call("getevents", {"cursor": cursor, "limit": limit, "network": network})
        return found

    def getfinalizedheader(self, block: int | str | None = None, network: str | None = None) -> results.FinalizedHeader:
        """The newest finalized header of a beacon chain."""
        found: results.FinalizedHeader = self.call("getfinalizedheader", {"block": block, "network": network})
        return found

    def getheaderproof(
        self, block: int | str, cp_height: int | None = None, network: str | None = None
    ) -> results.HeaderProof:
        """A portable proof of a header."""
        found: results.HeaderProof = self.call(
            "getheaderproof", {"block": block, "cp_height": cp_height, "network": network}
        )
        return found

    def getheaderproofs(
        self,
        blocks: list[int | str],
        cp_height: int | None = None,
        format: Literal["json", "hex", "columns"] | None = None,
        network: str | None = None,
    ) -> results.HeaderProofs:
        """A portable proof of many headers at once."""
        found: results.HeaderProofs = self.call(
            "getheaderproofs", {"blocks": blocks, "cp_height": cp_height, "format": format, "network": network}
        )
        return found

    def getnetworkinfo(self, network: str | None = None) -> results.NetworkInfo:
        """The state of the connections."""
        found: results.NetworkInfo = self.call("getnetworkinfo", {"network": network})
        return found

    def getnodeinfo(self) -> results.NodeInfo:
        """Identity and addresses of this node."""
        found: results.NodeInfo = self.call("getnodeinfo")
        return found

    def getoptimisticheader(self, network: str | None = None) -> results.OptimisticHeader:
        """The newest signed header of a beacon chain."""
        found: results.OptimisticHeader = self.call("getoptimisticheader", {"network": network})
        return found

    def getpeerinfo(self, network: str | None = None) -> list[results.PeerInfo]:
        """The connected peers."""
        found: list[results.PeerInfo] = self.call("getpeerinfo", {"network": network})
        return found

    def getplugins(self) -> list[results.PluginState]:
        """The plugins, and what became of them."""
        found: list[results.PluginState] = self.call("getplugins")
        return found

    def getsyncinfo(self, network: str | None = None) -> results.SyncInfo:
        """How the synchronisation goes."""
        found: results.SyncInfo = self.call("getsyncinfo", {"network": network})
        return found

    def gettxoutproof(self, txids: list[str], blockhash: str | None = None, network: str | None = None) -> str:
        """A proof that a block holds transactions."""
        found: str = self.call("gettxoutproof", {"txids": txids, "blockhash": blockhash, "network": network})
        return found

    def gettxproof(
        self, txid: str, block: int | str, cp_height: int | None = None, network: str | None = None
    ) -> results.TxProof:
        """A portable proof of a transaction."""
        found: results.TxProof = self.call(
            "gettxproof", {"txid": txid, "block": block, "cp_height": cp_height, "network": network}
        )
        return found

    def help(self, command: str | None = None) -> str:
        """All methods, or one of them."""
        found: str = self.call("help", {"command": command})
        return found

    def importheaders(self, headers: str, network: str | None = None) -> results.Imported:
        """Checks and commits headers."""
        found: results.Imported = self.call("importheaders", {"headers": headers, "network": network})
        return found

    def listbanned(self) -> list[results.Banned]:
        """The bans in force."""
        found: list[results.Banned] = self.call("listbanned")
        return found

    def listwatches(self) -> list[results.WatchEntry]:
        """The watches that have not ended."""
        found: list[results.WatchEntry] = self.call("listwatches")
        return found

    def reload(self) -> results.Reloaded:
        """Reads the configuration again."""
        found: results.Reloaded = self.call("reload")
        return found

    def rpc_discover(self) -> results.OpenRpc:
        """An OpenRPC document of all methods."""
        found: results.OpenRpc = self.call("rpc.discover")
        return found

    def setban(
        self, subnet: str, command: Literal["add", "remove"], bantime: int | None = None, absolute: bool | None = None
    ) -> None:
        """Bans an address, a network or a peer, or lifts it."""
        self.call("setban", {"subnet": subnet, "command": command, "bantime": bantime, "absolute": absolute})

    def stop(self) -> str:
        """Ends the daemon."""
        found: str = self.call("stop")
        return found

    def unwatch(self, id: int) -> bool:
        """Ends a watch."""
        found: bool = self.call("unwatch", {"id": id})
        return found

    def uptime(self) -> int:
        """Seconds since the start."""
        found: int = self.call("uptime")
        return found

    def verifyaccountproof(
        self, proof: Mapping[str, Any], block: int | str | None = None, network: str | None = None
    ) -> results.AccountVerdict:
        """Checks an account or storage proof."""
        found: results.AccountVerdict = self.call(
            "verifyaccountproof", {"proof": proof, "block": block, "network": network}
        )
        return found

    def verifyheaderproof(self, bundle: str | Mapping[str, Any]) -> results.Verdict:
        """Checks a proof."""
        found: results.Verdict = self.call("verifyheaderproof", {"bundle": bundle})
        return found

    def verifytxoutproof(self, proof: str, network: str | None = None) -> list[str]:
        """The transactions that a proof proves."""
        found: list[str] = self.call("verifytxoutproof", {"proof": proof, "network": network})
        return found

    def waitforblockheight(
        self, height: int, timeout: int | None = None, network: str | None = None
    ) -> results.ReachedTip:
        """Answers when the chain is that high."""
        found: results.ReachedTip = self.call(
            "waitforblockheight", {"height": height, "timeout": timeout, "network": network}
        )
        return found

    def waitfornewblock(
        self, timeout: int | None = None, current_tip: str | None = None, network: str | None = None
    ) -> results.ReachedTip:
        """Answers when the tip is another."""
        found: results.ReachedTip = self.call(
            "waitfornewblock", {"timeout": timeout, "current_tip": current_tip, "network": network}
        )
        return found

    def watch(
        self,
        kind: Literal["confirmations", "time", "reorg", "script"],
        hash: str | None = None,
        confirmations: int | None = None,
        time: int | None = None,
        txid: str | None = None,
        scripts: list[str] | None = None,
        addresses: list[str] | None = None,
        since: int | None = None,
        network: str | None = None,
    ) -> results.WatchId:
        """Tells once something has happened to a block, a transaction, or a script."""
        found: results.WatchId = self.call(
            "watch",
            {
                "kind": kind,
                "hash": hash,
                "confirmations": confirmations,
                "time": time,
                "txid": txid,
                "scripts": scripts,
                "addresses": addresses,
                "since": since,
                "network": network,
            },
        )
        return found

    def why(self, block: int | str | None = None, network: str | None = None) -> results.Reasons:
        """What believing a block rests on."""
        found: results.Reasons = self.call("why", {"block": block, "network": network})
        return found
