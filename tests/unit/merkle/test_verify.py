"""The offline verifier: true bundles hold and say what they rest on; nothing else is believed.

It shares no code with the encoder, so each is also the other's check.
"""

from __future__ import annotations

import ast
import json
import lzma
import runpy
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkle import bundle as encoder
from merkle import verify as verifier
from merkle.bundle import HeaderBundle, decode, encode, from_json, to_json
from merkle.errors import ProofError
from merkle.verify import MAX_BYTES, MAX_JSON_BYTES, NETWORKS, Verdict, sha256d, verify
from tests.support.proof_maker import BITCOIN, GENESIS, mainnet, real, regtest

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"
BUNDLE = mainnet().bundle(12_345, 32_255)
RAW = encode(BUNDLE)
GOOD = verify(RAW)
CLAIMS = {"chainwork", "made_at"}


def explorer(hash_: bytes) -> str:
    return hash_[::-1].hex()


def reason(bundle: HeaderBundle | bytes | str | dict[str, Any], **trusted: str | bytes) -> str:
    raw = encode(bundle) if isinstance(bundle, HeaderBundle) else bundle
    verdict = verify(raw, **trusted)
    assert verdict.ok == (verdict.reason == "ok")
    if not verdict.ok:
        assert (verdict.rests_on, verdict.claimed, verdict.fields) == ("nothing", (), {})
        assert verdict.says.startswith("Refused: ")
    return verdict.reason


def proven_part(verdict: Verdict) -> tuple[object, ...]:
    """The verdict without the values that it calls claimed."""
    fields = {key: value for key, value in verdict.fields.items() if key not in CLAIMS}
    return verdict.ok, verdict.reason, verdict.rests_on, verdict.claimed, fields


# -- what holds, and what it rests on


@pytest.mark.parametrize(
    ("height", "tip"), [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (5, 8), (2015, 2016), (9, 32_259), (32_259, 32_259)]
)
def test_true_bundles_hold_in_both_forms(height: int, tip: int) -> None:
    bundle = mainnet().bundle(height, tip)
    forms = [
        encode(bundle),
        to_json(bundle),
        json.dumps(to_json(bundle)),
        json.dumps(to_json(bundle), indent=4).encode(),
    ]
    verdicts = [verify(form, trusted_root=bundle.root) for form in forms]
    assert verdicts[0].ok
    assert verdicts[0].fields["hash"] == explorer(mainnet().hash(height))
    assert verdicts[0].fields["height"] == height
    assert all(verdict == verdicts[0] for verdict in verdicts)


def test_every_small_tree_holds() -> None:
    maker = regtest(40, 16)
    for tip in range(16, 56):
        for height in range(16, tip + 1):
            assert reason(maker.bundle(height, tip), trusted_root=maker.forest.root(tip)) == "ok"


def test_real_headers_of_other_networks() -> None:
    assert reason(real("signet_0-2015.bin.xz", "signet", 2_016).bundle(700)) == "ok"
    assert reason(real("testnet3_0-35141.bin.xz", "testnet3", 5_000).bundle(4_321)) == "ok"


def test_genesis_table_is_core_s() -> None:
    core = json.loads((BITCOIN / "core_28.1_chainparams.json").read_text())
    names = {"bitcoin": "Main", "testnet3": "TestNet", "signet": "SigNet", "regtest": "RegTest"}
    for name, core_name in names.items():
        assert NETWORKS[name] == (core[core_name]["genesis"], int(core[core_name]["pow_limit"], 16))
    # BIP 94's genesis header; its coinbase, hence its Merkle root, is testnet4's own.
    merkle_root = bytes.fromhex("7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e")[::-1]
    header = b"".join(n.to_bytes(4, "little") for n in (1_714_777_860, 0x1D00FFFF, 393_743_547))
    assert explorer(sha256d(b"\x01\0\0\0" + bytes(32) + merkle_root + header)) == NETWORKS["testnet4"][0]
    assert NETWORKS["testnet4"][1] == NETWORKS["bitcoin"][1]


def test_without_trust_it_says_so() -> None:
    assert (GOOD.ok, GOOD.rests_on) == (True, "maker")
    assert set(GOOD.claimed) == {*CLAIMS, "root", "height", "cp_height"}
    assert "is the maker's word alone" in GOOD.says
    assert explorer(BUNDLE.root) in GOOD.says


def test_a_trusted_root_proves_block_and_height() -> None:
    for root in (BUNDLE.root, explorer(BUNDLE.root), explorer(BUNDLE.root).upper()):
        verdict = verify(RAW, trusted_root=root)
        assert (verdict.rests_on, set(verdict.claimed)) == ("trusted root", CLAIMS)
    assert f"Block {explorer(mainnet().hash(12_345))} is at height 12345 of the bitcoin blocks 0..32255" in verdict.says
    assert "Claimed, not proven: chainwork, made_at." in verdict.says


