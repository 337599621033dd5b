"""The command line by itself: help, usage errors, the firewall; verify, check, id and import without a daemon."""

from __future__ import annotations

import json
import lzma
import os
import pwd
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
import pytest
from small_node import VECTORS, mainnet, vector

from merkle.bundle import decode, to_json
from spvnode import verify
from spvnode.bitcoin.header import header_hash
from spvnode.bitcoin.params import NETWORKS
from spvnode.cli import docs as cli_docs
from spvnode.cli import shell
from spvnode.cli.exits import Exit
from spvnode.cli.shell import COMMANDS, run_command
from spvnode.config import Config
from spvnode.errors import StoreError
from spvnode.ethereum.networks import NETWORKS as ETHEREUM_NETWORKS
from spvnode.networks import BITCOIN, ETHEREUM
from spvnode.store.folder import store_path
from spvnode.types import Height, hash_hex
from spvnode.version import VERSION

ROOT = Path(__file__).resolve().parents[3]
TIP_HASH = "000000008a5b32a0610b2b0eeb5390e30e157324bf28c09ab83ccbb99184c38b"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command line with an empty data directory: (exit code, stdout, stderr)."""
    monkeypatch.setenv("SPVNODE_DATADIR", str(tmp_path / "data"))

    def run_it(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command([str(word) for word in words])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run_it


def spawn(
    *words: object, code: str = "from spvnode.cli import main; main()", **environ: str
) -> subprocess.CompletedProcess[str]:
    """A command in its own process."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, env={**os.environ, **environ},
    )  # fmt: skip


