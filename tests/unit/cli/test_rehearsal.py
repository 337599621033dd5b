"""What a start refuses, a reload and ``spvnode doctor`` refuse with the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from spvnode import app
from spvnode.cli import checks
from spvnode.cli.checks import State
from spvnode.config import Config
from spvnode.errors import InputError
from spvnode.plugins.room import Room
from spvnode.rehearsal import rehearse
from spvnode.reloading import Reloader
from spvnode.rpc.settings import Desk
from spvnode.store.folder import store_path


def hook(place: Path, mode: int = 0o600, **more: object) -> dict[str, Any]:
    secret = place / "secret"
    secret.write_bytes(b"s" * 40)
    secret.chmod(mode)
    one = {"name": "one", "url": "http://127.0.0.1:1/", "secret_file": str(secret), **more}
    return {"rpc": {"webhook": [one]}}


def beacon(place: Path) -> dict[str, Any]:
    return {"networks": ["ethereum"], "beacon": [{"network": "ethereum", "checkpoint_file": str(place / "none")}]}


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "secret missing": (lambda at: hook(at, secret_file=str(at / "none")), "rpc.webhook.secret_file: .*No such file"),
    "secret open": (lambda at: hook(at, 0o644), "rpc.webhook.secret_file: .*may be read by others"),
    "kind": (lambda at: hook(at, kinds=["dance"]), "rpc.webhook.kinds: one: 'dance' is none of"),
    "network": (lambda at: hook(at, networks=["signet"]), "rpc.webhook.networks: one: 'signet' does not run here"),
    "plugin": (lambda at: {"plugin": [{"name": "p", "file": str(at / "none")}]}, "plugin.file: "),
    "certificate": (lambda at: {"rpc": {"tls_cert": str(at / "c"), "tls_key": str(at / "k")}}, "rpc.tls_cert: "),
    "electrum": (
        lambda at: {"electrum": {"tls_bind": "127.0.0.1:0", "tls_cert": str(at / "c"), "tls_key": str(at / "k")}},
        "electrum.tls_cert: ",
    ),
    "token key": (lambda at: {"rpc": {"token_key_file": str(at / "none")}}, "rpc.token_key_file: .*no such file"),
    "checkpoint file": (beacon, "checkpoint file: .*No such file"),
}


def settings(place: Path, keys: dict[str, Any]) -> Config:
    own = {"rpc": {"bind": "127.0.0.1:0", **keys.pop("rpc", {})}, "mesh": {"enabled": False}}
    return msgspec.convert({"networks": ["regtest"], "datadir": str(place / "node"), **own, **keys}, Config)


@pytest.mark.parametrize("name", BAD)
def test_start_reload_and_doctor_refuse_the_same(tmp_path: Path, name: str) -> None:
    make, why = BAD[name]
    good, bad = settings(tmp_path, {}), settings(tmp_path, make(tmp_path))
    place = good.data_path

    with pytest.raises(InputError, match=why) as started:
        app.run(bad)

    desk = Desk()
    before = desk.now

    async def main() -> None:
        reloader = Reloader(good, lambda: bad, place, desk, Room())
        with pytest.raises(InputError, match=why) as reloaded:
            await reloader.reload()
        assert str(reloaded.value) == str(started.value)
        assert desk.now is before

    trio.run(main)
    found = checks.settings(bad, place)
    assert (found.state, found.says) == (State.FAIL, str(started.value))
    assert found.fix


def test_what_holds_passes_and_makes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "node"
    assert checks.settings(settings(tmp_path, hook(tmp_path, kinds=["extend"])), place).state is State.OK
    assert not place.exists()


def test_a_network_that_has_begun_asks_its_checkpoint_file_no_more(tmp_path: Path) -> None:
    config, place = settings(tmp_path, beacon(tmp_path)), tmp_path / "node"

    async def main() -> None:
        await rehearse(config, place, Room(), lambda: ("ethereum",))
        store_path(place, "ethereum").mkdir(parents=True)
        await rehearse(config, place, Room())
        with pytest.raises(InputError, match="checkpoint file"):
            await rehearse(config, place, Room(), tuple)

    trio.run(main)


def test_without_the_extra_a_reload_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    found = checks.settings(settings(tmp_path, {"trace": {"enabled": True}}), tmp_path)
    assert (found.state, found.says.partition(":")[0]) == (State.FAIL, "trace.enabled")
