"""The identity file: made once, whole or not at all, and never silently replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import p2p.host.fences  # noqa: F401 - makes libp2p importable the light way

# isort: split

from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.peer.id import ID

from p2p.host import IdentityError, load_or_create
from p2p.host.identity import FILE_SIZE, SECP256K1_FILE_SIZE, SECP256K1_ORDER, base58
from p2p.port import KeyType

ROOT = Path(__file__).resolve().parents[3]


def test_the_same_after_reading_it_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "identity"
    made = load_or_create(path)
    assert load_or_create(path) == made
    assert load_or_create(tmp_path / "other") != made


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    umask = os.umask(0)
    try:
        load_or_create(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_libp2p_has_the_same_peer_id_for_it(tmp_path: Path) -> None:
    identity = load_or_create(tmp_path / "identity")
    public = Ed25519PrivateKey.from_bytes(identity.seed).get_public_key()
    assert public.to_bytes() == identity.public
    assert str(ID.from_pubkey(public)) == identity.peer_id


def test_peer_id_of_a_known_key(tmp_path: Path) -> None:
    """libp2p specs, peer-ids/peer-ids.md, test vectors: the Ed25519 private key."""
    path = tmp_path / "identity"
    path.write_bytes(
        bytes.fromhex(
            "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
            "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
        )
    )
    identity = load_or_create(path)
    assert identity.public.hex() == "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    public = Ed25519PrivateKey.from_bytes(identity.seed).get_public_key()
    assert identity.peer_id == str(ID.from_pubkey(public))


def test_peer_id_of_a_known_secp256k1_key(tmp_path: Path) -> None:
    """libp2p specs, peer-ids/peer-ids.md, test vectors: the secp256k1 private and public key."""
    path = tmp_path / "identity"
    path.write_bytes(bytes.fromhex("0802122053DADF1D5A164D6B4ACDB15E24AA4C5B1D3461BDBD42ABEDB0A4404D56CED8FB"))
    identity = load_or_create(path, "secp256k1")
    assert identity.public.hex() == "037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"
    assert identity.peer_id.startswith("16Uiu2HA")
    public = Secp256k1PrivateKey.from_bytes(identity.secret).get_public_key()
    assert identity.peer_id == str(ID.from_pubkey(public))
    assert load_or_create(path, "secp256k1") == identity


def test_a_new_secp256k1_identity(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    made = load_or_create(path, "secp256k1")
    assert load_or_create(path, "secp256k1") == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == SECP256K1_FILE_SIZE
    public = Secp256k1PrivateKey.from_bytes(made.secret).get_public_key()
    assert (public.to_bytes(), str(ID.from_pubkey(public))) == (made.public, made.peer_id)


KINDS: list[tuple[KeyType, KeyType]] = [("ed25519", "secp256k1"), ("secp256k1", "ed25519")]


@pytest.mark.parametrize(("kept", "wanted"), KINDS)
def test_a_key_of_the_other_kind_is_named_and_kept(kept: KeyType, wanted: KeyType, tmp_path: Path) -> None:
    path = tmp_path / "identity"
    load_or_create(path, kept)
    before = path.read_bytes()
    with pytest.raises(IdentityError, match=rf"(?i)holds an {kept} key, where one of {wanted}"):
        load_or_create(path, wanted)
    assert path.read_bytes() == before


@pytest.mark.parametrize("secret", [0, SECP256K1_ORDER, 2**256 - 1])
def test_a_secret_outside_the_order_is_damage(secret: int, tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.write_bytes(bytes.fromhex("08021220") + secret.to_bytes(32, "big"))
    with pytest.raises(IdentityError, match="damaged"):
        load_or_create(path, "secp256k1")


@pytest.mark.parametrize(("data", "text"), [(b"", ""), (b"\0\0", "11"), (b"\0\x01", "12"), (b"hello", "Cn8eVZg")])
def test_base58(data: bytes, text: str) -> None:
    assert base58(data) == text


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "too long": lambda data: data + b"\0",
    "another kind of key": lambda data: b"\x08\x02" + data[2:],
    "zeros": lambda data: bytes(len(data)),
    "a flipped bit": lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    "a flipped bit in the public key": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_kept(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "identity"
    load_or_create(path)
    damaged = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(damaged)
    with pytest.raises(IdentityError, match=str(path)) as caught:
        load_or_create(path)
    assert caught.value.path == path
    assert "damaged" in caught.value.problem
    assert path.read_bytes() == damaged


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="directory"):
        load_or_create(_directory(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(IdentityError, match="regular file"):
        load_or_create(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(IdentityError):
        load_or_create(tmp_path / "link")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IdentityError):
        load_or_create(tmp_path / "file" / "identity")


def _directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir()
    return path


def test_makers_at_the_same_time_agree(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(load_or_create, [path] * 32))
    assert len(set(made)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity"]


def test_a_maker_that_dies_leaves_no_half_file(tmp_path: Path) -> None:
    """Killed before the link: there is no identity, and the next start makes one."""
    path = tmp_path / "identity"
    script = "import os, sys; from pathlib import Path; from p2p.host import identity\n"
    script += "identity._publish = lambda draft, path: os._exit(9)\nidentity.load_or_create(Path(sys.argv[1]))"
    died = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert died.returncode == 9
    assert not path.exists()
    load_or_create(path)
    assert path.stat().st_size == FILE_SIZE


def test_the_private_key_is_not_shown(tmp_path: Path) -> None:
    identity = load_or_create(tmp_path / "identity")
    assert repr(identity.seed) not in repr(identity)
    assert "seed" not in repr(identity)