def test_a_trusted_tip_proves_itself_and_its_parent_only() -> None:
    for height, rests_on in ((32_255, "trusted tip"), (32_254, "trusted tip"), (32_253, "maker")):
        verdict = verify(encode(mainnet().bundle(height, 32_255)), trusted_tip=mainnet().hash(32_255))
        assert (verdict.ok, verdict.rests_on) == (True, rests_on)
        assert "height" in verdict.claimed


@pytest.mark.parametrize("with_peaks", [False, True])
def test_checkpoint_heights_are_claimed_until_the_start_is_trusted(with_peaks: bool) -> None:
    maker = regtest(60, 100, with_peaks)
    raw, start = encode(maker.bundle(130)), explorer(maker.hash(100))
    root = maker.forest.root(maker.tip)
    heights = {"start_height", "height", "cp_height"}
    assert set(verify(raw, trusted_root=root).claimed) == CLAIMS | heights
    assert set(verify(raw, trusted_root=root, trusted_start=start).claimed) == CLAIMS | heights
    assert set(verify(raw, trusted_root=root, trusted_start=f"100:{start}").claimed) == CLAIMS
    assert f"counted from block {start} at 100" in verify(raw, trusted_root=root).says


def test_trust_that_does_not_match_refuses() -> None:
    other = bytes(32)
    assert reason(BUNDLE, trusted_root=other) == "trusted-root"
    assert reason(BUNDLE, trusted_tip=explorer(other)) == "trusted-tip"
    assert reason(BUNDLE, trusted_start=other) == "trusted-start"
    assert reason(BUNDLE, trusted_start=explorer(other)) == "trusted-start"
    assert reason(BUNDLE, trusted_start="7:" + explorer(GENESIS["bitcoin"])) == "trusted-height"
    assert reason(BUNDLE, trusted_start="0:" + explorer(GENESIS["bitcoin"])) == "ok"


@pytest.mark.parametrize("bad", ["", "00", "zz" * 32, "0" * 63, bytes(31), "5:", "x:" + "00" * 32])
def test_trust_that_is_no_hash_is_the_callers_error(bad: str | bytes) -> None:
    with pytest.raises(ValueError):
        verify(RAW, trusted_start=bad)


# -- changed bundles


def test_every_changed_byte_is_refused_or_only_claimed() -> None:
    claimed = range(281, 317)  # chainwork and made_at
    for at in range(len(RAW)):
        for flip in (1, 0x80, 0xFF):
            verdict = verify(RAW[:at] + bytes([RAW[at] ^ flip]) + RAW[at + 1 :])
            assert verdict.ok == (at in claimed)
            if verdict.ok:
                assert proven_part(verdict) == proven_part(GOOD)


@pytest.mark.parametrize("with_peaks", [False, True])
def test_changed_bytes_of_a_checkpoint_bundle(with_peaks: bool) -> None:
    """Where heights rest on the start, the start's height is the one more claim; its bytes alone cannot change."""
    raw = encode(regtest(60, 100, with_peaks).bundle(130))
    for at in range(len(raw)):
        for flip in (1, 0x80, 0xFF):
            assert verify(raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]).ok == (281 <= at < 317)


@given(st.integers(0, len(RAW)), st.binary(min_size=1, max_size=40), st.integers(0, 40))
def test_bytes_put_in_or_taken_out_are_refused(at: int, more: bytes, drop: int) -> None:
    changed = RAW[:at] + more + RAW[at + drop :]
    verdict = verify(changed)
    assert not verdict.ok or proven_part(verdict) == proven_part(GOOD)
    assert len(changed) == len(RAW) or not verdict.ok


def test_every_changed_node_of_the_proof_is_refused() -> None:
    nodes = list(BUNDLE.nodes)
    for i in range(len(nodes)):
        for j in range(i):
            swapped = list(nodes)
            swapped[i], swapped[j] = nodes[j], nodes[i]
            assert reason(replace(BUNDLE, nodes=tuple(swapped))) in {"root", "link"}
        cut, doubled = nodes[:i] + nodes[i + 1 :], [*nodes[:i], nodes[i], *nodes[i:]]
        assert reason(RAW[:317] + b"".join(cut)) in {"proof", "link"}
        assert reason(RAW[:317] + b"".join(doubled)) in {"proof", "link"}
    assert reason(RAW + bytes(32)) == "proof"
    assert reason(RAW[:-32]) == "proof"


@given(st.binary(max_size=4_200))
def test_random_bytes_are_refused_and_never_raise(data: bytes) -> None:
    for raw in (data, b"\x01\x07bitcoin" + data, RAW[:41] + data, RAW[:317] + data, b"{" + data):
        assert not verify(raw).ok


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([*sorted(to_json(BUNDLE)), "extra"]), json_values)
def test_random_json_values_are_refused_or_only_claimed(field: str, value: Any) -> None:
    verdict = verify(to_json(BUNDLE) | {field: value})
    assert not verdict.ok or proven_part(verdict) == proven_part(GOOD)


