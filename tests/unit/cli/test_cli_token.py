"""Tokens and reloads as their users run them: files, commands, a real daemon."""

from __future__ import annotations

import http.client
import json
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, spvnode


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path / "node", "regtest")
    found.start("--no-mesh")
    found.wait_answer()
    yield found
    found.kill()


def status(daemon: Daemon, token: str, method: str = "uptime") -> int:
    """HTTP status of a call with a token."""
    port = re.search(r'"tcp":\["127\.0\.0\.1:(\d+)"\]', daemon.log())
    assert port is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=10)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method})
    connection.request("POST", "/", body, {"authorization": f"Bearer {token}"})
    found = connection.getresponse().status
    connection.close()
    return found


def test_a_token_lives_from_its_making_to_its_revocation(daemon: Daemon) -> None:
    place = ("--datadir", str(daemon.folder))
    assert not (daemon.folder / "token.key").exists(), "none by default"
    made = spvnode("token", "create", "alice", "--scope", "read", "--scope", "proofs", "--days", "2", "--json", *place)
    entry = json.loads(made.stdout)
    assert (entry["subject"], entry["scopes"]) == ("alice", ["read", "proofs"])
    assert entry["expires"] - entry["issued"] == 2 * 86_400
    assert stat.S_IMODE((daemon.folder / "token.key").stat().st_mode) == 0o600
    assert status(daemon, entry["token"]) == 200, "the daemon was told"
    assert status(daemon, entry["token"], "stop") == 403
    kept = "".join(path.read_text(errors="replace") for path in daemon.folder.iterdir() if path.is_file())
    assert entry["token"] not in kept, "it is kept nowhere"

    other = spvnode("token", "create", "alice", *place).stdout.strip()
    listed = json.loads(spvnode("token", "list", "--json", *place).stdout)["tokens"]
    assert [one["state"] for one in listed] == ["valid", "valid"]
    heads, first, _ = spvnode("token", "list", *place).stdout.splitlines()
    assert heads.split("  ")[0] == "id (for revoke)"
    for name, word in (
        ("id", entry["id"]),
        ("state", "valid"),
        ("ends", "20"),
        ("may", "read,proofs"),
        ("subject", "alice"),
    ):
        assert first[heads.index(name) :].startswith(word)
    assert spvnode("token", "revoke", entry["id"], *place).stdout == f"revoked {entry['id']}\n"
    assert (status(daemon, entry["token"]), status(daemon, other)) == (401, 200)
    assert spvnode("token", "revoke", "--subject", "alice", *place).returncode == 0
    assert status(daemon, other) == 401
    listed = json.loads(spvnode("token", "list", "--json", *place).stdout)["tokens"]
    assert [one["state"] for one in listed] == ["revoked", "revoked"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("create", "a b"), "subject: 'a b': must be"),
        (("create", "a", "--scope", "all"), "'all' is not one of 'read', 'proofs', 'admin'"),
        (("create", "a", "--days", "0"), "--days"),
        (("revoke", "feed"), "ID: 'feed' is not in the list"),
        (("revoke",), "name an ID, or --subject NAME"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, words: tuple[str, ...], problem: str) -> None:
    found = spvnode("token", *words, "--datadir", str(tmp_path))
    assert found.returncode == 2
    assert problem in found.stderr


def test_a_reload_takes_what_can_change_and_names_the_rest(daemon: Daemon) -> None:
    config, place = daemon.folder / "spvnode.toml", ("--datadir", str(daemon.folder), "--json")
    config.write_text('[log]\nlevel = "debug"\n[rpc]\nconnections = 9\n[rpc.rates]\ntoken = 7\n[mesh]\nmax_peers = 3\n')
    found = json.loads(spvnode("reload", *place).stdout)
    assert sorted(found["applied"]) == ["log.level", "rpc.connections", "rpc.rates.token"]
    assert found["restart"] == ["mesh.max_peers"]
    assert json.loads(spvnode("reload", *place).stdout) == {"applied": [], "restart": ["mesh.max_peers"]}

    config.write_text("[rpc]\nconnections = 1\n")
    refused = spvnode("reload", *place)
    assert refused.returncode == 2
    assert "rpc.connections (in" in refused.stderr

    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(daemon, "the configuration does not hold; the old one stays")
    (daemon.folder / "token.key").write_text("short\n")
    (daemon.folder / "token.key").chmod(0o600)
    config.write_text("[rpc]\nconnections = 10\n")
    assert "token_key_file" in spvnode("reload", *place).stderr
    (daemon.folder / "token.key").unlink()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(daemon, '"applied":["rpc.connections","rpc.rates.token","log.level"]')
    assert daemon.call("uptime") >= 0


def wait_for(daemon: Daemon, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in daemon.log():
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.02)
