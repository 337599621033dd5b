"""The HTTP client against loopback servers that do everything wrong: each ends as a typed fault, within bounds."""

from __future__ import annotations

import ipaddress
import json
import random
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rest_server import SSZ, Asked, Script, always, answer, serving

from p2p.faults import FaultReason, RemoteFault
from p2p.rest.api import MAX_PAUSE, BeaconApi, Reply
from p2p.rest.client import ERROR_BODY, Answer, RestClient, Timing, retry_after
from p2p.rest.endpoint import MAX_ENDPOINTS, MAX_URL, Endpoint, parse_endpoint, parse_endpoints

FAST = Timing(connect=0.5, idle=0.3, deadline=0.6)
JSON = {"application/json": 100}


def get(script: Script, timing: Timing = FAST, limits: dict[str, int] = JSON) -> Answer | RemoteFault:
    """One request to a server that answers by ``script``."""
    found: list[Answer | RemoteFault] = []

    async def main() -> None:
        async with serving(script) as endpoint:
            client = RestClient(timing=timing)
            found.append(await client.get(endpoint, "/x", accept="*/*", limits=limits))
            await client.aclose()

    trio.run(main)
    return found[0]


def reason(script: Script, timing: Timing = FAST) -> FaultReason:
    found = get(script, timing)
    assert isinstance(found, RemoteFault), found
    return found.reason


# -- addresses


