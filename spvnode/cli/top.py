"""``spvnode top``."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys

import click

from spvnode.cli.client import Client
from spvnode.cli.exits import Exit
from spvnode.cli.options import find_datadir, place_options
from spvnode.cli.shell import CommandFailed
from spvnode.client import connect_async
from spvnode.extras import how_to_install
from spvnode.top.look import take_look


@click.command("top")
@click.option(
    "--network", "networks", metavar="N", multiple=True, help="Network to show; may be repeated. Default: all."
)
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print what one look finds as JSON, and end; without the extra.")
def command(networks: tuple[str, ...], datadir: str | None, config: str | None, as_json: bool) -> None:
    """Watch the daemon in the terminal: networks, rates, peers, and events as they come.

    Keys: / filters the events (words that a line must hold; -word must not), p pauses, c clears, q quits. Needs the
    extra `top`: .venv/bin/pip install '.[top]' in the checkout.
    """
    if not as_json and importlib.util.find_spec("textual") is None:
        raise CommandFailed(Exit.INPUT, f"textual: is not installed; {how_to_install('top')} brings it")
    place = find_datadir(datadir, config)
    running = Client(place).call("getnodeinfo")["networks"]
    unknown = [name for name in networks if name not in running]
    if unknown:
        raise CommandFailed(Exit.INPUT, f"--network: {unknown[0]} does not run here; running: {', '.join(running)}")
    if as_json:
        click.echo(json.dumps(asyncio.run(take_look(connect_async(place), networks)).as_json(), indent=2))
        return
    if not sys.stdout.isatty():
        raise CommandFailed(Exit.INPUT, "stdout: is no terminal; `spvnode status --json` is for programs")
    from spvnode.top.app import Top  # noqa: PLC0415 - the extra

    Top(connect_async(place), networks).run()
