"""Layers that split batches give other tasks turns, whatever the stores inside do."""

from __future__ import annotations

import pytest

from kvwrap import NullStore, Stack, stack
from kvwrap.core.turns import SLICE
from kvwrap.layers.base import JSON, Entry, codec, new_version
from tests.turns import turns_during

KEYS = [f"key:{number}" for number in range(3 * SLICE)]
STACKS = {
    "shard": lambda: stack().shard({"1": NullStore}),
    "route": lambda: stack().route({"*1": NullStore}, by="key"),
}


@pytest.mark.parametrize("name", STACKS)
async def test_large_batches_give_other_tasks_turns(name: str) -> None:
    description: Stack = STACKS[name]()
    store = description.over(NullStore())
    body = JSON.dumps(1)
    entries = [Entry(body, codec.JSON, 0.0, None, new_version()) for _ in KEYS]
    assert await turns_during(store.write(None, KEYS, entries)) >= 6, "three passes"
    assert await turns_during(store.read(None, KEYS)) >= 6, "three passes"
    assert await turns_during(store.remove(None, KEYS)) >= 6, "three passes"
