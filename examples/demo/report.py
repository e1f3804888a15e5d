"""The report that the demonstration prints at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from examples.demo.workload import Comparison
from kvwrap import ReadThrough, Statistics, Store
from kvwrap.layers.statistics.counts import Counts


class Outcome(NamedTuple):
    """Results of a run that the layers do not count."""

    store: Store
    backend: str
    reads: int
    seconds: float
    stored_bytes: int
    entries: int
    fallback_reads: int
    outage_reads: int
    comparison: Comparison


def show(console: Console, outcome: Outcome) -> None:
    """Print the stack, reads by tier, bytes, the outage and the comparison."""
    snapshots = {
        layer.label: layer.snapshot()
        for layer in outcome.store.layers
        if isinstance(layer, Statistics)
    }
    near = outcome.store.find(ReadThrough).second_stores[0][1].find(Statistics).snapshot()
    console.print(outcome.store.explain(), markup=False, highlight=False, soft_wrap=True)
    console.print()
    console.print(
        _tiers(
            {
                "the whole stack": snapshots["application"].reads,
                "memory": near.reads,
                "backend or fallback": snapshots["raw"].reads,
            }
        )
    )
    raw = snapshots["raw"].writes.bytes_written
    compressed = snapshots["compressed"].writes.bytes_written
    console.print()
    console.print(
        f"{outcome.entries:,} entries in {outcome.backend}: {raw:,} bytes raw, "
        f"{compressed:,} compressed ({compressed / raw:.0%}), {outcome.stored_bytes:,} stored with "
        "headers, nonces and authentication tags"
    )
    console.print(
        f"{outcome.reads:,} reads in {outcome.seconds:.1f} s: "
        f"{outcome.reads / outcome.seconds:,.0f} reads per second"
    )
    console.print(
        f"backend stopped for {outcome.outage_reads:,} reads: "
        f"{outcome.fallback_reads:,} of them served by the fallback, the others from memory"
    )
    equal, different = outcome.comparison.equal, outcome.comparison.different
    verdict = "[green]all equal" if not different else f"[red]{len(different):,} DIFFERENT"
    console.print(f"{equal + len(different):,} values compared with their source: {verdict}")
    for collection, key in different[:10]:
        console.print(f"  {collection}/{key}")


def _tiers(reads: Mapping[str, Counts]) -> Table:
    table = Table(title="reads by tier", title_justify="left", box=None)
    table.add_column("")
    for column in ("keys", "found", "calls", "p50", "p95", "p99"):
        table.add_column(column, justify="right")
    for name, counts in reads.items():
        percentiles = (counts.latency.p50, counts.latency.p95, counts.latency.p99)
        latencies = (f"{seconds * 1e6:,.0f} us" for seconds in percentiles)
        table.add_row(
            name, f"{counts.keys:,}", f"{counts.hit_rate:.1%}", f"{counts.calls:,}", *latencies
        )
    return table
