"""``spvnode/cli/words.py``, written from the commands (by ``spvnode.docs``): what completion offers."""

from __future__ import annotations

from collections.abc import Iterator

import click

from spvnode.cli.shell import COMMANDS, group

_KINDS = {
    "network": "networks",
    "networks": "networks",
    "datadir": "dirs",
    "config": "files",
    "file": "files",
    "files": "files",
    "output": "files",
    "account": "files",
    "token_id": "tokens",
    "method": "methods",
    "params": "params",
}
_HEADS = {"header": "finalized|optimistic", "proof": "finalized|optimistic"}
_HEAD = '''\
# ruff: noqa: E501
# fmt: off
"""Commands, options and arguments, for completion.

Written by `make docs` from the commands: do not edit.
"""

from __future__ import annotations

WORDS: dict[str, tuple[str, dict[str, tuple[str, str]], tuple[str, ...]]] = {
'''
_TAIL = '''\
}
"""Command: (about, (kind of its value or nothing, about) by option, kinds of its arguments; the last one repeats)."""
'''


def commands() -> Iterator[tuple[str, str, click.Command]]:
    """(whole name, about, command), those below others after them; the group itself has no name."""
    yield "", "", group
    for name, (_, about) in COMMANDS.items():
        command = group.get_command(click.Context(group), name)
        if command is None:
            raise LookupError(name)
        yield name, about, command
        for under in command.commands.values() if isinstance(command, click.Group) else ():
            yield f"{name} {under.name}", under.get_short_help_str(100), under


def words_page() -> str:
    """The module."""
    return (
        _HEAD + "".join(f"    {name!r}: {_row(name, about, command)},\n" for name, about, command in commands()) + _TAIL
    )


def _row(name: str, about: str, command: click.Command) -> str:
    options: dict[str, tuple[str, str]] = dict.fromkeys(("--help", "-h"), ("", "Show this message and exit."))
    places: list[str] = []
    for parameter in command.params:
        kind = _kind(name, parameter)
        if isinstance(parameter, click.Option):
            told = " ".join((parameter.help or "").split()).partition(". ")[0].rstrip(".")
            flag = parameter.is_flag or parameter.count
            options |= dict.fromkeys(parameter.opts + parameter.secondary_opts, ("" if flag else kind or "text", told))
        else:
            places.append(kind or _HEADS.get(name, "text"))
    return repr((about, options, tuple(places)))


def _kind(command: str, parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Choice):
        choices = "|".join(map(str, parameter.type.choices))
        return choices if "|" in choices else f"{choices}|"
    found = _KINDS.get(parameter.name or "", "")
    return "known-networks" if found == "networks" and command in ("run", "import") else found
