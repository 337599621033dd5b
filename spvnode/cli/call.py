"""``spvnode call``: any method of the RPC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

from spvnode.cli.client import METHOD_NOT_FOUND, Client, DaemonError
from spvnode.cli.files import read_file
from spvnode.cli.options import find_datadir, place_options
from spvnode.client.exchange import MAX_REPLY
from spvnode.errors import InputError
from spvnode.method_names import METHODS

_TEXT = {"string"}
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_OPTION = re.compile(r"--[a-z]")


@click.command("call", context_settings={"ignore_unknown_options": True})
@click.argument("method", metavar="METHOD")
@click.argument("params", metavar="[PARAMS]...", nargs=-1, type=click.UNPROCESSED)
@place_options
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a plain text too.")
def command(method: str, params: tuple[str, ...], datadir: str | None, config: str | None, as_json: bool) -> None:
    """Call any METHOD of the daemon's RPC; `spvnode call help` lists them, `spvnode call help METHOD` explains one.

    PARAMS stand in the method's order, or by name as NAME=VALUE after those that do not. Each is JSON (5, true, null,
    '["a", 1]') or plain text; @FILE is the text in FILE, @- that of standard input. The options below may stand
    anywhere; a text that begins with -- is given by its name.
    """
    client = Client(find_datadir(datadir, config))
    try:
        result = client.call(method, bind(method, params), about="PARAMS")
    except DaemonError as error:
        if error.rpc_code != METHOD_NOT_FOUND:
            raise
        near = _nearest(method, METHODS)
        meant = f"; did you mean {near}?" if near else ";"
        raise InputError("METHOD", f"no method {method[:80]!r}{meant} `spvnode call help` lists them all") from error
    click.echo(result if isinstance(result, str) and not as_json else json.dumps(result, indent=2))


def bind(method: str, words: Sequence[str]) -> dict[str, Any] | list[Any]:
    """The parameters that ``words`` mean: by name where any is named and the method is known here. Raises
    InputError."""
    kinds = METHODS.get(method, ("", {}))[1]
    positions = list(kinds)
    listed: list[Any] = []
    named: dict[str, Any] = {}
    for word in words:
        if _OPTION.match(word):
            raise InputError(word[:80], "is no option here; give a parameter of the method by name as NAME=VALUE")
        name, equals, text = word.partition("=")
        if equals and (name in kinds or (method not in METHODS and name.isidentifier())):
            if name in named:
                raise InputError(name, "is given more than once")
            named[name] = value_of(text, kinds.get(name, ""))
        elif named:
            raise InputError("PARAMS", f"{word[:80]!r} stands behind a named one; name it, or put it first")
        else:
            place = len(listed)
            kind = kinds[positions[place]] if place < len(positions) else ""
            if equals and method in METHODS and _NAME.match(name):
                _refuse_misspelt(method, name, kind)
            listed.append(value_of(word, kind))
    if not named:
        return listed
    if len(listed) > len(positions):
        raise InputError("PARAMS", f"{len(listed)} without a name; {method} takes {len(positions)}")
    both = [name for name in positions[: len(listed)] if name in named]
    if both:
        raise InputError(both[0], "is given by its place and by its name")
    return {**dict(zip(positions, listed, strict=False)), **named}


def _refuse_misspelt(method: str, name: str, kind: str) -> None:
    """A text for which ``kind`` has room may hold a = itself, unless what stands before it is nearly a name."""
    kinds = METHODS[method][1]
    near = _nearest(name, kinds)
    if _is_text(kind) and not near:
        return
    meant = f"did you mean {near!r}? There are" if near else "there are"
    known = f"{meant} {', '.join(kinds)}" if kinds else f"{method} takes none"
    raise InputError("PARAMS", f"no parameter {name[:80]!r}; {known}")


def _nearest(word: str, known: Iterable[str]) -> str:
    """The name that is most like ``word``; empty where none is."""
    from difflib import get_close_matches  # noqa: PLC0415 - for errors alone

    return next(iter(get_close_matches(word[:80], known, 1)), "")


def _is_text(kind: str) -> bool:
    return kind in _TEXT or kind.startswith('"')


def value_of(word: str, kind: str) -> Any:
    """A parameter of the JSON type ``kind`` (empty where that is not known)."""
    if word.startswith("@"):
        raw = read_file(word[1:], MAX_REPLY, word[:80])
        word = raw.decode("utf-8", "replace").strip()
    if _is_text(kind):  # 64 digits may be a hash, and 1e10 a name
        return None if word == "null" else word
    try:
        found = json.loads(word)
    except (ValueError, RecursionError):
        return word
    # Where text may stand, a number is one only if it is written as one: a hash can look like 12e34.
    return word if isinstance(found, float) and "string" in kind else found
