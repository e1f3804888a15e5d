"""Write and read 13,000 records through a complete stack, with the backend stopped in between.

    python -m examples.demo [--reads N] [--backend own-redis|redis|sqlite]

Exits with 1 if a value differs from its source.
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
        .fallback(lambda: SQLiteStore(folder / "fallback.db"), writes="both")
        .coalesce()
        .silence("statistics-inside-cache")
    )


async def run(
    records: Records, reads: int, backend: Backend, folder: Path, console: Console
) -> Outcome:
    """Fill, read, stop the backend, read, start it, read, and compare every value."""
    comparison = Comparison(records)
    progress = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    async with layers(folder).over(backend.store) as store:
        fallback = store.find(Fallback)
        with progress:
            bar = progress.add_task("training", total=2)
            for name in ("languages", "subdivisions"):
                samples = [
                    record for (collection, _), record in records.items() if collection == name
                ]
                # Compression is inside the prefix layer: it sees collections with their prefix.
                await store.find(Compression).train(f"iso-{name}", samples=samples)
                progress.advance(bar)

            def advance(count: int) -> None:
                progress.advance(bar, count)

            bar = progress.add_task("writing", total=len(records))
            await fill(store, records, advance)

            start = time.perf_counter()
            reads_before, outage_reads = reads * 2 // 5, reads // 5
            bar = progress.add_task("reading", total=reads_before)
            await read(store, records, reads_before, comparison, advance, phase="before")

            backend.stop()
            before = fallback.snapshot().fallback_reads
            bar = progress.add_task("reading, backend down", total=outage_reads)
            await read(store, records, outage_reads, comparison, advance, phase="outage")
            fallback_reads = fallback.snapshot().fallback_reads - before
            backend.start()

            reads_after = reads - reads_before - outage_reads
            bar = progress.add_task("reading, backend back", total=reads_after)
            await read(store, records, reads_after, comparison, advance, phase="after")
            seconds = time.perf_counter() - start

            bar = progress.add_task("comparing", total=len(records))
            await compare_all(store, records, comparison, advance)
        return Outcome(
            store=store,
            backend=backend.name,
            reads=reads,
            seconds=seconds,
            stored_bytes=await backend.stored_bytes(),
            entries=len(records),
            outage_reads=outage_reads,
            fallback_reads=fallback_reads,
            comparison=comparison,
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
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kvwrap-demo-") as name:
        backend = choose(arguments.backend, Path(name))
        try:
            records = all_records()
            console.print(f"{len(records):,} records of pycountry, stored in {backend.name}")
            outcome = asyncio.run(run(records, arguments.reads, backend, Path(name), console))
        finally:
            backend.close()
    console.print()
    show(console, outcome)
    return 1 if outcome.comparison.different else 0


if __name__ == "__main__":
    sys.exit(main())
