"""``spvnode call``, ``completion`` and what shells get from it, the manual page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rpc_live import live_thread
from small_node import SmallNode, mainnet

from spvnode.cli.call import bind
from spvnode.cli.complete import offers
from spvnode.cli.completion import SCRIPTS
from spvnode.cli.man import _text, render
from spvnode.cli.shell import COMMANDS, run_command
from spvnode.cli.words import WORDS
from spvnode.cli.words_code import words_page
from spvnode.errors import InputError
from spvnode.method_names import METHODS as NAMES
from spvnode.networks import KNOWN
from spvnode.rpc.table import METHODS

ROOT = Path(__file__).resolve().parents[3]
HASH_1 = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SmallNode]]:
    place = tmp_path_factory.mktemp("call")
    with live_thread(place, mainnet(50)) as found:
        yield place, found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, node: tuple[Path, SmallNode]) -> Run:
    """Runs a command line towards the node: (exit code, stdout, stderr)."""
    monkeypatch.setenv("SPVNODE_DATADIR", str(node[0]))

    def run_it(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what the server's thread has logged
        code = run_command([str(word) for word in words])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run_it


# -- call


def test_calls_by_place_and_by_name(run: Run) -> None:
    assert run("call", "getblockcount") == (0, "49\n", "")
    assert run("call", "getblockhash", "1") == (0, HASH_1 + "\n", "")
    assert run("call", "getblockhash", "height=1", "network=bitcoin")[1] == HASH_1 + "\n"
    assert run("call", "--json", "getblockhash", "1")[1] == f'"{HASH_1}"\n'
    assert json.loads(run("call", "getblockheader", HASH_1, "verbose=true")[1])["height"] == 1
    assert len(run("call", "getblockheader", HASH_1, "false")[1]) == 161
    assert json.loads(run("call", "getheaderproofs", "[1, 2]")[1])["count"] == 2


def test_what_a_call_refuses(run: Run) -> None:
    assert run("call", "getblockhash", "50") == (
        2, "", "error: PARAMS: Block height out of range (this node holds 0 to 49)\n",
    )  # fmt: skip
    assert run("call", "nothing")[0] == 2
    assert "Usage: getblockhash" in run("call", "getblockhash")[2]
    assert run("call", "getblockhash", "@/nonexistent")[0] == 2


@pytest.mark.parametrize("words", [("status",), ("header", "1"), ("call", "uptime"), ("proof", "1"), ("reload",)])
@pytest.mark.parametrize("place", [(), ("--datadir", "x")])
def test_a_misspelt_variable_is_an_error_in_every_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], place: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SPVNODE_DATDIR", "/nowhere")
    told = "error: SPVNODE_DATDIR: unknown variable; a nested key is written like SPVNODE_RPC__BIND\n"
    assert run(*words, *place) == (2, "", told)


def test_a_name_that_there_is_not_is_told_with_those_that_there_are(run: Run) -> None:
    assert run("call", "getblockhash", "hight=5") == (
        2, "", "error: PARAMS: no parameter 'hight'; did you mean 'height'? There are height, network\n",
    )  # fmt: skip
    assert "no parameter 'colour'; there are height, network" in run("call", "getblockhash", "colour=5")[2]
    assert "no parameter 'blockhsh'; did you mean 'blockhash'?" in run("call", "getblockheader", "blockhsh=00")[2]
    assert "no parameter 'x'; uptime takes none" in run("call", "uptime", "x=1")[2]
    told = "error: METHOD: no method 'getblokcount'; did you mean getblockcount? `spvnode call help` lists them all\n"
    assert run("call", "getblokcount", "1") == (2, "", told)
    assert run("call", "zzz") == (2, "", "error: METHOD: no method 'zzz'; `spvnode call help` lists them all\n")
    problem = "command: Invalid enum value 'ad'; one of add, onetry, remove"
    assert run("call", "addnode", "127.0.0.1:1", "ad") == (2, "", f"error: {problem}\n")


def test_a_parameter_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(json.loads(run("call", "getheaderproof", "5")[1])["bundle"]))
    assert json.loads(run("call", "verifyheaderproof", f"@{file}")[1])["valid"] is True


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["getblockheader", "1" * 64], ["1" * 64]),
        (["getblockheader", "1" * 64, "verbose=false"], {"blockhash": "1" * 64, "verbose": False}),
        (["getblockheader", "1" * 64, "null", "signet"], ["1" * 64, None, "signet"]),
        (["getheaderproof", "5"], [5]),
        (["getheaderproof", "12e34"], ["12e34"]),
        (["getheaderproof", "height=5"], {"height": 5}),
        (["getheaderproofs", '[5, "ab"]'], [[5, "ab"]]),
        (["addnode", "a=b:1", "add"], ["a=b:1", "add"]),
        (["unknown", "1", "x"], [1, "x"]),
        (["unknown", "a=1"], {"a": 1}),
    ],
)
def test_words_become_parameters(words: list[str], params: Any) -> None:
    assert bind(words[0], words[1:]) == params


@pytest.mark.parametrize(
    "words",
    [["getblockhash", "height=1", "1"], ["getblockhash", "1", "height=1"], ["getblockhash", "height=1", "height=2"],
     ["unknown", "1", "a=1"]],
)  # fmt: skip
def test_words_that_contradict_each_other(words: list[str]) -> None:
    with pytest.raises(InputError):
        bind(words[0], words[1:])


def test_every_method_can_be_called_by_its_names() -> None:
    for name, row in METHODS.items():
        words = [f"{field.name}=x" for field in row.parameters]
        assert set(bind(name, words)) == {field.name for field in row.parameters}


# -- completion


def completed(*words: str) -> list[str]:
    return [value for value, _ in offers(list(words[:-1]), words[-1])]


def test_words_are_those_of_the_commands() -> None:
    assert (ROOT / "spvnode" / "cli" / "words.py").read_text() == words_page()
    assert set(COMMANDS) <= set(WORDS)


def test_what_can_be_typed(node: tuple[Path, SmallNode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPVNODE_DATADIR", str(node[0]))
    assert completed("") == list(COMMANDS)
    assert completed("st") == ["status"]
    assert completed("--ver") == ["--version"]
    assert completed("token", "re") == ["revoke"]
    assert completed("status", "--j") == ["--json"]
    assert completed("status", "--datadir", "") == [":dirs"]
    assert completed("verify", "") == [":files"]
    assert completed("completion", "") == list(SCRIPTS)
    assert completed("proof", "") == ["finalized", "optimistic"]
    assert completed("token", "create", "me", "--scope", "pr") == ["proofs"]
    assert completed("nothing", "") == []
    assert completed("status", "--network", "") == ["bitcoin"]
    assert completed("run", "--network", "sig") == ["signet"]
    assert completed("status", "--datadir", str(tmp_path), "--network", "") == list(KNOWN)


def test_methods_and_their_parameters(node: tuple[Path, SmallNode], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPVNODE_DATADIR", str(node[0]))
    assert completed("call", "") == list(NAMES)
    assert completed("call", "--json", "getblockh") == ["getblockhash", "getblockheader"]
    assert completed("call", "getblockhash", "") == [":nospace", "height=", "network="]
    assert completed("call", "getblockhash", "height=1", "") == [":nospace", "network="]
    assert completed("call", "getblockhash", "network=") == ["network=bitcoin"]
    assert completed("call", "addnode", "command=") == ["command=add", "command=remove", "command=onetry"]
    assert completed("call", "disconnectnode", "address=") == [
        "address=/ip4/127.0.0.1/tcp/1",
        "address=12D3KooWPeer",
    ]
    assert completed("call", "help", "upt") == ["uptime"]


def test_token_ids(tmp_path: Path) -> None:
    place = ("--datadir", str(tmp_path))
    assert completed("token", "revoke", *place, "") == []
    (tmp_path / "tokens.json").write_text('[{"id": "aa11", "subject": "me"}]')
    assert completed("token", "revoke", *place, "") == ["aa11"]
    (tmp_path / "tokens.json").write_text('[{"id"')
    assert completed("token", "revoke", *place, "a") == []


def test_bash_completes_for_real(node: tuple[Path, SmallNode], tmp_path: Path) -> None:
    command = tmp_path / "spvnode"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m spvnode "$@"\n')
    command.chmod(0o755)
    ask = 'COMP_LINE="$2" COMP_POINT=${#2}; _spvnode; printf "%s\\n" "${COMPREPLY[@]}"'
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SPVNODE_DATADIR": str(node[0])}

    def typed(line: str) -> list[str]:
        script = f"{SCRIPTS['bash']}\nset -- x '{line}'\n{ask}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, check=True, env=environ, timeout=60
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert typed("spvnode com") == ["completion"]
    assert typed("spvnode token ") == ["create", "list", "revoke"]
    assert typed("spvnode call getblockhash network=b") == ["bitcoin"]  # readline has broken the word at the sign
    assert typed("spvnode verify ") == []


@pytest.mark.parametrize("shell", [shell for shell in SCRIPTS if shutil.which(shell)])
def test_scripts_are_sound(shell: str, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    file = tmp_path / "script"
    file.write_text(out)
    subprocess.run([shell, "-n", str(file)], check=True, timeout=60)


def test_completing_loads_nothing_heavy() -> None:
    script = (
        "import sys; from spvnode.cli import main\n"
        "try: main(['__complete', 'call', 'getb'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'click', 'msgspec', 'trio', 'anyio', 'http.client', 'platformdirs'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert "getblockcount\tThe height of the best header." in done.stdout.splitlines()


def test_an_option_of_another_command_is_no_parameter(run: Run) -> None:
    told = "error: --network: is no option here; give a parameter of the method by name as NAME=VALUE\n"
    assert run("call", "getblockcount", "--network", "bitcoin") == (2, "", told)
    assert run("call", "getblockhash", "-1")[2].startswith("error: PARAMS: Block height out of range")


def test_what_no_peer_gives_is_no_fault_of_the_parameters(run: Run) -> None:
    code, _, err = run("call", "gettxproof", "ab" * 32, "5")
    assert (code, err.startswith("error: daemon: Block not available (")) == (69, True)
    code, _, err = run("call", "gettxproof")
    assert (code, err.startswith("error: txid: missing. Usage: ")) == (2, True)
    code, _, err = run("call", "addnode", "192.0.2.7", "add")
    assert (code, err) == (69, "error: daemon: Error: Peer-to-peer functionality missing or disabled\n")


# -- the manual page


def test_the_manual_page() -> None:
    page = render()
    assert (ROOT / "docs" / "spvnode.1").read_text() == page
    for name in WORDS:
        assert f".SS spvnode {_text(name)}" in page or not name
    assert _text("-a `b` \\ c") == "\\-a \\(gab\\(ga \\e c"
    assert _text(".x") == "\\&.x"
    requests = {line.split()[0] for line in page.splitlines() if line.startswith(".")}
    assert requests <= {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".I", ".RI"}
