"""``spvnode token create|list|revoke``: files in the data directory, which a running daemon is told to read again."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spvnode.cli.client import DaemonError, running
from spvnode.cli.options import json_option, place_options
from spvnode.cli.output import columns, emit
from spvnode.config import Config, ensure_datadir
from spvnode.config_sources import load_config
from spvnode.errors import InputError
from spvnode.inputs import shown
from spvnode.places import REVOKED_NAME, TOKEN_KEY_NAME, TOKENS_NAME
from spvnode.rpc.caller import Scope
from spvnode.rpc.tokens import MAX_REVOKED, MIN_KEY_BYTES, load_keyring, load_revoked, mint

MAX_DAYS = 3_660
"""Days that a token may last: ten years. One without an end would outlive everybody's memory of it."""
MAX_LISTED = 10_000
"""Tokens in the list, 200 bytes each; expired ones go first."""
DAY = 86_400


@click.group("token")
def command() -> None:
    """Make, list and revoke tokens of the RPC.

    A token is a JWT (HS256) with a subject, scopes (read, proofs, admin) and an end, for programs that shall not hold
    the cookie: `Authorization: Bearer TOKEN`, or Basic with the user __token__. There is none until you make one. Each
    command takes --json.
    """


@command.command("create")
@click.argument("subject")
@click.option("--scope", "scopes", multiple=True, type=click.Choice([one.value for one in Scope]), default=["read"],
              help="What it may do; may be repeated. Default: read.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, MAX_DAYS), default=90, help="How long it lasts. Default: 90.")
@place_options
@json_option
def create(
    subject: str, scopes: tuple[str, ...], days: int, datadir: str | None, config: str | None, as_json: bool
) -> None:
    """Make a token for SUBJECT, and print it: it is kept nowhere.

    The key that signs it is made with the first token, in token.key in the data directory.
    """
    settings, place = find_place(datadir, config)
    entry, token = issue(settings, place, subject, [Scope(one) for one in scopes], seconds=days * DAY)
    _tell(place)
    emit({**entry, "token": token}, [token], as_json=as_json)


@command.command("list", short_help="List the tokens that were made here.")
@place_options
@json_option
def list_(datadir: str | None, config: str | None, as_json: bool) -> None:
    """List the tokens that were made here, with their state; the tokens themselves are kept nowhere."""
    _, place = find_place(datadir, config)
    revoked, now = load_revoked(place / REVOKED_NAME), time.time()
    found = [{**entry, "state": _state(entry, revoked, now)} for entry in _listed(place)]
    lines = columns(
        ("id (for revoke)", "state", "made", "ends", "may", "subject (made for)"),
        [
            (
                one["id"],
                one["state"],
                _day(one["issued"]),
                _day(one["expires"]),
                ",".join(one["scopes"]),
                one["subject"],
            )
            for one in found
        ],
    )
    subjects = sorted(line for line in revoked if line.startswith("sub:"))
    emit({"tokens": found, "revoked_subjects": [one.removeprefix("sub:") for one in subjects]},
         lines if found else [f"no token was made in {place}; make one: spvnode token create NAME"],
         as_json=as_json)  # fmt: skip


@command.command("revoke", short_help="Revoke a token, or all of a subject.")
@click.argument("token_id", metavar="ID", required=False)
@click.option("--subject", help="Revoke all tokens of this subject, also those made elsewhere or later.")
@place_options
@json_option
def revoke(token_id: str | None, subject: str | None, datadir: str | None, config: str | None, as_json: bool) -> None:
    """Revoke the token ID (see `spvnode token list`), at once where the daemon runs."""
    if (token_id is None) == (subject is None):
        raise InputError("arguments", "name an ID, or --subject NAME")
    _, place = find_place(datadir, config)
    line = f"sub:{subject}" if token_id is None else token_id
    listed = _listed(place)
    if token_id is not None and token_id not in {entry["id"] for entry in listed}:
        raise InputError("ID", f"{shown(token_id)} is not in the list")
    now = time.time()
    over = {entry["id"] for entry in listed if entry["expires"] <= now}
    lines = sorted({*load_revoked(place / REVOKED_NAME), line} - over | {line})
    if len(lines) > MAX_REVOKED:
        raise InputError("tokens.revoked", f"{len(lines)} lines, at most {MAX_REVOKED}; a new key revokes all at once")
    _write(place / REVOKED_NAME, "".join(f"{one}\n" for one in lines))
    load_revoked(place / REVOKED_NAME)  # as the daemon will
    told = _tell(place)
    emit({"revoked": line, "daemon_told": told}, [f"revoked {line}"], as_json=as_json)


def issue(
    settings: Config, place: Path, subject: str, scopes: Sequence[Scope], *, seconds: int
) -> tuple[dict[str, Any], str]:
    """A new token, and its entry in the list, which is written. A running daemon is not told. Raises InputError."""
    key = _signing_key(settings, place)
    now = int(time.time())
    token, token_id = mint(key, subject, scopes, issued=now, expires=now + seconds)
    entry = {"id": token_id, "subject": subject, "scopes": [str(one) for one in scopes], "issued": now,
             "expires": now + seconds}  # fmt: skip
    _write_list(place, [*_listed(place), entry], now)
    return entry, token


def find_place(datadir: str | None, config: str | None) -> tuple[Config, Path]:
    """The settings, and the data directory, made where there is none. Raises InputError."""
    settings = load_config(
        config_file=Path(config) if config else None,
        environ=os.environ,
        flags={"datadir": datadir} if datadir else {},
        flag_names={"datadir": "--datadir"},
    )
    return settings, ensure_datadir(settings.data_path)


def _signing_key(settings: Config, place: Path) -> bytes:
    """The first key there is; made where there is none."""
    named = bool(settings.rpc.token_key_file)
    file = Path(settings.rpc.token_key_file).expanduser() if named else place / TOKEN_KEY_NAME
    keys = load_keyring(file, place / REVOKED_NAME, os.environ, named=named).keys
    if keys:
        return keys[0]
    _write(file, secrets.token_hex(MIN_KEY_BYTES) + "\n")
    return load_keyring(file, place / REVOKED_NAME, {}, named=True).keys[0]


def _listed(place: Path) -> list[dict[str, Any]]:
    """tokens.json. InputError where it is not what was written."""
    try:
        found = json.loads((place / TOKENS_NAME).read_text())
        return [
            {"id": str(one["id"]), "subject": str(one["subject"]), "scopes": [str(word) for word in one["scopes"]],
             "issued": int(one["issued"]), "expires": int(one["expires"])}
            for one in found
        ]  # fmt: skip
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(TOKENS_NAME, f"{place / TOKENS_NAME} is not a list of tokens: {error}") from error


def _write_list(place: Path, entries: list[dict[str, Any]], now: float) -> None:
    if len(entries) > MAX_LISTED:
        entries = [entry for entry in entries if entry["expires"] > now]
    _write(place / TOKENS_NAME, json.dumps(entries[-MAX_LISTED:], indent=1) + "\n")


def _day(unix: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix))


def _state(entry: dict[str, Any], revoked: frozenset[str], now: float) -> str:
    if entry["id"] in revoked or f"sub:{entry['subject']}" in revoked:
        return "revoked"
    return "valid" if entry["expires"] > now else "expired"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for this user alone."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _tell(place: Path) -> bool:
    """Has a running daemon read the files again; True where one did."""
    client = running(place)
    if client is None:
        return False
    try:
        client.call("reload")
    except DaemonError as error:
        click.echo(f"warning: the daemon keeps its old settings: {error}", err=True)
        return False
    return True
