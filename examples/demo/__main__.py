"""Write and read 13,000 records through a complete stack, with the backend stopped in between.

    python -m examples.demo [--reads N] [--backend own-redis|redis|sqlite]

Beside it runs a baseline: the same reads from the same backend, with its driver and JSON.
Exits with 1 if a value differs from its source.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from examples.demo.backend import Backend, choose
from examples.demo.bare import measure
from examples.demo.records import Records, all_records
from examples.demo.report import WIDTH, Outcome, show
from examples.demo.workload import Comparison, Progress, compare_all, fill, read
from kvwrap import Compression, Fallback, Keyring, MemoryStore, SQLiteStore, Stack, Store, stack


def layers(folder: Path) -> Stack:
    """Build the stack. Statistics between its layers count the bytes after each step."""
    near = stack().statistics(name="memory")
    return (
        stack()
        .statistics(name="application")
        .read_through(lambda: near.over(MemoryStore(max_entries=2_000)), ttl=60)
        .clamp_ttl(minimum=60, maximum=86_400)
        .prefix_collection("iso-")
        .statistics(name="raw")
        .compress(min_size=0, dictionaries=True)
        .statistics(name="compressed")
        .encrypt(Keyring({"demo": Keyring.generate_key()}))
        .fallback(lambda: SQLiteStore(folder / "fallback.db"), writes="both", open_for=1)
        .coalesce()
        .silence("statistics-inside-cache")
    )


class Phases:
    """Shows what is going on: bars on a terminal, and a line for each phase elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description:<30}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    def begin(self, what: str, total: int) -> Progress:
        """Begin a phase. Returns what is called with the number done since the last call."""
        if not self._console.is_terminal:
            self._console.print(f"{what}: {total:,}")
        task = self._bars.add_task(what, total=total)
        return lambda count: self._bars.advance(task, count)


async def train(store: Store, records: Records, progress: Progress) -> None:
    """Train a compression dictionary for each of the large collections."""
    for name in ("languages", "subdivisions"):
        samples = [record for (collection, _), record in records.items() if collection == name]
        # Compression is inside the prefix layer: it sees collections with their prefix.
        await store.find(Compression).train(f"iso-{name}", samples=samples)
        progress(1)


async def wait_for_backend(store: Store, records: Records) -> None:
    """Read until the backend answers again. The fallback tries it a second after it failed."""
    collection, key = next(iter(records))
    while store.find(Fallback).snapshot().state != "closed":
        await asyncio.sleep(0.05)
        await store.get_versioned(key, collection=collection)


async def run(
    records: Records, reads: int, backend: Backend, folder: Path, phases: Phases
) -> Outcome:
    """Fill, read, stop the backend, read, start it, read, and compare every value."""
    comparison, during = Comparison(records), Comparison(records)
    before, outage = reads * 2 // 5, reads // 5
    async with layers(folder).over(backend.store) as store:
        fallback = store.find(Fallback)
        await train(store, records, phases.begin("training dictionaries", 2))
        await fill(store, records, phases.begin("writing", len(records)))

        start = time.perf_counter()
        progress = phases.begin("reading", before)
        await read(store, records, before, comparison, progress, phase="before")
        seconds = time.perf_counter() - start

        backend.stop()
        copies = fallback.snapshot().fallback_reads
        progress = phases.begin("reading, backend stopped", outage)
        await read(store, records, outage, during, progress, phase="outage")
        copies = fallback.snapshot().fallback_reads - copies
        backend.start()

        late = fallback.snapshot().fallback_reads
        progress = phases.begin("reading, backend back", reads - before - outage)
        await read(store, records, reads - before - outage, comparison, progress, phase="after")
        await wait_for_backend(store, records)
        late = fallback.snapshot().fallback_reads - late
        await compare_all(store, records, comparison, phases.begin("comparing", len(records)))
        stored = await backend.stored_bytes()
        progress = phases.begin("reading without kvwrap", before + outage)
        baseline = await measure(
            *(backend.bare(), records, before, outage, progress, backend.stop, backend.start)
        )
        return Outcome(
            store=store,
            backend=backend.name,
            reads=before,
            seconds=seconds,
            stored_bytes=stored,
            entries=len(records),
            outage_reads=during.equal + len(during.different),
            fallback_reads=copies,
            late_reads=late,
            comparison=comparison,
            during=during,
            baseline=baseline,
        )


def main() -> int:
    """Run the demonstration and show the results. Returns 1 if a value differs from its source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--reads", type=int, default=100_000, help="number of reads; default: 100,000"
    )
    parser.add_argument(
        "--backend",
        choices=["own-redis", "redis", "sqlite"],
        help="a Redis of its own, the one at REDIS_URL, or SQLite; default: the first available",
    )
    arguments = parser.parse_args()
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    with tempfile.TemporaryDirectory(prefix="kvwrap-demo-") as name:
        backend = choose(arguments.backend, Path(name))
        try:
            records = all_records()
            console.print(f"{len(records):,} records of pycountry, stored in {backend.name}\n")
            phases = Phases(console)
            with phases.shown():
                outcome = asyncio.run(run(records, arguments.reads, backend, Path(name), phases))
        finally:
            backend.close()
    show(console, outcome)
    return 1 if outcome.different else 0


if __name__ == "__main__":
    sys.exit(main())
