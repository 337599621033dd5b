"""The config: what is valid, where it comes from, and how each source spells its mistakes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spvnode.config import (
    MAX_DATADIR_BYTES,
    MAX_ENTRIES,
    CheckpointConfig,
    Config,
    MeshConfig,
    RpcConfig,
    data_path,
    ensure_datadir,
)
from spvnode.config_sources import MAX_CONFIG_BYTES, load_config
from spvnode.errors import InputError

HASH = "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"
PEER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWPHprL8EPRZefMrxminyzMoCMRX6SVQLT2z5fA8gPCsom"
FLAGS = {"rpc.bind": "--rpc", "networks": "--network", "mesh.peers": "--peer", "checkpoint": "--checkpoint"}


def load(
    folder: Path, text: str | None = None, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> Config:
    """The config of ``folder``, with ``text`` as its spvnode.toml."""
    if text is not None:
        (folder / "spvnode.toml").write_text(text)
    given = {"datadir": str(folder), **(flags or {})}
    return load_config(environ=environ or {}, flags=given, flag_names=FLAGS)


def refusal(*arguments: Any, **named: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(*arguments, **named)
    return str(caught.value)


def test_the_defaults_are_valid_and_safe() -> None:
    config = Config()
    assert config.networks == ("bitcoin",)
    assert config.rpc.endpoint.loopback
    assert (config.sync.in_flight, config.sync.deadline, config.store.write_buffer) == (4, 8.0, 4 << 20)
    with pytest.raises(AttributeError):
        config.networks = ()  # type: ignore[misc]


def test_flags_over_environment_over_file(tmp_path: Path) -> None:
    text = '[rpc]\nbind = "127.0.0.1:1"\n[sync]\nin_flight = 1\n[mesh]\nmax_peers = 7\n[log]\nlevel = "debug"\n'
    environ = {"SPVNODE_RPC__BIND": "127.0.0.1:2", "SPVNODE_SYNC__IN_FLIGHT": "2", "OTHER": "x"}
    config = load(tmp_path, text, environ, {"rpc": {"bind": "127.0.0.1:3"}})
    assert (config.rpc.bind, config.sync.in_flight, config.mesh.max_peers) == ("127.0.0.1:3", 2, 7)
    assert (config.log.level, config.data_path) == ("debug", tmp_path)


def test_the_environment_knows_lists_numbers_and_booleans(tmp_path: Path) -> None:
    environ = {
        "SPVNODE_NETWORKS": "signet, regtest,",
        "SPVNODE_MESH__PEERS": f"{PEER},{PEER[:-1]}n",
        "SPVNODE_MESH__ENABLED": "false",
        "SPVNODE_SYNC__DEADLINE": "2.5",
        "SPVNODE_CHECKPOINT": f"signet:2016:{HASH}",
        "SPVNODE_KERNELS": "python",
        "SPVNODE_SHA256": "portable",
        "SPVNODE_TEST_PROFILE": "fuzz",
    }
    config = load(tmp_path, None, environ)
    assert config.networks == ("signet", "regtest")
    assert (len(config.mesh.peers), config.mesh.enabled, config.sync.deadline) == (2, False, 2.5)
    assert (config.checkpoint[0].network, config.checkpoint[0].height) == ("signet", 2016)


def test_checkpoints_merge_by_network(tmp_path: Path) -> None:
    text = f'networks = ["bitcoin", "signet"]\n[[checkpoint]]\nnetwork = "bitcoin"\nheight = 2016\nhash = "{HASH}"\n'
    text += f'chainwork = "ff"\npeaks = ["{"ab" * 32}"]\n'
    text += f'[[checkpoint]]\nnetwork = "signet"\nheight = 4032\nhash = "{HASH}"\n'
    flags = {"checkpoint": [{"network": "signet", "height": 6048, "hash": HASH}]}
    config = load(tmp_path, text, None, flags)
    assert [(entry.network, entry.height) for entry in config.checkpoint] == [("bitcoin", 2016), ("signet", 6048)]
    first = config.checkpoint[0]
    assert (first.work, first.peak_hashes) == (255, (b"\xab" * 32,))
    assert first.block_hash == bytes.fromhex(HASH)[::-1]
    assert config.checkpoint[1].work is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[rpc]\nbind = "0.0.0.0:1"\n',
            "rpc.bind (in FILE): 0.0.0.0:1 is reachable from other machines; only loopback",
        ),
        ("[rpc]\nprot = 1\n", "rpc.prot (in FILE): unknown key"),
        ("colour = 1\n", "colour (in FILE): unknown key"),
        ("[sync]\nin_flight = 0\n", "sync.in_flight (in FILE): Expected int >= 1"),
        ("[sync]\nin_flight = 33\n", "sync.in_flight (in FILE): Expected int <= 32"),
        ('[sync]\nin_flight = "4"\n', "sync.in_flight (in FILE): Expected int, got str"),
        ("[sync]\ndeadline = 0.01\n", "sync.deadline (in FILE): Expected float >= 0.1"),
        ("[store]\nwrite_buffer = 1\n", "store.write_buffer (in FILE): Expected int >= 65536"),
        ("networks = []\n", "networks (in FILE): names no network"),
        ('networks = ["bitcoin", "bitcoin"]\n', "networks (in FILE): names bitcoin more than once"),
        (
            'networks = ["x"]\n',
            "networks[0] (in FILE): unknown network 'x'; known are bitcoin, testnet3, testnet4, signet, regtest",
        ),
        (
            '[log]\nlevel = "loud"\n',
            "log.level (in FILE): Invalid enum value 'loud'; one of debug, info, warning, error",
        ),
        ('[mesh]\nlisten = ["x"]\n', "mesh.listen[0] (in FILE): 'x' is not of the form /ip4/HOST/tcp/PORT"),
        ('[mesh]\npeers = ["/ip4/1.1.1.1/tcp/1"]\n', "mesh.peers[0] (in FILE): '/ip4/1.1.1.1/tcp/1' lacks /p2p/PEERID"),
        ("mesh = 3\n", "mesh (in FILE): Expected table, got int"),
        ("x = [\n", "FILE: is not TOML: "),
        ("x = " + "9" * 5_000, "FILE: is not TOML: "),
        ("[[checkpoint]]\nheight = 1\n", "checkpoint[0].network (in FILE): missing"),
        ('[mesh]\nmdns = "yes"\n', "mesh.mdns (in FILE): Expected true or false, got str"),
        (
            f'[[checkpoint]]\nnetwork = "signet"\nheight = 2015\nhash = "{HASH}"\n',
            "checkpoint.height (in FILE): 2015 is not a multiple of 2016 (signet); the one below is 0",
        ),
        (
            f'[[checkpoint]]\nnetwork = "signet"\nheight = 0\nhash = "{HASH}"\n',
            "checkpoint.hash (in FILE): contradicts the built-in checkpoint at height 0",
        ),
        (
            f'[[checkpoint]]\nnetwork = "signet"\nheight = -1\nhash = "{HASH}"\n',
            "checkpoint[0].height (in FILE): Expected int >= 0",
        ),
        (
            '[[checkpoint]]\nnetwork = "signet"\nheight = 1\nhash = "ab"\n',
            "checkpoint.hash (in FILE): must be of length 64 (not 2, for 'ab')",
        ),
    ],
)
def test_a_bad_file_is_told_by_key_and_limit(tmp_path: Path, text: str, message: str) -> None:
    expected = message.replace("FILE", str(tmp_path / "spvnode.toml"))
    assert refusal(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SPVNODE_RPC__BIND", "x", "SPVNODE_RPC__BIND: 'x' is not of the form HOST:PORT"),
        ("SPVNODE_RPC", "x", "SPVNODE_RPC: unknown variable; a nested key is written like SPVNODE_RPC__BIND"),
        ("SPVNODE_COLOUR", "x", "SPVNODE_COLOUR: unknown variable; a nested key is written like SPVNODE_RPC__BIND"),
        (
            "SPVNODE_DATADIR__X",
            "x",
            "SPVNODE_DATADIR__X: unknown variable; a nested key is written like SPVNODE_RPC__BIND",
        ),
        ("SPVNODE_SYNC__IN_FLIGHT", "many", "SPVNODE_SYNC__IN_FLIGHT: Expected int, got str"),
        ("SPVNODE_SYNC__IN_FLIGHT", "100", "SPVNODE_SYNC__IN_FLIGHT: Expected int <= 32"),
        (
            "SPVNODE_MESH__LISTEN",
            "/ip4/1.1.1.1/tcp/1,zz",
            "SPVNODE_MESH__LISTEN[1]: 'zz' is not of the form /ip4/HOST/tcp/PORT",
        ),
        ("SPVNODE_CHECKPOINT", "signet:1", "SPVNODE_CHECKPOINT: 'signet:1' is not of the form NETWORK:HEIGHT:HASH"),
    ],
)
def test_a_bad_variable_is_told_by_its_name(tmp_path: Path, name: str, value: str, message: str) -> None:
    assert refusal(tmp_path, None, {name: value}) == message


def test_a_bad_flag_is_told_by_its_name(tmp_path: Path) -> None:
    assert refusal(tmp_path, flags={"rpc": {"bind": "x"}}) == "--rpc: 'x' is not of the form HOST:PORT"
    assert refusal(tmp_path, flags={"mesh": {"peers": ["y"]}}).startswith("--peer: 'y' is not of the form")
    assert refusal(tmp_path, flags={"networks": ["zz"]}).startswith("--network: unknown network 'zz'")


def test_a_named_file_must_be_there_and_be_short(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(InputError, match=re.escape(f"{missing}: no such file")):
        load_config(config_file=missing, environ={}, flags={}, flag_names={})
    with pytest.raises(InputError, match="no such file"):
        load_config(environ={"SPVNODE_CONFIG": str(missing)}, flags={}, flag_names={})
    with pytest.raises(InputError, match="Is a directory"):
        load_config(config_file=tmp_path, environ={}, flags={}, flag_names={})
    long = tmp_path / "long.toml"
    long.write_text("#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(InputError, match=f"longer than {MAX_CONFIG_BYTES} bytes"):
        load_config(config_file=long, environ={}, flags={}, flag_names={})
    long.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        load_config(config_file=long, environ={}, flags={}, flag_names={})
    long.write_text("x = " + "[" * 100_000)
    with pytest.raises(InputError, match="is not TOML"):
        load_config(config_file=long, environ={}, flags={}, flag_names={})


def test_a_datadir_that_is_a_file_is_told_as_the_datadir(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=f"^datadir: {re.escape(str(file))}: Not a directory"):
        load_config(environ={}, flags={"datadir": str(file)}, flag_names={})
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}/x: Not a directory"):
        load_config(config_file=file / "x", environ={}, flags={}, flag_names={})


def test_a_chain_without_retargets_begins_anywhere() -> None:
    entry = CheckpointConfig(network="regtest", height=5, hash=HASH)
    assert Config(networks=("regtest",), checkpoint=(entry,)).checkpoint == (entry,)


def test_a_named_file_may_name_the_datadir(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(f'datadir = "{tmp_path}/d"\n')
    config = load_config(environ={"SPVNODE_CONFIG": str(file)}, flags={}, flag_names={})
    assert config.data_path == tmp_path / "d"


def test_lists_are_bounded() -> None:
    with pytest.raises(InputError, match=rf"mesh\.peers: {MAX_ENTRIES + 1} entries, at most {MAX_ENTRIES}"):
        MeshConfig(peers=(PEER,) * (MAX_ENTRIES + 1))
    with pytest.raises(InputError, match=r"mesh\.listen: "):
        MeshConfig(listen=("/ip4/127.0.0.1/tcp/0",) * (MAX_ENTRIES + 1))
    with pytest.raises(InputError, match=r"checkpoint\.peaks: 33 entries, at most 32"):
        CheckpointConfig(network="signet", height=0, hash=HASH, peaks=("ab" * 32,) * 33)
    with pytest.raises(InputError, match=r"checkpoint\.peaks\[0\]: must be 64 hex digits"):
        CheckpointConfig(network="signet", height=0, hash=HASH, peaks=("ab",))
    with pytest.raises(InputError, match=r"checkpoint\.chainwork: must be 1 to 64 hex digits"):
        CheckpointConfig(network="signet", height=0, hash=HASH, chainwork="f" * 65)


def test_an_invalid_config_cannot_be_made() -> None:
    with pytest.raises(InputError):
        RpcConfig(bind="8.8.8.8:1")
    with pytest.raises(InputError):
        Config(networks=("nope",))


def test_the_datadir_is_private(tmp_path: Path) -> None:
    made = ensure_datadir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    ensure_datadir(made)
    made.chmod(0o707)
    with pytest.raises(InputError, match=r"datadir: .* may be written by every user \(mode 707\); chmod 700 it"):
        ensure_datadir(made)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="datadir: "):
        ensure_datadir(file)
    with pytest.raises(InputError, match="datadir: "):
        ensure_datadir(file / "below")


def test_root_leaves_no_files_in_another_users_datadir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ensure_datadir(tmp_path / "d")
    if os.geteuid() == 0:
        os.chown(place, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(InputError, match=r"datadir: .*/d belongs to .*, and you are root: run it as that user"):
        ensure_datadir(place)


def test_the_datadir_fits_a_socket_address() -> None:
    with pytest.raises(InputError, match=f"datadir: longer than {MAX_DATADIR_BYTES} bytes"):
        data_path("/" + "x" * MAX_DATADIR_BYTES)
    with pytest.raises(InputError, match="datadir: "):
        data_path("a\0b")
    assert data_path("").name == "spvnode"
    assert data_path("~/x").is_absolute()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["networks", "mesh", "rpc", "bind", "listen", "checkpoint", "hash", "height", "sync", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_any_values_make_a_config_or_an_input_error(values: object) -> None:
    try:
        load_config(environ={}, flags=values if isinstance(values, dict) else {"rpc": values}, flag_names={})
    except InputError as error:
        field = error.field
    else:
        field = "none"
    assert field


def test_the_printed_form_reads_back() -> None:
    config = Config(networks=("signet",), rpc=RpcConfig(bind="[::1]:9"))
    assert msgspec.convert(msgspec.to_builtins(config), Config) == config
