"""The configuration as frozen structs that check themselves: no invalid ``Config`` can exist.

Every error is an ``InputError`` that names the key and the limit. Where the values come from (file, environment,
flags) is ``spvnode.config_sources``.
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from merkle.shape import MAX_PEAKS
from spvnode.errors import InputError
from spvnode.inputs import (
    MAX_HEIGHT,
    Endpoint,
    bounded,
    parse_endpoint,
    parse_hash,
    parse_hex,
    parse_multiaddr,
    parse_network,
)
from spvnode.types import Hash32, Height

MAX_ENTRIES = 64
"""Networks, listen addresses, peers or checkpoints in one list. Each peer costs a dial at start."""
MAX_DATADIR_BYTES = 96
"""``<datadir>/rpc.sock`` must fit the 107 bytes of a unix socket address (unix(7), sun_path)."""
WORLD_WRITABLE = 0o002


def _check_count(field: str, values: tuple[object, ...]) -> None:
    if len(values) > MAX_ENTRIES:
        raise InputError(field, f"{len(values)} entries, at most {MAX_ENTRIES}")


def _check_once(field: str, names: tuple[str, ...]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(field, f"names {name} more than once")


def _check_start(entry: CheckpointConfig) -> None:
    """Told before the daemon waits for a header that could not begin a chain; the header itself is checked later."""
    from spvnode.bitcoin.params import NETWORKS  # noqa: PLC0415 - see known_networks

    params = NETWORKS[entry.network]
    if not params.no_retargeting and entry.height % params.interval:
        below = entry.height - entry.height % params.interval
        problem = f"{entry.height} is not a multiple of {params.interval} ({entry.network}); the one below is {below}"
        raise InputError("checkpoint.height", problem)
    known = {Height(0): params.genesis_hash, **dict(params.checkpoints)}.get(Height(entry.height), entry.block_hash)
    if known != entry.block_hash:
        raise InputError("checkpoint.hash", f"contradicts the built-in checkpoint at height {entry.height}")


class MeshConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[mesh]``: the libp2p side. With ``enabled = false`` libp2p is never imported."""

    enabled: bool = True
    """False: no libp2p and no peers; headers come by import only."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/8343",)
    """Multiaddrs to listen on; port 0 for any free one."""
    peers: tuple[str, ...] = ()
    """Multiaddrs to keep a connection to, each with ``/p2p/PEERID``."""
    mdns: bool = True
    """Tell the local network and look for peers there; not done where only loopback is listened on."""
    max_peers: Annotated[int, Meta(ge=1, le=256)] = 48
    """Connections at once. Each costs about 0.3 MB of buffers; everybody may connect."""

    def __post_init__(self) -> None:
        _check_count("mesh.listen", self.listen)
        _check_count("mesh.peers", self.peers)
        for i, addr in enumerate(self.listen):
            parse_multiaddr(addr, f"mesh.listen[{i}]", need_peer=False)
        for i, addr in enumerate(self.peers):
            parse_multiaddr(addr, f"mesh.peers[{i}]", need_peer=True)


class RpcConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[rpc]``: the TCP address beside the unix socket. Loopback only: cookie and replies go unencrypted."""

    bind: str = "127.0.0.1:8342"
    """``HOST:PORT`` on loopback; port 0 for any free one, which the log then tells."""

    def __post_init__(self) -> None:
        if not self.endpoint.loopback:
            raise InputError("rpc.bind", f"{self.bind} is reachable from other machines; only loopback is allowed")

    @property
    def endpoint(self) -> Endpoint:
        """``bind``, parsed."""
        return parse_endpoint(self.bind, "rpc.bind")


class CheckpointConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[checkpoint]]``: a block that the operator vouches for, where this network's trust begins.

    ``hash`` is 64 hex digits as explorers print them. ``chainwork`` (hex) is the work up to and including that
    block, ``peaks`` (hex, internal order, biggest first) the header tree over all heights below it; ``getcheckpoint``
    of a node that has the whole chain gives both.
    """

    network: str
    """Whose; at most one entry a network."""
    height: Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
    """A multiple of 2,016 where the network retargets."""
    hash: str
    """The block's, 64 hex digits as explorers print them."""
    chainwork: str | None = None
    """Work up to and including the block, in hex; without it work counts from here until the history is complete."""
    peaks: tuple[str, ...] = ()
    """The header tree over all heights below; without them proofs begin here until the history is complete."""

    def __post_init__(self) -> None:
        parse_network(self.network, "checkpoint.network")
        parse_hash(self.hash, "checkpoint.hash")
        if self.chainwork is not None and not re.fullmatch(r"[0-9a-fA-F]{1,64}", self.chainwork):
            raise InputError("checkpoint.chainwork", "must be 1 to 64 hex digits")
        if len(self.peaks) > MAX_PEAKS:
            raise InputError("checkpoint.peaks", f"{len(self.peaks)} entries, at most {MAX_PEAKS}")
        for i, peak in enumerate(self.peaks):
            if len(parse_hex(bounded(peak, f"checkpoint.peaks[{i}]"), f"checkpoint.peaks[{i}]")) != 32:
                raise InputError(f"checkpoint.peaks[{i}]", "must be 64 hex digits")

    @property
    def block_hash(self) -> Hash32:
        """``hash`` in internal byte order."""
        return parse_hash(self.hash, "checkpoint.hash")

    @property
    def work(self) -> int | None:
        """``chainwork`` as a number; None when it was not given."""
        return None if self.chainwork is None else int(self.chainwork, 16)

    @property
    def peak_hashes(self) -> tuple[Hash32, ...]:
        """``peaks`` as bytes."""
        return tuple(Hash32(bytes.fromhex(peak)) for peak in self.peaks)


class SyncConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[sync]``: how hard to fetch."""

    in_flight: Annotated[int, Meta(ge=1, le=32)] = 4
    """Ranges asked for at once, over all networks; each may hold a frame of 645,120 bytes until it is committed."""
    deadline: Annotated[float, Meta(ge=0.1, le=300.0)] = 8.0
    """Seconds a peer has for one range before another peer is asked."""


class StoreConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[store]``: LevelDB."""

    write_buffer: Annotated[int, Meta(ge=64 << 10, le=256 << 20)] = 4 << 20
    """Bytes gathered in memory before a table is written, per network; up to two of them live at once."""


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[log]``: to stderr. ``auto`` is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """``auto`` is text on a terminal and JSON elsewhere."""


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. ``datadir`` empty means the platform's place for user data; see ``data_path``."""

    networks: tuple[str, ...] = ("bitcoin",)
    """Networks to follow; the first is what a call means that names none."""
    datadir: str = ""
    """Where everything is kept; empty for the user's data directory, such as ``~/.local/share/spvnode``."""
    mesh: MeshConfig = MeshConfig()
    rpc: RpcConfig = RpcConfig()
    checkpoint: tuple[CheckpointConfig, ...] = ()
    sync: SyncConfig = SyncConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        _check_count("networks", self.networks)
        _check_count("checkpoint", self.checkpoint)
        if not self.networks:
            raise InputError("networks", "names no network")
        for i, name in enumerate(self.networks):
            parse_network(name, f"networks[{i}]", known_networks())
        _check_once("networks", self.networks)
        _check_once("checkpoint", tuple(entry.network for entry in self.checkpoint))
        for entry in self.checkpoint:
            parse_network(entry.network, "checkpoint.network", known_networks())
            _check_start(entry)

    @property
    def data_path(self) -> Path:
        """The data directory, absolute; nothing is created."""
        return data_path(self.datadir)


def data_path(datadir: str) -> Path:
    """``datadir`` made absolute, or the platform's default when it is empty. Raises ``InputError`` when too long."""
    if datadir:
        path = Path(datadir).expanduser().absolute()
    else:
        import platformdirs  # noqa: PLC0415 - only who names no datadir pays for it

        path = platformdirs.user_data_path("spvnode")
    if "\0" in datadir or len(os.fsencode(path)) > MAX_DATADIR_BYTES:
        raise InputError("datadir", f"longer than {MAX_DATADIR_BYTES} bytes (its rpc.sock must fit a socket address)")
    return path


def ensure_datadir(path: Path) -> Path:
    """Makes the data directory (mode 0700) or checks the one that is there: ours to write, and nobody else's."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise InputError("datadir", f"{path}: {error.strerror}") from error
    mode = found.st_mode
    if os.geteuid() == 0 and found.st_uid != 0:  # root's files in it would lock its owner's daemon out
        raise InputError(
            "datadir", f"{path} belongs to {owner_name(found.st_uid)}, and you are root: run it as that user"
        )
    if mode & WORLD_WRITABLE:
        raise InputError("datadir", f"{path} may be written by every user (mode {mode & 0o7777:o}); chmod 700 it")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise InputError("datadir", f"{path} may not be read and written by this user")
    return path


def owner_name(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def known_networks() -> tuple[str, ...]:
    """Names of the networks that this build has rules for."""
    from spvnode.bitcoin.params import NETWORKS  # noqa: PLC0415 - inputs and defaults alone need no rules

    return tuple(NETWORKS)
