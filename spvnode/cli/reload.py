"""``spvnode reload``."""

from __future__ import annotations

import click

from spvnode.cli.client import Client
from spvnode.cli.options import find_datadir, json_option, place_options
from spvnode.cli.output import emit


@click.command("reload")
@place_options
@json_option
def command(datadir: str | None, config: str | None, as_json: bool) -> None:
    """Have the daemon read its configuration again, as SIGHUP does.

    Log level, rates, limits, names, tokens and plugins change at once; what needs a restart is named. A configuration
    that does not hold changes nothing.
    """
    found = Client(find_datadir(datadir, config)).call("reload")
    lines = [f"applied  {key}" for key in found["applied"]] + [f"restart  {key}" for key in found["restart"]]
    emit(found, lines or ["nothing has changed"], as_json=as_json)
