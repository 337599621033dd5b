"""JSON-RPC itself: both dialects, batches, notifications, limits, and what happens to nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from small_node import SmallNode, mainnet

from spvnode.metrics import Metrics
from spvnode.rpc import dispatch
from spvnode.rpc.dispatch import Dispatcher, Reply, json_depth
from spvnode.rpc.limits import MAX_BATCH, MAX_BODY_BYTES, MAX_JSON_DEPTH, MAX_REPLY_BYTES
from spvnode.rpc.registry import Context, Method, NoParams, Scope
from spvnode.rpc.table import METHODS

NODE = mainnet(10)


def post(body: object, methods: dict[str, Method] | None = None) -> Reply:
    """The reply to a body: bytes as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return trio.run(Dispatcher(NODE, methods or METHODS, Metrics()).answer, raw)


def test_version_2_has_one_of_result_and_error() -> None:
    reply = post({"jsonrpc": "2.0", "id": "a", "method": "getblockcount"})
    assert (reply.status, json.loads(reply.body)) == (200, {"jsonrpc": "2.0", "result": 9, "id": "a"})
    reply = post({"jsonrpc": "2.0", "id": 7, "method": "nope"})
    error = {"code": -32601, "message": "Method not found: 'nope'"}
    assert (reply.status, json.loads(reply.body)) == (200, {"jsonrpc": "2.0", "error": error, "id": 7})


@pytest.mark.parametrize("version", [{}, {"jsonrpc": "1.0"}, {"jsonrpc": "1.1"}, {"version": "1.1"}])
def test_older_calls_have_result_error_and_id_and_an_http_status(version: dict[str, str]) -> None:
    reply = post({**version, "id": 1, "method": "getblockcount", "params": []})
    assert (reply.status, json.loads(reply.body)) == (200, {"result": 9, "error": None, "id": 1})
    for method, params, status, code in (
        ("nope", [], 404, -32601),
        ("getblockhash", [99], 500, -8),
        ("getblockhash", ["x"], 500, -3),
        ("getblockhash", [], 500, -1),
        ("getblockhash", [1, "bitcoin", 3], 500, -1),
        ("getblockhash", {"hight": 1}, 500, -8),
        ("getblockhash", 5, 400, -32600),
        (5, [], 400, -32600),
        (None, [], 400, -32600),
    ):
        reply = post({**version, "id": 1, "method": method, "params": params})
        answer = json.loads(reply.body)
        assert (reply.status, answer["error"]["code"], answer["result"]) == (status, code, None)


def test_a_call_without_method_is_invalid() -> None:
    reply = post({"id": 4})
    assert (reply.status, json.loads(reply.body)["error"]) == (400, {"code": -32600, "message": "Missing method"})
    assert json.loads(reply.body)["id"] == 4


def test_an_older_call_without_id_is_answered_with_null() -> None:
    assert json.loads(post({"method": "getblockcount"}).body) == {"result": 9, "error": None, "id": None}


def test_a_notification_is_carried_out_and_not_answered() -> None:
    assert post({"jsonrpc": "2.0", "method": "getblockcount"}) == Reply(204, b"")
    assert post({"jsonrpc": "2.0", "method": "stop"}) == Reply(204, b"", stop=True)
    assert post([{"jsonrpc": "2.0", "method": "getblockcount"}]) == Reply(204, b"")
    assert json.loads(post({"jsonrpc": "2.0", "id": None, "method": "getblockcount"}).body)["result"] == 9


def test_stop_is_only_a_mark_on_the_reply() -> None:
    reply = post({"id": 1, "method": "stop"})
    assert reply.stop is True
    assert json.loads(reply.body)["result"] == "spvnode stopping"
    assert post({"id": 1, "method": "uptime"}).stop is False


def test_a_batch_answers_in_order_and_skips_notifications() -> None:
    reply = post(
        [
            {"jsonrpc": "2.0", "id": 1, "method": "getblockcount"},
            {"jsonrpc": "2.0", "method": "getblockcount"},
            {"id": 2, "method": "nope"},
            5,
            {"jsonrpc": "2.0", "id": 3, "method": "getblockhash", "params": {"height": 0}},
        ]
    )
    answers = json.loads(reply.body)
    assert reply.status == 200
    assert [answer["id"] for answer in answers] == [1, 2, None, 3]
    assert answers[2]["error"]["code"] == -32600
    assert json.loads(post([]).body) == []


def test_the_batch_limit_is_named() -> None:
    call = {"id": 1, "method": "uptime"}
    assert len(json.loads(post([call] * MAX_BATCH).body)) == MAX_BATCH
    reply = post([call] * (MAX_BATCH + 1))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error) == (400, {"code": -32600, "message": "Batch of 101 calls, at most 100"})


