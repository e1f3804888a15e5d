"""Figures: declared once, read by everything that shows or exports them."""

from __future__ import annotations

import pytest

import kvwrap.core.figures as module
from kvwrap import ConfigurationError, MemoryStore, Passthrough, stack
from kvwrap.core.exported import Exported
from kvwrap.core.figures import Measured, collect, counter, declared, gauge, histogram, merged
from kvwrap.layers.statistics.histogram import Latency, bucket_index


class Doors(Passthrough):
    """A layer of another package with figures of its own."""

    figures = (
        counter("doors.opened", "{door}", "Doors opened."),
        gauge("doors.width", "By", "Width of the widest door.", merge="max"),
        gauge("doors.color", "1", "1 for the color of the door.", "color"),
        gauge("doors.angle", "1", "Angle of each door.", "door"),
        gauge("doors.weight", "1", "Weight of the door.", noted=True),
    )
    opened = 0
    width: int | None = 3
    color = {"red": 1, "blue": 0}  # noqa: RUF012  # as an instance's attribute would be
    angle = {"front": 0.5}  # noqa: RUF012
    weight = 80


def latency(seconds: float) -> Latency:
    return Latency(seconds, ((bucket_index(seconds), 1),))


def values(samples):
    return {(each.figure.name, each.layer, *each.labels): each.value for each in samples}


def test_a_new_figure_is_one_line_and_an_attribute():
    store = stack().layer(Doors()).over(MemoryStore())
    store.find(Doors).opened += 2
    found = values(collect(store))
    assert found["doors.opened", "Doors"] == 2
    assert found["doors.color", "Doors", "red"] == 1
    assert found["doors.color", "Doors", "blue"] == 0
    store.find(Doors).width = None
    assert ("doors.width", "Doors") not in values(collect(store))


def test_names_follow_the_conventions_of_prometheus():
    assert counter("doors.opened", "{door}", "").exported == "kvwrap_doors_opened_total"
    assert counter("written", "By", "").exported == "kvwrap_written_bytes_total"
    assert gauge("journal.age", "s", "").exported == "kvwrap_journal_age_seconds"
    assert histogram("operation.duration", "").exported == "kvwrap_operation_duration_seconds"


def test_layers_are_told_apart_by_their_place():
    near = stack().layer(Doors()).over(MemoryStore())
    store = stack().layer(Doors()).layer(Doors()).read_through(near, ttl=1).over(MemoryStore())
    layers = {each.layer for each in collect(store)}
    assert {"Doors", "Doors#2", "ReadThrough", "near/Doors", "near/MemoryStore"} <= layers
    assert {each.stack for each in collect(store)} == {"kvwrap"}


def test_a_stack_has_the_name_of_its_outermost_statistics():
    store = stack().layer(Doors()).statistics("outer").statistics("inner").over(MemoryStore())
    assert {each.stack for each in collect(store) if each.layer == "Doors"} == {"outer"}
    assert {each.stack for each in collect(store, "mine") if each.layer == "Doors"} == {"mine"}


async def test_statistics_have_their_own_names():
    store = stack().statistics("outer").statistics("inner").over(MemoryStore())
    await store.get("a")
    stacks = {each.stack for each in collect(store) if each.figure.name == "operations"}
    assert stacks == {"outer", "inner"}


def test_equal_labels_are_merged_as_the_figure_says():
    stores = [stack().layer(Doors()).over(MemoryStore()) for _ in range(2)]
    for number, store in enumerate(stores):
        store.find(Doors).opened = 3
        store.find(Doors).width = number
    found = values(merged(each for store in stores for each in collect(store)))
    assert found["doors.opened", "Doors"] == 6
    assert found["doors.width", "Doors"] == 1


def test_latencies_are_merged_without_loss():
    total = latency(0.001) + latency(0.1)
    assert total.calls == 2
    assert total.seconds == pytest.approx(0.101)


def test_a_name_has_one_declaration():
    names = [figure.name for figure in declared()]
    assert len(names) == len(set(names))
    assert "doors.opened" in names

    class Other(Measured):
        figures = (counter("doors.opened", "{door}", "Something else."),)

    with pytest.raises(ConfigurationError, match=r"doors\.opened"):
        declared()
    Other.figures = ()


def test_what_is_exported_is_summed_by_name():
    exported = Exported()
    stores = [stack().layer(Doors()).over(MemoryStore()) for _ in range(3)]
    for store, name in zip(stores, ("a", "a", "b"), strict=True):
        store.find(Doors).opened = 1
        exported.add(store, name)
        exported.add(store, name)
    opened = {
        each.stack: each.value for each in exported.samples() if each.figure.name == "doors.opened"
    }
    assert opened == {"a": 2, "b": 1}
    exported.remove(stores[0])
    exported.remove(stores[0])
    assert sum(each.figure.name == "doors.opened" for each in exported.samples()) == 2
    with pytest.raises(ConfigurationError, match="`name`"):
        exported.add(stores[0], "")


def test_explain_tells_what_was_counted():
    store = stack().layer(Doors()).over(MemoryStore())
    assert "=" not in store.explain().replace("key=", "")
    store.find(Doors).opened = 1200
    line = "│  = doors.opened 1,200, doors.width 3 bytes, doors.color red, doors.angle front 0.5"
    assert line in store.explain().splitlines()
    assert module.summary(store.base.measured()) == ""


async def test_explain_tells_latencies_by_operation(clock):
    store = stack().statistics().over(MemoryStore(max_entries=1, clock=clock))
    await store.put("a", 1, collection="x")
    await store.put("b", 1, collection="y")
    assert "operations 2, keys 2, changes 2" in store.explain()
    assert "write p99 0 s" in store.explain()
    assert "   = evictions 1, entries 1, entries.limit 1" in store.explain().splitlines()
