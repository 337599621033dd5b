"""The one door for both versions of the proof bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from merkle.verify import Verdict
from spvnode.errors import InputError
from spvnode.ethereum.bundle import MAX_BUNDLE_BYTES, MAX_BUNDLE_JSON_BYTES, encode, make_bundle, to_json
from spvnode.ethereum.bundle_verify import BeaconVerdict
from spvnode.proofs import MAX_PROOF_BYTES, NOT_A_PROOF, verify_any
from tests.support.beacon_bundles import Source, recorded_source

MERKLE = Path(__file__).parents[1] / "vectors" / "merkle"
NOW = 1_900_000_000.0
ROOT = "11" * 32


@cache
def chain() -> Source:
    return recorded_source("devnet-lodestar-deneb-electra")


def beacon_forms() -> dict[str, Any]:
    made = make_bundle(chain(), "finalized", 5)
    data, form = encode(made), to_json(made)
    text = json.dumps(form, indent=1)
    return {
        "bytes": data,
        "hex": data.hex(),
        "0x hex": "0x" + data.hex() + "\n",
        "text": text,
        "text as bytes": b"\n" + text.encode(),
        "object": form,
    }


def tree_forms() -> dict[str, Any]:
    data = (MERKLE / "mainnet_12345_of_32255.bundle").read_bytes()
    text = (MERKLE / "mainnet_12345_of_32255.json").read_text()
    return {
        "bytes": data,
        "hex": data.hex(),
        "text": text,
        "text as bytes": text.encode(),
        "object": json.loads(text),
    }


@pytest.mark.parametrize("form", beacon_forms())
def test_beacon_bundles(form: str) -> None:
    networks = {"recorded": chain().params}
    verdict = verify_any(beacon_forms()[form], NOW, networks=networks, trusted_checkpoint=chain().root)
    assert isinstance(verdict, BeaconVerdict)
    assert verdict.ok
    assert verdict.rests_on == "trusted checkpoint"
    assert verdict.fields["version"] == 2


@pytest.mark.parametrize("form", tree_forms())
def test_header_tree_bundles(form: str) -> None:
    root = json.loads((MERKLE / "mainnet_12345_of_32255.json").read_text())["root"]
    verdict = verify_any(tree_forms()[form], NOW, trusted_root=root)
    assert isinstance(verdict, Verdict)
    assert verdict.ok
    assert verdict.rests_on == "trusted root"
    assert verdict.fields["version"] == 1


@pytest.mark.parametrize("checkpoint", [None, "hex", "0x", "bytes"])
def test_forms_of_a_trusted_checkpoint(checkpoint: str | None) -> None:
    root = chain().root
    given = {None: None, "hex": root.hex(), "0x": "0x" + root.hex(), "bytes": root}[checkpoint]
    verdict = verify_any(beacon_forms()["bytes"], NOW, networks={"recorded": chain().params}, trusted_checkpoint=given)
    assert verdict.ok
    assert verdict.rests_on == ("maker" if checkpoint is None else "trusted checkpoint")


def test_networks_that_are_not_known() -> None:
    verdict = verify_any(beacon_forms()["bytes"], NOW)
    assert (verdict.ok, verdict.reason) == (False, "network")
    assert "recorded is no beacon chain" in verdict.says


BROKEN: list[Any] = [
    *(bytes([version]) for version in (1, 2, 3, 4, 5, 7)),
    *('{"version": 2}', '{"version": 1, "version": 2}', {"version": 1}, {"version": 2}, {"version": 6}, {"version": 8}),
]
NO_PROOFS: list[Any] = [
    *(b"", b"\0", b"\x09", b"\xff" * 50, b"{", b"{\xff}", b"{" + b" " * 20_000 + b"}"),
    *("", "zz", "0x", "{}", "{" * 9000, "\ud800", '{"version": 9}', '{"version": true}'),
    *({}, {"version": []}, {"version": 1.0}, {"version": 0}),
]


@pytest.mark.parametrize(
    ("reason", "data"), [("format", one) for one in BROKEN] + [(NOT_A_PROOF, one) for one in NO_PROOFS]
)
def test_what_is_broken_and_what_is_no_proof_at_all(reason: str, data: Any) -> None:
    verdict = verify_any(data, NOW)
    assert not verdict.ok
    assert verdict.reason == reason
    assert verdict.says.startswith("Refused: ")


@pytest.mark.parametrize("flag", ["trusted_root", "trusted_tip", "trusted_start"])
def test_trust_for_the_other_version_is_an_error(flag: str) -> None:
    with pytest.raises(InputError) as caught:
        verify_any(beacon_forms()["bytes"], NOW, **{flag: ROOT})
    assert caught.value.field == flag
    with pytest.raises(InputError) as caught:
        verify_any(tree_forms()["bytes"], NOW, trusted_checkpoint=ROOT)
    assert caught.value.field == "trusted_checkpoint"


@pytest.mark.parametrize("root", ["", "0x", "zz", "11" * 31, b"", bytes(33)])
def test_a_trusted_hash_that_is_none(root: str | bytes) -> None:
    with pytest.raises(InputError):
        verify_any(beacon_forms()["bytes"], NOW, trusted_checkpoint=root)
    if root:
        with pytest.raises(InputError):
            verify_any(tree_forms()["bytes"], NOW, trusted_root=root)


def test_enough_is_read_of_a_file() -> None:
    assert max(MAX_BUNDLE_BYTES, MAX_BUNDLE_JSON_BYTES) <= MAX_PROOF_BYTES


def test_a_header_tree_does_not_load_ethereum() -> None:
    script = (
        "import sys; from pathlib import Path; from spvnode.proofs import verify_any;"
        f"assert verify_any(Path({str(MERKLE / 'mainnet_12345_of_32255.json')!r}).read_bytes(), 0).ok;"
        "assert not [name for name in sys.modules if name.startswith(('spvnode.ethereum', 'blspy'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("kind", ["[", '{"version": 2, "items": ['])
def test_nested_text_cannot_overrun_the_stack(kind: str) -> None:
    """Also beside py_ecc, which would raise the limit. In a process of its own: a crash would take this one."""
    script = (
        "import sys; from spvnode.bls_backends import make_backend; from spvnode.proofs import verify_any;"
        "limit = sys.getrecursionlimit(); make_backend('py_ecc'); assert sys.getrecursionlimit() == limit;"
        f"sys.setrecursionlimit(100_000); found = verify_any('{{' + {kind!r} * 400_000, 0);"
        "assert found.reason in ('format', 'not-a-proof')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
