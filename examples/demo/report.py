"""The report that the demonstration prints at its end."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.demo.bare import Baseline
from examples.demo.workload import Comparison
from kvwrap import ReadThrough, Statistics, Store
from kvwrap.layers.statistics.counts import Counts

WIDTH = 80
"""The most columns that the report takes."""
_TREE = re.compile(r"[ │├└─]*(?:· )?")
NEXT = {
    "docs/tutorial.md": "build this stack yourself, from an empty file",
    "docs/layers/index.md": "every layer, its failures and its place",
    "docs/guides/cache_a_function.md": "cache the results of functions: @store.cached()",
    "docs/security.md": "who can do what to which bytes",
    "docs/changing.md": "change any of this later, with nobody stopped",
}
"""What to read next, by path."""


class Outcome(NamedTuple):
    """Results of a run that the layers do not count."""

    store: Store
    backend: str
    reads: int
    seconds: float
    stored_bytes: int
    entries: int
    fallback_reads: int
    late_reads: int
    outage_reads: int
    comparison: Comparison
    during: Comparison
    baseline: Baseline

    @property
    def different(self) -> list[tuple[str, str]]:
        """Names of the records whose value was not that of the source."""
        return self.comparison.different + self.during.different


def show(console: Console, outcome: Outcome) -> None:
    """Print the stack, reads by tier, the baseline, the comparison and what to read next."""
    snapshots = {
        layer.label: layer.snapshot()
        for layer in outcome.store.layers
        if isinstance(layer, Statistics)
    }
    near = outcome.store.find(ReadThrough).second_stores[0][1].find(Statistics).snapshot()
    _title(console, "The stack")
    console.print(Text(wrapped(outcome.store.explain(), console.width)))
    _title(console, "Where reads were answered")
    console.print(
        _tiers(
            {
                "the whole stack": snapshots["application"].reads,
                "memory": near.reads,
                "backend or fallback": snapshots["raw"].reads,
            }
        )
    )
    _title(console, "The same reads with and without kvwrap")
    console.print(_baseline(outcome))
    raw = snapshots["raw"].writes.bytes_written
    compressed = snapshots["compressed"].writes.bytes_written
    console.print(
        f"\nValues took {raw:,} bytes as JSON and {compressed:,} compressed "
        f"({compressed / raw:.0%}). Headers, nonces and authentication tags are added to that."
    )
    console.print(
        f"{outcome.outage_reads:,} reads while the backend was stopped: "
        f"{outcome.fallback_reads:,} of them served by the fallback, the others from memory. "
        f"{outcome.late_reads:,} more came from the fallback until the backend was tried again."
    )
    count = outcome.comparison.equal + outcome.during.equal + len(outcome.different)
    verdict = (
        f"[red]{len(outcome.different):,} DIFFERENT" if outcome.different else "[green]all equal"
    )
    console.print(f"{count:,} values compared with their source: {verdict}")
    for collection, key in outcome.different[:10]:
        console.print(f"  {collection}/{key}")
    _title(console, "What to read next")
    for path, what in NEXT.items():
        console.print(f"[cyan]{path:<32}[/]{what}", soft_wrap=True)


def wrapped(tree: str, width: int) -> str:
    """Wrap the lines of `explain()`, with the lines of the tree in front of each part."""
    lines = []
    for line in tree.splitlines():
        match = _TREE.match(line)
        front = match[0] if match else ""
        rest = re.sub(r"[└─·]", " ", front).replace("├", "│")
        lines += textwrap.wrap(
            line[len(front) :], width, initial_indent=front, subsequent_indent=rest
        )
    return "\n".join(lines)


def _title(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/]\n{'─' * len(title)}")


def _baseline(outcome: Outcome) -> Table:
    base, answered = outcome.baseline, outcome.during.equal
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("kvwrap", justify="right", style="green")
    table.add_column("driver and JSON", justify="right")
    for row in (
        (
            "reads per second",
            f"{outcome.reads / outcome.seconds:,.0f}",
            f"{outcome.reads / base.seconds:,.0f}",
        ),
        ("bytes stored", f"{outcome.stored_bytes:,}", f"{base.stored_bytes:,}"),
        ("values readable in the backend", "none", "all"),
        (
            f"of {outcome.outage_reads:,} reads, backend stopped",
            f"{answered:,} answered",
            f"{base.answered:,} answered",
        ),
    ):
        table.add_row(*row)
    return table


def _tiers(reads: Mapping[str, Counts]) -> Table:
    table = Table(box=None, pad_edge=False)
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
