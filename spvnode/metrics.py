"""Prometheus metrics in a registry of our own: nothing that a library registers globally is shown.

Counters are bumped where things happen. What can be read off the node (heights, ages, peers) is copied into gauges
by ``observe`` on the event loop's thread, because views hold still only there; the text is then made by ``render`` in
a worker thread (about 8 us a sample, which would otherwise stall the loop).

Labels are bounded: networks by the config, methods by the registry, reasons by enums. No label holds remote text.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from spvnode.view import NodeView

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 8.0, 30.0)
"""Seconds. A read answers in under a millisecond, an import of a full run in some ten."""


class Metrics:
    """All metrics of one daemon. Tests make their own; nothing is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"spvnode_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"spvnode_{name}", text, labels, registry=self.registry)

        self.rpc_requests = counter("rpc_requests", "RPC calls by method and outcome.", "method", "outcome")
        self.rpc_seconds = Histogram(
            "spvnode_rpc_seconds", "Time of an RPC call.", ["method"], registry=self.registry, buckets=_BUCKETS
        )
        self.rpc_connections = gauge("rpc_connections", "Open RPC connections.", "listener")
        self.rpc_refused = counter("rpc_refused", "RPC connections or requests turned away.", "why")
        self.headers = counter("headers_committed", "Headers committed to the store.", "network")
        self.reorgs = counter("reorgs", "Commits that replaced main-chain headers.", "network")
        self.faults = counter("faults", "What peers did wrong.", "network", "reason")

        self._info = gauge("info", "Always 1; the version is the label.", "version")
        self._height = gauge("tip_height", "Height of the best header.", "network")
        self._tip_age = gauge("tip_age_seconds", "Age of the best header by its timestamp.", "network")
        self._event_age = gauge("last_useful_event_age_seconds", "Since a peer last helped.", "network")
        self._branches = gauge("side_branches", "Competing branches held.", "network")
        self._peers = gauge("peers", "Connected peers.", "network")
        self._ready = gauge("ready", "1 when /readyz would say so for this network.", "network")

    def observe(self, node: NodeView) -> None:
        """Copies the node's state into the gauges. Call on the event loop's thread."""
        self._info.labels(node.version).set(1)
        for network, chain in node.chains.items():
            fresh = node.freshness(network)
            self._height.labels(network).set(chain.tip_height)
            self._branches.labels(network).set(len(chain.branches()))
            self._peers.labels(network).set(len(node.peers(network)))
            self._ready.labels(network).set(node.readiness(network).ready)
            for gauge, key in ((self._tip_age, "tip_age"), (self._event_age, "last_useful_event_age")):
                age = fresh.get(key)
                gauge.labels(network).set(float("nan") if age is None else age)

    def render(self) -> bytes:
        """The exposition text. Thread-safe."""
        return generate_latest(self.registry)
