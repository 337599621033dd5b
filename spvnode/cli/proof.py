"""``spvnode proof``."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from spvnode.cli.client import Client
from spvnode.cli.exits import Exit
from spvnode.cli.options import find_datadir, json_option, network_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.cli.shell import CommandFailed
from spvnode.errors import InputError
from spvnode.inputs import parse_height, parse_height_or_hash

# The disk refused; anything else is wrong with the path that was given.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@click.command("proof")
@click.argument("block", metavar="X")
@click.option("-o", "--output", metavar="FILE", help="Write the proof's canonical bytes here (.json: its JSON form).")
@click.option("--cp-height", metavar="HEIGHT", help="End the tree at this height. Default: the tip.")
@network_option
@place_options
@json_option
def command(
    block: str,
    output: str | None,
    cp_height: str | None,
    network: str | None,
    datadir: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Make a portable proof of the header X, a height or a block hash.

    Without -o the proof's JSON form is printed. `spvnode verify` checks either form, with nothing but the proof.
    """
    named = parse_height_or_hash(block, "X")
    end = None if cp_height is None else parse_height(cp_height, "--cp-height")
    client = Client(find_datadir(datadir, config))
    wanted = {"block": named if isinstance(named, int) else block, "cp_height": end, "network": network}
    reply = client.call("getheaderproof", wanted, about="X")
    if output is None:
        emit(reply if as_json else reply["bundle"], (), as_json=True)
        return
    size = _write(Path(output), reply)
    summary = {key: reply[key] for key in ("height", "hash", "confirmations", "cp_height", "root")}
    summary |= {"file": output, "bytes": size}
    emit(summary, pairs(summary), as_json=as_json)


def _write(path: Path, reply: dict[str, Any]) -> int:
    as_text = path.suffix == ".json"
    raw = json.dumps(reply["bundle"], indent=2).encode() + b"\n" if as_text else bytes.fromhex(reply["hex"])
    try:
        path.write_bytes(raw)
    except OSError as error:
        if error.errno not in _DISK:
            raise InputError("-o", f"{path}: {error.strerror}") from error
        with suppress(OSError):  # a proof that is cut short is of no use to anybody
            if path.is_file():
                path.unlink()
        raise CommandFailed(Exit.STORE, f"-o: {path}: {error.strerror}") from error
    return len(raw)
