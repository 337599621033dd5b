"""Options that several commands share, and how they lead to a data directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spvnode.places import CONFIG_NAME

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
network_option = click.option("--network", metavar="N", help="Network. Default: the daemon's first.")
all_networks_option = click.option("--network", metavar="N", help="Network. Default: all that the daemon follows.")
progress_option = click.option("--progress", is_flag=True, help="Show progress even if stderr is no terminal.")


def place_options(function: F) -> F:
    """``--datadir`` and ``--config``."""
    datadir = click.option(
        "--datadir", metavar="D", help="Data directory. Default: the user's, such as ~/.local/share/spvnode."
    )
    config = click.option("--config", metavar="FILE", help="Config file. Default: D/spvnode.toml.")
    return datadir(config(function))


def find_datadir(datadir: str | None, config: str | None) -> Path:
    """The data directory by flag, environment or config file. Raises ``InputError``."""
    from spvnode.config import data_path  # noqa: PLC0415 - --help needs neither
    from spvnode.config_sources import CONFIG_VARIABLE, env_layer, load_config  # noqa: PLC0415

    env_layer(os.environ)  # a variable that is misspelt would be no data directory, and another daemon asked
    if datadir is not None:
        return data_path(datadir)
    named = os.environ.get("SPVNODE_DATADIR", "")
    place = data_path(named)
    # As `spvnode run` finds it: the file in the default place may lead elsewhere, a named place is meant.
    if config or os.environ.get(CONFIG_VARIABLE) or (not named and os.path.exists(place / CONFIG_NAME)):
        file = Path(config) if config else None
        return load_config(config_file=file, environ=os.environ, flags={}, flag_names={}).data_path
    return place
