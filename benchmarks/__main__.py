"""Print the table of benchmarks; with `--write`, also write docs/benchmarks.md with its plots.

`make bench` runs this in a virtual environment of its own, with the libraries of the dependency
group `bench`, some of which clash with those of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import plots
from benchmarks.table import Row, markdown

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
TABLE_STARTS = "<!-- table -->\n"
MODULES = (
    "memory",
    "memory_use",
    "pipeline",
    "dictionary",
    "coalesce",
    "read_through",
    "tags",
    "coherence",
    "blocking",
    "file_tree",
    "dynamodb",
    "etcd",
    "mongodb",
    "elasticsearch",
    "nats",
    "object",
    "redis",
    "lmdb_store",
    "sqlite",
    "memcached",
    "postgresql",
)
"""The modules with rows, in the order of the table. Each has an async generator `rows`."""


async def measure(modules: Sequence[str], console: Console) -> list[Row]:
    """Measure the rows of these modules, one module after the other."""
    rows: list[Row] = []
    with console.status("measuring") as status:
        for module in modules:
            async for row in importlib.import_module(f"benchmarks.{module}").rows():
                rows.append(row)
                status.update(f"measured: {row.name}")
    return rows


async def draw() -> None:
    """Measure what the plots of the page show, and draw them."""
    plots.draw(await plots.hit_rates(), await plots.cost_by_size(), await plots.cost_by_layers())


def main() -> int:
    """Print the table. Returns 0 whatever the results are: they are to be read by people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"what to measure: {', '.join(MODULES)}")
    parser.add_argument("--write", action="store_true", help="update the page and its plots")
    arguments = parser.parse_args()
    if unknown := set(arguments.modules) - set(MODULES):
        parser.error(f"no module is called {', '.join(sorted(unknown))}")
    if arguments.write and arguments.modules:
        parser.error("--write needs every module")
    table = markdown(asyncio.run(measure(arguments.modules or MODULES, Console(stderr=True))))
    versions = f"CPython {platform.python_version()}, {platform.machine()}; " + ", ".join(
        f"{name} {version(name)}" for name in ("py-key-value-aio", "redis", "msgspec")
    )
    versions += f"; {os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f}"
    print(table)
    print(f"\n{versions}")
    if arguments.write:
        introduction, _, _ = PAGE.read_text().partition(TABLE_STARTS)
        PAGE.write_text(f"{introduction}{TABLE_STARTS}\n{table}\n\nMeasured with {versions}.\n")
        asyncio.run(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
