"""The cookie file, and who is at the other end of a unix socket."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
import trio

from spvnode.rpc.auth import Cookie, peer_uid, uid_admitted
from spvnode.rpc.limits import MAX_AUTHORIZATION


def basic(secret: bytes) -> bytes:
    return b"Basic " + base64.b64encode(secret)


def test_the_cookie_file_is_bitcoinds(tmp_path: Path) -> None:
    cookie = Cookie.create(tmp_path)
    user, _, password = (tmp_path / ".cookie").read_text().partition(":")
    assert user == "__cookie__"
    assert len(bytes.fromhex(password)) == 32
    assert stat.S_IMODE((tmp_path / ".cookie").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".cookie"]
    assert Cookie.create(tmp_path).secret != cookie.secret


def test_only_the_exact_cookie_admits(tmp_path: Path) -> None:
    cookie = Cookie.create(tmp_path)
    assert cookie.admits(basic(cookie.secret))
    assert cookie.admits(b"basic  " + base64.b64encode(cookie.secret))
    for wrong in (
        None,
        b"",
        b"Basic",
        b"Basic " + cookie.secret,
        b"Bearer " + base64.b64encode(cookie.secret),
        basic(cookie.secret[:-1]),
        basic(cookie.secret + b"0"),
        basic(cookie.secret.upper()),
        b"Basic !!!!",
        b"Basic \xff",
        basic(cookie.secret) + b"=" * MAX_AUTHORIZATION,
    ):
        assert not cookie.admits(wrong)


def test_the_cookie_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / ".cookie.tmp").symlink_to(victim)
    (data / ".cookie").symlink_to(victim)
    cookie = Cookie.create(data)
    assert victim.read_text() == "precious"
    assert not (data / ".cookie").is_symlink()
    assert (data / ".cookie").read_bytes() == cookie.secret


def test_removal_spares_the_cookie_of_a_later_daemon(tmp_path: Path) -> None:
    first, second = Cookie.create(tmp_path), Cookie.create(tmp_path)
    first.remove()
    assert (tmp_path / ".cookie").read_bytes() == second.secret
    second.remove()
    second.remove()
    assert not (tmp_path / ".cookie").exists()


def test_the_kernel_tells_the_peers_user() -> None:
    async def main() -> int:
        ours, theirs = trio.socket.socketpair()
        with ours, theirs:
            return peer_uid(ours)

    assert trio.run(main) == os.geteuid()


@pytest.mark.parametrize(("uid", "euid", "admitted"), [(7, 7, True), (0, 7, True), (8, 7, False), (7, 0, False)])
def test_this_user_and_root_are_admitted(monkeypatch: pytest.MonkeyPatch, uid: int, euid: int, admitted: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    assert uid_admitted(uid) is admitted
