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
from spvnode.inputs import parse_hash, parse_height


@click.command("verify")
@click.argument("file", metavar="FILE")
@click.option("--trusted-root", metavar="HASH", help="The header-tree root that you trust: proves place and chain.")
@click.option("--trusted-tip", metavar="HASH", help="The tip that you trust: proves the tip and its parent only.")
@click.option(
    "--trusted-start", metavar="[HEIGHT:]HASH", help="The start block that you trust: refuses a proof from another one."
)
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

    Exits with 0 if the proof holds, 1 if it does not, 2 if FILE cannot be read. Read what it rests on: without a root
    that you trust, a proof shows work and a place in some tree, not that this tree is the chain that others follow.
    """
    root, tip = _hash(trusted_root, "--trusted-root"), _hash(trusted_tip, "--trusted-tip")
    start = _start(trusted_start)
    verdict = verify(_read(file), trusted_root=root, trusted_tip=tip, trusted_start=start)
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


def _hash(text: str | None, flag: str) -> bytes | None:
    return None if text is None else parse_hash(text, flag)


def _start(text: str | None) -> str | None:
    """``trusted_start`` as the verifier takes it, checked here so that an error names the flag."""
    if text is not None:
        height, colon, block_hash = text.rpartition(":")
        parse_hash(block_hash, "--trusted-start")
        if colon:
            parse_height(height, "--trusted-start")
    return text


def _read(file: str) -> bytes:
    """At most one byte more than any proof has, so that a wrong file is refused and not loaded."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError("FILE", f"{file}: {error.strerror}") from error
