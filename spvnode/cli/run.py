"""``spvnode run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from spvnode.cli.options import place_options
from spvnode.errors import InputError
from spvnode.networks import BITCOIN

FLAG_NAMES = {
    "networks": "--network",
    "datadir": "--datadir",
    "mesh.listen": "--listen",
    "mesh.peers": "--peer",
    "mesh.enabled": "--no-mesh",
    "mesh.mdns": "--mdns",
    "rpc.bind": "--rpc",
    "checkpoint": "--checkpoint",
    "beacon.checkpoint": "--checkpoint",
    "beacon.apis": "--beacon-api",
    "beacon.listen": "--beacon-listen",
    "beacon.peers": "--beacon-peer",
    "beacon.config": "--beacon-config",
    "beacon.genesis_validators_root": "--genesis-validators-root",
    "beacon.quorum": "--quorum",
    "beacon.discovery": "--discovery",
    "beacon.p2p": "--no-beacon-p2p",
    "beacon": "--network",
    "log.level": "--log-level",
    "log.format": "--json",
}
"""How the command line spells the keys of the config."""


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
    help="Loopback address of the RPC; port 0 for any free one. Default: 127.0.0.1:8342.",
)
@click.option(
    "--checkpoint",
    multiple=True,
    metavar="N:HEIGHT:HASH",
    help="Begin network N at this block, which you trust (Ethereum: N:ROOT); may be repeated, once a network.",
)
@click.option("--quorum", type=int, metavar="K", help="Ethereum: begin where K of the APIs, or peers, agree.")
@click.option("--beacon-api", "apis", multiple=True, metavar="URL", help="Ethereum: Beacon API; may be repeated.")
@click.option("--beacon-peer", "beacon_peers", multiple=True, metavar="ADDR",
              help="Ethereum: beacon node to dial, enr:... or a multiaddr; may be repeated.")  # fmt: skip
@click.option("--beacon-listen", multiple=True, metavar="MULTIADDR",
              help="Ethereum: address to listen on. Default: /ip4/0.0.0.0/tcp/9000.")  # fmt: skip
@click.option("--discovery/--no-discovery", default=None, help="Ethereum: look for peers by discv5. Default: on.")
@click.option("--no-beacon-p2p", is_flag=True, help="Ethereum: Beacon APIs alone, no peers.")
@click.option("--beacon-config", metavar="FILE", help="Ethereum: a devnet's config.yaml.")
@click.option("--genesis-validators-root", metavar="ROOT", help="Ethereum: of the devnet of --beacon-config.")
@click.option("--no-mesh", is_flag=True, help="Run without libp2p: no peers, headers come by import only.")
@click.option("--mdns/--no-mdns", default=None, help="Look for peers on the local network. Default: on.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error. Default: info.")
@click.option("--json", "as_json", is_flag=True, help="Log in JSON, as is the default where stderr is no terminal.")
def command(**given: Any) -> int:
    """Run the daemon in the foreground until SIGTERM, SIGINT, or the RPC method `stop`.

    Networks: bitcoin, testnet3, testnet4, signet, regtest; ethereum, sepolia, hoodi. Options of Ethereum are about the
    one Ethereum network that --network names. The log goes to stderr.
    """
    from spvnode import logs  # noqa: PLC0415 - --help stays light
    from spvnode.app import run  # noqa: PLC0415
    from spvnode.config_sources import load_config  # noqa: PLC0415

    file = Path(given["config"]) if given["config"] else None
    config = load_config(config_file=file, environ=os.environ, flags=flag_values(given), flag_names=FLAG_NAMES)
    for text in given["checkpoint"]:
        network = text.partition(":")[0]
        if network not in config.networks:
            raise InputError("--checkpoint", f"names {network}, which is not among the networks to run")
    logs.configure(config.log.level, config.log.format)
    return run(config)


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
    values |= starts(given["checkpoint"], "--checkpoint")
    beacon = beacon_values(given)
    if beacon:
        named = [name for name in given["networks"] if name not in BITCOIN] or ["ethereum"]
        if len(named) > 1:
            raise InputError("--network", f"{len(named)} of Ethereum's kind: use [[beacon]] in the config file")
        entries = values.setdefault("beacon", [])
        entry = next((one for one in entries if one["network"] == named[0]), {"network": named[0]})
        entry.update(beacon)
        if entry not in entries:
            entries.append(entry)
    log = {"level": given["log_level"], "format": "json" if given["as_json"] else None}
    values["log"] = {key: value for key, value in log.items() if value}
    return values


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
        "p2p": False if given["no_beacon_p2p"] else None,
    }
    return {key: value for key, value in values.items() if value is not None and value != []}
