"""Counts of layers begin with 0, before and after the stack is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvwrap import MemoryStore, Stack, stack
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS


def with_snapshots(folder: Path) -> Iterator[Stack]:
    """Yield a stack of every layer with `snapshot`, and of each of their modes."""
    clock = ManualClock()
    for case in LAYERS.values():
        layers = case.make(clock)
        if hasattr(layers.over(MemoryStore(clock=clock)).layers[0], "snapshot"):
            yield layers
    yield stack().fallback(MemoryStore, writes="refuse")
    yield stack().fallback(MemoryStore, writes="journal", journal=folder / "journal")


def integers(value: Any) -> Iterator[int]:
    """Yield every integer of a snapshot and of its parts."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from integers(getattr(value, field.name))
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from integers(getattr(value, each.name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from integers(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from integers(each)


@pytest.mark.parametrize("opens", [False, True])
async def test_nothing_was_counted_before_anything_was_called(tmp_path: Path, opens: bool) -> None:
    seen: dict[str, int] = {}
    for layers in with_snapshots(tmp_path):
        store = layers.over(MemoryStore())
        (layer,) = store.layers
        if opens:
            await store.open()
        before = layer.snapshot()  # type: ignore[attr-defined]
        counts = list(integers(before))
        assert counts == [0] * len(counts), layer
        if opens:
            await store.put("k", 1)
            await store.get_many(["k", "missing"])
            await store.delete("k")
            assert list(integers(before)) == counts, "later calls do not change it"
        seen[layer.name] = len(counts)
        await store.close()
    assert {"WriteBehind", "Fallback", "ReadThrough", "Shadow"} <= {n for n in seen if seen[n]}
