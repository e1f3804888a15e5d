"""Print the table of benchmarks; with `--write`, also write it to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import coalesce, dictionary, memory, pipeline
from benchmarks.table import Row, markdown

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
TABLE_STARTS = "<!-- table -->\n"


async def measure(console: Console) -> list[Row]:
    """Measure all rows, one module after the other."""
    rows: list[Row] = []
    with console.status("measuring") as status:
        for module in (memory, pipeline, dictionary, coalesce):
            async for row in module.rows():
                rows.append(row)
                status.update(f"measured: {row.name}")
    return rows


def main() -> int:
    """Print the table. Returns 0 whatever the results are: they are to be read by people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    arguments = parser.parse_args()
    table = markdown(asyncio.run(measure(Console(stderr=True))))
    versions = f"CPython {platform.python_version()}, {platform.machine()}; " + ", ".join(
        f"{name} {version(name)}" for name in ("py-key-value-aio", "redis", "msgspec")
    )
    print(table)
    print(f"\n{versions}")
    if arguments.write:
        introduction, _, _ = PAGE.read_text().partition(TABLE_STARTS)
        PAGE.write_text(f"{introduction}{TABLE_STARTS}\n{table}\n\nMeasured with {versions}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
