"""Clients of Bitcoin Core from PyPI, unchanged, against a daemon with mainnet's headers: python-bitcoinlib finds it as
it finds bitcoind, by bitcoin.conf and the cookie; bitcoinrpc speaks JSON-RPC 2.0 by httpx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import bitcoin.rpc
import pytest
from bitcoin.core import CBlockHeader, b2lx, lx
from bitcoinrpc import BitcoinRPC, RPCError

from tests.support.daemons import Daemon
from tests.support.second_verifier import check
from tests.support.vectors import unpacked

pytestmark = pytest.mark.interop

HASH_1 = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"


def port_of(daemon: Daemon) -> int:
    """Where it told its log that the RPC listens."""
    line = next(line for line in daemon.log().splitlines() if "rpc listens" in line)
    return int(str(json.loads(line)["tcp"][0]).rpartition(":")[2])


@pytest.fixture
def conf(mainnet: Daemon, tmp_path: Path) -> str:
    """A bitcoin.conf that names the daemon's folder and port, as for bitcoind."""
    file = tmp_path / "bitcoin.conf"
    file.write_text(f"datadir={mainnet.folder}\nrpcport={port_of(mainnet)}\nrpcconnect=127.0.0.1\n")
    return str(file)


def test_python_bitcoinlib(mainnet: Daemon, conf: str) -> None:
    proxy = bitcoin.rpc.Proxy(btc_conf_file=conf)
    height = proxy.getblockcount()
    assert height == mainnet.call("getblockcount")
    assert b2lx(proxy.getblockhash(1)) == HASH_1
    header = proxy.getblockheader(lx(HASH_1))
    assert isinstance(header, CBlockHeader)
    assert header.GetHash() == lx(HASH_1)
    assert header.serialize() == unpacked("mainnet_0-32259.bin")[80:160]
    verbose = proxy.getblockheader(lx(HASH_1), verbose=True)
    assert b2lx(verbose["nextblockhash"]) == mainnet.call("getblockhash", 2)
    assert proxy.getbestblockhash() == proxy.getblockhash(height)
    with pytest.raises(IndexError):
        proxy.getblockhash(height + 1)
    with pytest.raises(IndexError):
        proxy.getblockheader(bytes(32))
    with pytest.raises(bitcoin.rpc.InvalidParameterError):
        proxy.call("getblockhash", -1)


def test_python_bitcoinlib_raw_and_in_batches(mainnet: Daemon, conf: str) -> None:
    raw = bitcoin.rpc.RawProxy(btc_conf_file=conf)
    assert raw.getblockchaininfo()["chain"] == "main"
    assert raw.getnetworkinfo()["subversion"].startswith("/spvnode:")
    assert raw.getconnectioncount() == len(raw.getpeerinfo()) == 0
    assert raw.getchaintips()[0]["status"] == "active"
    proof = raw.getheaderproof(1_000)
    check(proof["bundle"])
    assert raw.verifyheaderproof(proof["bundle"])["valid"] is True
    assert raw.setban("192.0.2.0/24", "add", 60) is None
    assert [row["address"] for row in raw.listbanned()] == ["192.0.2.0/24"]
    assert json.loads((mainnet.folder / "bans.json").read_text())["bans"][0]["subject"] == "192.0.2.0/24"
    assert raw.clearbanned() is None
    with pytest.raises(bitcoin.rpc.JSONRPCError, match="-24"):
        raw.addnode("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWPHprL8EPRZefMrxminyzMoCMRX6SVQLT2z5fA8gPCsom", "remove")
    calls = [{"version": "1.1", "method": "getblockhash", "params": [at], "id": at} for at in range(10)]
    assert [answer["result"] for answer in raw._batch(calls)][1] == HASH_1


def test_bitcoinrpc(mainnet: Daemon) -> None:
    user, _, password = (mainnet.folder / ".cookie").read_text().partition(":")

    async def ask() -> None:
        url = f"http://127.0.0.1:{port_of(mainnet)}"
        async with BitcoinRPC.from_config(url, (user, password)) as rpc:
            height = await rpc.getblockcount()
            assert await rpc.getbestblockhash() == await rpc.getblockhash(height)
            header: Any = await rpc.getblockheader(HASH_1)
            assert (header["height"], header["confirmations"]) == (1, height)
            assert len(str(await rpc.getblockheader(HASH_1, verbose=False))) == 160
            info = await rpc.getblockchaininfo()
            assert (info["blocks"], info["headers"]) == (height, height)
            assert (await rpc.getnetworkinfo())["connections"] == await rpc.getconnectioncount()
            assert (await rpc.getchaintips())[0]["height"] == height
            with pytest.raises(RPCError, match="Method not found"):
                await rpc.getmempoolinfo()

    run(ask())


def test_bitcoinrpc_without_the_cookie_is_turned_away(mainnet: Daemon) -> None:
    async def ask() -> int:
        async with BitcoinRPC.from_config(f"http://127.0.0.1:{port_of(mainnet)}", ("user", "guess")) as rpc:
            response = await rpc.client.post(rpc.url, content=b"{}")
            return int(response.status_code)

    assert run(ask()) == 401


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """asyncio, which is what this client runs on."""
    return asyncio.run(asked)
