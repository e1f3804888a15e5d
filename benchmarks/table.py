"""The rows of the table, and the table as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.timing import Pair


class Row(NamedTuple):
    """One comparison: what was measured, both sides, the result and its target."""

    name: str
    ours: str
    theirs: str
    result: str
    target: str
    met: bool


def ratio(name: str, measured: Pair, at_most: float, target: str) -> Row:
    """Return a row whose result is the ratio ours / theirs."""
    inverse = measured.ratio < 0.5
    result = f"1/{1 / measured.ratio:.1f}" if inverse else f"{measured.ratio:.2f}"
    return Row(
        name,
        f"{measured.ours:.2f} us",
        f"{measured.theirs:.2f} us",
        result,
        f"at most {target}",
        measured.ratio <= at_most,
    )


def difference(name: str, measured: Pair, at_most: float) -> Row:
    """Return a row whose result is the difference ours - theirs, in microseconds."""
    return Row(
        name,
        f"{measured.ours:.2f} us",
        f"{measured.theirs:.2f} us",
        f"{measured.difference:+.2f} us",
        f"at most {at_most:+.2f} us",
        measured.difference <= at_most,
    )


def absolute(name: str, measured: float, at_most: float, unit: str = "us", before: str = "") -> Row:
    """Return a row that is compared with its target only, not with another library.

    Args:
        before: The result of an earlier version, if one was measured.
    """
    return Row(
        name,
        f"{measured:,.1f} {unit}",
        f"{before}, an earlier version" if before else "-",
        f"{measured:,.1f} {unit}",
        f"at most {at_most:,g} {unit}",
        measured <= at_most,
    )


def markdown(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| benchmark | kvwrap | compared with | result | target | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.name,
            row.ours,
            row.theirs,
            row.result,
            row.target,
            "yes" if row.met else "NO",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
