"""The metrics' page, and the dashboard that asks for them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from small_node import SmallNode

from spvnode.metrics import Metrics
from spvnode.metrics_docs import known_metrics, render

ROOT = Path(__file__).parents[3]
BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
FUNCTIONS = {"rate", "increase", "sum", "by", "histogram_quantile", "label_values", "le", "job"}
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def queries() -> list[str]:
    asked = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return asked + [one["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"]


def test_every_metric_that_is_shown_is_described() -> None:
    metrics = Metrics()
    metrics.observe(SmallNode("regtest"))
    shown = set(re.findall(r"^# HELP (spvnode_\S+) ", metrics.render().decode(), re.MULTILINE))
    assert shown == {one.name for one in known_metrics()}
    assert len(shown) > 15
    page = render()
    for one in known_metrics():
        assert f"| `{one.name}` | {one.kind} |" in page
        assert one.text.endswith(".")
        assert len(one.labels) <= 2


def test_the_dashboard_asks_for_what_there_is_by_labels_that_it_has() -> None:
    series = {name: one for one in known_metrics() for name in one.series}
    asked: set[str] = set()
    for query in queries():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|[0-9.]+', " ", query)
        names = set(re.findall(r"[a-z_]+", bare)) - FUNCTIONS
        found = names & set(series)
        labels = {label for name in found for label in series[name].labels}
        assert names - labels - PROCESS == found, query
        asked |= found
    assert {series[name].name for name in asked} == {one.name for one in known_metrics()}, "none is left out"


def test_legends_name_labels_of_their_series() -> None:
    series = {name: one for one in known_metrics() for name in one.series}
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            labels = {label for name in series if name in target["expr"] for label in series[name].labels}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels | {"instance"}, target


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
