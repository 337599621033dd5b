"""``spvnode.verify``: typed results for every version of the bundle, and accounts."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from eip1186 import answered
from small_node import SmallNode, mainnet

from spvnode import verify
from spvnode.client import ProofVerdict
from spvnode.client.upload import ROW_BUNDLES, ROW_BYTES
from spvnode.errors import InputError
from spvnode.ethereum.bundle import encode, make_bundle
from spvnode.metrics import Metrics
from spvnode.proofs import KNOWN_VERSIONS, NOT_A_PROOF
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS
from tests.support.beacon_bundles import recorded_source

MERKLE = Path(__file__).parents[1] / "vectors" / "merkle"


def ask(node: SmallNode, method: str, *params: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return json.loads(trio.run(Dispatcher(node, METHODS, Metrics()).answer, body.encode()).body)["result"]


def test_one_header() -> None:
    text = (MERKLE / "mainnet_12345_of_32255.json").read_text()
    form = json.loads(text)
    for proof in (text, form, (MERKLE / "mainnet_12345_of_32255.bundle").read_bytes()):
        found = verify.verify(proof, trusted_root=form["root"])
        assert isinstance(found, verify.Header)
        assert found
        assert (found.height, found.cp_height, found.network) == (12_345, 32_255, "bitcoin")
        assert found.header.hex() == form["header"]
        assert (found.rests_on, found.reason) == ("trusted root", "ok")


def test_many_headers_in_every_format() -> None:
    node = mainnet(200)
    for form in ("json", "hex", "columns"):
        reply = ask(node, "getheaderproofs", [3, 150], 190, form)
        proof = reply.get("bundle") or reply.get("hex") or reply["columns"][0]
        found = verify.verify(proof, trusted_root=reply["root"])
        assert isinstance(found, verify.Headers)
        assert (found.count, found.cp_height, found.root) == (2, 190, reply["root"])
        assert found.hashes == (() if form == "columns" else tuple(ask(node, "getblockhash", at) for at in (3, 150)))


def test_ancestry() -> None:
    reply = ask(mainnet(200), "getancestryproof", 50, 190)
    found = verify.verify(reply["hex"])
    assert isinstance(found, verify.Ancestry)
    assert (found.old_height, found.new_height) == (50, 190)
    assert (found.old_root, found.new_hash) == (reply["old_root"], reply["descendant"]["hash"])
    assert "old_height" in found.claimed


def test_a_transaction() -> None:
    proof = json.loads((MERKLE / "mainnet_12345_of_32255.json").read_text())
    names = {one.name for one in dataclasses.fields(verify.Transaction)}
    assert {"txid", "position", "transaction", "height", "hash"} <= names
    node, txid = made_block()
    found = verify.verify(ask(node, "gettxproof", txid, 2)["bundle"])
    assert isinstance(found, verify.Transaction)
    assert (found.txid, found.height, found.network) == (txid, 2, "regtest")
    assert len(found.transaction) > 60
    assert not isinstance(verify.verify(proof), verify.Transaction)


def made_block() -> tuple[SmallNode, str]:
    """A node on regtest, and a transaction in its block 2."""
    from blocks import In, MadeChain, Tx  # noqa: PLC0415 - one test's

    from merkle.pure import sha256d  # noqa: PLC0415

    tx = Tx((In(b"\x11" * 32, 0, b"\x51" * 20),), (b"\x51",))
    made = MadeChain()
    made.extend()
    made.extend([tx])
    node = SmallNode("regtest")
    node.add("regtest", made.headers)
    node.blocks = {sha256d(raw[:80]): raw for raw in made.blocks}
    return node, tx.txid[::-1].hex()


def test_a_beacon_header() -> None:
    chain = recorded_source("devnet-lodestar-deneb-electra")
    networks = {"recorded": chain.params}
    found = verify.verify(encode(make_bundle(chain, "finalized", 5)), now=1.9e9, networks=networks)
    assert isinstance(found, verify.Beacon)
    assert (found.header, found.participants, found.committee_size) == ("finalized", 32, 32)
    assert found.checkpoint_root == "0x" + chain.root.hex()
    assert found.block_hash is not None
    assert found.root == found.fields["finalized"]["root"]
    missed = verify.verify_account({}, found)
    assert (missed.ok, missed.account) == (False, None)


@pytest.mark.parametrize("proof", [b"", "zz", {}, "{", b"\xff" * 90])
def test_what_is_no_proof(proof: Any) -> None:
    found = verify.verify(proof)
    assert isinstance(found, verify.NotAProof)
    assert isinstance(found, verify.NotProven)
    assert not found
    assert found.reason == "not-a-proof"


@pytest.mark.parametrize("proof", [b"\x02", b"\x01junk", {"version": 1}])
def test_what_proves_nothing(proof: Any) -> None:
    found = verify.verify(proof)
    assert type(found) is verify.NotProven
    assert found.reason == "format"


def test_trust_that_does_not_apply_is_an_error() -> None:
    with pytest.raises(InputError):
        verify.verify((MERKLE / "mainnet_12345_of_32255.bundle").read_bytes(), trusted_checkpoint="11" * 32)


@pytest.mark.parametrize("form", ["bytes", "hex", "0x"])
def test_accounts(form: str) -> None:
    answer, root = answered("contract")
    found = verify.verify_account(answer, {"bytes": root, "hex": root.hex(), "0x": "0x" + root.hex()}[form])
    assert found
    assert found.account is not None
    assert found.account.exists
    wrong = verify.verify_account({**answer, "balance": "0x1"}, root)
    assert (wrong.ok, wrong.reason.partition(":")[0]) == (False, "balance")
    with pytest.raises(ValueError, match="state root"):
        verify.verify_account(answer, root[1:])


def test_nothing_of_a_daemon_is_loaded() -> None:
    script = (
        "import sys; from pathlib import Path; from spvnode import verify;"
        f"assert verify.verify(Path({str(MERKLE / 'mainnet_12345_of_32255.json')!r}).read_bytes());"
        "bad = ('spvnode.rpc', 'spvnode.store', 'spvnode.sync', 'spvnode.ethereum', 'p2p', 'trio', 'socket', 'http');"
        "assert not [name for name in sys.modules if name.startswith(bad)]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_page_tells_of_every_version_and_every_kind_of_result() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs"
    page = (folder / "proofs.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(version) for version in rows] == sorted(KNOWN_VERSIONS)
    assert NOT_A_PROOF in page
    named = (folder / "client.md").read_text()
    kinds = set(verify.__all__) - {"AccountResult", "Result", "verify", "verify_account"}
    assert all(f"`{kind}`" in named for kind in kinds)
    assert all(f"`{field}`" in named for field in ProofVerdict._fields)
    assert f"{ROW_BUNDLES:,} and {ROW_BYTES >> 20} MiB" in named
