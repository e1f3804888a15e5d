"""The table in `docs/benchmarks.md` has the form that `python -m benchmarks --write` produces."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import Row, difference, markdown, ratio
from benchmarks.timing import Pair

PAGE = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_the_page_has_the_columns_of_the_table() -> None:
    header = markdown([])
    assert header in PAGE
    assert PAGE.count("<!-- table -->\n") == 1


def test_a_row_has_a_cell_for_each_column() -> None:
    rows = [
        ratio("slower", Pair(3.0, 2.0, 1.5, 1.0), 1.4, "1.40"),
        ratio("faster", Pair(1.0, 8.0, 0.125, -7.0), 1 / 4, "1/4"),
        difference("longer", Pair(3.0, 2.0, 1.5, 1.0), 1.2),
        Row("own text", "1 byte", "2 bytes", "50%", "at most 45%", False),
    ]
    assert markdown(rows).splitlines()[2:] == [
        "| slower | 3.00 us | 2.00 us | 1.50 | at most 1.40 | NO |",
        "| faster | 1.00 us | 8.00 us | 1/8.0 | at most 1/4 | yes |",
        "| longer | 3.00 us | 2.00 us | +1.00 us | at most +1.20 us | yes |",
        "| own text | 1 byte | 2 bytes | 50% | at most 45% | NO |",
    ]
