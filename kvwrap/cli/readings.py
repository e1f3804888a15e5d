"""The tables of a reading, for people on a terminal and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kvwrap.cli.live import CURVE, Change, Reading, changes_of, operations_of
from kvwrap.layers.read_through.advice import size_name

Row = tuple[object, ...]
Table = tuple[Sequence[str], list[Row]]

_OPERATIONS: Final = (
    *("name", "collection", "operation", "#/s", "#calls", "#hits", "#p50", "#p99", "#errors"),
)
_FIGURES: Final = ("layer", "figure", "#value", "#/s")
_CURVES: Final = ("layer", "hit rate of the near store, by its size")

_PLAIN_OPERATIONS: Final = (
    *("layer", "collection", "operation", "#/s", "#calls"),
    *("#% hits", "#p50 us", "#p99 us", "#errors"),
)
_PLAIN_FIGURES: Final = (*_FIGURES, "unit")

_MISSING: Final = "near.hit_rate_reads_missing"


def tables_of(reading: Reading, before: Reading | None, *, plain: bool) -> list[Table]:
    """Return the tables of a reading that have rows.

    Args:
        reading: The reading.
        before: The reading before, for rates.
        plain: True for programs: cells have numbers alone, and every figure has a row.
    """
    share, latency = (_percent, _microseconds) if plain else (_share, _latency)
    found = operations_of(reading, before)
    names = {each.layer: each.stack for each in found}
    if plain or len({*names.values()}) < len(names):
        names = {layer: layer for layer in names}
    operations: list[Row] = [
        (
            names[each.layer],
            each.collection or "(default)",
            each.operation,
            _rate(each.rate),
            each.calls,
            None if each.hit_rate is None else share(each.hit_rate),
            latency(each.p50),
            latency(each.p99),
            each.errors,
        )
        for each in found
    ]
    changes = changes_of(reading, before)
    curves = [] if plain else [each for each in changes if each.name in (CURVE, _MISSING)]
    cells = _plain_cells if plain else _cells
    figures: list[Row] = [
        (each.layer, " ".join((each.name, *each.labels.values())), *cells(each))
        for each in changes
        if each not in curves
    ]
    if plain:
        tables: list[Table] = [(_PLAIN_OPERATIONS, operations), (_PLAIN_FIGURES, figures)]
    else:
        tables = [
            _without_one_name(_OPERATIONS, operations),
            (_FIGURES, figures),
            (_CURVES, list(_curve_rows(curves))),
        ]
    return [table for table in tables if table[1]]


def _without_one_name(columns: Sequence[str], rows: list[Row]) -> Table:
    """Leave out the name of the statistics if it is the same in all rows, as in most stacks."""
    if len({row[0] for row in rows}) > 1:
        return columns, rows
    return columns[1:], [row[1:] for row in rows]


def _curve_rows(changes: Iterable[Change]) -> Iterator[Row]:
    """Yield the row of each tier: hit rates by size, or what they need."""
    sizes: dict[str, list[Change]] = {}
    for change in changes:
        if change.name == _MISSING:
            yield change.layer, f"known after {_number(change.value)} more reads, at least"
        else:
            sizes.setdefault(change.layer, []).append(change)
    for layer, found in sizes.items():
        shown = [
            f"{size_name(''.join(each.labels.values()))} {_share(each.value)}" for each in found
        ]
        yield layer, ", ".join(shown)


def _cells(change: Change) -> tuple[str, ...]:
    value = change.value
    if change.unit == "s":
        shown = _latency(value)
    else:
        shown = _number(value) + (" B" if change.unit == "By" else "")
    return shown, _rate(change.rate)


def _plain_cells(change: Change) -> tuple[str, ...]:
    value = change.value
    shown = f"{value:.6f}" if change.unit == "s" else _number(value).replace(",", "")
    unit = "" if change.unit == "1" else change.unit.strip("{}")
    return shown, _rate(change.rate), unit


def _number(value: float) -> str:
    return f"{value:,.3f}" if value % 1 else f"{value:,.0f}"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"


def _share(share: float) -> str:
    return f"{share:.1%}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _latency(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.1f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} us"


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.1f}"
