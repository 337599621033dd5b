"""What may be typed next: ``spvnode __complete WORD... LAST`` prints one ``value<tab>about`` a line, for the shell.

Runs at every press of the key: it imports the words (``words.py``, written from the commands) and no command. A line
that begins with a colon is for the shell's script: ``:files``, ``:dirs``, ``:nospace``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from spvnode.cli.words import WORDS
from spvnode.method_names import METHODS
from spvnode.networks import KNOWN

PATIENCE = 0.5
"""Seconds that the daemon has to tell its peers and networks."""
MAX_SHOWN = 200
"""Peers or tokens that are offered."""
MAX_LIST = 1 << 20
"""Bytes of the list of tokens that are read: three times what it can be."""
Found = Iterable[tuple[str, str]]


def main(words: list[str]) -> None:
    """Prints what fits the last of ``words``, the others being before it. Nothing where nothing is known."""
    *before, last = words or [""]
    lines = [f"{value}\t{about}" for value, about in offers(before, last)]
    sys.stdout.write("".join(f"{' '.join(line.splitlines())}\n" for line in lines))


def offers(before: list[str], last: str) -> Iterator[tuple[str, str]]:
    """(value, about) of what can stand instead of ``last``."""
    path, rest = _command(before)
    _, options, places = WORDS[path]
    if rest and not path:
        return  # no such command
    if rest and rest[-1] in options and options[rest[-1]][0]:
        yield from _values(options[rest[-1]][0], before, last)
    elif last.startswith("-"):
        yield from _fitting(((name, told) for name, (_, told) in options.items()), last)
    elif subcommands := _below(path):
        yield from _fitting(subcommands, last)
    else:
        taken = _placed(rest, options)
        if places:
            yield from _values(places[min(len(taken), len(places) - 1)], before, last, taken)


def _command(before: list[str]) -> tuple[str, list[str]]:
    """The command that has been typed, by its whole name, and the words after it."""
    path = ""
    for at, word in enumerate(before):
        longer = f"{path} {word}".strip()
        if longer in WORDS:
            path = longer
        elif not word.startswith("-"):
            return path, before[at:]
        if not _below(path):
            return path, before[at + 1 :]
    return path, []


def _below(path: str) -> list[tuple[str, str]]:
    depth = len(path.split()) + 1
    under = f"{path} " if path else ""
    return [
        (name.split()[-1], words[0])
        for name, words in WORDS.items()
        if name and name.startswith(under) and len(name.split()) == depth
    ]


def _placed(words: list[str], options: dict[str, tuple[str, str]]) -> list[str]:
    """The words that are neither options nor their values."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = bool(options.get(word, ("", ""))[0])
        else:
            found.append(word)
    return found


def _fitting(found: Found, last: str) -> Iterator[tuple[str, str]]:
    return ((value, about) for value, about in found if value.startswith(last))


def _values(kind: str, before: list[str], last: str, taken: list[str] | None = None) -> Iterator[tuple[str, str]]:
    if kind in ("files", "dirs"):
        yield f":{kind}", ""
    elif kind == "params":
        yield from _parameters(taken or [""], before, last)
    elif kind in _KINDS:
        yield from _fitting(_KINDS[kind](before), last)
    else:
        yield from _fitting(((value, "") for value in kind.split("|") if value.isascii() and "|" in kind), last)


def _parameters(taken: list[str], before: list[str], last: str) -> Iterator[tuple[str, str]]:
    """Of a method: ``name=``, and behind it what can stand there."""
    kinds = METHODS.get(taken[0], ("", {}))[1]
    name, equals, text = last.partition("=")
    if equals:
        literals = [part.strip('"') for part in kinds.get(name, "").split(" or ") if part.startswith('"')]
        peers = name in ("node", "address", "subnet")
        found = (
            networks(before) if name == "network" else peer_names(before) if peers else [(one, "") for one in literals]
        )
        for value, about in _fitting(found, text):
            yield f"{name}={value}", about
        return
    given = {word.partition("=")[0] for word in taken[1:]}
    free = [(f"{one}=", kind) for one, kind in kinds.items() if one not in given and one.startswith(last)]
    if free:
        yield ":nospace", ""
    yield from free
    if taken[0] == "help":
        yield from _fitting(methods(before), last)


# -- values that are known at run time only


def methods(_: list[str]) -> Found:
    """Of the RPC."""
    return ((name, summary) for name, (summary, _) in METHODS.items())


def networks(before: list[str]) -> Found:
    """Those that the daemon follows; all that are known, where none answers."""
    node = _ask(before, "getnodeinfo")
    running = node.get("networks") if isinstance(node, dict) else None
    return [(name, "") for name in (running if isinstance(running, list) else KNOWN) if isinstance(name, str)]


def known_networks(before: list[str]) -> Found:
    """For the daemon's own command: all that there are, and those that one follows here."""
    return dict.fromkeys([(name, "") for name in KNOWN] + list(networks(before)))


def peer_names(before: list[str]) -> Found:
    """Addresses and ids of the connected peers."""
    found: dict[str, str] = {}
    for network, _ in networks(before):
        peers = _ask(before, "getpeerinfo", network)
        for peer in peers if isinstance(peers, list) else ():
            for key in ("addr", "peer_id"):
                if isinstance(peer.get(key), str) and len(found) < MAX_SHOWN:
                    found[peer[key]] = f"{network} {peer.get('subver') or peer.get('agent') or ''}".strip()
    return found.items()


def token_ids(before: list[str]) -> Found:
    """Of the tokens that were made here."""
    from spvnode.places import TOKENS_NAME  # noqa: PLC0415 - see the module

    try:
        with (datadir(before) / TOKENS_NAME).open() as file:
            return [(str(one["id"]), str(one["subject"])) for one in json.loads(file.read(MAX_LIST))][:MAX_SHOWN]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def datadir(before: list[str]) -> Path:
    """The one that has been typed, or the default."""
    from spvnode.client.place import default_datadir  # noqa: PLC0415 - see the module

    named = [value for flag, value in pairwise(before) if flag == "--datadir"]
    return default_datadir(os.path.expanduser(named[-1]) if named else None)


def _ask(before: list[str], method: str, network: str | None = None) -> Any:
    """What the daemon says; None where none answers in time."""
    place = datadir(before)
    from spvnode.places import SOCKET_NAME  # noqa: PLC0415 - see the module

    if not (place / SOCKET_NAME).exists():
        return None
    from spvnode.client import ClientError, Retries, connect  # noqa: PLC0415 - 20 ms, where there is a daemon to ask

    try:
        with connect(place, timeout=PATIENCE, retries=Retries(attempts=1)) as client:
            return client.call(method, {"network": network})
    except ClientError:
        return None


_KINDS: dict[str, Callable[[list[str]], Found]] = {
    "methods": methods,
    "networks": networks,
    "known-networks": known_networks,
    "peers": peer_names,
    "tokens": token_ids,
}
