"""Electrum clients from registries, unchanged, against a daemon with mainnet's headers: BDK's (Rust, of wallets),
aiorpcX (what Electrum and ElectrumX themselves speak with), and mempool's (Node.js). Each hears of a new tip. And
proofs of transactions, of blocks that btcd mines and gives."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiorpcx
import bdkpython
import pytest

from tests.interop.btcd import spend
from tests.interop.btcd_nodes import Nodes
from tests.interop.js_peer import HERE, PATIENCE
from tests.support.daemons import Daemon, spvnode
from tests.support.vectors import document, unpacked

pytestmark = pytest.mark.interop

ALL = unpacked("mainnet_0-32259.bin")
FIRST = 32_000
PROOF = document("electrum/cp_height_proofs.json")["documented"]
SUBSCRIBE = "blockchain.headers.subscribe"


def hex_of(height: int) -> str:
    return ALL[height * 80 : (height + 1) * 80].hex()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Mainnet up to ``FIRST``."""
    node, file = Daemon(tmp_path / "node", "bitcoin"), tmp_path / "headers.bin"
    file.write_bytes(ALL[: (FIRST + 1) * 80])
    done = spvnode("import", str(file), "--network", "bitcoin", "--datadir", str(node.folder))
    assert done.returncode == 0, done.stderr
    node.start("--no-mesh", "--electrum", "127.0.0.1:0")
    node.wait_height(FIRST)
    yield node
    assert node.stop() == 0
    assert '"level":"error"' not in node.log()


def port_of(node: Daemon) -> int:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = next((line for line in node.log().splitlines() if "electrum listens" in line), None)
        if found is not None:
            return int(str(json.loads(found)["tcp"][0]).rpartition(":")[2])
        time.sleep(0.05)
    raise AssertionError(node.log())


def grow(node: Daemon, height: int) -> None:
    """Up to ``height``."""
    tip = node.poll()
    node.call("importheaders", ALL[(tip + 1) * 80 : (height + 1) * 80].hex())


def test_bdk(daemon: Daemon) -> None:
    client: Any = bdkpython.ElectrumClient(f"tcp://127.0.0.1:{port_of(daemon)}")
    features = client.server_features()
    assert str(features.genesis_hash) == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert (features.protocol_min, features.protocol_max, features.hash_function) == ("1.4", "1.6", "sha256")
    client.ping()
    assert client.block_headers_subscribe().height == FIRST
    header = client.block_header(5)
    assert (header.nonce, header.bits, header.time) == (2011431709, 0x1D00FFFF, 1231471428)
    for asked in (lambda: client.estimate_fee(2), client.relay_fee):
        with pytest.raises(bdkpython.ElectrumError.Protocol, match="is not served: this is a node of headers"):
            asked()
    grow(daemon, FIRST + 1)
    told = None
    deadline = time.monotonic() + PATIENCE
    while told is None and time.monotonic() < deadline:
        time.sleep(0.05)
        client.ping()  # by which the client reads what has come
        told = client.block_headers_pop()
    assert told is not None
    assert told.height == FIRST + 1