def test_a_batch_stops_when_its_reply_is_too_long() -> None:
    def big(_context: Context, _params: NoParams) -> str:
        return "x" * (MAX_REPLY_BYTES // 3)

    methods = {"big": Method("big", NoParams, "", Scope.READ, big)}
    calls = [{"jsonrpc": "2.0", "id": number, "method": "big"} for number in range(6)]
    answers = json.loads(post(calls, methods).body)
    assert ["error" in answer for answer in answers] == [False] * 3 + [True] * 3
    assert (
        answers[5]["error"]["message"]
        == f"The replies before this one passed {MAX_REPLY_BYTES} bytes; make smaller batches"
    )


def test_null_means_not_given() -> None:
    reply = post({"id": 1, "method": "getblockhash", "params": [0, None]})
    assert json.loads(reply.body)["error"] is None
    assert json.loads(post({"id": 1, "method": "uptime", "params": None}).body)["result"] == 1000


def test_names_and_types_of_parameters_are_told() -> None:
    for params, message in (
        ({"hight": 1}, "Unknown named parameter 'hight'; there are height, network"),
        ({}, "height: missing. Usage: getblockhash height ( network )"),
        ([1, "bitcoin", 2], "3 parameters, at most 2. Usage: getblockhash height ( network )"),
        ([True], "height: Expected int, got bool"),
        ([1.5], "height: Expected int, got float"),
        (["1"], "height: Expected int, got str"),
        ([[1]], "height: Expected int, got array"),
    ):
        reply = post({"id": 1, "method": "getblockhash", "params": params})
        assert json.loads(reply.body)["error"]["message"] == message


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[", b'"x"x', b"{'a':1}", b"\xff\xfe", b'{"id":1,}', b'{"a":' + b"[" * 100_000,
        b"[" * 100_000, b'{"a":' * 50_000, b"nul", b"{}}", b'"' + b"\\" * 999_999,
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    reply = post(body)
    answer = json.loads(reply.body)
    assert (reply.status, answer["error"]["code"], answer["id"]) == (500, -32700, None)
    assert answer["error"]["message"].startswith("Parse error")


@pytest.mark.parametrize("body", [b"1", b"null", b'"x"', b"true", b'{"method":{}}', b'{"id":{},"method":"uptime"}'])
def test_json_that_is_no_call_is_an_invalid_request(body: bytes) -> None:
    reply = post(body)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, -32600)


def test_an_unknown_version_is_refused() -> None:
    reply = post({"jsonrpc": "3.0", "id": 1, "method": "uptime"})
    assert json.loads(reply.body)["error"] == {"code": -32600, "message": "JSON-RPC version not supported"}


def test_depth_counts_brackets_outside_strings() -> None:
    assert json_depth(b'{"a":"[[[[[[[[[["}') == 1
    assert json_depth(b'["\\"[", "[{", [[]]]' * 3) >= 3
    assert json_depth(b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH) == MAX_JSON_DEPTH
    assert json_depth(b"[" * 9 + b"]" * 9) == 9
    assert json_depth(b"[]" * 5000) == 1
    assert json_depth(b'"\\') == 0
    nested = b'{"id":1,"method":"verifyheaderproof","params":[' + b'{"a":' * 8 + b"1" + b"}" * 8 + b"]}"
    assert json.loads(post(nested).body)["error"]["message"] == "Parse error: nested deeper than 8 levels"


def test_the_longest_string_is_looked_through_quickly_enough_to_matter_not() -> None:
    body = b'{"id":1,"method":"importheaders","params":["' + b"[" * (MAX_BODY_BYTES - 60) + b'"]}'
    assert json_depth(body) == 2
    assert json.loads(post(body).body)["error"]["code"] == -8


def test_our_own_fault_is_told_without_details_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_context: Context, _params: NoParams) -> None:
        raise KeyError("secret")

    lines: list[dict[str, Any]] = []

    class Log:
        def exception(self, event: str, **values: object) -> None:
            lines.append({"event": event, **values})

    monkeypatch.setattr(dispatch, "log", Log())
    methods = {"broken": Method("broken", NoParams, "", Scope.READ, broken)}
    reply = post({"jsonrpc": "2.0", "id": 1, "method": "broken"}, methods)
    assert json.loads(reply.body)["error"] == {"code": -32603, "message": "Internal error; see the log"}
    assert lines == [{"event": "rpc call failed", "method": "broken"}]
    assert b"secret" not in reply.body


def test_calls_are_counted_by_outcome() -> None:
    metrics = Metrics()
    server = Dispatcher(NODE, METHODS, metrics)
    for body in (b'{"method":"uptime"}', b'{"method":"getblockhash","params":[99]}', b'{"method":"nope"}'):
        trio.run(server.answer, body)
    text = metrics.render().decode()
    assert 'spvnode_rpc_requests_total{method="uptime",outcome="ok"} 1.0' in text
    assert 'spvnode_rpc_requests_total{method="getblockhash",outcome="error"} 1.0' in text
    assert 'spvnode_rpc_requests_total{method="unknown",outcome="error"} 1.0' in text
    assert "nope" not in text


def test_a_body_may_be_read_for_a_network_of_the_path() -> None:
    server = Dispatcher(SmallNode("regtest", "signet"), METHODS, Metrics())
    body = b'{"jsonrpc":"2.0","id":1,"method":"getblockchaininfo"}'
    assert json.loads(trio.run(server.answer, body, "signet").body)["result"]["chain"] == "signet"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]) | JSON,
        "id": st.integers() | st.text(max_size=5) | JSON,
        "method": st.sampled_from(sorted(METHODS)) | JSON,
        "params": st.lists(JSON, max_size=4)
        | st.dictionaries(st.sampled_from(["height", "block", "blockhash", "bundle", "headers", "network"]), JSON),
    },
)


@settings(max_examples=300, deadline=None)
@given(CALL | st.lists(CALL, max_size=3) | JSON)
def test_any_json_gets_a_json_answer_that_is_no_internal_error(body: object) -> None:
    reply = post(json.dumps(body).encode())
    assert reply.status in (200, 204, 400, 404, 500)
    assert b"Internal error; see the log" not in reply.body
    if reply.status != 204:
        json.loads(reply.body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    reply = post(body)
    assert b"-32603" not in reply.body
    assert reply.status in (204, *(200, 400, 404, 500))
