"""``[[plugin]]``: what is taken and what is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from spvnode.config_plugins import MAX_DEADLINE_MS, MAX_FUEL, MAX_MEMORY, MAX_PLUGINS
from spvnode.config_sources import load_config
from spvnode.errors import InputError

HOOK = 'name = "hook"\nurl = "http://127.0.0.1:1/"\nsecret_file = "x"\n'


def read(tmp_path: Path, text: str) -> tuple[str, ...]:
    """Names of the plugins of a configuration file."""
    path = tmp_path / "spvnode.toml"
    path.write_text(f'datadir = "{tmp_path}"\n{text}')
    return tuple(one.name for one in load_config(config_file=path, environ={}, flags={}, flag_names={}).plugin)


def table(name: str = "one", more: str = "") -> str:
    return f'[[plugin]]\nname = "{name}"\nfile = "a.wasm"\n{more}\n'


def test_tables_and_the_webhook_that_uses_one(tmp_path: Path) -> None:
    text = table("one", 'capabilities = ["log", "clock"]\nheaders = ["regtest"]') + table("two")
    assert read(tmp_path, text) == ("one", "two")
    assert read(tmp_path, text + f'[[rpc.webhook]]\n{HOOK}filter = "two"') == ("one", "two")
    assert read(tmp_path, "".join(table(f"p{i}") for i in range(MAX_PLUGINS)))[-1] == f"p{MAX_PLUGINS - 1}"


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        (table("One"), "plugin.name", "no network name"),
        ('[[plugin]]\nname = "one"\nfile = ""', "plugin.file", "names no file"),
        (table(more=f"fuel = {MAX_FUEL + 1}"), "plugin[0].fuel", "<="),
        (table(more="fuel = 0"), "plugin[0].fuel", ">="),
        (table(more=f"memory = {MAX_MEMORY + 1}"), "plugin[0].memory", "<="),
        (table(more=f"deadline_ms = {MAX_DEADLINE_MS + 1}"), "plugin[0].deadline_ms", "<="),
        (table(more='capabilities = ["net"]'), "plugin.capabilities", "'net' is none of log, clock, headers"),
        (table(more='capabilities = ["log", "log"]'), "plugin.capabilities", "more than once"),
        (table(more='headers = ["ethereum"]'), "plugin.headers", "unknown network 'ethereum'"),
        (table(more="threads = 2"), "plugin[0].threads", "unknown key"),
        (table() + table(), "plugin", "same name"),
        ("".join(table(f"p{i}") for i in range(MAX_PLUGINS + 1)), "plugin", f"at most {MAX_PLUGINS}"),
        (f'[[rpc.webhook]]\n{HOOK}filter = "none"', "rpc.webhook.filter", "'none' is no [[plugin]]"),
    ],
)
def test_what_does_not_hold_is_named(tmp_path: Path, text: str, field: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert caught.value.field.startswith(field)
    assert problem in caught.value.problem
