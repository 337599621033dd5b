"""Proofs of transactions, against the header's Merkle root with hashlib alone."""

from __future__ import annotations

from hashlib import sha256

import pytest
import trio
from blocks import In, MadeChain, Tx, real
from electrum_live import Live, electrum
from small_node import SmallNode, mainnet

from spvnode.bitcoin.block import parse_block
from spvnode.electrum.limits import MAX_CACHED_BLOCKS, MAX_IN_FLIGHT
from spvnode.types import Hash32

SMALL = Tx((In(b"\x33" * 32),), (bytes(4),))
OTHERS = tuple(Tx((In(bytes((i,)) * 32, i, b"\x51"),), (b"\x52",)) for i in range(1, 12))
MERKLE = "blockchain.transaction.get_merkle"
POSITION = "blockchain.transaction.id_from_pos"


def double(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def root_of(txid: str, position: int, merkle: list[str]) -> bytes:
    node = bytes.fromhex(txid)[::-1]
    for sibling in (bytes.fromhex(one)[::-1] for one in merkle):
        node = double(sibling + node if position & 1 else node + sibling)
        position >>= 1
    return node


@pytest.fixture
def chain() -> MadeChain:
    made = MadeChain()
    made.extend()
    made.extend([*OTHERS, SMALL])
    for _ in range(MAX_CACHED_BLOCKS):
        made.extend()
    return made


@pytest.fixture
def node(chain: MadeChain) -> SmallNode:
    """Regtest; block 2 holds 13 transactions, the last of 64 bytes."""
    node = SmallNode("regtest")
    node.add("regtest", chain.headers)
    node.blocks = {double(raw[:80]): raw for raw in chain.blocks}
    return node


def test_every_transaction_of_a_block(node: SmallNode, chain: MadeChain) -> None:
    raw = chain.blocks[1]
    txids = [txid[::-1].hex() for txid in parse_block(raw).txids]

    async def main() -> None:
        async with electrum(node, network="regtest") as live:
            client = await live.client()
            for position, txid in enumerate(txids[:-1]):
                found = await client.ask(MERKLE, txid, 2)
                assert (found["block_height"], found["pos"]) == (2, position)
                assert root_of(txid, position, found["merkle"]) == raw[36:68]
                assert await client.ask(POSITION, 2, position) == txid
                proven = await client.ask(POSITION, height=2, tx_pos=position, merkle=True)
                assert proven == {"tx_hash": txid, "merkle": found["merkle"]}
            assert node.fetched == 1
            code, words = await client.ask(MERKLE, txids[-1], 2)
            assert (code, "64 bytes" in words) == (1, True)
            assert await client.ask(POSITION, 2, 12) == txids[-1]
            assert await client.ask(POSITION, 2, 13) == (1, "no tx at position 13 in block at height 2")

    trio.run(main)


def test_a_real_block() -> None:
    raw = real("bcoin_block1.raw")
    node = mainnet(20)
    node.blocks[double(raw[:80])] = raw

    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            txid = raw[36:68][::-1].hex()
            assert await client.ask(MERKLE, txid, 1) == {"block_height": 1, "merkle": [], "pos": 0}
            assert await client.ask(POSITION, 1, 0, True) == {"tx_hash": txid, "merkle": []}

    trio.run(main)


def test_what_cannot_be_proven_is_told(node: SmallNode) -> None:
    node.blocks.pop(node.real["regtest"].block_hash(3))

    async def main() -> None:
        async with electrum(node, network="regtest") as live:
            client = await live.client()
            assert await client.ask(MERKLE, "00" * 32, 2) == (1, f"tx {'00' * 32} not in block at height 2")
            code, words = await client.ask(MERKLE, "00" * 32, 3)
            assert (code, "asked in vain" in words) == (2, True)
            assert (await client.ask(MERKLE, "00" * 32, 99))[0] == 1
            for wrong in ("00", "zz" * 32, 5, None):
                assert (await client.ask(MERKLE, wrong, 2))[0] == -32602
            assert (await client.ask(POSITION, 2, -1))[0] == -32602
            assert (await client.ask(POSITION, 2, 0, 1))[0] == -32602

    trio.run(main)


def test_the_last_few_blocks_are_remembered(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node, network="regtest") as live:
            client = await live.client()
            for height in range(1, MAX_CACHED_BLOCKS + 2):
                for _ in range(2):
                    assert len(await client.ask(POSITION, height, 0)) == 64
            assert node.fetched == MAX_CACHED_BLOCKS + 1
            await client.ask(POSITION, 1, 0)
            assert node.fetched == MAX_CACHED_BLOCKS + 2

    trio.run(main)


class Held(SmallNode):
    """Gives blocks once it may."""

    def __init__(self) -> None:
        super().__init__("regtest")
        self.may = trio.Event()

    async def fetch_block(self, network: str, block_hash: Hash32) -> bytes:
        await self.may.wait()
        return await super().fetch_block(network, block_hash)


def held(chain: MadeChain) -> Held:
    node = Held()
    node.add("regtest", chain.headers)
    node.blocks = {double(raw[:80]): raw for raw in chain.blocks}
    return node


def test_pings_are_answered_while_a_block_is_awaited(chain: MadeChain) -> None:
    async def main() -> None:
        node = held(chain)
        async with electrum(node, network="regtest") as live:
            client = await live.client()
            for at in range(MAX_IN_FLIGHT):
                await client.send({"jsonrpc": "2.0", "id": f"slow{at}", "method": POSITION, "params": [at + 1, 0]})
            assert await client.ask("server.ping") is None
            # One more than may wait: until a block comes nothing behind it is read.
            await client.send({"jsonrpc": "2.0", "id": "last", "method": POSITION, "params": [1, 0]})
            await client.send({"jsonrpc": "2.0", "id": "ping", "method": "server.ping"})
            with trio.move_on_after(0.3) as silence:
                await client.line()
            assert silence.cancelled_caught
            node.may.set()
            found = {(await client.line())["id"] for _ in range(MAX_IN_FLIGHT + 2)}
            assert found == {"slow0", "slow1", "slow2", "slow3", "last", "ping"}

    trio.run(main)


def test_a_block_that_was_reorganized_away_meanwhile_proves_nothing(chain: MadeChain) -> None:
    other = MadeChain()
    for at in range(len(chain.blocks) + 1):
        other.extend(pays=b"\x51" + bytes((at,)))

    async def main() -> None:
        node = held(chain)
        async with electrum(node, network="regtest") as live:
            client = await live.client()
            await client.send({"jsonrpc": "2.0", "id": "a", "method": POSITION, "params": [2, 0]})
            assert await client.ask("server.ping") is None
            node.add("regtest", other.headers)
            node.may.set()
            code, words = await client.answer("a")
            assert (code, "has changed meanwhile" in words) == (2, True)

    trio.run(main)


def test_an_end_of_the_client_waits_for_what_it_asked(chain: MadeChain) -> None:
    async def main() -> None:
        node = held(chain)
        async with electrum(node, network="regtest") as live, trio.open_nursery() as nursery:
            nursery.start_soon(ask_and_end, live)
            await trio.sleep(0.05)
            node.may.set()

    async def ask_and_end(live: Live) -> None:
        found = await live.exchange(b'{"jsonrpc":"2.0","id":1,"method":"%s","params":[1,0]}\n' % POSITION.encode())
        assert b'"result"' in found

    trio.run(main)
