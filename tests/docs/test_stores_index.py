"""The table of capabilities matches `capabilities` of every store."""

from __future__ import annotations

import re
from pathlib import Path

from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

from kvwrap import Capability, MemoryStore, NullStore, RedisStore, SQLiteStore, Store, adapt

NO = "\N{EN DASH}"
PAGE = (Path(__file__).parents[2] / "docs" / "stores" / "index.md").read_text()


def stores() -> dict[str, Store]:
    return {
        "Memory": MemoryStore(),
        "SQLite": SQLiteStore("entries.db"),
        "Redis": RedisStore(),
        "Redis, `raw`": RedisStore(raw=True),
        "Null": NullStore(),
        "mapping": adapt({}),
        "py-key-value": adapt(TheirMemoryStore()),
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_capabilities_matches_the_stores() -> None:
    header = next(line for line in PAGE.splitlines() if line.startswith("| | "))
    columns = cells(header)[1:]
    assert columns == list(stores())
    rows = {
        row[1]: cells(row[0])[1:]
        for row in re.finditer(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)
        if len(cells(row[0])) > 2
    }
    assert list(rows) == [capability.name for capability in Capability]
    for name, row_cells in rows.items():
        for column, cell in zip(columns, row_cells, strict=True):
            has = Capability[name] in stores()[column].capabilities
            assert cell == ("yes" if has else NO), f"{column} {name}"


def test_every_page_is_in_the_list() -> None:
    pages = {page.name for page in (Path(__file__).parents[2] / "docs" / "stores").glob("*.md")}
    assert pages - {"index.md"} == set(re.findall(r"\]\((\w+\.md)\)", PAGE))
