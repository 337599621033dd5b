"""POST /proofs/verify: thousands of bundles in one body, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from beacon_view import followed
from rpc_live import Live, live
from small_node import SmallNode, mainnet

from merkle.proofs import MAX_COLUMN_HEADERS, encode
from spvnode.rpc.upload import MAX_FRAME_BYTES, MAX_UPLOAD_BUNDLES, MAX_UPLOAD_BYTES, PATH
from spvnode.types import Height


def frame(bundle: bytes) -> bytes:
    return len(bundle).to_bytes(4, "little") + bundle


def upload(tmp_path: Path, node: SmallNode, body: bytes, *headers: str, **more: Any) -> tuple[int, Any]:
    """Status, and the reply's object or text."""

    async def main() -> tuple[int, Any]:
        async with live(tmp_path, node) as server:
            return await send(server, body, *headers, **more)

    return trio.run(main)


async def send(server: Live, body: bytes, *headers: str, **more: Any) -> tuple[int, Any]:
    status, found, reply = await server.request(body, path=PATH, headers=headers, **more)
    return status, json.loads(reply) if found["content-type"] == "application/json" else reply.decode()


def bundles(node: SmallNode) -> list[bytes]:
    chain = node.real["bitcoin"]
    one = chain.bundle(Height(7), Height(2_900), made_at=1_700_000_000)
    many = encode(chain.headers_proof([Height(at) for at in range(100, 200)], Height(2_900)))
    column = chain.columns_proof([Height(at) for at in range(MAX_COLUMN_HEADERS)], Height(2_900))
    grown = encode(chain.ancestry_proof(Height(9), Height(2_900)))
    return [one, many, column, grown]


def test_bundles_of_every_kind_in_one_body(tmp_path: Path) -> None:
    node = mainnet(3_000)
    node.beacon_views["ethereum"] = followed()
    beacon = followed().bundle("finalized", made_at=1_700_000_000)
    given = [*bundles(node), beacon, b"", b"junk", bytes([8]) + bytes(300)]
    status, reply = upload(tmp_path, node, b"".join(map(frame, given)))
    assert status == 200
    assert (reply["bundles"], reply["valid"], reply["headers"]) == (8, 5, 1 + 100 + MAX_COLUMN_HEADERS + 1 + 1)
    assert [line["valid"] for line in reply["results"]] == [True] * 5 + [False] * 3
    assert [line.get("version") for line in reply["results"][:5]] == [1, 5, 8, 7, 2]
    assert [line.get("root_matches") for line in reply["results"][:5]] == [True, True, True, True, None]
    assert reply["networks"]["bitcoin"]["start"]["kind"] == "genesis"


def test_a_valid_proof_of_another_tree_is_told_apart(tmp_path: Path) -> None:
    node, other = mainnet(3_000), mainnet(2_950)
    raw = other.real["bitcoin"].columns_proof([Height(5)], Height(2_900))
    assert upload(tmp_path, node, frame(raw))[1]["results"][0]["root_matches"] is True
    beyond = node.real["bitcoin"].columns_proof([Height(5)], Height(2_999))
    assert upload(tmp_path, other, frame(beyond))[1]["results"][0]["root_matches"] is None
    lie = bytearray(raw)
    lie[-1] ^= 1
    line = upload(tmp_path, node, frame(bytes(lie)))[1]["results"][0]
    assert (line["valid"], line["reason"]) == (False, "branches")


def test_many_pieces_are_checked_as_they_come(tmp_path: Path) -> None:
    node = mainnet(3_000)
    column = bundles(node)[2]
    body = frame(column) * 20

    async def main() -> None:
        async with live(tmp_path, node) as server:
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\nConnection: close\r\n"
            async with await server.tcp() as stream:
                await stream.send_all(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 100_001):
                    part = body[at : at + 100_001]
                    await stream.send_all(b"%x\r\n%b\r\n" % (len(part), part))
                await stream.send_all(b"0\r\n\r\n")
                reply = b"".join([part async for part in stream])
            found = json.loads(reply.partition(b"\r\n\r\n")[2])
            assert (found["valid"], found["headers"]) == (20, 20 * MAX_COLUMN_HEADERS)

    trio.run(main)


@pytest.mark.parametrize("body", [b"\x05", b"\x05\0\0", b"\x05\0\0\0", b"\x05\0\0\0abcd", b"\0\0\0\0\x01\0\0\0"])
def test_a_body_that_ends_within_a_frame(tmp_path: Path, body: bytes) -> None:
    status, text = upload(tmp_path, mainnet(5), body)
    assert (status, "ends within frame" in text) == (400, True)


def test_its_limits(tmp_path: Path) -> None:
    node = mainnet(5)
    assert upload(tmp_path, node, b"") == (400, "body: holds no bundle\n")
    too_long = (MAX_FRAME_BYTES + 1).to_bytes(4, "little") + b"x"
    assert upload(tmp_path, node, too_long)[0] == 413
    status, text = upload(tmp_path, node, bytes(4) * (MAX_UPLOAD_BUNDLES + 1) + b"\0")
    assert (status, f"more than {MAX_UPLOAD_BUNDLES} bundles" in text) == (413, True)

    async def announce() -> int:
        async with live(tmp_path, node) as server:
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.auth}\r\nConnection: close\r\n"
            reply = await server.exchange(f"{head}Content-Length: {MAX_UPLOAD_BYTES + 1}\r\n\r\n".encode())
            return int(reply.split()[1])

    assert trio.run(announce) == 413


def test_it_wants_credentials_and_a_post(tmp_path: Path) -> None:
    node = mainnet(5)
    assert upload(tmp_path, node, b"", auth=False)[0] == 401
    assert upload(tmp_path, node, frame(b"?"), auth=False, unix=True)[0] == 200
    assert upload(tmp_path, node, b"", method="PUT")[0] == 405
