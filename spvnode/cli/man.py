"""docs/spvnode.1, the manual page, written from the commands (by ``spvnode.docs``)."""

from __future__ import annotations

from collections.abc import Iterator

import click

from spvnode.cli.exits import MEANINGS
from spvnode.cli.shell import group
from spvnode.cli.words_code import commands
from spvnode.version import VERSION

_HEAD = """\
.\\" written by `make docs` from the source: do not edit
.TH SPVNODE 1 "" "spvnode {version}" "User Commands"
.SH NAME
spvnode \\- a light node that follows block headers, checks every one, and proves them
.SH SYNOPSIS
.B spvnode
.I COMMAND
.RI [ OPTION ]...
.RI [ ARGUMENT ]...
.SH DESCRIPTION
{about}
.SH COMMANDS
"""
_TAIL = """\
.SH ENVIRONMENT
.TP
.B SPVNODE_CONFIG
The config file, where it is not spvnode.toml in the data directory.
.TP
.BR SPVNODE_ ...
Every key of the config file, in capitals, two underscores between levels.
.SH FILES
.TP
.I ~/.local/share/spvnode
The data directory of most users, with the settings (spvnode.toml), the socket of the RPC (rpc.sock), its cookie
(.cookie), and a folder for each network.
.SH SEE ALSO
docs/cli.md, docs/operating.md and docs/rpc.md of the source.
"""


def render() -> str:
    """The page."""
    parts = []
    for name, about, command in commands():
        if not name:
            parts.append(_HEAD.format(version=_text(VERSION), about=_paragraphs(command.help or "")))
        else:
            parts += _command(name, about, command)
    rows = "".join(f".TP\n.B {int(code)}\n{_text(told)}\n" for code, told in MEANINGS.items())
    return "".join([*parts, f".SH EXIT STATUS\n{rows}", _TAIL])


def _command(name: str, about: str, command: click.Command) -> Iterator[str]:
    names = group.context_settings["help_option_names"]  # a command keeps those that it is first asked with
    context = click.Context(command, info_name=f"spvnode {name}", help_option_names=names)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS spvnode {_text(name)} {_text(usage)}\n{_paragraphs(command.help or about)}\n"
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            spelt, told = record
            yield f".TP\n.B {_text(spelt)}\n{_text(' '.join(told.split()))}\n"


def _paragraphs(text: str) -> str:
    found = [_text(" ".join(part.split())) for part in text.replace("\b", "").split("\n\n") if part.strip()]
    return "\n.PP\n".join(found)


def _text(text: str) -> str:
    """Plain text as roff: no line of it may be taken for a request (groff_man(7))."""
    found = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{found}" if found.startswith((".", "'")) else found
