"""What `docs/comparison.md` says of kvwrap, and of what is measured, is so."""

from __future__ import annotations

import re
from pathlib import Path

from kvwrap.builder import LAYERS
from kvwrap.core.registry import STORES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "comparison.md").read_text(encoding="utf-8")
LIBRARIES = (
    *("py-key-value", "aiocache", "cashews", "diskcache", "cachelib", "dogpile.cache"),
    *("FusionCache", "OpenDAL", "Tower"),
)


def row(name: str) -> list[str]:
    (found,) = re.findall(rf"^\| {re.escape(name)} \| (.+) \|$", PAGE, re.MULTILINE)
    return str(found).split(" | ")


def test_kvwraps_own_numbers() -> None:
    assert row("layers that are composed")[0] == str(len(LAYERS))
    assert row("backends that come with it")[0].startswith(f"{len(set(STORES.values()))} ")


def test_every_library_has_a_version_and_what_it_does_better() -> None:
    assert re.search(r"Looked up on \d{4}-\d\d-\d\d", PAGE)
    for library in LIBRARIES:
        assert re.search(rf"^\| \[{re.escape(library)}\]\(\S+\) \| \d+\.\d+", PAGE, re.MULTILINE)
        assert row(library)[0]


def test_what_is_measured_is_in_the_table_of_benchmarks() -> None:
    section = PAGE.partition("## Measured")[2]
    measured, unmeasured = section.split("Nothing is measured")
    benchmarks = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    for name in ("py-key-value", "diskcache", "keyvalue-sqlite", "aiosqlite", "cashews"):
        assert name in measured
        assert name in benchmarks
    for name in ("aiocache", "cachelib", "dogpile.cache", "FusionCache", "OpenDAL"):
        assert name in unmeasured
        assert name not in benchmarks
