"""``spvnode run``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from spvnode.cli.client import daemon_pid
from spvnode.cli.options import place_options
from spvnode.errors import InputError, StoreLocked
from spvnode.networks import BITCOIN, ETHEREUM

FLAG_NAMES = {
    "networks": "--network",
    "datadir": "--datadir",
    "mesh.listen": "--listen",
    "mesh.peers": "--peer",
    "mesh.enabled": "--no-mesh",
    "mesh.mdns": "--mdns",
    "rpc.bind": "--rpc",
    "rpc.insecure": "--rpc-insecure",
    "electrum.bind": "--electrum",
    "checkpoint": "--checkpoint",
    "beacon.checkpoint": "--checkpoint",
    "beacon.apis": "--beacon-api",
    "beacon.listen": "--beacon-listen",
    "beacon.peers": "--beacon-peer",
    "beacon.config": "--beacon-config",
    "beacon.genesis_validators_root": "--genesis-validators-root",
    "beacon.quorum": "--quorum",
    "beacon.discovery": "--discovery",
    "beacon.p2p": "--no-p2p",
    "beacon": "--network",
    "wire.connect": "--connect",
    "wire.listen": "--p2p-listen",
    "wire.proxy": "--proxy",
    "wire.enabled": "--no-p2p",
    "wire": "--network",
    "log.level": "--log-level",
    "log.format": "--json",
}
"""How the command line spells the keys of the config."""
SWITCHES = {"enabled", "p2p"}
"""Keys of a network's own peers that one flag sets for all networks."""


@click.command("run")
@click.option(
    "--network", "networks", multiple=True, metavar="N", help="Network to follow; may be repeated. Default: bitcoin."
)
@place_options
@click.option(
    "--listen",
    multiple=True,
    metavar="MULTIADDR",
    help="Mesh address to listen on; may be repeated. Default: /ip4/0.0.0.0/tcp/8343.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="Mesh peer to dial, /ip4/HOST/tcp/PORT/p2p/PEERID as `spvnode id` prints it there; may be repeated.",
)
@click.option(
    "--rpc",
    metavar="HOST:PORT",
    help="Address of the RPC; port 0 for any free one; beyond loopback see rpc.tls_cert. Default: 127.0.0.1:8342.",
)
@click.option("--rpc-insecure", is_flag=True, help="RPC beyond loopback without TLS or token key: a proxy has both.")
@click.option("--electrum", metavar="HOST:PORT", help="Serve the Electrum protocol there (TCP). Default: off.")
@click.option(
    "--checkpoint",
    multiple=True,
    metavar="N:HEIGHT:HASH",
    help="Begin network N at this block, which you trust (Ethereum: N:ROOT); may be repeated, once a network.",
)
@click.option("--no-p2p", is_flag=True, help="Do not join the networks' own peers: mesh, APIs and imports only.")
@click.option("--connect", multiple=True, metavar="HOST:PORT", help="Bitcoin: the only peers to have; may be repeated.")
@click.option("--p2p-listen", metavar="IP:PORT", help="Bitcoin: accept peers here, and serve them.")
@click.option("--proxy", metavar="HOST:PORT", help="Bitcoin: SOCKS5 proxy for every connection, such as Tor's.")
@click.option("--quorum", type=int, metavar="K", help="Ethereum: begin where K of the APIs, or peers, agree.")
@click.option("--beacon-api", "apis", multiple=True, metavar="URL", help="Ethereum: Beacon API; may be repeated.")
@click.option("--beacon-peer", "beacon_peers", multiple=True, metavar="ADDR",
              help="Ethereum: beacon node to dial, enr:... or a multiaddr; may be repeated.")  # fmt: skip
@click.option("--beacon-listen", multiple=True, metavar="MULTIADDR",
              help="Ethereum: address to listen on. Default: /ip4/0.0.0.0/tcp/9000.")  # fmt: skip
@click.option("--discovery/--no-discovery", default=None, help="Ethereum: look for peers by discv5. Default: on.")
@click.option("--beacon-config", metavar="FILE", help="Ethereum: a devnet's config.yaml.")
@click.option("--genesis-validators-root", metavar="ROOT", help="Ethereum: of the devnet of --beacon-config.")
@click.option("--no-mesh", is_flag=True, help="Do not join the mesh of nodes like this one.")
@click.option("--mdns/--no-mdns", default=None, help="Look for peers on the local network. Default: on.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error. Default: info.")
@click.option("--json", "as_json", is_flag=True, help="Log in JSON, as is the default where stderr is no terminal.")
def command(**given: Any) -> int:
    """Run the daemon in the foreground until SIGTERM, SIGINT, or the RPC method `stop`.

    Networks: bitcoin, testnet3, testnet4, signet, regtest; ethereum, sepolia, hoodi. Options that begin with a kind
    (Bitcoin:, Ethereum:) are about the one network of that kind that --network names. The log goes to stderr.
    """
    # structlog takes 6 MB of rich where another extra has brought it, for tracebacks that look the same without.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from spvnode import logs  # noqa: PLC0415 - --help stays light
    from spvnode.app import run  # noqa: PLC0415
    from spvnode.config_sources import load_config  # noqa: PLC0415

    file = Path(given["config"]) if given["config"] else None
    flags = flag_values(given)
    read = partial(load_config, config_file=file, environ=os.environ, flags=flags, flag_names=FLAG_NAMES)
    config = read()
    for key, kind in (("wire", "Bitcoin"), ("beacon", "Ethereum")):
        _refuse_needless(key, kind, flags.get(key, ()), config.networks)
    for text in given["checkpoint"]:
        network = text.partition(":")[0]
        if network not in config.networks:
            raise InputError("--checkpoint", f"names {network}, which is not among the networks to run")
    logs.configure(config.log.level, config.log.format)
    try:
        return run(config, read)
    except StoreLocked as error:
        raise StoreLocked(in_use(config.data_path)) from error


