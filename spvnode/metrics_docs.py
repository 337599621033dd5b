"""docs/metrics.md, written from the registry (by ``spvnode.docs``), and the names that a dashboard may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from prometheus_client.metrics import MetricWrapperBase

from spvnode.metrics import Metrics, node_families

if TYPE_CHECKING:
    from spvnode.view import NodeView

_HEAD = """\
<!-- written by `make docs` from the source: do not edit -->

# Metrics

`GET /metrics` answers in the Prometheus text format, on loopback without credentials, beyond it with a token of the
scope `read`:

    scrape_configs:
      - job_name: spvnode
        static_configs: [{targets: ["127.0.0.1:8342"]}]

`docs/grafana.json` is a dashboard over them (Grafana: Dashboards, New, Import). Beside these come the process's own
`process_*` (CPU, memory, file descriptors, start). Labels are bounded: networks, plugins and webhooks by the
configuration, methods by their table, reasons and outcomes by enumerations; none holds what a peer or a caller said. A
counter's sample ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`.

| metric | type | labels | meaning |
|---|---|---|---|
"""
_TRACES = """
# Traces

With `[trace] enabled = true` and the extra `otel` (`.venv/bin/pip install '.[otel]'` in the checkout), spans go to an
OpenTelemetry collector by OTLP over HTTP. `spvnode reload` takes new settings at once.

| span | attributes | around |
|---|---|---|
| `rpc` | `spvnode.method` | a call of a method, its wait for the rate included |
| `fetch` | `spvnode.network` | one question to a peer |
| `validate` | `spvnode.network`, `spvnode.bytes` | all rules over a run |
| `commit` | `spvnode.network`, `spvnode.items` | the store's batch and what follows in memory |

An exception that leaves one of them makes the span an error, with its type in `error.type`.
"""


class _Nothing:
    """A node that follows nothing: its families have names and no samples."""

    version = ""
    chains: Mapping[str, object] = {}
    beacons: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Known:
    """A metric by its name in queries, but for a histogram's endings."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def series(self) -> tuple[str, ...]:
        """Names of its samples."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{ending}" for ending in ("bucket", "sum", "count"))
        return (self.name,)


def known_metrics() -> list[Known]:
    """All metrics of our own, by name."""
    return sorted(_known(), key=lambda one: one.name)


def _known() -> Iterator[Known]:
    for found in vars(Metrics()).values():
        if isinstance(found, MetricWrapperBase):
            [about] = found.describe()
            yield _one(about.name, about.type, found._labelnames, about.documentation)
    for family in node_families(cast("NodeView", _Nothing())):
        labels = getattr(family, "_labelnames", ())
        yield _one(family.name, family.type, labels, family.documentation)


def _one(name: str, kind: str, labels: tuple[str, ...], text: str) -> Known:
    return Known(name + ("_total" if kind == "counter" else ""), kind, tuple(labels), text)


def render() -> str:
    """The page."""
    rows = (
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.text} |\n"
        for one in known_metrics()
    )
    return _HEAD + "".join(rows) + _TRACES
