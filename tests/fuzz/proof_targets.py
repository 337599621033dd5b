"""Targets of proofs: the one door for all versions, the columns, rows of an upload, and a daemon's verdicts.

What the door lets pass must hold by the second verifier as well, which shares no code with it.
"""

from __future__ import annotations

import json
from functools import cache

from merkle.bundle import encode as encode_header
from merkle.bundle import to_json as header_json
from merkle.errors import ProofError
from merkle.proofs import encode, make_tx_proof, to_json
from merkle.pure import sha256d
from merkle.verify_columns import MAX_COLUMNS_BYTES
from merkle.verify_columns import verify as verify_columns
from spvnode import verify as api
from spvnode.client.errors import ClientError
from spvnode.client.exchange import Reply
from spvnode.client.upload import verdicts_of
from spvnode.proofs import NOT_A_PROOF, verify_any
from spvnode.rpc.upload import BadUpload, _frames
from tests.support.mine import mine
from tests.support.older_proofs import version_4, version_4_json, version_6
from tests.support.proof_maker import Maker, ancestry, columns_proof, headers, regtest
from tests.support.second_bytes import columns, read
from tests.support.second_verifier import check

NOW_SECONDS = 1_700_000_000
NOW = float(NOW_SECONDS)
COLUMNS = (6, 8)


def proof(data: bytes) -> object:
    """A proof of any version, in bytes."""
    verdict = verify_any(data, NOW)
    assert verdict.says
    if verdict.ok and verdict.fields["version"] != 2:
        if data.lstrip()[:1] == b"{":
            check(json.loads(data))
        elif data[0] in COLUMNS:
            columns(data)
        else:
            check(read(data))
    assert isinstance(api.verify(data, now=NOW), api.NotAProof) == (verdict.reason == NOT_A_PROOF)
    return verdict


def proof_text(data: bytes) -> object:
    """The same as text: hex, or JSON."""
    return verify_any(data.decode("latin-1"), NOW)


def proof_object(data: bytes) -> object:
    """The same as a parsed object."""
    try:
        form = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return verify_any(form, NOW) if isinstance(form, dict) else None


def column(data: bytes) -> object:
    """Refused by ``ProofError`` and nothing else."""
    try:
        return verify_columns(data)
    except ProofError as error:
        return error


def upload_rows(data: bytes) -> object:
    """A body in pieces, whose sizes its own first bytes choose: the frames are those of the body in one piece."""
    sizes, body = [1 + size for size in data[:4]] or [1], data[4:]
    buffer, found, at, turn = bytearray(), list[bytes](), 0, 0
    try:
        while at < len(body):
            step = sizes[turn % len(sizes)]
            buffer += body[at : at + step]
            at, turn = at + step, turn + 1
            found += _frames(buffer, MAX_COLUMNS_BYTES)
    except BadUpload as error:
        return error
    assert b"".join(len(frame).to_bytes(4, "little") + frame for frame in found) + bytes(buffer) == body
    whole = bytearray(body)
    assert _frames(whole, MAX_COLUMNS_BYTES) == found
    return [verify_any(frame, NOW) for frame in found]


def upload_verdicts(data: bytes) -> object:
    """What a daemon answers to the client."""
    try:
        return verdicts_of(Reply(200, data), 1)
    except ClientError as error:
        return error


PROOF_TARGETS = {
    "proof": proof,
    "proof-text": proof_text,
    "proof-object": proof_object,
    "proof-columns": column,
    "upload-rows": upload_rows,
    "upload-verdicts": upload_verdicts,
}


@cache
def proof_seeds() -> dict[str, list[bytes]]:
    """True proofs of every version of header trees."""
    maker = regtest(12, 64, True)
    grown, many, column = ancestry(maker, 66, 75), headers(maker, [66, 70], 75), columns_proof(maker, [66, 70], 75)
    coinbase = bytes(4) + b"\x01" + bytes(32) + b"\xff" * 4 + bytes(30)
    last, _ = mine(maker.hash(75), time=NOW_SECONDS, merkle_root=sha256d(coinbase))
    block = Maker("regtest", maker.raw + last, 64).bundle(76)
    paid = make_tx_proof(block, [sha256d(coinbase)], 0, coinbase, coinbase)
    raw = [encode(grown), encode(many), encode_header(block), encode(paid), version_4(grown)]
    raw += [version_6(column), column.encode()]
    forms = (to_json(grown), to_json(many), to_json(paid), header_json(block), version_4_json(grown))
    texts = [json.dumps(form).encode() for form in forms]
    rows = b"".join(len(one).to_bytes(4, "little") + one for one in (raw[0], b"", raw[1]))
    line = {"valid": True, "reason": "ok", "network": "x", "count": 3, "root_matches": True}
    answer = json.dumps({"results": [line], "networks": {"x": {}}}).encode()
    return {
        "proof": raw + texts,
        "proof-text": [one.hex().encode() for one in raw] + texts,
        "proof-object": texts,
        "proof-columns": raw[-2:],
        "upload-rows": [bytes((255, 7, 90, 3)) + rows, bytes(4) + rows],
        "upload-verdicts": [answer],
    }
