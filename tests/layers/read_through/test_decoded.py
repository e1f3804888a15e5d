"""Near copies that are kept decoded, and shared by all callers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from kvwrap import (
    CorruptEntry,
    Keyring,
    MemoryStore,
    ReadThrough,
    SharedValueChanged,
    SQLiteStore,
    StackWarning,
    stack,
)
from kvwrap.core.serializer import JSON
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far, over

VALUE = {"tags": ["a", "b"], "n": 1}


class Counting:
    """JSON that counts how often it decodes."""

    name = "counting"

    def __init__(self) -> None:
        self.loaded = 0

    def dumps(self, value: Any) -> bytes:
        return JSON.dumps(value)

    def loads(self, data: bytes) -> Any:
        self.loaded += 1
        return JSON.loads(data)


async def test_a_value_is_decoded_once_until_its_copy_ends(clock: ManualClock) -> None:
    serializer = Counting()
    layers = (
        stack()
        .serialize(serializer)
        .read_through(lambda: MemoryStore(clock=clock), ttl=30, decoded=True)
    )
    store = layers.over(MemoryStore(clock=clock))
    await store.put("a", VALUE)
    first = await store.get("a")
    assert first == VALUE
    assert await store.get("a") is first
    assert (await store.get_many(["a", "a"]))[1] is first
    assert (await store.ttl("a"))[0] is first
    assert [value is first async for _, value in store.items()] == [True]
    assert (await store.get_versioned("a")).value is first
    assert serializer.loaded == 1
    clock.advance(30)
    second = await store.get("a")
    assert second == first
    assert second is not first
    await store.put("a", {"n": 2})
    assert await store.get("a") == {"n": 2}
    assert serializer.loaded == 3


async def test_callers_that_wait_for_one_read_share_its_value(far: Far) -> None:
    store = over(far, decoded=True)
    await far.put("a", VALUE)
    values = await asyncio.gather(*(store.get("a") for _ in range(5)))
    assert all(value is values[0] for value in values)


async def test_without_it_every_read_has_a_value_of_its_own(far: Far) -> None:
    store = over(far)
    await store.put("a", VALUE)
    first = await store.get("a")
    first["n"] = 2
    assert await store.get("a") == VALUE


async def test_the_far_store_and_versions_do_not_see_a_changed_value(far: Far) -> None:
    store = over(far, decoded=True)
    await store.put("a", VALUE)
    stored = await store.get_versioned("a")
    stored.value["n"] = 2
    assert await store.get("a") == {"tags": ["a", "b"], "n": 2}, "shared, as the page says"
    assert await far.get("a") == VALUE
    assert await store.compare_and_put("a", {"n": 3}, stored.version)
    assert await store.get("a") == {"n": 3}


async def test_what_reads_a_value_to_write_it_writes_the_changed_one(far: Far) -> None:
    store = over(far, decoded=True)
    await store.put("a", VALUE)
    (await store.get("a"))["n"] = 2
    assert await store.move("a", "b")
    assert await far.get("b") == {"tags": ["a", "b"], "n": 2}


async def test_missing_keys_and_none_are_told_apart(far: Far) -> None:
    store = over(far, decoded=True, negative_ttl=5)
    await store.put("none", None)
    for _ in range(2):
        assert await store.get_many(["none", "missing"]) == [None, None]
        assert await store.exists("none")
        assert not await store.exists("missing")


async def test_typed_views_and_hooks_work_on_the_shared_value(far: Far) -> None:
    @dataclass
    class Item:
        n: int

    layers = stack().validate(dict).read_through(MemoryStore, ttl=30, decoded=True)
    store = layers.over(far)
    items = store.typed(Item)
    await items.put("a", Item(1))
    assert [await items.get("a") for _ in range(2)] == [Item(1), Item(1)]
    assert await store.get("a") is await store.get("a")


async def test_a_value_that_cannot_be_decoded_names_its_key(far: Far) -> None:
    store = over(far, decoded=True)
    await far.put("a", VALUE)
    (entry,) = await far.read(None, ("a",))
    assert entry is not None
    await far.write(None, ("a",), (entry.with_body(b"{", entry.codec),))
    for _ in range(2):
        with pytest.raises(CorruptEntry) as caught:
            await store.get("a")
        assert caught.value.key == "a"


def test_debug_mode_tells_of_a_changed_value() -> None:
    async def main() -> None:
        store = stack().read_through(MemoryStore, ttl=30, decoded=True).over(MemoryStore())
        await store.put_many(["a", "b"], [VALUE, VALUE])
        value = await store.get("a")
        assert await store.get("a") is value
        value["tags"].append("c")
        for read in (store.get, store.require, store.get_versioned):
            with pytest.raises(SharedValueChanged) as caught:
                await read("a")
            assert caught.value.key == "a"
            assert "tags" not in str(caught.value)
        assert await store.get("b") == VALUE
        value["tags"].pop()
        assert await store.get("a") == VALUE
        value["set"] = {1}  # cannot be encoded
        with pytest.raises(SharedValueChanged):
            await store.get("a")
        await store.find(ReadThrough).invalidate("a")
        assert await store.get("a") == VALUE

    asyncio.run(main(), debug=True)


async def test_a_stack_that_keeps_nothing_decoded_is_told(tmp_path: Any) -> None:
    encrypted = stack().encrypt(Keyring.generate())
    for wrong in (
        encrypted.read_through(MemoryStore, ttl=1, decoded=True),
        stack().compress().read_through(MemoryStore, ttl=1, decoded=True),
        stack().read_through(SQLiteStore(tmp_path / "near.db"), ttl=1, decoded=True),
    ):
        with pytest.warns(StackWarning, match="decoded-not-kept"):
            store = wrong.over(MemoryStore())
        await store.put("a", VALUE)
        assert [await store.get("a") for _ in range(2)] == [VALUE, VALUE]
        await store.close()
    right = stack().read_through(MemoryStore, ttl=1, decoded=True) + encrypted
    assert not right.over(MemoryStore()).findings
