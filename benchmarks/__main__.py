"""Prints the table; with `--write`, puts it into the documentation as well."""

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
    """All rows, one kind after the other."""
    found: list[Row] = []
    with console.status("measuring") as status:
        for source in (memory, pipeline, dictionary, coalesce):
            async for row in source.rows():
                found.append(row)
                status.update(f"measured: {row.what}")
    return found


def main() -> int:
    """Exit with 0 whatever the figures are: they are to be read, not to pass or fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    arguments = parser.parse_args()
    table = markdown(asyncio.run(measure(Console(stderr=True))))
    made = f"CPython {platform.python_version()}, {platform.machine()}; " + ", ".join(
        f"{name} {version(name)}" for name in ("py-key-value-aio", "redis", "msgspec")
    )
    print(table)
    print(f"\n{made}")
    if arguments.write:
        head, _, _ = PAGE.read_text().partition(TABLE_STARTS)
        PAGE.write_text(f"{head}{TABLE_STARTS}\n{table}\n\nMeasured with {made}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
