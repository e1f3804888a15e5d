"""The table in `docs/benchmarks.md` has the form that `python -m benchmarks --write` produces."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import benchmarks
from benchmarks import plots, timing, traces
from benchmarks.__main__ import MODULES
from benchmarks.table import Row, absolute, difference, markdown, ratio
from benchmarks.timing import Pair

ASSETS = Path(__file__).parents[2] / "docs" / "assets"
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
        absolute("blocking", 1234.5, 10, "ms", "2 ms"),
        absolute("a read", 5.0, 5),
        Row("own text", "1 byte", "2 bytes", "50%", "at most 45%", False),
    ]
    assert markdown(rows).splitlines()[2:] == [
        "| slower | 3.00 us | 2.00 us | 1.50 | at most 1.40 | NO |",
        "| faster | 1.00 us | 8.00 us | 1/8.0 | at most 1/4 | yes |",
        "| longer | 3.00 us | 2.00 us | +1.00 us | at most +1.20 us | yes |",
        "| blocking | 1,234.5 ms | 2 ms, an earlier version | 1,234.5 ms | at most 10 ms | NO |",
        "| a read | 5.0 us | - | 5.0 us | at most 5 us | yes |",
        "| own text | 1 byte | 2 bytes | 50% | at most 45% | NO |",
    ]


def test_every_module_with_rows_is_measured() -> None:
    folder = Path(str(benchmarks.__file__)).parent
    with_rows = {
        path.stem for path in folder.glob("*.py") if "async def rows()" in path.read_text()
    }
    assert with_rows == set(MODULES)


def test_the_page_shows_every_plot_and_describes_it() -> None:
    shown = dict(re.findall(r"!\[([^\]]+)\]\(assets/(\w+)\.svg\)", PAGE))
    drawn = set(re.findall(r'folder / "(\w+)\.svg"', inspect.getsource(plots)))
    assert drawn == set(shown.values())
    assert all(len(description) > 60 for description in shown)
    for name in drawn:
        picture = (ASSETS / f"{name}.svg").read_text(encoding="utf-8")
        assert picture.count("<svg") == 1
        assert plots.INK in picture


def test_the_page_says_how_it_was_measured() -> None:
    assert f"in {timing.ROUNDS} rounds" in PAGE
    assert timing.BLOCKING_ROUNDS == 5
    assert "median of five rounds" in " ".join(PAGE.split())
    assert (f"{traces.ACCESSES:,}", f"{traces.ENTRIES:,}", f"{traces.KEYS:,}") == (
        "200,000",
        "1,000",
        "10,000",
    )
    assert "200,000 accesses find their key in a store with room for 1,000 of 10,000 keys" in PAGE


def test_the_traces_have_the_lengths_and_keys_that_the_page_says() -> None:
    made = traces.traces()
    assert {len(trace) for trace in made.values()} == {traces.ACCESSES}
    assert len(set(made["zipf"])) <= traces.KEYS
    assert len(set(made["loop"][1::2])) == 1_500 // 2
