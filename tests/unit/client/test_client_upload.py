"""Proofs by the thousand from both clients, against a real server and against ones that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest
import trio
from fake_http import FakeHttp
from rpc_live import live_thread
from small_node import SmallNode, mainnet

from merkle.proofs import encode
from spvnode import client
from spvnode.client import upload
from spvnode.client.upload import ROW_BUNDLES, ROW_BYTES, UPLOAD_PATH, ProofVerdict, Row, verdicts_of
from spvnode.rpc.limits import MAX_REPLY_BYTES
from spvnode.rpc.upload import MAX_FRAME_BYTES, MAX_UPLOAD_BUNDLES, MAX_UPLOAD_BYTES, PATH
from spvnode.types import Height

QUICK = client.Retries(attempts=3, first=0.001, most=0.01)
TIP = Height(199)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SmallNode]]:
    place = tmp_path_factory.mktemp("upload")
    with live_thread(place, mainnet(200)) as found:
        yield place, found


def bundle(node: SmallNode, height: int) -> bytes:
    return node.real["bitcoin"].bundle(Height(height), TIP, made_at=1_700_000_000)


async def gathered(one: client.AsyncClient, given: Iterable[bytes] | AsyncIterator[bytes]) -> list[ProofVerdict]:
    return [verdict async for verdict in one.verify_proofs(given)]


@pytest.mark.parametrize("run", ["sync", "trio", "asyncio"])
def test_verdicts_come_in_the_order_of_the_bundles(node: tuple[Path, SmallNode], run: str) -> None:
    place, found = node
    chain = found.real["bitcoin"]
    columns = chain.columns_proof([Height(at) for at in range(50)], TIP)
    given = [bundle(found, 7), b"junk", columns, encode(chain.ancestry_proof(Height(9), TIP)), bundle(found, 8)]

    async def main() -> list[ProofVerdict]:
        async def stream() -> AsyncIterator[bytes]:
            for one in given:
                yield one

        over_tcp = client.connect_async(found.url, cookie=place / ".cookie")
        assert await gathered(over_tcp, given) == await gathered(client.connect_async(place), stream())
        assert await gathered(over_tcp, []) == []
        return await gathered(over_tcp, given)

    if run == "sync":
        with client.connect(place) as one:
            verdicts = list(one.verify_proofs(iter(given)))
            assert list(one.verify_proofs([])) == []
    else:
        verdicts = trio.run(main) if run == "trio" else asyncio.run(main())
    assert [verdict.valid for verdict in verdicts] == [True, False, True, True, True]
    assert [verdict.version for verdict in verdicts] == [1, None, 8, 7, 1]
    assert [verdict.headers for verdict in verdicts] == [1, None, 50, 1, 1]
    assert [verdict.root_matches for verdict in verdicts] == [True, None, True, True, True]
    assert verdicts[1][:2] == (False, "not-a-proof")
    assert verdicts[1].standing is None
    assert verdicts[0].standing is not None
    assert verdicts[0].standing["start"]["kind"] == "genesis"
    assert (verdicts[0].network, verdicts[0].cp_height) == ("bitcoin", TIP)


def test_an_endless_stream_goes_up_in_rows(node: tuple[Path, SmallNode], monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts come while bundles are still being made, and no more of them are held than one row has."""
    place, found = node
    monkeypatch.setattr(upload, "ROW_BUNDLES", 10)
    made = 0

    def endless() -> Iterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bundle(found, made % 200)

    with client.connect(place) as one:
        verdicts = one.verify_proofs(endless())
        for count in range(1, 36):
            assert next(verdicts).root_matches
            assert count <= made <= count + 10


def test_a_row_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row()
    assert not row.is_full(bytes(ROW_BYTES))  # alone, for the daemon to refuse
    for _ in range(ROW_BUNDLES):
        assert not row.is_full(b"")
        row.add(b"")
    assert row.is_full(b"")
    assert row.take() == (bytes(4 * ROW_BUNDLES), ROW_BUNDLES)
    row.add(bytes(ROW_BYTES - 4 - 4 - 10))
    assert not row.is_full(bytes(10))
    assert row.is_full(bytes(11))
    monkeypatch.setattr(upload, "MAX_FRAME", 3)
    with pytest.raises(client.ClientError, match="more than 3 bytes"):
        row.add(bytes(4))


def test_numbers_that_belong_to_the_daemons() -> None:
    assert UPLOAD_PATH == PATH
    assert ROW_BUNDLES <= MAX_UPLOAD_BUNDLES
    assert ROW_BYTES + MAX_FRAME_BYTES <= MAX_UPLOAD_BYTES
    assert ROW_BUNDLES * 400 < MAX_REPLY_BYTES


def test_what_is_too_long_is_refused(node: tuple[Path, SmallNode]) -> None:
    with client.connect(node[0]) as one, pytest.raises(client.Refused) as caught:
        list(one.verify_proofs([bytes(MAX_FRAME_BYTES + 1)]))
    assert caught.value.status == 413


def answer(count: int) -> tuple[int, bytes]:
    lines = [{"valid": False, "reason": "format"}] * count
    return 200, json.dumps({"bundles": count, "valid": 0, "headers": 0, "results": lines, "networks": {}}).encode()


@pytest.mark.parametrize("run", ["sync", "async"])
@pytest.mark.parametrize("failure", [None, (503, b"full"), (429, b"slower")])
def test_a_row_that_failed_is_sent_again(run: str, failure: tuple[int, bytes] | None) -> None:
    with FakeHttp([failure, failure, answer(2)]) as server:
        if run == "sync":
            with client.connect(server.url, token="t", retries=QUICK) as blocking:  # noqa: S106
                verdicts = list(blocking.verify_proofs([b"a", b"b"]))
        else:
            one = client.connect_async(server.url, token="t", retries=QUICK)  # noqa: S106
            verdicts = trio.run(gathered, one, [b"a", b"b"])
    assert verdicts == [ProofVerdict(False, "format")] * 2
    assert len(server.asked) == 3
    assert all(raw.endswith(b"\r\n\r\n\x01\0\0\0a\x01\0\0\0b") for raw in server.asked)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"results":[],"networks":{}}', b'{"results":[1],"networks":{}}',
     b'{"results":[{"valid":true,"reason":"ok","root_matches":true}],"networks":{}}',
     b'{"results":[{"valid":true,"reason":"ok","root_matches":true,"network":"x"}],"networks":{}}', b"[" * 100_000],
)  # fmt: skip
def test_replies_that_hold_no_verdicts(body: bytes) -> None:
    with pytest.raises(client.ClientError, match="verdicts"):
        verdicts_of(upload.Reply(200, body), 1)


def test_credentials_are_wanted(node: tuple[Path, SmallNode]) -> None:
    stranger = client.connect(node[1].url, token="wrong", retries=QUICK)  # noqa: S106
    with stranger, pytest.raises(client.Refused) as caught:
        list(stranger.verify_proofs([b"x"]))
    assert caught.value.status == 401
