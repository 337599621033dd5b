# ruff: noqa: ASYNC109
"""The RPC's methods, for trio and asyncio.

Written by `make docs` from the table of methods: do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from spvnode.rpc import results


class AsyncMethods:
    """One Python method for each of the RPC's; docs/rpc.md tells what they take and give. Results are dictionaries as
    they come, typed as ``spvnode.rpc.results`` has them."""

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of any method."""
        raise NotImplementedError

    async def addnode(
        self,
        node: str,
        command: Literal["add", "remove", "onetry"],
        v2transport: bool | None = None,
        network: str | None = None,
    ) -> None:
        """Keeps connected to a peer, or no longer."""
        await self.call("addnode", {"node": node, "command": command, "v2transport": v2transport, "network": network})

    async def clearbanned(self) -> None:
        """Lifts all bans."""
        await self.call("clearbanned")

    async def disconnectnode(
        self, address: str | None = None, nodeid: int | None = None, network: str | None = None
    ) -> None:
        """Parts from a peer."""
        await self.call("disconnectnode", {"address": address, "nodeid": nodeid, "network": network})

    async def getancestryproof(
        self, ancestor: int | str, descendant: int | str | None = None, network: str | None = None
    ) -> results.AncestryProof:
        """A portable proof that one tip is an ancestor of another."""
        found: results.AncestryProof = await self.call(
            "getancestryproof", {"ancestor": ancestor, "descendant": descendant, "network": network}
        )
        return found

    async def getbeaconheaderproof(
        self,
        header: Literal["finalized", "optimistic"] | None = None,
        format: Literal["hex", "json"] | None = None,
        network: str | None = None,
    ) -> results.BeaconHeaderProof:
        """A portable proof of a beacon chain's header."""
        found: results.BeaconHeaderProof = await self.call(
            "getbeaconheaderproof", {"header": header, "format": format, "network": network}
        )
        return found

    async def getbestblockhash(self, network: str | None = None) -> str:
        """The hash of the best header."""
        found: str = await self.call("getbestblockhash", {"network": network})
        return found

    async def getblockchaininfo(self, network: str | None = None) -> results.BlockchainInfo:
        """The state of one chain."""
        found: results.BlockchainInfo = await self.call("getblockchaininfo", {"network": network})
        return found

    async def getblockcount(self, network: str | None = None) -> int:
        """The height of the best header."""
        found: int = await self.call("getblockcount", {"network": network})
        return found

    async def getblockfilter(
        self, blockhash: str, filtertype: str | None = None, network: str | None = None
    ) -> results.BlockFilter:
        """The compact filter of a block, from peers."""
        found: results.BlockFilter = await self.call(
            "getblockfilter", {"blockhash": blockhash, "filtertype": filtertype, "network": network}
        )
        return found

    async def getblockhash(self, height: int, network: str | None = None) -> str:
        """The hash at a height."""
        found: str = await self.call("getblockhash", {"height": height, "network": network})
        return found

    @overload
    async def getblockheader(
        self, blockhash: str, verbose: Literal[True] | None = None, network: str | None = None
    ) -> results.OneBlockHeader: ...

    @overload
    async def getblockheader(self, blockhash: str, verbose: Literal[False], network: str | None = None) -> str: ...

    @overload
    async def getblockheader(
        self, blockhash: str, verbose: bool, network: str | None = None
    ) -> results.OneBlockHeader | str: ...

    async def getblockheader(
        self, blockhash: str, verbose: bool | None = None, network: str | None = None
    ) -> results.OneBlockHeader | str:
        """A header by its hash."""
        found: results.OneBlockHeader | str = await self.call(
            "getblockheader", {"blockhash": blockhash, "verbose": verbose, "network": network}
        )
        return found

    async def getchaintips(self, network: str | None = None) -> list[results.ChainTip]:
        """The best chain and its competitors."""
        found: list[results.ChainTip] = await self.call("getchaintips", {"network": network})
        return found

    async def getcheckpoint(self, height: int, network: str | None = None) -> results.Checkpoint:
        """A trust start for another node."""
        found: results.Checkpoint = await self.call("getcheckpoint", {"height": height, "network": network})
        return found

    async def getconfirmations(
        self, block: int | str | None = None, proof: str | None = None, network: str | None = None
    ) -> results.Confirmations:
        """How deep a block, or a proven transaction, lies."""
        found: results.Confirmations = await self.call(
            "getconfirmations", {"block": block, "proof": proof, "network": network}
        )
        return found

    async def getconnectioncount(self, network: str | None = None) -> int:
        """How many peers are connected."""
        found: int = await self.call("getconnectioncount", {"network": network})
        return found

    async def getevents(
        self, cursor: int | None = None, limit: int | None = None, network: str | None = None
    ) -> results.Events:
        """What happened, from the durable log."""
        found: results.Events = await self.call("getevents", {"cursor": cursor, "limit": limit, "network": network})
        return found

    async def getfinalizedheader(
        self, block: int | str | None = None, network: str | None = None
    ) -> results.FinalizedHeader:
        """The newest finalized header of a beacon chain."""
        found: results.FinalizedHeader = await self.call("getfinalizedheader", {"block": block, "network": network})
        return found

    async def getheaderproof(
        self, block: int | str, cp_height: int | None = None, network: str | None = None
    ) -> results.HeaderProof:
        """A portable proof of a header."""
        found: results.HeaderProof = await self.call(
            "getheaderproof", {"block": block, "cp_height": cp_height, "network": network}
        )
        return found

    async def getheaderproofs(
        self,
        blocks: list[int | str],
        cp_height: int | None = None,
        format: Literal["json", "hex", "columns"] | None = None,
        network: str | None = None,
    ) -> results.HeaderProofs:
        """A portable proof of many headers at once."""
        found: results.HeaderProofs = await self.call(
            "getheaderproofs", {"blocks": blocks, "cp_height": cp_height, "format": format, "network": network}
        )
        return found

    async def getnetworkinfo(self, network: str | None = None) -> results.NetworkInfo:
        """The state of the connections."""
        found: results.NetworkInfo = await self.call("getnetworkinfo", {"network": network})
        return found

    async def getnodeinfo(self) -> results.NodeInfo:
        """Identity and addresses of this node."""
        found: results.NodeInfo = await self.call("getnodeinfo")
        return found

    async def getoptimisticheader(self, network: str | None = None) -> results.OptimisticHeader:
        """The newest signed header of a beacon chain."""
        found: results.OptimisticHeader = await self.call("getoptimisticheader", {"network": network})
        return found

    async def getpeerinfo(self, network: str | None = None) -> list[results.PeerInfo]:
        """The connected peers."""
        found: list[results.PeerInfo] = await self.call("getpeerinfo", {"network": network})
        return found

    async def getplugins(self) -> list[results.PluginState]:
        """The plugins, and what became of them."""
        found: list[results.PluginState] = await self.call("getplugins")
        return found

    async def getsyncinfo(self, network: str | None = None) -> results.SyncInfo:
        """How the synchronisation goes."""
        found: results.SyncInfo = await self.call("getsyncinfo", {"network": network})
        return found

    async def gettxoutproof(self, txids: list[str], blockhash: str | None = None, network: str | None = None) -> str:
        """A proof that a block holds transactions."""
        found: str = await self.call("gettxoutproof", {"txids": txids, "blockhash": blockhash, "network": network})
        return found

    async def gettxproof(
        self, txid: str, block: int | str, cp_height: int | None = None, network: str | None = None
    ) -> results.TxProof:
        """A portable proof of a transaction."""
        found: results.TxProof = await self.call(
            "gettxproof", {"txid": txid, "block": block, "cp_height": cp_height, "network": network}
        )
        return found

    async def help(self, command: str | None = None) -> str:
        """All methods, or one of them."""
        found: str = await self.call("help", {"command": command})
        return found

    async def importheaders(self, headers: str, network: str | None = None) -> results.Imported:
        """Checks and commits headers."""
        found: results.Imported = await self.call("importheaders", {"headers": headers, "network": network})
        return found

    async def listbanned(self) -> list[results.Banned]:
        """The bans in force."""
        found: list[results.Banned] = await self.call("listbanned")
        return found

    async def listwatches(self) -> list[results.WatchEntry]:
        """The watches that have not ended."""
        found: list[results.WatchEntry] = await self.call("listwatches")
        return found

    async def reload(self) -> results.Reloaded:
        """Reads the configuration again."""
        found: results.Reloaded = await self.call("reload")
        return found

    async def rpc_discover(self) -> results.OpenRpc:
        """An OpenRPC document of all methods."""
        found: results.OpenRpc = await self.call("rpc.discover")
        return found

    async def setban(
        self, subnet: str, command: Literal["add", "remove"], bantime: int | None = None, absolute: bool | None = None
    ) -> None:
        """Bans an address, a network or a peer, or lifts it."""
        await self.call("setban", {"subnet": subnet, "command": command, "bantime": bantime, "absolute": absolute})

    async def stop(self) -> str:
        """Ends the daemon."""
        found: str = await self.call("stop")
        return found

    async def unwatch(self, id: int) -> bool:
        """Ends a watch."""
        found: bool = await self.call("unwatch", {"id": id})
        return found

    async def uptime(self) -> int:
        """Seconds since the start."""
        found: int = await self.call("uptime")
        return found

    async def verifyaccountproof(
        self, proof: Mapping[str, Any], block: int | str | None = None, network: str | None = None
    ) -> results.AccountVerdict:
        """Checks an account or storage proof."""
        found: results.AccountVerdict = await self.call(
            "verifyaccountproof", {"proof": proof, "block": block, "network": network}
        )
        return found

    async def verifyheaderproof(self, bundle: str | Mapping[str, Any]) -> results.Verdict:
        """Checks a proof."""
        found: results.Verdict = await self.call("verifyheaderproof", {"bundle": bundle})
        return found

    async def verifytxoutproof(self, proof: str, network: str | None = None) -> list[str]:
        """The transactions that a proof proves."""
        found: list[str] = await self.call("verifytxoutproof", {"proof": proof, "network": network})
        return found

    async def waitforblockheight(
        self, height: int, timeout: int | None = None, network: str | None = None
    ) -> results.ReachedTip:
        """Answers when the chain is that high."""
        found: results.ReachedTip = await self.call(
            "waitforblockheight", {"height": height, "timeout": timeout, "network": network}
        )
        return found

    async def waitfornewblock(
        self, timeout: int | None = None, current_tip: str | None = None, network: str | None = None
    ) -> results.ReachedTip:
        """Answers when the tip is another."""
        found: results.ReachedTip = await self.call(
            "waitfornewblock", {"timeout": timeout, "current_tip": current_tip, "network": network}
        )
        return found

    async def watch(
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
        found: results.WatchId = await self.call(
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

    async def why(self, block: int | str | None = None, network: str | None = None) -> results.Reasons:
        """What believing a block rests on."""
        found: results.Reasons = await self.call("why", {"block": block, "network": network})
        return found
