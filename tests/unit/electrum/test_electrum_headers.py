"""Headers and their proofs over a real socket: the documented example, and mainnet's first 32,260."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import trio
from electrum_live import electrum
from small_node import SmallNode, mainnet, vector
from vectors import document

from spvnode.bitcoin.params import BITCOIN
from spvnode.bitcoin.start import Checkpoint
from spvnode.electrum.limits import MAX_HEADERS
from spvnode.types import Hash32, Height

PROOFS = document("electrum/cp_height_proofs.json")
ALL = vector("mainnet_0-32259")


def double(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def root_of(header: str, height: int, branch: list[str]) -> str:
    """As the protocol's text has it, with hashlib alone."""
    node = double(bytes.fromhex(header))
    for sibling in (bytes.fromhex(one)[::-1] for one in branch):
        node = double(sibling + node if height & 1 else node + sibling)
        height >>= 1
    return node[::-1].hex()


@pytest.fixture(scope="module")
def node() -> SmallNode:
    return mainnet(32_260)


def test_proofs_are_the_documented_ones(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            for case in (PROOFS["documented"], *PROOFS["derived_from_real_headers"]):
                found = await client.ask("blockchain.block.header", case["height"], case["cp_height"])
                assert found == {key: case[key] for key in ("branch", "header", "root")}
                assert root_of(found["header"], case["height"], found["branch"]) == case["root"]
            named = await client.ask("blockchain.block.header", height=5, cp_height=8)
            assert named["root"] == PROOFS["documented"]["root"]

    trio.run(main)


def test_a_header_alone_is_hex(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            assert await client.ask("blockchain.block.header", 5) == PROOFS["documented"]["header"]
            assert await client.ask("blockchain.block.header", 0, 0) == ALL[:80].hex()
            assert await client.ask("blockchain.block.header", 32_259) == ALL[-80:].hex()

    trio.run(main)


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ([32_260], 1, "height 32260 out of range"),
        ([5, 4], 1, "header height 5 must be <= cp_height 4"),
        ([5, 32_260], 1, "must be <= chain height 32259"),
        ([], -32602, "height"),
        ([-1], -32602, ">= 0"),
        (["5"], -32602, "Expected `int`"),
        ([True], -32602, "Expected `int`"),
        ([1, 2, 3], -32602, "3 parameters, at most 2"),
        ([2**64], -32602, ""),
        ([1.5], -32602, "Expected `int`"),
    ],
)
def test_what_is_wrong_is_told(node: SmallNode, params: list[Any], code: int, words: str) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            found = await client.ask("blockchain.block.header", *params)
            assert found[0] == code
            assert words in found[1]
            assert await client.ask("server.ping") is None

    trio.run(main)


def test_runs_come_as_text_before_1_6_and_as_a_list_from_then_on(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            old, new = await live.client("1.4.2"), await live.client(["1.4", "1.6"])
            asked = ("blockchain.block.headers", 100, 2)
            assert await old.ask(*asked) == {"count": 2, "hex": ALL[8_000:8_160].hex(), "max": MAX_HEADERS}
            listed = [ALL[8_000:8_080].hex(), ALL[8_080:8_160].hex()]
            assert await new.ask(*asked) == {"count": 2, "headers": listed, "max": MAX_HEADERS}
            assert await new.ask("blockchain.block.headers", 40_000, 5) == {"count": 0, "headers": [], "max": 2016}
            assert await new.ask("blockchain.block.headers", 3, 0, 9) == {"count": 0, "headers": [], "max": 2016}

    trio.run(main)


def test_runs_are_cut_at_the_bound_and_at_the_tip_and_prove_their_last(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            found = await client.ask("blockchain.block.headers", 0, 1 << 30)
            assert found["count"] == MAX_HEADERS
            assert bytes.fromhex(found["hex"]) == ALL[: MAX_HEADERS * 80]
            found = await client.ask("blockchain.block.headers", 32_250, 2_016, 32_259)
            assert found["count"] == 10
            assert root_of(found["hex"][-160:], 32_259, found["branch"]) == found["root"]
            assert found["root"] == PROOFS["derived_from_real_headers"][-1]["root"]
            assert (await client.ask("blockchain.block.headers", 0, 10, 8))[0] == 1

    trio.run(main)


def test_a_node_from_a_checkpoint_says_what_it_has_not() -> None:
    header = ALL[2_016 * 80 : 2_017 * 80]
    start = Checkpoint(Height(2_016), Hash32(double(header)), header)
    node = SmallNode("bitcoin", checkpoints={"bitcoin": start})
    node.add("bitcoin", ALL[2_017 * 80 : 2_100 * 80])

    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            assert await client.ask("blockchain.block.header", 2_050) == ALL[2_050 * 80 : 2_051 * 80].hex()
            held = (1, "height 5 out of range: this node holds 2016 to 2099")
            assert await client.ask("blockchain.block.header", 5) == held
            assert await client.ask("blockchain.block.headers", 5, 3) == held
            code, words = await client.ask("blockchain.block.header", 2_050, 2_060)
            assert (code, words.partition(":")[0]) == (2, "no proofs")
            assert (await client.ask("server.features"))["start"]["kind"] == "checkpoint"

    trio.run(main)


def test_features_tell_the_chain_and_what_answers_rest_on(node: SmallNode) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            found = await client.ask("server.features")
            assert found["genesis_hash"] == BITCOIN.genesis_hash[::-1].hex()
            assert found["hosts"] == {"127.0.0.1": {"tcp_port": live.addresses.tcp[0].port}}
            assert (found["protocol_min"], found["protocol_max"]) == ("1.4", "1.6")
            assert (found["hash_function"], found["pruning"], found["headers_only"]) == ("sha256", None, True)
            assert (found["ready"], found["start"]["kind"]) == (True, "genesis")
            assert "no mempool" in await client.ask("server.banner")
            assert await client.ask("server.donation_address") == ""
            assert await client.ask("server.peers.subscribe") == []
            assert await client.ask("server.add_peer", {"hosts": {}}) is False

    trio.run(main)


def test_before_the_chain_begins_it_says_so() -> None:
    async def main() -> None:
        node = SmallNode("bitcoin")
        node.real.clear()
        async with electrum(node) as live:
            client = await live.client()
            for method, *params in (("blockchain.headers.subscribe",), ("blockchain.block.header", 0)):
                code, words = await client.ask(method, *params)
                assert (code, "has not begun" in words) == (2, True)
            assert await client.ask("server.ping") is None

    trio.run(main)


@pytest.mark.parametrize(
    "method",
    ["blockchain.relayfee", "blockchain.estimatefee", "blockchain.scripthash.get_history", "mempool.get_info",
     "blockchain.transaction.get", "blockchain.transaction.broadcast"],
)  # fmt: skip
def test_what_a_node_of_headers_cannot_know_is_not_served(node: SmallNode, method: str) -> None:
    async def main() -> None:
        async with electrum(node) as live:
            client = await live.client()
            code, words = await client.ask(method, 6)
            assert code == -32601
            assert f"{method} is not served" in words
            assert await client.ask("server.shutdown") == (-32601, 'unknown method "server.shutdown"')

    trio.run(main)