def test_the_version_is_the_packages() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    done = spawn("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"spvnode {VERSION}\n", "")


def test_the_version_imports_nothing() -> None:
    code = "import sys, atexit; atexit.register(lambda: print(sorted(m for m in sys.modules if m.split('.')[0] in "
    code += "('click', 'trio', 'msgspec', 'spvnode')))); from spvnode.cli import main; main()"
    assert spawn("--version", code=code).stdout.splitlines()[1] == "['spvnode', 'spvnode.cli', 'spvnode.version']"


def test_help_imports_no_command_and_names_every_exit_code() -> None:
    code = "import sys, atexit; atexit.register(lambda: print(sorted(m for m in sys.modules if m in "
    code += "('trio', 'msgspec', 'libp2p', 'structlog', 'json', 'http.client') or m.startswith('spvnode.cli.')))); "
    code += "from spvnode.cli import main; main()"
    done = spawn("--help", code=code)
    assert done.returncode == 0
    *text, modules = done.stdout.splitlines()
    assert modules == "['spvnode.cli.exits', 'spvnode.cli.shell']"
    for name, (_, summary) in COMMANDS.items():
        assert any(re.fullmatch(rf"  {name} +{re.escape(summary)}", line) for line in text)
    for exit_code in Exit:
        assert any(line.lstrip().startswith(f"{int(exit_code)}  ") for line in text)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_under_the_name_of_the_table(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: spvnode {name} ")
    assert "--json" in out or name == "completion"  # which prints a script


def test_running_without_mesh_or_asking_imports_no_libp2p(tmp_path: Path) -> None:
    for words in (
        ("id",),
        ("check",),
        ("import", "@bundled", "--network", "bitcoin"),
        ("run", "--rpc", "x", "--no-mesh"),
    ):
        code = "import sys, atexit; atexit.register(lambda: print('libp2p' in sys.modules)); "
        code += "from spvnode.cli import main; main()"
        assert spawn(*words, code=code, SPVNODE_DATADIR=str(tmp_path)).stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope",), "arguments: No such command 'nope'."),
        (("header",), "X: Missing argument 'X'."),
        (("header", "1", "2"), "arguments: Got unexpected extra argument (2)"),
        (("header", "--nope"), "--nope: No such option '--nope'."),
        (("header", "1x"), "X: '1x' is neither a height (0 to 4294967294) nor a hash (64 hex digits)"),
        (("header", "4294967295"), "X: '4294967295' is no height (a whole number from 0 to 4294967294)"),
        (("nope",), "arguments: No such command 'nope'. There are: run, import, status, "),
        (("status", "--network"), "--network: Option '--network' requires an argument."),
        (
            ("proof", "1", "--cp-height", "-1"),
            "--cp-height: '-1' is no height (a whole number from 0 to 4294967294)",
        ),
        (("import", "f"), "--network: Missing option '--network'."),
        (
            ("import", "f", "--network", "zz"),
            "--network: unknown network 'zz'; known are bitcoin, testnet3, testnet4, signet, regtest",
        ),
        (("import", "/nonexistent", "--network", "bitcoin"), "FILE: /nonexistent: No such file or directory"),
        (("import", "/", "--network", "bitcoin"), "FILE: / is a directory; it must be a regular file"),
        (("import", "/dev/null", "--network", "bitcoin"), "FILE: /dev/null is a pipe or device, which cannot be read"),
        (("import", "@bundled", "--network", "signet"), "FILE: no headers of signet are bundled, only of bitcoin"),
        (
            ("import", "f", "--network", "bitcoin", "--checkpoint", "5"),
            "--checkpoint: '5' is not of the form HEIGHT:HASH",
        ),
        (("verify", "/nonexistent"), "FILE: /nonexistent: No such file or directory"),
        (("verify", "/"), "FILE: /: Is a directory"),
        (("verify", "f", "--trusted-root", "1f52"), "--trusted-root: must be of length 64 (not 4, for '1f52')"),
        (("verify", "f", "--trusted-root", ""), "--trusted-root: must be of length 64 (not 0, for '')"),
        (("verify", "f", "--trusted-tip", "zz" * 32), "--trusted-tip: must be hexadecimal string (not 'zz"),
        (("verify", "f", "--trusted-start", "5"), "--trusted-start: must be of length 64 (not 1, for '5')"),
        (("verify", "f", "--trusted-start", f"x:{TIP_HASH}"), "--trusted-start: 'x' is no height"),
        (("status", "--datadir", "x" * 200), "datadir: longer than 96 bytes (its rpc.sock must fit a socket address)"),
        (("run", "--rpc", "0.0.0.0:1"), "--rpc: 0.0.0.0:1 is reachable from other machines; only loopback is allowed"),
        (
            ("run", "--network", "zz"),
            "--network: unknown network 'zz'; known are bitcoin, testnet3, testnet4, signet, regtest",
        ),
        (("run", "--checkpoint", "bitcoin:1:ab"), "--checkpoint: must be of length 64 (not 2, for 'ab')"),
        (
            ("run", "--checkpoint", f"signet:2016:{TIP_HASH}"),
            "--checkpoint: names signet, which is not among the networks to run",
        ),
        (
            ("run", "--checkpoint", f"bitcoin:2017:{TIP_HASH}"),
            "--checkpoint: 2017 is not a multiple of 2016 (bitcoin); the one below is 2016",
        ),
        (
            ("run", "--checkpoint", f"bitcoin:0:{TIP_HASH}"),
            "--checkpoint: contradicts the built-in checkpoint at height 0",
        ),
        (("run", "--peer", "x"), "--peer: 'x' is not of the form /ip4/HOST/tcp/PORT/p2p/PEERID"),
        (("run", "--log-level", "x"), "--log-level: Invalid enum value 'x'; one of debug, info, warning, error"),
        (("run", "--config", "/nonexistent"), "/nonexistent: no such file"),
        (("check",), "datadir: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyError("x"), 70, "internal: KeyError: 'x' at test_cli_offline.py:"),
        (OSError(28, "No space left on device", "/x"), 74, "system: No space left on device: /x"),
        (StoreError("d/store: no room to write"), 74, "d/store: no room to write"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RecursionError("a\nb"), 70, "internal: RecursionError: a b at test_cli_offline.py:"),
    ],
)
def test_what_a_command_raises_becomes_a_line_and_a_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def broken() -> None:
        raise error

    command = click.Command("status", callback=broken)
    monkeypatch.setattr(shell.LazyGroup, "get_command", lambda *_: command)
    found, out, err = run("status")
    assert (found, out) == (code, "")
    assert err.lstrip().startswith(f"error: {line}")  # click leaves the line of a ^C
    assert "Traceback" not in err
    assert "\n" not in err.strip()


def test_no_command_is_answered_with_the_help_as_it_stands(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: spvnode [OPTIONS] COMMAND [ARGS]...\n\n")
    assert re.search(r"\n  import +Check a file of headers and commit it.\n", err)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("SPVNODE_KERNELS", "error: SPVNODE_KERNELS='nope': must be 'native' or 'python'\n"),
        ("SPVNODE_SHA256", "error: SPVNODE_SHA256: 'nope' is none of "),
    ],
)
def test_a_bad_choice_of_native_code_is_bad_input(tmp_path: Path, variable: str, message: str) -> None:
    done = spawn("check", SPVNODE_DATADIR=str(tmp_path), **{variable: "nope"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_a_closed_standard_output_is_no_defect(tmp_path: Path) -> None:
    command = f"{sys.executable} -m spvnode id --datadir {tmp_path / 'd'} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_of_run_names_the_real_defaults(run: Run) -> None:
    out = " ".join(run("run", "--help")[1].split())
    config = Config()
    for value in (*config.networks, *config.mesh.listen, config.rpc.bind, config.log.level):
        assert f"Default: {value}." in out
    assert f"Networks: {', '.join(BITCOIN)}; {', '.join(ETHEREUM)}." in out


def test_the_names_of_networks_are_those_of_the_rules() -> None:
    assert tuple(NETWORKS) == BITCOIN
    assert tuple(ETHEREUM_NETWORKS) == ETHEREUM


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m spvnode --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1")


# -- verify


def test_verify_needs_nothing_but_the_file(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_bytes(mainnet(30).real["bitcoin"].bundle(Height(5), Height(29), made_at=1_700_000_000))
    code = "import sys, atexit; atexit.register(lambda: print([m for m in ('trio', 'msgspec', 'native', "
    code += "'spvnode.bitcoin', 'http.client') if m in sys.modules])); from spvnode.cli import main; main()"
    done = spawn("verify", file, code=code)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]")
    done = subprocess.run(
        [sys.executable, "-m", "spvnode", "verify", "-"],
        input=file.read_bytes(),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0


def test_verify_refuses_what_is_changed_or_cut(run: Run, tmp_path: Path) -> None:
    good = mainnet(30).real["bitcoin"].bundle(Height(5), Height(29), made_at=1_700_000_000)
    file = tmp_path / "p"
    wrong_json = json.dumps({"version": 1, "network": "bitcoin"}).encode()
    for raw in (
        good[:-1],
        good + b"\0",
        good[:100] + b"\xff" + good[101:],
        b"\x01",
        b"\x02" * 900,
        b"\x08",
        wrong_json,
    ):
        file.write_bytes(raw)
        code, out, err = run("verify", file)
        assert (code, out.split()[0], err) == (1, "INVALID:", "")
        assert json.loads(run("verify", file, "--json")[1])["valid"] is False
    file.write_bytes(good)
    assert run("verify", file, "--trusted-root", "xy")[0] == 2
    assert run("verify", file, "--trusted-start", "x:" + "ab" * 32)[0] == 2


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"\0" * 100_000, b"\x09" + bytes(900), b"\xff\xd8\xff", b"# README", b"[1]", b'{"version": 99}',
     b'{"version": true}', b'{"version": "1"}', b"{" * 50_000, b"0902"],
)  # fmt: skip
def test_what_is_no_proof_is_bad_input(run: Run, tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "p"
    file.write_bytes(raw)
    told = f"error: FILE: {file}: is no proof, or one of a version that is not known here\n"
    for flags in ((), ("--json",), ("--trusted-root", "ab" * 32), ("--trusted-checkpoint", "0x" + "ab" * 32)):
        assert run("verify", file, *flags) == (2, "", told)


def test_a_proof_of_another_network_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_bytes(mainnet(30).real["bitcoin"].bundle(Height(5), Height(29), made_at=1_700_000_000))
    assert run("verify", file, "--network", "bitcoin")[0] == 0
    code, out, err = run("verify", file, "--network", "regtest", "--json")
    told = json.loads(out)
    assert (code, told["valid"], told["reason"], err) == (1, False, "network", "")
    assert "of bitcoin" in told["says"]
    assert "regtest was asked for" in told["says"]


def test_verify_reads_what_our_tools_print(run: Run, tmp_path: Path) -> None:
    chain = mainnet(30).real["bitcoin"]
    raw = chain.bundle(Height(5), Height(29), made_at=1_700_000_000)
    result = {"height": 5, "hex": raw.hex(), "bundle": to_json(decode(raw))}
    reply = {"jsonrpc": "2.0", "id": 1, "result": result}
    file = tmp_path / "p"
    forms = (
        reply,
        result,
        reply | {"result": {"hex": raw.hex()}},
        {"columns": [raw.hex()]},
        raw.hex(),
        result["bundle"],
    )
    for form in forms:
        file.write_text(json.dumps(form, indent=2))
        code, out, err = run("verify", file, "--trusted-root", hash_hex(chain.root(Height(29))))
        assert (code, err) == (0, "")
        assert out.startswith("valid: ")
        assert verify.verify(file.read_bytes()).ok
    file.write_text(f"0x{raw.hex()}\n")
    assert run("verify", file)[0] == 0
    result["bundle"]["height"] = 6
    file.write_text(json.dumps(result))
    assert run("verify", file)[0] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"id": 1, "error": {"code": -8, "message": "no such\\nblock"}}',
            "a reply with an error and no proof: 'no such",
        ),
        ('{"result": {"columns": ["08", "08"]}}', "holds 2 bundles"),
        ('{"result": {"bundle": {"version": 1}, "bundle": {}}}', "is no proof"),
        ('{"result": ' + "[" * 100 + "]" * 100 + "}", "is no proof"),
        ('{"result": [' + "[]," * 20_000 + '[]], "hex": "01"}', "is no proof"),
        ('{"result": {"bundle": 5}}', "is no proof"),
    ],
)
def test_envelopes_without_a_proof(run: Run, tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "p"
    file.write_text(text)
    code, out, err = run("verify", file)
    assert (code, out) == (2, "")
    assert err.startswith("error: FILE: ")
    assert problem in err
    assert not verify.verify(text)


def test_trusted_hashes_may_have_a_prefix(run: Run, tmp_path: Path) -> None:
    chain = mainnet(30).real["bitcoin"]
    file = tmp_path / "p"
    file.write_bytes(chain.bundle(Height(5), Height(29), made_at=1_700_000_000))
    root, genesis, tip = (hash_hex(value) for value in (chain.root(Height(29)), chain.block_hash(Height(0)),
                                                        chain.block_hash(Height(29))))  # fmt: skip
    plain = run("verify", file, "--trusted-root", root, "--json")
    assert run("verify", file, "--trusted-root", f"0x{root}", "--json") == plain
    assert json.loads(plain[1])["rests_on"] == "trusted root"
    for flags in (
        ("--trusted-tip", f"0x{tip}"),
        ("--trusted-start", f"0x{genesis}"),
        ("--trusted-start", f"0:0x{genesis}"),
    ):
        assert run("verify", file, *flags)[0] == 0
    for flag in ("--trusted-root", "--trusted-tip", "--trusted-start"):
        assert run("verify", file, flag, "0x" + "ab" * 32)[0] == 1
        code, out, err = run("verify", file, flag, "0x" + "ab" * 31)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {flag}: must be of length 64")


# -- import, check, id


@pytest.fixture
def a_strangers(run: Run) -> Iterator[Path]:
    """A data directory that is closed to who asks: as root, be somebody else once ``run`` has its own folders."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "data"
        place.mkdir()
        (place / "spvnode.toml").touch()
        place.chmod(0o700 if os.geteuid() == 0 else 0)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield place
        finally:
            os.seteuid(was)
            place.chmod(0o700)


def test_the_owner_of_a_closed_directory_is_named(a_strangers: Path, run: Run) -> None:
    owner = pwd.getpwuid(a_strangers.stat().st_uid).pw_name
    code, _, err = run("status", "--datadir", a_strangers)
    told = f"no daemon answers in {a_strangers} (Permission denied: {a_strangers} belongs to {owner}, who alone may ask"
    assert code == 69
    assert told in err
    code, _, err = run("id", "--datadir", a_strangers)
    file = a_strangers / "spvnode.toml"
    assert (code, err) == (2, f"error: {file}: Permission denied; {a_strangers} belongs to {owner}\n")
    out = run("doctor", "--offline", "--datadir", a_strangers)[1]
    assert "correct that key" not in out
    assert "run this as its owner" in out


def test_options_about_a_network_that_does_not_run(run: Run) -> None:
    problem = "is about a network of Bitcoin's, here bitcoin, and only ethereum shall run; add --network bitcoin"
    told = f"error: --connect: {problem}\n"
    assert run("run", "--network", "ethereum", "--connect", "127.0.0.1:1") == (2, "", told)
    code, _, err = run("run", "--network", "regtest", "--quorum", "1")
    assert (code, err.split(" of ")[0]) == (2, "error: --quorum: is about a network")
    code, _, err = run("import", "x", "--network", "ethereum")
    assert (code, "only headers of Bitcoin's networks are imported (bitcoin, " in err) == (2, True)


def test_import_then_check(run: Run, tmp_path: Path) -> None:
    code, out, err = run("import", "@bundled", "--network", "bitcoin", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["blocks"], found["headers"], found["bestblockhash"]) == (32_259, 32_259, TIP_HASH)
    assert (found["checked"], found["accepted"], found["trailing_bytes"]) == (32_260, 32_259, 0)
    again = json.loads(run("import", "@bundled", "--network", "bitcoin", "--json")[1])
    assert (again["known"], again["accepted"], again["blocks"]) == (32_260, 0, 32_259)
    (tmp_path / "signet").write_bytes(vector("signet_0-2015"))
    assert run("import", tmp_path / "signet", "--network", "signet")[0] == 0
    code, out, _ = run("check", "--json")
    found = json.loads(out)
    assert (code, found["good"]) == (0, True)
    assert [(entry["network"], entry["blocks"], entry["stored_headers"]) for entry in found["networks"]] == [
        ("bitcoin", 32_259, 32_260),
        ("signet", 2_015, 2_016),
    ]
    assert found["networks"][0]["bestblockhash"] == TIP_HASH
    assert "bitcoin: good" in run("check")[1].splitlines()


def test_check_tells_of_a_store_that_it_cannot_judge(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "dogecoin" / "store").mkdir(parents=True)
    code, out, _ = run("check")
    assert code == 74
    assert "dogecoin: NOT CHECKED" in out
    assert "this version has no rules for this network" in out
    assert json.loads(run("check", "--json")[1])["networks"][0]["good"] is None


def test_a_store_that_cannot_be_opened_is_not_called_damaged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "signet").write_bytes(vector("signet_0-2015"))
    run("import", tmp_path / "signet", "--network", "signet")
    lock = store_path(tmp_path / "data", "signet").with_name("store.lock")
    lock.unlink()
    lock.mkdir()  # what cannot be opened for writing, also by root
    code, out, _ = run("check")
    assert code == 74
    assert out.startswith("signet: NOT CHECKED\n")
    assert f"{lock}: Is a directory" in out


def test_check_says_what_is_wrong_with_the_data_directory(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "d"
    assert run("check", "--datadir", place)[2] == f"error: datadir: {place}: No such file or directory\n"
    place.mkdir()
    assert run("check", "--datadir", place)[2] == f"error: datadir: no store in {place}\n"
    (tmp_path / "file").touch()
    assert "file: Not a directory" in run("check", "--datadir", tmp_path / "file")[2]


def test_check_shows_where_a_store_begins(run: Run, tmp_path: Path) -> None:
    raw = vector("mainnet_0-32259")
    (tmp_path / "late").write_bytes(raw[2016 * 80 : 2100 * 80])
    begin = f"2016:{header_hash(raw[2016 * 80 : 2017 * 80])[::-1].hex()}"
    assert run("import", tmp_path / "late", "--network", "bitcoin", "--checkpoint", begin)[0] == 0
    assert "  headers   84 from height 2016 on" in run("check")[1].splitlines()
    (tmp_path / "all").write_bytes(raw[: 2200 * 80])
    found = json.loads(run("import", tmp_path / "all", "--network", "bitcoin", "--json")[1])
    assert (found["known"], found["below_start"], found["accepted"]) == (2_100, 2_016, 100)
    out = run("import", tmp_path / "all", "--network", "bitcoin")[1]
    assert "not held  2,016 headers below the store's start; the daemon fills them in from peers" in out


def test_check_finds_a_flipped_bit(run: Run, tmp_path: Path) -> None:
    (tmp_path / "signet").write_bytes(vector("signet_0-2015"))
    run("import", tmp_path / "signet", "--network", "signet")
    folder = store_path(tmp_path / "data", "signet")
    largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 1
    largest.write_bytes(raw)
    found = json.loads(run("check", "--json")[1])["networks"][0]
    assert found["problems"] or found["healed"]


def test_id_is_the_key_in_the_data_directory(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("id", "--json")
    found = json.loads(out)
    assert (code, found["running"], found["addresses"]) == (0, False, [])
    assert found["listen"] == [f"/ip4/0.0.0.0/tcp/8343/p2p/{found['peer_id']}"]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert run("id")[1].splitlines() == [
        found["peer_id"],
        f"no daemon runs; it would listen on {found['listen'][0]}",
    ]
    key = tmp_path / "data" / "identity.key"
    key.write_bytes(b"junk")
    code, _, err = run("id")
    assert (code, err.startswith(f"error: identity: {key}: damaged")) == (2, True)


def test_the_bundled_headers_are_the_tested_ones() -> None:
    bundled = lzma.decompress((ROOT / "spvnode" / "data" / "bitcoin-0-32259.headers.xz").read_bytes())
    assert bundled == lzma.decompress((VECTORS / "mainnet_0-32259.bin.xz").read_bytes())


def test_the_reference_page_is_up_to_date() -> None:
    page = cli_docs.render()
    assert (ROOT / "docs" / "cli.md").read_text() == page
    for name in COMMANDS:
        assert f"## spvnode {name}" in page
    assert "| `sync.in_flight` | integer, 1 to 32 | `4` | Ranges asked for at once, over all networks; " in page
    assert "| 69 | no daemon answers in this data directory, or " in page
    example = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    assert msgspec.convert(example, Config).networks == ("bitcoin", "signet")
    assert "|  |" not in page  # every setting has a meaning