class Listener(aiorpcx.RPCSession):  # type: ignore[misc]  # it is not typed
    """Keeps what it is told."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.told: asyncio.Queue[Any] = asyncio.Queue()

    async def handle_request(self, request: Any) -> None:
        assert request.method == SUBSCRIBE
        self.told.put_nowait(request.args)


def test_aiorpcx(daemon: Daemon) -> None:
    async def main() -> None:
        async with aiorpcx.connect_rs("127.0.0.1", port_of(daemon), session_factory=Listener) as session:
            version = await session.send_request("server.version", ("electrum/4.6", ["1.4", "1.6"]))
            assert version[1] == "1.6"
            assert await session.send_request(SUBSCRIBE) == {"height": FIRST, "hex": hex_of(FIRST)}
            found = await session.send_request("blockchain.block.header", (5, 8))
            assert found == {key: PROOF[key] for key in ("branch", "header", "root")}
            run = await session.send_request("blockchain.block.headers", (2_016, 2_016, FIRST))
            assert run["headers"] == [hex_of(height) for height in range(2_016, 4_032)]
            async with session.send_batch() as batch:
                for height in range(20):
                    batch.add_request("blockchain.block.header", (height,))
            assert list(batch.results) == [hex_of(height) for height in range(20)]
            with pytest.raises(aiorpcx.RPCError, match="is not served"):
                await session.send_request("mempool.get_info")
            with pytest.raises(aiorpcx.RPCError, match="block 5 cannot be had now"):
                await session.send_request("blockchain.transaction.get_merkle", ("00" * 32, 5))
            for height in (FIRST + 1, FIRST + 5):
                await asyncio.to_thread(grow, daemon, height)
                told = await asyncio.wait_for(session.told.get(), PATIENCE)
                assert told == [{"height": height, "hex": hex_of(height)}]

    asyncio.run(main())


def test_mempools_client(daemon: Daemon) -> None:
    command = ["node", str(HERE / "electrum.mjs"), str(port_of(daemon))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        found = json.loads(client.stdout.readline())
        assert found["version"][1] == "1.6"
        assert found["tip"] == {"height": FIRST, "hex": hex_of(FIRST)}
        assert found["features"]["headers_only"] is True
        assert "light node" in found["banner"]
        assert found["peers"] == []
        assert found["proof"]["root"] == PROOF["root"]
        assert found["headers"]["headers"] == [hex_of(height) for height in (100, 101, 102)]
        assert [one["result"] for one in found["batch"]] == [hex_of(height) for height in (0, 1, 2)]
        assert [found[key]["code"] for key in ("fee", "merkle", "history")] == [-32601, 2, -32601]
        grow(daemon, FIRST + 1)
        assert json.loads(client.stdout.readline()) == {"told": [{"height": FIRST + 1, "hex": hex_of(FIRST + 1)}]}
        client.communicate("")
        assert client.returncode == 0


def double(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def test_transactions_of_btcds_blocks(nodes: Nodes) -> None:
    """The daemon has the headers; the block that each proof is made of it asks btcd for."""
    btcd = nodes.btcd(blocks=120)
    for height in range(1, 8):
        (coinbase,) = btcd.call("getblock", btcd.call("getblockhash", height), 1)["tx"]
        btcd.call("sendrawtransaction", spend(coinbase, outputs=height))
    node = nodes.follower(btcd.address, "--electrum", "127.0.0.1:0")
    node.wait_height(120)

    async def main() -> None:
        async with aiorpcx.connect_rs("127.0.0.1", port_of(node), session_factory=Listener) as session:
            await session.send_request("server.version", ("electrum/4.6", "1.4"))
            assert (await session.send_request(SUBSCRIBE))["height"] == 120
            (block_hash,) = await asyncio.to_thread(btcd.mine, 1)
            ((told,),) = [await asyncio.wait_for(session.told.get(), PATIENCE)]
            assert (told["height"], double(bytes.fromhex(told["hex"]))[::-1].hex()) == (121, block_hash)
            txids = (await asyncio.to_thread(btcd.call, "getblock", block_hash, 1))["tx"]
            assert len(txids) == 8
            for position, txid in enumerate(txids):
                found = await session.send_request("blockchain.transaction.get_merkle", (txid, 121))
                assert (found["block_height"], found["pos"]) == (121, position)
                node_hash, at = bytes.fromhex(txid)[::-1], position
                for sibling in (bytes.fromhex(one)[::-1] for one in found["merkle"]):
                    node_hash = double(sibling + node_hash if at & 1 else node_hash + sibling)
                    at >>= 1
                assert node_hash == bytes.fromhex(told["hex"])[36:68]
                by_position = await session.send_request("blockchain.transaction.id_from_pos", (121, position, True))
                assert by_position == {"tx_hash": txid, "merkle": found["merkle"]}

    asyncio.run(main())
