"""gettxoutproof, verifytxoutproof and getblockfilter: Core's shapes and errors, over blocks made and real."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import trio
from blocks import In, MadeChain, Tx, bip158, key, signature
from small_node import SmallNode

from merkle.pure import sha256d
from merkle.txtree import MAX_PROOF, MerkleBlock, PartialTree
from spvnode.bitcoin.basicfilter import build
from spvnode.bitcoin.block import parse_block
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS
from spvnode.types import Hash32, hash_hex
from spvnode.view import BlockFilter

WITNESSED = Tx((In(b"\x11" * 32, 0, b"", (signature(1), key(1))),), (b"\x51",))
SMALL = Tx((In(b"\x33" * 32),), (bytes(4),))
OTHERS = tuple(Tx((In(bytes((i,)) * 32, i, b"\x51"),), (b"\x52",)) for i in range(1, 6))


def ask(node: SmallNode, method: str, *params: object, **named: object) -> Any:
    """The result of a call; an error comes as (code, message)."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": named or list(params)}
    answer = json.loads(trio.run(Dispatcher(node, METHODS, Metrics()).answer, json.dumps(body).encode()).body)
    return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])


@pytest.fixture
def chain() -> MadeChain:
    made = MadeChain()
    made.extend()
    made.extend([WITNESSED, *OTHERS, SMALL])
    return made


@pytest.fixture
def node(chain: MadeChain) -> SmallNode:
    """Regtest: block 1 is empty, block 2 holds eight transactions; a peer gives both."""
    node = SmallNode("regtest")
    node.add("regtest", chain.headers)
    node.blocks = {sha256d(raw[:80]): raw for raw in chain.blocks}
    return node


def named(raw: bytes) -> str:
    return hash_hex(sha256d(raw[:80]))


# -- gettxoutproof


def test_a_proof_is_what_core_gives(node: SmallNode, chain: MadeChain) -> None:
    txids = parse_block(chain.blocks[1]).txids
    chosen = [hash_hex(txids[3]), hash_hex(txids[1])]
    proof = ask(node, "gettxoutproof", chosen, named(chain.blocks[1]))
    expected = MerkleBlock(chain.blocks[1][:80], PartialTree.build(txids, [txids[1], txids[3]])).encode()
    assert proof == expected.hex()
    assert ask(node, "gettxoutproof", txids=chosen[::-1], blockhash=named(chain.blocks[1])) == proof
    assert ask(node, "verifytxoutproof", proof) == [hash_hex(txids[1]), hash_hex(txids[3])]


def test_errors_of_gettxoutproof(node: SmallNode, chain: MadeChain) -> None:
    block, txid = named(chain.blocks[1]), WITNESSED.txid[::-1].hex()
    unknown = "ab" * 32
    for params, error in [
        (([], block), (-8, "Parameter 'txids' cannot be empty")),
        (([txid, txid], block), (-8, f"Invalid parameter, duplicated txid: {txid}")),
        ((["abc"], block), (-8, "txid: must be of length 64 (not 3, for 'abc')")),
        (([txid], unknown), (-5, "Block not found")),
        (([unknown], block), (-5, "Not all transactions found in specified or retrieved block")),
        (([txid, unknown], block), (-5, "Not all transactions found in specified or retrieved block")),
        (([txid],), (-5, "blockhash: needed, this node has no index of transactions")),
        (([txid] * 16_667, block), (-8, "txids: 16667 are more than a block holds (16666)")),
    ]:
        assert ask(node, "gettxoutproof", *params) == error
    assert ask(node, "gettxoutproof", txid, block)[0] == -3


def test_a_transaction_of_64_bytes_gets_no_proof(node: SmallNode, chain: MadeChain) -> None:
    code, message = ask(node, "gettxoutproof", [hash_hex(SMALL.txid)], named(chain.blocks[1]))
    assert code == -1
    assert "64 bytes" in message


def test_no_peer_gives_the_block(node: SmallNode, chain: MadeChain) -> None:
    node.blocks.clear()
    txid = hash_hex(WITNESSED.txid)
    assert ask(node, "gettxoutproof", [txid], named(chain.blocks[1])) == (
        -1,
        "Block not available (asked in vain: btc:127.0.0.1:1 (not-found))",
    )


def test_a_block_on_a_side_branch_can_be_proven(node: SmallNode, chain: MadeChain) -> None:
    rival = MadeChain(chain.blocks[:1], chain.prevouts[:1])
    rival.extend([OTHERS[0]])
    node.add("regtest", rival.headers[80:])
    node.blocks[sha256d(rival.blocks[1][:80])] = rival.blocks[1]
    assert ask(node, "getbestblockhash") == named(chain.blocks[1])
    proof = ask(node, "gettxoutproof", [hash_hex(OTHERS[0].txid)], named(rival.blocks[1]))
    assert proof.startswith(rival.blocks[1][:80].hex())
    assert ask(node, "verifytxoutproof", proof) == (-5, "Block not found in chain")


