"""Spans: none where tracing is off, the four seams where it is on, and a real collector at the other end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trio
import trio.testing
from daemons import Daemon, spvnode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from small_node import SmallNode

from spvnode import tracing
from spvnode.config_trace import TraceConfig
from spvnode.errors import InputError
from spvnode.metrics import Metrics
from spvnode.rpc.dispatch import Dispatcher
from spvnode.rpc.table import METHODS


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is exported, with everything sampled."""
    exporter = InMemorySpanExporter()
    provider = tracing.provider_with(SimpleSpanProcessor(exporter), 1.0)
    tracing._here.tracer = provider.get_tracer("test")
    yield exporter
    tracing.close()
    provider.shutdown()


def call(method: str, *params: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    trio.run(Dispatcher(SmallNode("regtest"), METHODS, Metrics()).answer, body)


def test_a_call_is_a_span_and_says_nothing_of_what_was_asked(spans: InMemorySpanExporter) -> None:
    call("getblockcount")
    call("getblockhash", 7_777)
    call("nosuchmethod")
    good, bad = spans.get_finished_spans()
    assert (good.name, dict(good.attributes or {})) == ("rpc", {"spvnode.method": "getblockcount"})
    assert dict(bad.attributes or {}).keys() == {"spvnode.method", "error.type"}
    assert good.status.is_ok
    assert not bad.status.is_ok
    assert "7777" not in bad.to_json()
    assert bad.resource.attributes["service.name"] == "spvnode"


def test_spans_of_tasks_do_not_mix(spans: InMemorySpanExporter) -> None:
    async def one(name: str) -> None:
        with tracing.span(name):
            await trio.sleep(1)
            with tracing.span(f"{name}-inner"):
                await trio.sleep(1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "a")
            nursery.start_soon(one, "b")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    found = {span.name: span for span in spans.get_finished_spans()}
    for name in "ab":
        parent = found[f"{name}-inner"].parent
        assert parent is not None
        assert parent.span_id == found[name].context.span_id


def test_nothing_is_loaded_while_it_is_off() -> None:
    script = "import sys, spvnode.app\nwith spvnode.tracing.span('x', n=1): print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert tracing.span("x") is tracing.span("y")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match=r"\.venv/bin/pip install '\.\[otel\]'"):
        tracing.configure(TraceConfig(enabled=True))
    assert tracing.span("x") is tracing.span("y")


@pytest.mark.parametrize("key", [{"endpoint": "ftp://x"}, {"endpoint": ""}])
def test_settings_that_do_not_hold(key: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"trace\.endpoint"):
        TraceConfig(**key)


class Collector(HTTPServer):
    """Takes OTLP over HTTP; ``spans`` by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.spans: dict[str, set[str]] = {}
        self.came = threading.Event()


class Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        sent = ExportTraceServiceRequest.FromString(self.body())
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.server.spans.setdefault(span.name, set()).update(one.key for one in span.attributes)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def body(self) -> bytes:
        import gzip  # noqa: PLC0415 - only where the exporter packs

        raw = self.rfile.read(int(self.headers["content-length"]))
        return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_a_daemon_begins_to_trace_at_a_reload(tmp_path: Path) -> None:
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    daemon = Daemon(tmp_path / "node", "regtest")
    try:
        daemon.start("--no-mesh")
        daemon.wait_answer()
        settings = f'[trace]\nenabled = true\nsample = 1.0\nendpoint = "http://127.0.0.1:{collector.server_port}/"\n'
        (daemon.folder / "spvnode.toml").write_text(settings)
        told = json.loads(spvnode("reload", "--json", "--datadir", str(daemon.folder)).stdout)
        assert {"trace.enabled", "trace.sample", "trace.endpoint"} <= set(told["applied"])
        daemon.call("getblockcount")
        assert daemon.stop() == 0  # what waits is sent at the end
        assert collector.spans["rpc"] == {"spvnode.method"}
    finally:
        daemon.kill()
        collector.shutdown()
        collector.server_close()
        thread.join()
