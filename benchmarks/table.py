"""Rows of the table, and the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.timing import Pair


class Row(NamedTuple):
    """One comparison: what was measured, both sides, the figure and what it should be."""

    what: str
    ours: str
    theirs: str
    figure: str
    bound: str
    holds: bool


def ratio(what: str, measured: Pair, at_most: float, shown: str) -> Row:
    """A row whose figure is the ratio ours / theirs."""
    inverse = measured.ratio < 0.5
    figure = f"1/{1 / measured.ratio:.1f}" if inverse else f"{measured.ratio:.2f}"
    return Row(
        what,
        f"{measured.ours:.2f} us",
        f"{measured.theirs:.2f} us",
        figure,
        f"at most {shown}",
        measured.ratio <= at_most,
    )


def difference(what: str, measured: Pair, at_most: float) -> Row:
    """A row whose figure is the time that ours takes more."""
    return Row(
        what,
        f"{measured.ours:.2f} us",
        f"{measured.theirs:.2f} us",
        f"{measured.difference:+.2f} us",
        f"at most {at_most:+.2f} us",
        measured.difference <= at_most,
    )


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | kvwrap | beside it | figure | wanted | holds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.what,
            row.ours,
            row.theirs,
            row.figure,
            row.on_bind,
            "yes" if row.holds else "NO",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