@pytest.mark.parametrize(
    "bad",
    [
        *("", "{", "[]", "null", "{}", '{"a":' * 3_000, b'{"\xff": 1}', "\ud800", '{"version": 1, "version": 1}'),
        *(None, 5, [], {1: 2}, {"network": []}),
        to_json(BUNDLE) | {"nodes": {}},
        to_json(BUNDLE) | {"version": True},
        to_json(BUNDLE) | {"nodes": ["00" * 32] * 97},
        to_json(BUNDLE) | {"chainwork": 10**400},
    ],
)
def test_what_is_no_bundle_is_refused(bad: Any) -> None:
    assert reason(bad) == "format"


def test_a_field_named_twice_is_refused() -> None:
    text = json.dumps(to_json(BUNDLE))
    assert reason(text) == "ok"
    assert reason(text[:-1] + ', "height": 12345}') == "format"


def test_input_longer_than_any_bundle_is_refused() -> None:
    text = json.dumps(to_json(BUNDLE))
    assert reason(text.ljust(MAX_JSON_BYTES)) == "ok"
    assert reason(text.ljust(MAX_JSON_BYTES + 1)) == "format"
    assert reason(RAW + bytes(32 * 100)) == "format"


# -- the encoder and the verifier, each against the other


def test_limits_and_layout_agree() -> None:
    assert (MAX_BYTES, MAX_JSON_BYTES) == (encoder.MAX_BUNDLE_BYTES, encoder.MAX_BUNDLE_JSON_BYTES)
    assert verifier.VERSION == encoder.VERSION
    assert sum(verifier.LAYOUT.values()) == 308


@given(st.integers(0, len(RAW) - 1), st.integers(0, 255), st.integers(0, 40), st.binary(max_size=33))
def test_decoder_and_verifier_read_the_same_bytes(at: int, byte: int, drop: int, more: bytes) -> None:
    for raw in (RAW[:at] + bytes([byte]) + RAW[at + 1 :], RAW[: len(RAW) - drop] + more):
        verdict = verify(raw)
        try:
            bundle = decode(raw)
        except ProofError:
            assert not verdict.ok
            continue
        assert encode(bundle) == raw
        assert not verdict.ok or to_json(bundle) == {k: v for k, v in verdict.fields.items() if k in to_json(bundle)}


@given(st.sampled_from(sorted(to_json(BUNDLE))), json_values)
def test_decoder_and_verifier_read_the_same_json(field: str, value: Any) -> None:
    form = to_json(BUNDLE) | {field: value}
    verdict = verify(form)
    try:
        bundle = from_json(form)
    except ProofError:
        assert not verdict.ok
        return
    assert verify(encode(bundle)) == verdict


# -- the file itself


def test_it_is_small_and_stands_alone() -> None:
    source = Path(verifier.__file__).read_text()
    assert len(source.splitlines()) <= 200
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add(str(node.module).partition(".")[0])
    assert modules <= sys.stdlib_module_names


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_a_copy_of_the_file_verifies_anywhere(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(Path(verifier.__file__).read_text())
    (tmp_path / "proof").write_bytes(RAW)
    done = run("-I", "-S", "check.py", "proof", "--root", explorer(BUNDLE.root), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "under the root you trust" in done.stdout


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["verify", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(verifier.__file__, run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_command_line_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(VECTORS / "mainnet_12345_of_32255.bundle")
    assert command(monkeypatch, file) == 0
    assert "maker's word alone" in capsys.readouterr().out
    tip, start = explorer(mainnet().hash(32_255)), "0:" + NETWORKS["bitcoin"][0]
    json_file = file.replace(".bundle", ".json")
    assert command(monkeypatch, json_file, "--tip", tip, "--start", start, "--json") == 0
    assert json.loads(capsys.readouterr().out)["fields"]["tip_hash"] == tip
    assert command(monkeypatch, file, "--root", "00" * 32) == 1
    assert capsys.readouterr().out == "Refused: its root is not the one that you trust.\n"
    long = tmp_path / "long"
    long.write_bytes(RAW + bytes(100_000))
    assert command(monkeypatch, str(long)) == 1
    assert "Refused: it is cut short, or followed by something else." in capsys.readouterr().out
    for bad in ([file, "--root", "00"], ["/nonexistent/file"], [], [file, "--tipp", tip]):
        assert command(monkeypatch, *bad) == 2
        assert "error: " in capsys.readouterr().err


def test_the_module_runs_by_name() -> None:
    done = run(
        "-m", "merkle.verify", str(VECTORS / "mainnet_12345_of_32255.json"), cwd=Path(verifier.__file__).parents[1]
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_vectors_are_what_they_were_said_to_be() -> None:
    raw = lzma.decompress((BITCOIN / "mainnet_0-32259.bin.xz").read_bytes())
    assert sha256(raw).hexdigest() == "fbcabddbd448c55c1a18bba659f1ee87456599c3b2f158872e3f22e98077b5e3"
