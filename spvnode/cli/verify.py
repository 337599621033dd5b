"""``spvnode verify``: offline, with ``merkle.verify`` alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from merkle.verify import MAX_JSON_BYTES, verify
from spvnode.cli.exits import Exit
from spvnode.cli.options import json_option
from spvnode.cli.output import emit
from spvnode.errors import InputError
from spvnode.inputs import bounded


@click.command("verify")
@click.argument("file", metavar="FILE")
@click.option("--trusted-root", metavar="HASH", help="The header-tree root that you trust.")
@click.option("--trusted-tip", metavar="HASH", help="The tip's hash that you trust.")
@click.option("--trusted-start", metavar="[HEIGHT:]HASH", help="The start block that you trust.")
@click.option("--datadir", hidden=True, expose_value=False, help="Taken like everywhere, and not needed.")
@json_option
def command(
    file: str,
    trusted_root: str | None,
    trusted_tip: str | None,
    trusted_start: str | None,
    as_json: bool,
) -> int:
    """Check the proof in FILE (- for standard input), offline.

    Exits with 0 if the proof holds, 1 if it does not, 2 if FILE cannot be read. Read what it rests on: without a hash
    that you trust, a proof can show work and place, not that its chain is the one that others follow.
    """
    given = {"trusted_root": trusted_root, "trusted_tip": trusted_tip, "trusted_start": trusted_start}
    raw = _read(file)
    try:
        verdict = verify(raw, **{name: bounded(text, name) for name, text in given.items() if text is not None})
    except ValueError as error:
        raise InputError("trusted hash", str(error)) from error
    data = {
        "valid": verdict.ok,
        "reason": verdict.reason,
        "says": verdict.says,
        "rests_on": verdict.rests_on,
        "claimed": verdict.claimed,
        **verdict.fields,
    }
    emit(data, [("valid: " if verdict.ok else "INVALID: ") + verdict.says], as_json=as_json)
    return Exit.OK if verdict.ok else Exit.NEGATIVE


def _read(file: str) -> bytes:
    """At most one byte more than any proof has, so that a wrong file is refused and not loaded."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError("FILE", f"{file}: {error.strerror}") from error
