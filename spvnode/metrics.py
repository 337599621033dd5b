"""Prometheus metrics in a registry of our own: nothing that a library registers globally is shown.

Two kinds. What the RPC does is counted where it happens. What the node knows about itself (heights, ages, peers, the
machine's own counts) is read off it by ``observe``, on the event loop's thread, because views hold still only there.
``render`` then makes the text in a worker thread: some 8 us a sample would otherwise stall the loop.

Labels are bounded: networks, plugins and webhooks by the config, methods by the registry, reasons by enums. No label
holds remote text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from spvnode.view import NodeView

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second sample for each counter, with the time of its first use
_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 8.0, 30.0)
"""Seconds. A read answers in under a millisecond, an import of a full run in some ten."""


class Metrics:
    """All metrics of one daemon. Tests make their own; nothing is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._node = _Snapshot()
        self.registry.register(self._node)
        ProcessCollector(registry=self.registry)
        self.rpc_requests = Counter("spvnode_rpc_requests", "RPC calls.", ["method", "outcome"], registry=self.registry)
        self.rpc_seconds = Histogram(
            "spvnode_rpc_seconds", "Time of an RPC call.", ["method"], registry=self.registry, buckets=_BUCKETS
        )
        self.rpc_connections = Gauge(
            "spvnode_rpc_connections", "Open RPC connections.", ["listener"], registry=self.registry
        )
        self.rpc_refused = Counter(
            "spvnode_rpc_refused", "RPC connections or requests turned away.", ["why"], registry=self.registry
        )
        self.plugin_calls = Counter("spvnode_plugin_calls", "Calls of a plugin.", ["plugin"], registry=self.registry)
        self.plugin_faults = Counter(
            "spvnode_plugin_faults", "Calls that came to nothing.", ["plugin", "reason"], registry=self.registry
        )
        self.plugin_fuel = Counter(
            "spvnode_plugin_fuel",
            "Fuel that calls took, about one for each instruction.",
            ["plugin"],
            registry=self.registry,
        )

        self.webhook_tries = Counter(
            "spvnode_webhook_tries",
            "Tries to deliver an event: delivered (a 2xx answer), refused (another answer), failed (no answer).",
            ["webhook", "outcome"],
            registry=self.registry,
        )
        self.webhook_dead = Counter(
            "spvnode_webhook_dead_letters", "Events given up after the last try.", ["webhook"], registry=self.registry
        )
        self.webhook_lag = Gauge(
            "spvnode_webhook_lag",
            "Events that it has yet to look at, or to deliver.",
            ["webhook"],
            registry=self.registry,
        )
        self.lags: dict[str, Callable[[], int]] = {}
        """By webhook that has begun: what its lag is now."""

    def observe(self, node: NodeView) -> None:
        """Reads the node. Call on the event loop's thread, before each ``render``."""
        self._node.metrics = list(node_families(node))
        for name, lag in self.lags.items():
            self.webhook_lag.labels(name).set(lag())

    def render(self) -> bytes:
        """The exposition text, of the node as last observed. Thread-safe."""
        return generate_latest(self.registry)


class _Snapshot(Collector):
    """What was last observed. Replaced whole, so that a render sees one state."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """What the registry asks for at each render."""
        return self.metrics


def node_families(node: NodeView) -> Iterator[Metric]:
    """What is read off the node, one family each."""
    info = GaugeMetricFamily("spvnode_info", "Always 1; the version is the label.", labels=["version"])
    info.add_metric([node.version], 1)
    yield info
    chains, beacons = node.chains, node.beacons
    begun = (*chains, *beacons)
    sync = {name: node.sync_info(name) for name in begun}
    fresh = {name: node.freshness(name) for name in begun}
    yield _gauge("tip_height", "Height of the best header.", {n: c.tip_height for n, c in chains.items()})
    yield _gauge("side_branches", "Competing branches held.", {n: len(c.branches()) for n, c in chains.items()})
    yield _gauge(
        "finalized_slot", "Slot of the finalized header.", {n: b.finalized.beacon.slot for n, b in beacons.items()}
    )
    yield _gauge(
        "optimistic_slot", "Slot of the signed header.", {n: b.optimistic.beacon.slot for n, b in beacons.items()}
    )
    yield _gauge("peers", "Connected peers.", {n: len(node.peers(n)) for n in begun})
    yield _gauge("ready", "1 where /readyz agrees.", {n: node.readiness(n).ready for n in begun})
    yield _gauge(
        "tip_age_seconds", "Age of the best header by its timestamp.", {n: _age(f, "tip_age") for n, f in fresh.items()}
    )
    yield _gauge(
        "last_useful_event_age_seconds",
        "Since a peer last told something.",
        {n: _age(f, "last_useful_event_age") for n, f in fresh.items()},
    )
    committed = CounterMetricFamily("spvnode_headers_committed", "Headers committed.", labels=["network"])
    faults = CounterMetricFamily("spvnode_faults", "What peers did wrong.", labels=["network", "reason"])
    moves = CounterMetricFamily(
        "spvnode_sync_transitions", "Moves of the sync machine.", labels=["network", "transition"]
    )
    for network, found in sync.items():
        committed.add_metric([network], found.get("headers_committed", 0))
        for family, key in ((faults, "faults"), (moves, "transitions")):
            for label, count in found.get(key, {}).items():
                family.add_metric([network, str(label)], count)
    yield from (committed, faults, moves)


def _gauge(name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"spvnode_{name}", text, labels=["network"])
    for network, value in values.items():
        family.add_metric([network], value)
    return family


def _age(fresh: Mapping[str, Any], key: str) -> float:
    value = fresh.get(key)
    return float("nan") if value is None else float(value)