def _refuse_needless(key: str, kind: str, entries: Sequence[Mapping[str, Any]], networks: Sequence[str]) -> None:
    """An option about a network that does not run would do nothing."""
    for entry in entries:
        said = [name for name in entry if name not in {"network", *SWITCHES}]
        if said and entry["network"] not in networks:
            flag, network = FLAG_NAMES[f"{key}.{said[0]}"], entry["network"]
            problem = f"is about a network of {kind}'s, here {network}, and only {', '.join(networks)} shall run"
            raise InputError(flag, f"{problem}; add --network {network}")


def in_use(datadir: Path) -> str:
    """Why no daemon can run in ``datadir`` beside who is there, and what to do."""
    pid = daemon_pid(datadir)
    who = (
        "another process (an import or check, or a daemon that starts or ends)"
        if pid is None
        else f"a daemon (pid {pid})"
    )
    return f"datadir: {who} uses {datadir}; stop it, or give this daemon a directory of its own with --datadir"


def flag_values(given: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, shaped like the config file."""
    from spvnode.config_sources import starts  # noqa: PLC0415 - --help stays light

    values: dict[str, Any] = {}
    for key in ("networks", "datadir"):
        if given[key]:
            values[key] = list(given[key]) if key == "networks" else given[key]
    mesh: dict[str, Any] = {"listen": list(given["listen"]), "peers": list(given["peers"])}
    values["mesh"] = {key: value for key, value in mesh.items() if value}
    if given["no_mesh"]:
        values["mesh"]["enabled"] = False
    if given["mdns"] is not None:
        values["mesh"]["mdns"] = given["mdns"]
    if given["rpc"]:
        values["rpc"] = {"bind": given["rpc"]}
    if given["rpc_insecure"]:
        values.setdefault("rpc", {})["insecure"] = True
    if given["electrum"]:
        values["electrum"] = {"bind": given["electrum"]}
    values |= starts(given["checkpoint"], "--checkpoint")
    for key, found, others, default in (
        ("wire", wire_values(given), ETHEREUM, "bitcoin"),
        ("beacon", beacon_values(given), BITCOIN, "ethereum"),
    ):
        _about_one(values, key, found, [name for name in given["networks"] if name not in others] or [default])
    log = {"level": given["log_level"], "format": "json" if given["as_json"] else None}
    values["log"] = {key: value for key, value in log.items() if value}
    return values


def _about_one(values: dict[str, Any], key: str, found: dict[str, Any], named: list[str]) -> None:
    """Adds what the flags say about a network's own peers to the table of the network that is meant."""
    if not found:
        return
    if len(named) > 1 and set(found) - SWITCHES:
        raise InputError("--network", f"{' and '.join(named)}: which one is meant? Use [[{key}]] in the config file")
    for name in named:
        entries = values.setdefault(key, [])
        entry = next((one for one in entries if one["network"] == name), None)
        if entry is None:
            entry = {"network": name}
            entries.append(entry)
        entry.update(found)


def wire_values(given: dict[str, Any]) -> dict[str, Any]:
    """What was given about the Bitcoin network, shaped like a ``[[wire]]`` table."""
    values: dict[str, Any] = {
        "connect": list(given["connect"]),
        "listen": given["p2p_listen"],
        "proxy": given["proxy"],
        "enabled": False if given["no_p2p"] else None,
    }
    return {key: value for key, value in values.items() if value is not None and value != []}


def beacon_values(given: dict[str, Any]) -> dict[str, Any]:
    """What was given about the Ethereum network, shaped like a ``[[beacon]]`` table."""
    values: dict[str, Any] = {
        "apis": list(given["apis"]),
        "peers": list(given["beacon_peers"]),
        "listen": list(given["beacon_listen"]),
        "config": given["beacon_config"],
        "genesis_validators_root": given["genesis_validators_root"],
        "quorum": given["quorum"],
        "discovery": given["discovery"],
        "p2p": False if given["no_p2p"] else None,
    }
    return {key: value for key, value in values.items() if value is not None and value != []}
