"""``spvnode verify``: offline, with the proof alone; or with ``--account`` and no proof, against a daemon's header."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from merkle.errors import ProofError
from spvnode.cli.exits import Exit
from spvnode.cli.files import read_file
from spvnode.cli.options import find_datadir, json_option, place_options
from spvnode.cli.output import emit, pairs
from spvnode.envelopes import opened
from spvnode.errors import InputError
from spvnode.inputs import parse_hash, parse_height
from spvnode.proofs import MAX_PROOF_BYTES, NOT_A_PROOF, verify_any

if TYPE_CHECKING:
    from merkle.verify import Verdict
    from spvnode.ethereum.bundle_verify import BeaconVerdict

MAX_ANSWER_BYTES = 4 << 20
"""Of a file with an ``eth_getProof`` answer: twice what 256 storage slots take. The user may name a wrong file."""


@click.command("verify")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--trusted-root", metavar="HASH", help="The header-tree root that you trust: proves place and chain.")
@click.option("--trusted-tip", metavar="HASH", help="The tip that you trust: proves the tip and its parent only.")
@click.option(
    "--trusted-start", metavar="[HEIGHT:]HASH", help="The start block that you trust: refuses a proof from another one."
)
@click.option(
    "--trusted-checkpoint",
    metavar="ROOT",
    help="Ethereum: the checkpoint that you trust: refuses a proof from another.",
)
@click.option(
    "--account", metavar="ANSWER", help="Ethereum: an eth_getProof answer (JSON), checked under the proven state root."
)
@click.option(
    "--block",
    metavar="B",
    help="With --account and no FILE: finalized (the default), optimistic, or an execution block's number or hash.",
)
@click.option("--network", metavar="N", help="Refuse a proof of any other network. Without FILE: the daemon's to ask.")
@place_options
@json_option
def command(
    file: str | None,
    trusted_root: str | None,
    trusted_tip: str | None,
    trusted_start: str | None,
    trusted_checkpoint: str | None,
    account: str | None,
    block: str | None,
    network: str | None,
    datadir: str | None,
    config: str | None,
    as_json: bool,
) -> int:
    """Check the proof in FILE (- for standard input), offline: either form of it, its hex, or a reply that holds it.

    Exits with 0 if the proof holds, 1 if it does not, 2 if FILE cannot be read or is no proof. Read what it rests on:
    without a root that you trust, a proof shows work, or signatures, and not that this is the chain that others follow.

    With --account the answer in that file must hold as well, under the state root that FILE proves. Without FILE the
    daemon's own header gives the state root: --block, --datadir and --config are for that.
    """
    # Before the file is read: an error names what was given first.
    trusted: dict[str, Any] = {
        "trusted_root": _hash(trusted_root, "--trusted-root"),
        "trusted_tip": _hash(trusted_tip, "--trusted-tip"),
        "trusted_start": _start(trusted_start),
        "trusted_checkpoint": _root(trusted_checkpoint, "--trusted-checkpoint"),
    }
    answer = None if account is None else _answer(account)
    if file is None:
        if answer is None:
            raise InputError("FILE", "is missing")
        return _ask(
            find_datadir(datadir, config), {"proof": answer, "block": block, "network": network}, as_json=as_json
        )
    if block is not None:
        raise InputError("--block", "is for --account without FILE: FILE itself says which block it proves")
    data = opened(read_file(file, MAX_PROOF_BYTES, "FILE"), "FILE")
    verdict = verify_any(data, time.time(), **trusted, network=network)
    if verdict.reason == NOT_A_PROOF:
        raise InputError("FILE", f"{file}: is no proof, or one of a version that is not known here")
    return _tell(verdict, answer, as_json=as_json)


def _tell(verdict: Verdict | BeaconVerdict, answer: Mapping[str, Any] | None, *, as_json: bool) -> int:
    data: dict[str, Any] = {
        "valid": verdict.ok,
        "reason": verdict.reason,
        "says": verdict.says,
        "rests_on": verdict.rests_on,
        "claimed": verdict.claimed,
        **verdict.fields,
    }
    lines = [("valid: " if verdict.ok else "INVALID: ") + verdict.says]
    if answer is not None and verdict.ok:
        found = _under(verdict, answer)
        data |= {"valid": found["valid"], "reason": found["reason"] or verdict.reason, "account": found["account"]}
        lines += _account_lines(found)
    emit(data, lines, as_json=as_json)
    return Exit.OK if data["valid"] else Exit.NEGATIVE


def _under(verdict: Verdict | BeaconVerdict, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What ``answer`` proves under the state root of the header that was proven."""
    from spvnode.ethereum.accounts import verify_account_proof  # noqa: PLC0415 - a Bitcoin proof does without

    proven = {field.name: field.value for field in getattr(verdict, "execution", ())}
    state_root = proven.get("state_root")
    if not isinstance(state_root, bytes):
        raise InputError("--account", "FILE proves no state root of an execution block")
    try:
        found = verify_account_proof(answer, state_root)
    except ProofError as error:
        return {"valid": False, "reason": str(error), "account": None}
    return {"valid": True, "reason": "", "account": found.as_json()}


def _ask(datadir: Path, wanted: Mapping[str, Any], *, as_json: bool) -> int:
    """What the daemon says of an answer, under a state root of its own."""
    from spvnode.cli.client import Client  # noqa: PLC0415 - offline, nothing of HTTP is needed

    reply = Client(datadir).call("verifyaccountproof", wanted, about="--account")
    verdict = ("valid: " if reply["valid"] else "INVALID: ") + reply["says"]
    emit(reply, [verdict, *_account_lines(reply)], as_json=as_json)
    return Exit.OK if reply["valid"] else Exit.NEGATIVE


def _account_lines(found: Mapping[str, Any]) -> list[str]:
    account = found["account"]
    if account is None:
        return [f"INVALID account: {found['reason']}"]
    storage = {f"storage {slot['key']}": slot["value"] for slot in account["storage"]}
    exists = {"exists": "yes" if account["exists"] else "no"}
    return pairs({**account, **exists, "balance": f"{account['balance']} wei", "storage": None, **storage})


def _answer(file: str) -> Mapping[str, Any]:
    """The ``result`` of an ``eth_getProof``, or the whole JSON-RPC reply around it."""
    text = read_file(file, MAX_ANSWER_BYTES, "--account")
    if len(text) > MAX_ANSWER_BYTES:
        raise InputError("--account", f"{file}: longer than {MAX_ANSWER_BYTES} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("--account", f"{file}: is no JSON") from error
    if isinstance(found, dict) and isinstance(found.get("result"), dict):
        found = found["result"]
    if not isinstance(found, dict):
        raise InputError("--account", f"{file}: is no answer of eth_getProof")
    return found


def _hash(text: str | None, flag: str) -> bytes | None:
    """As explorers print it, with or without ``0x``."""
    return None if text is None else parse_hash(text.removeprefix("0x"), flag)


def _start(text: str | None) -> str | None:
    """``trusted_start`` as the verifier takes it, checked here so that an error names the flag."""
    if text is not None:
        height, colon, block_hash = text.rpartition(":")
        _hash(block_hash, "--trusted-start")
        if colon:
            parse_height(height, "--trusted-start")
    return text


def _root(text: str | None, flag: str) -> bytes | None:
    """A beacon block's root: in its natural order, unlike Bitcoin's hashes."""
    found = _hash(text, flag)
    return None if found is None else found[::-1]
