"""The dashboard and the alert rules ask for what a stack exports, with labels that it has."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvwrap import Chaos, KvwrapError, MemoryStore, Shadow, Store, stack
from kvwrap.integrations.prometheus import FiguresCollector
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "dashboards" / "kvwrap.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
LEGENDS = {
    f"{panel['title']} {target['refId']}": target["legendFormat"]
    for panel in PANELS
    for target in panel["targets"]
}
(_RULES,) = re.findall(r"(?ms)^```yaml\n(groups:.*?)^```", PAGE)
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(_RULES)["groups"] for rule in group["rules"]
}


async def exported(clock: ManualClock) -> dict[str, set[str]]:
    """Return the labels of all metrics that stacks of all layers export, by their names."""
    collector, found = FiguresCollector(), {}

    @asynccontextmanager
    async def over(layers: Any, backend: Store) -> AsyncIterator[Store]:
        store = (stack().statistics().silence("statistics-inside-cache") + layers).over(backend)
        collector.exported.add(store)
        async with store:
            yield store
            samples = [sample for metric in collector.collect() for sample in metric.samples]
            found.update({sample.name: {*sample.labels} for sample in samples})

    def memory() -> Store:
        return MemoryStore(max_entries=100, max_bytes=10**6, clock=clock)

    for case in LAYERS.values():
        async with over(case.make(clock), memory()) as store:
            with suppress(KvwrapError):  # of ReadOnly
                await store.put("a", {"a": "b" * 99}, ttl=60)
                await store.get_or_put("b", lambda: 1)
            await store.get_many(["a", "missing"])
    near = stack().read_through(memory, ttl=60, coherence="watch")
    async with over(near, memory()) as store:
        names = [str(number) for number in range(100)]
        await store.put_many(names, [1] * 100)
        for _ in range(20):  # until the hit rates by size are known
            await store.get_many(names)
    async with over(stack().chaos().silence("chaos-over-real-data"), memory()) as store:
        store.find(Chaos).down = True
        with suppress(KvwrapError):
            await store.get("a")
    broken = stack().chaos(failure_rate=1.0, operations=["write"]).over(memory())
    backend = memory()
    await backend.put("a", 1)
    async with over(stack().shadow(lambda: broken), backend) as store:
        for call in (store.get("a"), store.put("a", 2)):
            await call
            while not store.find(Shadow).idle:
                await asyncio.sleep(0)
    return found


@dataclass
class Query:
    """What a query asks for.

    Attributes:
        labels: The labels by which each metric is chosen or grouped, by the metric's name.
        groups: The labels that its series have, if it groups them.
    """

    labels: dict[str, set[str]]
    groups: set[str]


def parse(query: str) -> Query:
    """Parse a query of PromQL."""
    promql: Any = pytest.importorskip("promql_parser")
    found = Query({}, set())
    inside: list[set[str]] = []

    def enter(node: Any) -> None:
        if isinstance(node, promql.AggregateExpr):
            assert node.modifier is not None, f"by which labels? {query}"
            assert node.modifier.type == promql.AggModifierType.By
            inside.append(set(node.modifier.labels))
            found.groups |= inside[-1]
        elif isinstance(node, promql.VectorSelector):
            labels = found.labels.setdefault(node.name, set())
            labels |= {each.name for each in node.matchers.matchers}.union(*inside)

    def leave(node: Any) -> None:
        if isinstance(node, promql.AggregateExpr):
            inside.pop()

    # Grafana replaces its variables before the query is sent.
    text = query.replace("$__rate_interval", "5m").replace("$stack", ".*")
    assert "$" not in text
    promql.walk(promql.parse(text), enter, leave)
    assert found.labels
    return found


@pytest.fixture(scope="module")
def metrics() -> dict[str, set[str]]:
    return asyncio.run(exported(ManualClock()))


@pytest.mark.parametrize("name", QUERIES)
def test_a_panel_shows_metrics_that_are_exported(name: str, metrics: dict[str, set[str]]) -> None:
    query = parse(QUERIES[name])
    for metric, labels in query.labels.items():
        assert metric in metrics
        assert labels <= metrics[metric]
    assert set(re.findall(r"\{\{(\w+)\}\}", LEGENDS[name])) <= query.groups


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_for_metrics_that_are_exported(
    name: str, metrics: dict[str, set[str]]
) -> None:
    query = parse(ALERTS[name]["expr"])
    for metric, labels in query.labels.items():
        assert metric in metrics
        assert labels <= metrics[metric]
    shown = re.findall(r"\$labels\.(\w+)", ALERTS[name]["annotations"]["summary"])
    assert shown
    assert set(shown) <= query.groups


def test_a_mistake_in_a_query_is_found() -> None:
    for wrong in ("sum by (stack) (rate(kvwrap_hits_total[5m])", "rate(kvwrap_hits_total)"):
        with pytest.raises(ValueError):
            parse(wrong)


def test_the_variable_finds_the_stacks() -> None:
    source, stacks = DASHBOARD["templating"]["list"]
    assert source["type"] == "datasource"
    selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", stacks["definition"]).groups()
    assert (selector, label) == ('{__name__=~"kvwrap_.+"}', "stack")
    assert stacks["query"]["query"] == stacks["definition"]


def test_every_metric_is_on_a_panel(metrics: dict[str, set[str]]) -> None:
    """What is left out has a reason."""
    left_out = {
        "kvwrap_changes_total": "what the hits of writes are: rarely a question",
        "kvwrap_keys_total": "keys of batches: operations show the load",
        "kvwrap_shadow_mirrored_total": "as many as writes",
        "kvwrap_operation_duration_seconds_count": "the operations",
        "kvwrap_operation_duration_seconds_sum": "for means; the panels show quantiles",
    }
    shown = {metric for query in QUERIES.values() for metric in parse(query).labels}
    assert set(metrics) - shown == set(left_out)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