# -- verifytxoutproof


def proof_of(raw: bytes, *indices: int) -> MerkleBlock:
    txids = parse_block(raw).txids
    return MerkleBlock(raw[:80], PartialTree.build(txids, [txids[i] for i in indices]))


def test_a_proof_that_does_not_hold_proves_nothing(node: SmallNode, chain: MadeChain) -> None:
    good = proof_of(chain.blocks[1], 2)
    tree = good.tree
    for broken in (
        replace(tree, hashes=(bytes(32), *tree.hashes[1:])),
        replace(tree, total=200),
        replace(tree, flags=b"\xff"),
    ):
        assert ask(node, "verifytxoutproof", replace(good, tree=broken).encode().hex()) == []
    assert node.fetched == 0  # what is wrong by itself costs no peer a block
    fewer = replace(good, tree=replace(tree, total=tree.total - 1))
    assert fewer.prove().root == chain.blocks[1][36:68]  # this is not
    assert ask(node, "verifytxoutproof", fewer.encode().hex()) == []
    assert node.fetched == 1


def test_an_inner_node_is_no_transaction(node: SmallNode, chain: MadeChain) -> None:
    """CVE-2017-12842: a proof of half as many transactions, each an inner node. It leads to the root."""
    txids = parse_block(chain.blocks[1]).txids
    assert len(txids) == 8
    inner = [sha256d(txids[i] + txids[i + 1]) for i in range(0, 8, 2)]
    forged = MerkleBlock(chain.blocks[1][:80], PartialTree.build(inner, [inner[1]]))
    assert forged.prove().matches == ((1, inner[1]),)
    assert ask(node, "verifytxoutproof", forged.encode().hex()) == []
    assert node.fetched == 1


def test_errors_of_verifytxoutproof(node: SmallNode, chain: MadeChain) -> None:
    good = proof_of(chain.blocks[1], 2).encode().hex()
    assert ask(node, "verifytxoutproof", good + "00")[0] == -1
    assert ask(node, "verifytxoutproof", good[:-2])[0] == -1
    assert ask(node, "verifytxoutproof", "")[0] == -1
    assert ask(node, "verifytxoutproof", "zz")[0] == -8
    assert ask(node, "verifytxoutproof", "00" * (MAX_PROOF + 1))[0] == -8
    stranger = proof_of(bip158()[4].raw, 0).encode().hex()
    assert ask(node, "verifytxoutproof", stranger) == (-5, "Block not found in chain")
    node.blocks.clear()
    assert ask(node, "verifytxoutproof", good)[0] == -1


# -- getblockfilter


def test_a_filter_with_who_vouches_for_it(node: SmallNode, chain: MadeChain) -> None:
    block = parse_block(chain.blocks[0])
    data, header = build(block, []), Hash32(bytes(range(32)))
    node.filters[block.hash] = BlockFilter(data, header, ("btc:a", "btc:b"), ("btc:c",), ("btc:d",))
    reply = ask(node, "getblockfilter", named(chain.blocks[0]))
    assert list(reply)[:2] == ["filter", "header"]
    assert (reply["filter"], reply["header"]) == (data.hex(), hash_hex(header))
    assert (reply["vouched_by"], reply["disbelieved"]) == (["btc:a", "btc:b"], ["btc:c"])
    assert reply["disputed_by"] == ["btc:d"]
    assert reply["network"] == "regtest"
    assert ask(node, "getblockfilter", named(chain.blocks[0]), "basic") == reply


def test_errors_of_getblockfilter(node: SmallNode, chain: MadeChain) -> None:
    block = named(chain.blocks[0])
    assert ask(node, "getblockfilter", block, "extended") == (-5, "Unknown filtertype")
    assert ask(node, "getblockfilter", "ab" * 32) == (-5, "Block not found")
    assert ask(node, "getblockfilter", block) == (-1, "Filter not found: no peer that serves it is connected")
    rival = MadeChain(chain.blocks[:1], chain.prevouts[:1])
    rival.extend([OTHERS[0]])
    node.add("regtest", rival.headers[80:])
    assert ask(node, "getblockfilter", named(rival.blocks[1])) == (
        -5,
        "Filter not found. Block was not connected to active chain.",
    )


def test_help_tells_the_parameters(node: SmallNode) -> None:
    assert METHODS["gettxoutproof"].usage == "gettxoutproof txids ( blockhash network )"
    assert METHODS["getblockfilter"].usage == "getblockfilter blockhash ( filtertype network )"
    assert "txids" in ask(node, "help", "gettxoutproof")
