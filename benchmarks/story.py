"""The figures and plots of docs/story.md: `python -m benchmarks.story --write`.

Every step of the story is measured beside all others, in turn and in one process, by elapsed
time, since a user of a server waits for it. Other programs only add to it, so that the
fastest tenth of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pipeline import document
from benchmarks.plots import COLOURS, INK, save
from kvwrap import (
    Keyring,
    MemoryStore,
    PostgreSQLStore,
    RedisStore,
    SQLiteStore,
    Stack,
    Store,
    ValkeyStore,
    adapt,
    stack,
)
from kvwrap.testing.servers import PostgreSQLServer, RedisServer, ValkeyServer

PAGE = Path(__file__).parent.parent / "docs" / "story.md"
FOLDER = PAGE.parent / "assets" / "story"
STARTS, ENDS = "<!-- figures -->\n", "<!-- end of figures -->\n"
ROUNDS = 120
"""Rounds after those of the warm-up."""
WARM_UP = 10
CALLS = 5
"""Calls of each kind in a round of one step, after one that warms the processor's caches."""
VALUE = document(10)

STEPS = (
    "a dict",
    "a file",
    "memory in front",
    "compressed, encrypted",
    "Redis",
    "an outage",
    "replicas",
)
"""The steps, as the plots name them."""


class Times(NamedTuple):
    """Microseconds of a call, at most which it took in the fastest tenth of the rounds.

    Attributes:
        put: A write.
        first: The first read of a key since it was written.
        again: A read of the same key after that.
    """

    put: float
    first: float
    again: float


def near() -> Stack:
    """Return the layer that every step has from the third."""
    return stack().read_through(lambda: MemoryStore(max_entries=50_000), ttl=30)


@asynccontextmanager
async def steps() -> AsyncIterator[dict[str, Store]]:
    """Provide the store of every step, opened."""
    sealed = near().compress(min_size=256).encrypt(Keyring.generate())
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        redis = opened.enter_context(RedisServer()).url
        valkey = opened.enter_context(ValkeyServer()).url
        postgresql = opened.enter_context(PostgreSQLServer()).url

        def calm(number: int) -> Stack:
            fallback = SQLiteStore(folder / f"fallback-{number}.db")
            return sealed.fallback(fallback, writes="both")

        others = [
            stack().timeout(2).over(ValkeyStore(valkey)),
            stack().timeout(2).over(PostgreSQLStore(postgresql)),
        ]
        stores = (
            adapt({}),
            SQLiteStore(folder / "file.db"),
            near().over(SQLiteStore(folder / "near.db")),
            sealed.over(SQLiteStore(folder / "sealed.db")),
            sealed.over(RedisStore(redis, namespace="alone")),
            calm(1).retry().timeout(2).over(RedisStore(redis, namespace="calm")),
            sealed.replicate(others, write_quorum=2, read_quorum=2)
            .timeout(2)
            .over(RedisStore(redis, namespace="replica")),
        )
        for store in stores:
            await opened.enter_async_context(store)
        yield dict(zip(STEPS, stores, strict=True))


async def measure() -> dict[str, Times]:
    """Measure a few calls of every step, then of every step again, and so on.

    So what else the machine does takes as much of each step.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in STEPS}
    async with steps() as stores:
        for number in range(-WARM_UP, ROUNDS):
            for name, store in stores.items():
                taken[name].append(await _round(store, number))
    return {
        name: Times(*(sorted(times[WARM_UP:])[ROUNDS // 10] for times in zip(*rounds, strict=True)))
        for name, rounds in taken.items()
    }


async def _round(store: Store, number: int) -> list[float]:
    """Return the median microseconds of a put, a first get and another get in one round."""
    times: list[list[float]] = [[], [], []]
    for key in [f"user:{number}:{call}" for call in range(CALLS + 1)]:
        for call, taken in zip((_put, _get, _get), times, strict=True):
            start = time.perf_counter()
            await call(store, key)
            taken.append((time.perf_counter() - start) * 1e6)
    return [statistics.median(taken[1:]) for taken in times]


async def _put(store: Store, key: str) -> None:
    await store.put(key, VALUE, ttl=3_600)


async def _get(store: Store, key: str) -> None:
    await store.get(key)


def table(measured: Mapping[str, Times]) -> str:
    """Return the figures as a table of Markdown, with ratios to the step before."""
    lines = [
        "| after the step | put | to the one before | first get | to the one before | get again |",
        "|---|---|---|---|---|---|",
    ]
    before: Times | None = None
    for name, times in measured.items():
        put, first = "-", "-"
        if before is not None:
            put, first = f"{times.put / before.put:.1f}", f"{times.first / before.first:.1f}"
        lines.append(
            f"| {name} | {times.put:,.0f} us | {put} | {times.first:,.0f} us | {first} "
            f"| {times.again:,.0f} us |"
        )
        before = times
    return "\n".join(lines)


def draw(measured: Mapping[str, Times], folder: Path = FOLDER) -> None:
    """Write a plot for each step: the latencies of all steps so far."""
    import matplotlib  # only `make bench` has it

    matplotlib.use("svg")
    from matplotlib import pyplot  # as above

    settings: dict[str, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "kvwrap", "font.size": 12}
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    most = max(max(times) for times in measured.values())
    with matplotlib.rc_context(settings):
        for number in range(1, len(STEPS) + 1):
            _plot(pyplot, {name: measured[name] for name in STEPS[:number]}, most, folder)


def _plot(pyplot: Any, measured: Mapping[str, Times], most: float, folder: Path) -> None:
    rows = len(measured)
    figure, axes = pyplot.subplots(figsize=(5.2, 1.3 + 0.62 * rows))
    for index, label in enumerate(("put", "first get", "get again")):
        values: Sequence[float] = [times[index] for times in measured.values()]
        places = [row + (index - 1) * 0.26 for row in range(rows)]
        bars = axes.barh(places, values, 0.24, label=label, color=COLOURS[index])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9, color=INK)
    axes.set_yticks(range(rows), list(measured))
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(1, most * 4)
    axes.set_xlabel("latency, µs (logarithmic)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=10)
    folder.mkdir(parents=True, exist_ok=True)
    save(figure, folder / f"step_{rows}.svg")
    pyplot.close(figure)


def write(measured: Mapping[str, Times]) -> None:
    """Write the figures into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(STARTS)
    _, _, after = rest.partition(ENDS)
    machine = f"Measured on {os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f}."
    PAGE.write_text(
        f"{before}{STARTS}\n{table(measured)}\n\n{machine}\n\n{ENDS}{after}", encoding="utf-8"
    )


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update the page and its plots")
    arguments = parser.parse_args()
    measured = asyncio.run(measure())
    print(table(measured))
    if arguments.write:
        write(measured)
        draw(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
