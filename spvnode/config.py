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
from spvnode import networks
from spvnode.config_electrum import ElectrumConfig
from spvnode.config_plugins import PluginConfig, check_plugins
from spvnode.config_rpc import RpcConfig
from spvnode.config_trace import TraceConfig
from spvnode.errors import InputError
from spvnode.inputs import (
    MAX_HEIGHT,
    Endpoint,
    bounded,
    parse_endpoint,
    parse_hash,
    parse_hex,
    parse_host_port,
    parse_http_url,
    parse_multiaddr,
    parse_network,
    parse_root,
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
    from spvnode.bitcoin.params import NETWORKS  # noqa: PLC0415 - inputs and defaults alone need no rules

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


class WireConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[wire]]``: one Bitcoin network's own peer-to-peer network."""

    network: str
    """Whose; at most one entry a network."""
    enabled: bool = True
    """Join it. Networks without seeds (regtest) are only joined through ``connect``."""
    connect: tuple[str, ...] = ()
    """``HOST:PORT`` of the only peers to have; empty: found by seeds and by what peers tell."""
    listen: str = ""
    """``IP:PORT`` to accept peers on and serve them headers; port 0 for any free one. Empty: nobody."""
    proxy: str = ""
    """``HOST:PORT`` of a SOCKS5 proxy (Tor's, say) that every connection goes through; also makes onion peers
    reachable, and asks no name server."""
    dns_seeds: bool = True
    """Ask the network's DNS seeds while no peer is known."""

    def __post_init__(self) -> None:
        parse_network(self.network, "wire.network")
        _check_count("wire.connect", self.connect)
        for i, text in enumerate(self.connect):
            parse_host_port(text, f"wire.connect[{i}]")
        if self.listen:
            parse_endpoint(self.listen, "wire.listen")
        if self.proxy:
            parse_host_port(self.proxy, "wire.proxy")

    @property
    def endpoint(self) -> Endpoint | None:
        """``listen``, parsed; None when it was not given."""
        return parse_endpoint(self.listen, "wire.listen") if self.listen else None

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """``proxy``, parsed; None when it was not given."""
        return parse_host_port(self.proxy, "wire.proxy") if self.proxy else None


class BeaconConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[beacon]]``: one Ethereum network. Trust begins at ``checkpoint``, at ``checkpoint_file``, or where ``quorum``
    of the Beacon APIs or peers name the same finalized block; without any of them the node waits and says so."""

    network: str
    """``ethereum``, ``sepolia``, ``hoodi``, or a name of your own for the network of ``config``."""
    checkpoint: str = ""
    """Root of a finalized beacon block that you trust, 64 hex digits, with or without 0x."""
    checkpoint_file: str = ""
    """A bootstrap (SSZ or JSON) or a proof bundle to begin at."""
    quorum: Annotated[int, Meta(ge=0, le=MAX_ENTRIES)] = 0
    """How many of ``apis`` (or else of the peers) must name the same finalized block for trust to begin there; 0: none
    can. A quorum of one is a server that you trust, such as your own."""
    allow_stale_checkpoint: bool = False
    """Begin at a block that is older than the weak-subjectivity period: former validators could have forged it."""
    apis: tuple[str, ...] = ()
    """Beacon API endpoints, ``http(s)://HOST[:PORT]``: a source beside the peers, each checked against the others."""
    p2p: bool = True
    """Join the network's own libp2p peers."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/9000",)
    """Multiaddrs to listen on for them; port 0 for any free one."""
    peers: tuple[str, ...] = ()
    """Peers to keep a connection to: ``enr:...``, or multiaddrs with ``/p2p/``."""
    max_peers: Annotated[int, Meta(ge=1, le=256)] = 24
    """Connections at once."""
    discovery: bool = True
    """Look for peers by discv5; not done where only loopback is listened on."""
    bootnodes: tuple[str, ...] = ()
    """ENRs that discovery begins at; empty for the network's public ones."""
    config: str = ""
    """A devnet's standard ``config.yaml``."""
    genesis_validators_root: str = ""
    """For ``config``: 64 hex digits."""
    genesis_time: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    """For ``config``: Unix seconds, where they are not ``MIN_GENESIS_TIME + GENESIS_DELAY``."""

    def __post_init__(self) -> None:
        parse_network(self.network, "beacon.network")
        for key in ("apis", "listen", "peers", "bootnodes"):
            _check_count(f"beacon.{key}", getattr(self, key))
        for i, addr in enumerate(self.listen):
            parse_multiaddr(addr, f"beacon.listen[{i}]", need_peer=False)
        for i, peer in enumerate(self.peers):
            if not peer.startswith("enr:"):
                parse_multiaddr(peer, f"beacon.peers[{i}]", need_peer=True)
        for i, api in enumerate(self.apis):
            parse_http_url(api, f"beacon.apis[{i}]")
        if self.checkpoint:
            parse_root(self.checkpoint, "beacon.checkpoint")
        if bool(self.config) != bool(self.genesis_validators_root):
            raise InputError("beacon.config", "goes together with beacon.genesis_validators_root")
        if self.genesis_validators_root:
            parse_root(self.genesis_validators_root, "beacon.genesis_validators_root")
        if self.checkpoint and self.checkpoint_file:
            raise InputError("beacon.checkpoint_file", "is given beside beacon.checkpoint; name one start")

    @property
    def checkpoint_root(self) -> Hash32 | None:
        """``checkpoint`` as bytes, None when it was not given."""
        return parse_root(self.checkpoint, "beacon.checkpoint") if self.checkpoint else None

    @property
    def validators_root(self) -> Hash32 | None:
        """``genesis_validators_root`` as bytes, None when it was not given."""
        given = self.genesis_validators_root
        return parse_root(given, "beacon.genesis_validators_root") if given else None


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
    electrum: ElectrumConfig = ElectrumConfig()
    checkpoint: tuple[CheckpointConfig, ...] = ()
    wire: tuple[WireConfig, ...] = ()
    beacon: tuple[BeaconConfig, ...] = ()
    sync: SyncConfig = SyncConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()
    trace: TraceConfig = TraceConfig()
    plugin: tuple[PluginConfig, ...] = ()

    def __post_init__(self) -> None:
        _check_count("networks", self.networks)
        _check_count("checkpoint", self.checkpoint)
        if not self.networks:
            raise InputError("networks", "names no network")
        _check_count("beacon", self.beacon)
        _check_count("wire", self.wire)
        check_plugins(self.plugin, self.filters)
        devnets = tuple(entry.network for entry in self.beacon if entry.config)
        for i, name in enumerate(self.networks):
            parse_network(name, f"networks[{i}]", networks.KNOWN + devnets)
        _check_once("networks", self.networks)
        _check_once("checkpoint", tuple(entry.network for entry in self.checkpoint))
        _check_once("beacon", tuple(entry.network for entry in self.beacon))
        _check_once("wire", tuple(entry.network for entry in self.wire))
        if self.electrum.enabled and self.electrum_network not in networks.BITCOIN:
            raise InputError("electrum.network", "names no network of Bitcoin's kind, or there is none to serve")
        if self.electrum.enabled and self.electrum_network not in self.networks:
            raise InputError("electrum.network", f"names {self.electrum.network}, which is not among networks")
        for wire in self.wire:
            parse_network(wire.network, "wire.network", networks.BITCOIN)
        for entry in self.checkpoint:
            parse_network(entry.network, "checkpoint.network", networks.BITCOIN)
            _check_start(entry)
        for beacon in self.beacon:
            known = networks.BITCOIN if beacon.config else networks.ETHEREUM
            if (beacon.network in known) == bool(beacon.config):
                problem = "is a network of another kind" if beacon.config else "is no Ethereum network that we know"
                raise InputError("beacon.network", f"{beacon.network} {problem}; known are {', '.join(known)}")

    @property
    def electrum_network(self) -> str:
        """The one network that the Electrum server serves; empty where there is none of its kind."""
        return self.electrum.network or next((name for name in self.networks if name in networks.BITCOIN), "")

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the plugins that webhooks go through."""
        return tuple(hook.filter for hook in self.rpc.webhook if hook.filter)

    def wire_for(self, network: str) -> WireConfig:
        """The settings of a Bitcoin network's own peers, its own or the defaults."""
        return next((entry for entry in self.wire if entry.network == network), WireConfig(network=network))

    def beacon_for(self, network: str) -> BeaconConfig | None:
        """The settings of an Ethereum network, its own or the defaults; None for any other network."""
        found = next((entry for entry in self.beacon if entry.network == network), None)
        return found or (BeaconConfig(network=network) if network in networks.ETHEREUM else None)

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


def whose(path: Path) -> str:
    """``PATH belongs to NAME``: of ``path``, or of the nearest folder above it that this user may look at."""
    for one in (path, *path.parents):
        try:
            return f"{one} belongs to {owner_name(one.stat().st_uid)}"
        except OSError:
            continue
    return f"{path} cannot be seen"


def owner_name(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
