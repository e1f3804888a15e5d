"""The tables of a reading: one walk, in the form of people and in that of programs."""

from __future__ import annotations

from kvwrap.cli.live import Figure, Reading
from kvwrap.cli.readings import tables_of
from kvwrap.layers.statistics.histogram import Latency


def reading(*figures: Figure) -> Reading:
    return Reading(1, 10.0, None, ["Statistics"], [*figures])


def gauge(
    layer: str, name: str, value: float, unit: str = "1", labels: dict[str, str] | None = None
) -> Figure:
    return Figure("sessions", layer, name, "gauge", unit, labels or {}, value)


def operation(stack: str, layer: str) -> list[Figure]:
    labels = {"collection": "", "operation": "read"}
    values = {"operations": 10, "hits": 3, "misses": 1, "operation.duration": Latency(0.1, ())}
    return [
        Figure(stack, layer, name, "counter", "1", labels, value) for name, value in values.items()
    ]


CURVE = [
    gauge("ReadThrough", "near.hit_rate", rate, labels={"size": size})
    for size, rate in {"0.5": 0.0, "1": 0.612, "2": 0.74, "10": 0.881}.items()
]
SHORT = gauge("ReadThrough#2", "near.hit_rate_reads_missing", 12_345, "{key}")
BYTES = gauge("near/MemoryStore", "held", 12_345, "By")
AGE = gauge("WriteBehind", "journal.age", 0.25, "s")


def test_people_see_the_hit_rates_by_size_as_a_row_of_each_tier() -> None:
    (columns, rows), curves = tables_of(reading(*CURVE, SHORT, BYTES, AGE), None, plain=False)
    assert columns == ("layer", "figure", "#value", "#/s")
    assert rows == [
        ("near/MemoryStore", "held", "12,345 B", ""),
        ("WriteBehind", "journal.age", "250.0 ms", ""),
    ]
    assert sorted(curves[1]) == [
        ("ReadThrough", "half 0.0%, as it is 61.2%, twice 74.0%, 10 times 88.1%"),
        ("ReadThrough#2", "known after 12,345 more reads, at least"),
    ]


def test_programs_get_every_figure_as_a_number() -> None:
    ((columns, rows),) = tables_of(reading(*CURVE, SHORT, BYTES, AGE), None, plain=True)
    assert columns == ("layer", "figure", "#value", "#/s", "unit")
    assert rows == [
        ("ReadThrough", "near.hit_rate 0.5", "0", "", ""),
        ("ReadThrough", "near.hit_rate 1", "0.612", "", ""),
        ("ReadThrough", "near.hit_rate 2", "0.740", "", ""),
        ("ReadThrough", "near.hit_rate 10", "0.881", "", ""),
        ("ReadThrough#2", "near.hit_rate_reads_missing", "12345", "", "key"),
        ("near/MemoryStore", "held", "12345", "", "By"),
        ("WriteBehind", "journal.age", "0.250000", "", "s"),
    ]


def test_statistics_are_told_apart_where_there_are_several() -> None:
    outer, inner = operation("outer", "Statistics"), operation("inner", "Statistics#2")
    ((columns, rows),) = tables_of(reading(*outer), None, plain=False)
    assert (columns[0], rows[0][0]) == ("collection", "(default)")
    ((columns, rows),) = tables_of(reading(*outer, *inner), None, plain=False)
    assert (columns[0], [row[:2] for row in rows]) == (
        "name",
        [("outer", "(default)"), ("inner", "(default)")],
    )
    ((_, rows),) = tables_of(reading(*operation("a", "Statistics"), *inner), None, plain=True)
    assert [row[0] for row in rows] == ["Statistics", "Statistics#2"]
    same = operation("inner", "Statistics")
    ((_, rows),) = tables_of(reading(*same, *inner), None, plain=False)
    assert [row[0] for row in rows] == ["Statistics", "Statistics#2"]