@pytest.mark.parametrize(
    ("text", "name", "base"),
    [
        ("http://127.0.0.1:5052", "127.0.0.1:5052", "http://127.0.0.1:5052"),
        ("https://Beacon.Example.org/", "beacon.example.org", "https://beacon.example.org"),
        ("https://b.example:443/key/abc/", "b.example", "https://b.example/key/abc"),
        ("http://[::1]:5052", "[::1]:5052", "http://[::1]:5052"),
    ],
)
def test_an_endpoint_is_named_by_its_host(text: str, name: str, base: str) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.name, endpoint.base, endpoint.authorization) == (name, base, "")
    assert "abc" not in repr(endpoint)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://h", "http"),
        ("file:///etc/passwd", "http"),
        ("127.0.0.1:5052", "http"),
        ("http://", "no host"),
        ("http://h:0", "port 0"),
        ("http://h:99999", "no URL"),
        ("http://[::g]", "no URL"),
        ("http://h/?key=secret", "no ?"),
        ("http://h/#a", "no ?"),
        ("http://h/eth/v1/beacon", "end before"),
        ("http://h o", "characters"),
        ("http://h\r\nx: y", "characters"),
        ("http://user:secret@h.example", "unencrypted"),
        ("http://h/" + "a" * MAX_URL, "longer"),
    ],
)
def test_a_bad_address_is_refused_without_repeating_it(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_endpoint(text)
    assert "secret" not in str(caught.value)


def test_a_password_goes_into_a_header_and_only_over_tls_or_loopback() -> None:
    assert parse_endpoint("https://u:p%40@h.example").authorization == "Basic dTpwQA=="
    assert parse_endpoint("http://u:p@127.0.0.1:1").base == "http://127.0.0.1:1"


def test_a_host_is_one_witness() -> None:
    with pytest.raises(ValueError, match="more than once"):
        parse_endpoints(["https://h/key1", "https://h/key2"])
    with pytest.raises(ValueError, match="at most"):
        parse_endpoints([f"http://h{i}" for i in range(MAX_ENDPOINTS + 1)])


# -- answers


def test_a_good_answer() -> None:
    found = get(always(answer(b"{}", "application/JSON; charset=utf-8", headers={"X-Y": "z"})))
    assert isinstance(found, Answer)
    assert (found.status, found.media, found.body, found.headers["x-y"]) == (200, "application/json", b"{}", "z")


def test_what_is_asked_says_identity_and_carries_no_cookie_of_earlier_answers() -> None:
    seen: list[Asked] = []

    async def script(stream: trio.abc.Stream, asked: Asked) -> None:
        seen.append(asked)
        await stream.send_all(answer(b"{}", headers={"set-cookie": f"id={len(seen)}; Max-Age=9999"}))

    async def main() -> None:
        async with serving(script) as endpoint:
            client = RestClient()
            for _ in range(3):
                assert isinstance(await client.get(endpoint, "/x", accept="a/b", limits=JSON), Answer)
            await client.aclose()

    trio.run(main)
    assert [asked.headers["accept-encoding"] for asked in seen] == ["identity"] * 3
    assert all("cookie" not in asked.headers and asked.headers["accept"] == "a/b" for asked in seen)


async def silence(stream: trio.abc.Stream, asked: Asked) -> None:
    await trio.sleep_forever()


async def stall(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(answer(b" " * 50)[:-20])
    await trio.sleep_forever()


async def drip(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n")
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.05)


async def drip_headers(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send_all(b"a: b\r\n")
        await trio.sleep(0.05)


async def informational(stream: trio.abc.Stream, asked: Asked) -> None:
    while True:
        await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await trio.sleep(0.01)


async def endless(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await stream.send_all(b"40\r\n" + b" " * 64 + b"\r\n")


async def endless_header(stream: trio.abc.Stream, asked: Asked) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        await stream.send_all(b"a" * 1000)


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (silence, FaultReason.STALLED),
        (stall, FaultReason.STALLED),
        (drip, FaultReason.DRIP),
        (drip_headers, FaultReason.TIMEOUT),
        (informational, FaultReason.TIMEOUT),
        (endless, FaultReason.OVERSIZED),
        (endless_header, FaultReason.BAD_FRAME),
        (always(answer(b" " * 101)), FaultReason.OVERSIZED),
        (always(b""), FaultReason.DISCONNECTED),
        (always(answer(b" " * 50)[:-1]), FaultReason.DISCONNECTED),
        (always(CHUNKED + b"5\r\nab"), FaultReason.DISCONNECTED),
        (always(CHUNKED + b"zz\r\nab"), FaultReason.BAD_FRAME),
        (always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), FaultReason.BAD_FRAME),
        (always(b"\x15\x03\x01\x00\x02\x02\x46"), FaultReason.BAD_FRAME),
        (always(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"), FaultReason.BAD_FRAME),
        (always(answer(b"<html>sign in</html>", "text/html")), FaultReason.PROTOCOL),
        (always(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), FaultReason.PROTOCOL),
        (always(answer(b"\x1f\x8b", headers={"content-encoding": "gzip"})), FaultReason.PROTOCOL),
    ],
)
def test_a_hostile_answer_is_a_typed_fault(script: Script, expected: FaultReason) -> None:
    assert reason(script) is expected


def test_a_server_that_is_away() -> None:
    async def main() -> None:
        async with serving(silence) as endpoint:
            pass
        client = RestClient(timing=FAST)
        found = await client.get(endpoint, "/x", accept="*/*", limits=JSON)
        assert isinstance(found, RemoteFault)
        assert (found.reason, found.peer) == (FaultReason.DISCONNECTED, endpoint.name)
        found = await client.get(parse_endpoint("http://no-such-host.invalid"), "/x", accept="*/*", limits=JSON)
        assert isinstance(found, RemoteFault)

    trio.run(main)


def test_a_refusal_is_read_no_further_than_its_bound() -> None:
    found = get(always(answer(b"x" * 1_000_000, "text/html", status="503 Busy")))
    assert isinstance(found, Answer)
    assert (found.status, len(found.body)) == (503, ERROR_BODY)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("", 0.0), ("99999999999", 60.0), ("Sun, 06 Nov", 60.0), ("-1", 60.0)]
)
def test_retry_after_is_bounded(text: str, seconds: float) -> None:
    assert retry_after(Answer(429, "", {"retry-after": text}, b""), 60.0) == seconds


def test_random_bytes_are_parsed_or_a_fault() -> None:
    rng = random.Random(4)
    whole = answer(
        b'{"a": 1}', headers={"location": "http://[", "retry-after": "\xff", "set-cookie": "a"}, status="302 Go"
    )
    replies: list[bytes] = []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        replies.append(bytes(data[: rng.randrange(len(data))]) if rng.random() < 0.3 else bytes(data))

    async def main() -> None:
        async def script(stream: trio.abc.Stream, asked: Asked) -> None:
            await always(replies[int(asked.path[1:])])(stream, asked)

        async with serving(script) as endpoint:
            client = RestClient(timing=FAST)
            kinds = set()
            for number in range(len(replies)):
                found = await client.get(endpoint, f"/{number}", accept="*/*", limits=JSON)
                assert isinstance(found, Answer | RemoteFault)
                kinds.add(type(found))
            assert kinds == {Answer, RemoteFault}
            await client.aclose()

    trio.run(main)


# -- TLS


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """A server context, and the file of the certificate that it shows (self-signed)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    san: x509.GeneralName = x509.DNSName(host)
    if host[0].isdigit():
        san = x509.IPAddress(ipaddress.ip_address(host))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([san]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{host}.pem"
    secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *secret)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context, str(pem)


@pytest.mark.parametrize(
    ("host", "trusted", "words"),
    [
        ("127.0.0.1", True, ""),
        ("127.0.0.1", False, "self-signed"),
        ("other.example", True, "mismatch"),
    ],
)
def test_a_certificate_that_does_not_hold_is_a_typed_fault(
    host: str, trusted: bool, words: str, tmp_path: Path
) -> None:
    context, pem = certificate(tmp_path, host)

    async def main() -> None:
        async with serving(always(answer(b"{}")), context) as endpoint:
            client = RestClient(cafile=pem if trusted else None)
            found = await client.get(endpoint, "/x", accept="*/*", limits=JSON)
            await client.aclose()
            if not words:
                assert isinstance(found, Answer)
                return
            assert isinstance(found, RemoteFault)
            assert found.reason is FaultReason.PROTOCOL
            assert found.evidence.startswith("TLS: ")
            assert words in found.evidence

    trio.run(main)


def test_plain_http_on_a_tls_address_is_a_typed_fault(tmp_path: Path) -> None:
    async def raw(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(1000)
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, raw, listeners)
            endpoint = parse_endpoint(f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
            client = RestClient(cafile=certificate(tmp_path, "127.0.0.1")[1])
            found = await client.get(endpoint, "/x", accept="*/*", limits=JSON)
            assert isinstance(found, RemoteFault)
            assert (found.reason, found.evidence[:5]) == (FaultReason.PROTOCOL, "TLS: ")
            nursery.cancel_scope.cancel()

    trio.run(main)


# -- the Beacon API's routes


def ask(script: Script, call: Callable[[BeaconApi, Endpoint], object]) -> Reply | RemoteFault:
    found: list[Reply | RemoteFault] = []

    async def main() -> None:
        async with serving(script) as endpoint:
            api = BeaconApi(RestClient(timing=FAST))
            found.append(await call(api, endpoint))  # type: ignore[misc]
            await api.client.aclose()

    trio.run(main)
    return found[0]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("404 Not Found", b"{}", FaultReason.NOT_FOUND),
        ("500 Internal Server Error", b'{"message": "No partialUpdate available for period 5"}', FaultReason.NOT_FOUND),
        ("501 Not Implemented", b"{}", FaultReason.REFUSED),
        ("503 Service Unavailable", b"<html>", FaultReason.REFUSED),
        ("429 Too Many Requests", b"", FaultReason.REFUSED),
        ("403 Forbidden", b"", FaultReason.REFUSED),
        ("400 Bad Request", b"", FaultReason.REFUSED),
        ("204 No Content", b"", FaultReason.PROTOCOL),
        ("301 Moved Permanently", b"", FaultReason.PROTOCOL),
    ],
)
def test_a_status_is_a_typed_fault_that_says_what_the_server_said(
    status: str, body: bytes, expected: FaultReason
) -> None:
    headers = {"location": "http://169.254.169.254/latest/"} if status.startswith("3") else {}
    if status.startswith("204"):
        reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    else:
        reply = answer(body, status=status, headers=headers)
    found = ask(always(reply), lambda api, endpoint: api.latest(endpoint, "finality", 100))
    assert isinstance(found, RemoteFault)
    assert found.reason is expected
    assert status[:3] in found.evidence
    if b"message" in body:
        assert "No partialUpdate" in found.evidence


@pytest.mark.parametrize("path", ["/v2/SECRETKEY1234567890", "/SECRET%2DKEY1234567890/eth"])
def test_a_key_in_the_path_is_not_repeated(path: str) -> None:
    """Servers say in an error what they were asked for."""

    async def script(stream: trio.abc.Stream, asked: Asked) -> None:
        text = f"Route GET:{asked.path} ({unquote(asked.path)}) not found" * 40
        await stream.send_all(answer(json.dumps({"message": text}).encode(), status="404 Not Found"))

    async def with_key(api: BeaconApi, endpoint: Endpoint) -> Reply | RemoteFault:
        return await api.latest(parse_endpoint(endpoint.base + path), "finality", 3_000)

    reply = ask(script, with_key)
    assert isinstance(reply, RemoteFault)
    assert "SECRET" not in reply.evidence
    assert "light_client/finality_update" in reply.evidence


def test_redirects_are_not_followed_not_even_to_itself() -> None:
    asked: list[Asked] = []

    async def loop(stream: trio.abc.Stream, request: Asked) -> None:
        asked.append(request)
        await stream.send_all(answer(b"", status="302 Found", headers={"location": request.path}))

    found = ask(loop, lambda api, endpoint: api.genesis(endpoint))
    assert isinstance(found, RemoteFault)
    assert (found.reason, len(asked)) == (FaultReason.PROTOCOL, 1)


def test_ssz_is_preferred_and_json_remembered_where_it_is_refused() -> None:
    accepts: list[str] = []

    async def script(stream: trio.abc.Stream, asked: Asked) -> None:
        accepts.append(asked.headers["accept"])
        refused = SSZ in asked.headers["accept"]
        await stream.send_all(answer(b"{}", status="406 Not Acceptable" if refused else "200 OK"))

    async def main() -> None:
        async with serving(script) as endpoint:
            api = BeaconApi(RestClient(timing=FAST))
            for _ in range(2):
                reply = await api.updates(endpoint, 1, 2, 100)
                assert isinstance(reply, Reply)
                assert not reply.ssz
            await api.client.aclose()

    trio.run(main)
    assert accepts == [f"{SSZ};q=1.0,application/json;q=0.9", "application/json", "application/json"]


@pytest.mark.parametrize(("header", "asked"), [("30", 1), ("99999999", 1), ("", 3)])
def test_a_server_that_asks_to_wait_is_left_alone(header: str, asked: int) -> None:
    seen: list[Asked] = []

    async def script(stream: trio.abc.Stream, request: Asked) -> None:
        seen.append(request)
        headers = {"retry-after": header} if header else {}
        await stream.send_all(answer(b"", status="429 Too Many Requests", headers=headers))

    async def main() -> None:
        async with serving(script) as endpoint:
            api = BeaconApi(RestClient(timing=FAST))
            for _ in range(3):
                found = await api.latest(endpoint, "optimistic", 100)
                assert isinstance(found, RemoteFault)
                assert found.reason is FaultReason.REFUSED
            if header:
                assert int(found.evidence.split()[-3]) <= MAX_PAUSE
            await api.client.aclose()

    trio.run(main)
    assert len(seen) == asked


def test_more_than_the_api_allows_is_our_own_mistake() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="128"):
            await BeaconApi(RestClient()).updates(parse_endpoint("http://h"), 0, 129, 1)

    trio.run(main)


def test_httpcore2_is_imported_by_the_first_request_only() -> None:
    code = "import sys, p2p.rest.api, p2p.rest.sse as s; s.RestClient(); print('httpcore2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
