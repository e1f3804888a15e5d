"""Thirteen thousand records through a whole stack, with the backend stopped on the way.

    python -m examples.demo [--reads N] [--backend own-redis|redis|sqlite]

Exits with 1 if any value differs from its source.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo.backend import Backend, choose
from examples.demo.records import Records, all_records
from examples.demo.report import Outcome, show
from examples.demo.workload import Comparison, compare_all, fill, read
from kvwrap import Compression, Fallback, Keyring, MemoryStore, SQLiteStore, Stack, stack


def layers(folder: Path) -> Stack:
    """The stack of the main job; the statistics in its middle see what each step makes."""
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
        .fallback(lambda: SQLiteStore(folder / "fallback.db"), writes="both")
        .silence("statistics-inside-cache")
    )


async def job(
    records: Records, reads: int, backend: Backend, folder: Path, console: Console
) -> Outcome:
    """Fill, read, stop the backend, read, start it, read, and compare everything."""
    seen = Comparison(records)
    bars = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    async with layers(folder).over(backend.store) as store:
        fallback = store.find(Fallback)
        with bars:
            bar = bars.add_task("training", total=2)
            for name in ("languages", "subdivisions"):
                samples = [
                    record for (collection, _), record in records.items() if collection == name
                ]
                # The layer sees collections as the prefix outside it has renamed them.
                await store.find(Compression).train(f"iso-{name}", samples=samples)
                bars.advance(bar)

            bar = bars.add_task("writing", total=len(records))
            await fill(store, records, lambda done: bars.advance(bar, done))

            began = time.perf_counter()
            first, down = reads * 2 // 5, reads // 5
            bar = bars.add_task("reading", total=first)
            await read(store, records, first, seen, lambda done: bars.advance(bar, done))

            backend.stop()
            before = fallback.snapshot().fallback_reads
            bar = bars.add_task("reading, backend down", total=down)
            await read(store, records, down, seen, lambda done: bars.advance(bar, done))
            fallback_reads = fallback.snapshot().fallback_reads - before
            backend.start()

            last = reads - first - down
            bar = bars.add_task("reading, backend back", total=last)
            await read(store, records, last, seen, lambda done: bars.advance(bar, done))
            seconds = time.perf_counter() - began

            bar = bars.add_task("comparing", total=len(records))
            await compare_all(store, records, seen, lambda done: bars.advance(bar, done))
        return Outcome(
            store=store,
            backend=backend.name,
            reads=reads,
            seconds=seconds,
            at_rest=await backend.at_rest(),
            entries=len(records),
            outage_reads=down,
            served_by_fallback=fallback_reads,
            seen=seen,
        )


def main() -> int:
    """Do the job and show what came of it; 1 if any value differs from its source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reads", type=int, default=100_000, help="default: 100,000")
    parser.add_argument(
        "--backend",
        choices=["own-redis", "redis", "sqlite"],
        help="its own Redis, the one at REDIS_URL, or SQLite; default: the first that there is",
    )
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kvwrap-demo-") as name:
        backend = choose(arguments.backend, Path(name))
        try:
            records = all_records()
            console.print(f"{len(records):,} records of pycountry into {backend.name}")
            outcome = asyncio.run(job(records, arguments.reads, backend, Path(name), console))
        finally:
            backend.close()
    console.print()
    show(console, outcome)
    return 1 if outcome.seen.different else 0


if __name__ == "__main__":
    sys.exit(main())
