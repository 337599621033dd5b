"""What /metrics says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beacon_view import followed
from small_node import SmallNode

from spvnode.metrics import Metrics


class Busy(SmallNode):
    """A node whose machine has something to tell."""

    def sync_info(self, network: str) -> Mapping[str, Any]:
        return {"headers_committed": 12, "faults": {"timeout": 2}, "transitions": {"IDLE->FETCHING": 3}}


def test_the_nodes_own_counts_are_shown_as_counters() -> None:
    metrics, node = Metrics(), Busy("regtest", "signet")
    metrics.observe(node)
    text = metrics.render().decode()
    assert 'spvnode_headers_committed_total{network="regtest"} 12.0' in text
    assert 'spvnode_faults_total{network="signet",reason="timeout"} 2.0' in text
    assert 'spvnode_sync_transitions_total{network="signet",transition="IDLE->FETCHING"} 3.0' in text
    assert "_created" not in text
    metrics.observe(node)
    assert metrics.render().decode().count("spvnode_headers_committed_total{") == 2


def test_readiness_follows_the_node() -> None:
    metrics, node = Metrics(), SmallNode("regtest")
    node.not_ready["regtest"] = ("no peer",)
    metrics.observe(node)
    assert 'spvnode_ready{network="regtest"} 0.0' in metrics.render().decode()


def test_a_beacon_chain_shows_its_two_headers() -> None:
    metrics, node = Metrics(), SmallNode("regtest", beacons={"ethereum": followed(), "hoodi": None})
    metrics.observe(node)
    text = metrics.render().decode()
    assert 'spvnode_finalized_slot{network="ethereum"} 6.730752e+06' in text
    assert 'spvnode_optimistic_slot{network="ethereum"} 6.73083e+06' in text
    for name in ("peers", "ready", "tip_age_seconds"):
        assert f'spvnode_{name}{{network="ethereum"}}' in text
        assert f'spvnode_{name}{{network="regtest"}}' in text
    assert "hoodi" not in text
    assert 'spvnode_tip_height{network="ethereum"}' not in text


def test_two_daemons_in_one_process_do_not_share_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.rpc_refused.labels("host").inc()
    assert 'why="host"' in first.render().decode()
    assert 'why="host"' not in second.render().decode()
