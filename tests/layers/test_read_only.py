"""Which operations ReadOnly refuses, and which it forwards."""

from __future__ import annotations

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    ReadOnly,
    ReadOnlyViolation,
    stack,
)


@pytest.fixture
async def base(clock):
    store = MemoryStore(clock=clock)
    await store.put_many(["a", "b"], [1, 2], collection="c", ttl=60)
    return store


async def is_unchanged(base):
    return [pair async for pair in base.items(collection="c")] == [("a", 1), ("b", 2)] and (
        await base.ttl("a", collection="c")
    ) == (1, 60)


WRITES = {
    "put": lambda store: store.put("a", 9, collection="c"),
    "put_many": lambda store: store.put_many(["a", "z"], [9, 9], collection="c"),
    "delete": lambda store: store.delete("a", collection="c"),
    "delete_many": lambda store: store.delete_many(["a", "b"], collection="c"),
    "expire": lambda store: store.expire("a", 5, collection="c"),
    "pop": lambda store: store.pop("a", "gone", collection="c"),
    "move": lambda store: store.move("a", "z", collection="c"),
    "delete_where": lambda store: store.delete_where(collection="c"),
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "destroy": lambda store: store.destroy(),
    "cull": lambda store: store.cull(),
}
CONDITIONAL = {
    "put_if_absent": lambda store: store.put_if_absent("z", 9, collection="c"),
    "compare_and_put": lambda store: store.compare_and_put("a", 9, 7, collection="c"),
    "compare_and_delete": lambda store: store.compare_and_delete("a", 7, collection="c"),
    "increment": lambda store: store.increment("a", collection="c"),
}


@pytest.mark.parametrize("name", [*WRITES, *CONDITIONAL])
async def test_every_change_is_refused(base, name):
    store = stack().read_only().over(base)
    with pytest.raises(ReadOnlyViolation) as caught:
        await (WRITES | CONDITIONAL)[name](store)
    assert isinstance(caught.value, PermissionError)
    assert caught.value.store == "ReadOnly"
    assert await is_unchanged(base)


async def test_the_refusal_names_the_key(base):
    with pytest.raises(ReadOnlyViolation) as caught:
        await stack().read_only().over(base).put("a", "secret", collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "a")
    assert "secret" not in str(caught.value)


async def test_reading_and_enumerating_are_unaffected(base):
    store = stack().read_only().over(base)
    assert await store.get_many(["a", "z"], collection="c") == [1, None]
    assert await store.ttl("a", collection="c") == (1, 60)
    assert await store.keys("c") == ["a", "b"]
    assert await store.count(collection="c") == 2
    assert await store.collections() == ["c"]
    assert await store.exists("a", collection="c")
    await store.check()


async def test_capabilities_are_those_of_reading(base):
    assert stack().read_only().over(base).capabilities == {
        Capability.KEYS,
        Capability.RANGE,
        Capability.COLLECTIONS,
        Capability.WATCH,
    }


@pytest.mark.parametrize("name", list(WRITES))
async def test_changes_can_be_ignored(base, name):
    results = {
        "delete": False,
        "delete_many": 0,
        "expire": False,
        "pop": "gone",
        "move": True,
        "delete_where": 0,
        "destroy_collection": False,
        "destroy": False,
    }
    store = stack().read_only(on_write="ignore").over(base)
    assert await WRITES[name](store) == results.get(name)
    assert await is_unchanged(base)


@pytest.mark.parametrize("name", list(CONDITIONAL))
async def test_operations_that_depend_on_a_version_are_refused_even_then(base, name):
    store = stack().read_only(on_write="ignore").over(base)
    with pytest.raises(ReadOnlyViolation):
        await CONDITIONAL[name](store)
    assert await is_unchanged(base)


def test_invalid_arguments_are_refused():
    with pytest.raises(ConfigurationError):
        ReadOnly(on_write="skip")
