"""``spvnode web``."""

from __future__ import annotations

import click

from spvnode.cli.client import Client
from spvnode.cli.exits import Exit
from spvnode.cli.options import json_option, place_options
from spvnode.cli.output import emit
from spvnode.cli.shell import CommandFailed
from spvnode.cli.token import find_place, issue
from spvnode.rpc.caller import Scope

SUBJECT = "web"
"""Whose token it is, in lists and logs."""
MAX_HOURS = 24 * 30
"""Hours that a link may let in: it stays in the terminal's scrollback."""
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - told, not bound


@click.command("web")
@click.option("--hours", type=click.IntRange(1, MAX_HOURS), default=12, help="How long it lets in. Default: 12.")
@place_options
@json_option
def command(hours: int, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Print a link to the dashboard of the running daemon.

    It carries a token of the scopes read and proofs, behind a #, which browsers do not send: the page takes it out of
    the address bar and keeps it for its tab alone. `spvnode token revoke` ends it early. Without a link, the page asks
    for a token.
    """
    settings, place = find_place(datadir, config)
    client = Client(place)
    urls = client.call("getnodeinfo")["rpc"]
    if not urls:
        raise CommandFailed(Exit.UNAVAILABLE, "rpc.bind: the daemon listens on no TCP address")
    entry, token = issue(settings, place, SUBJECT, (Scope.READ, Scope.PROOFS), seconds=hours * 3600)
    client.call("reload")  # the key may be new
    url = urls[0]
    for host, local in _ANYWHERE.items():
        url = url.replace(f"//{host}:", f"//{local}:")
    link = f"{url}#token={token}"
    emit({"url": link, "id": entry["id"], "expires": entry["expires"]}, [link], as_json=as_json)
