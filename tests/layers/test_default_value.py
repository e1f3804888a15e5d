"""Which operations return the default, and which see a missing key."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    DefaultValue,
    InvalidTTL,
    Keyring,
    MemoryStore,
    SerializationError,
    StackWarning,
    stack,
)
from kvwrap.core.entry import Entry


@pytest.fixture
def base(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def store(base):
    return stack().default_value({"n": []}).over(base)


async def test_missing_keys_read_as_the_default_and_existing_ones_as_stored(store):
    await store.put("a", 1)
    assert await store.get("b") == {"n": []}
    assert await store.get_many(["a", "b"]) == [1, {"n": []}]
    assert await store.ttl("b") == ({"n": []}, None)
    assert await store.require("b") == {"n": []}
    assert await store.exists("b")


async def test_nothing_is_written_for_it(store, base):
    await store.get("b")
    assert len(base) == 0
    assert await store.keys() == []
    assert [item async for item in store.items()] == []
    assert await store.delete("b") is False
    assert await store.expire("b", 5) is False


async def test_no_caller_can_change_the_default_of_another(store):
    (await store.get("a"))["n"].append(1)
    assert await store.get("a") == {"n": []}


async def test_its_ttl_is_the_same_at_every_read(base, clock):
    store = stack().default_value(0, ttl=60).over(base)
    assert await store.ttl("a") == (0, 60)
    clock.advance(3600)
    assert await store.ttl_many(["a", "b"]) == [(0, 60), (0, 60)]


async def test_an_expired_value_reads_as_the_default_again(store, clock):
    await store.put("a", 1, ttl=60)
    clock.advance(60)
    assert await store.get("a") == {"n": []}


async def test_a_stored_none_is_not_missing(store):
    await store.put("a", None)
    assert await store.get("a") is None


async def test_put_if_absent_sees_a_missing_key_as_absent(store):
    assert await store.put_if_absent("a", 1) is True
    assert await store.put_if_absent("a", 2) is False
    assert await store.get("a") == 1


async def test_concurrent_increments_begin_from_the_default(base):
    store = stack().default_value(10).over(base)
    totals = await asyncio.gather(*(store.increment("n") for _ in range(20)))
    assert sorted(totals) == list(range(11, 31))


async def test_a_default_read_with_its_version_can_be_replaced_once(store):
    versioned = await store.get_versioned("a")
    assert versioned.value == {"n": []}
    assert await store.compare_and_put("a", 1, versioned.version) is True
    assert await store.compare_and_put("a", 2, versioned.version) is False
    assert await store.get("a") == 1


async def test_pop_returns_the_default_and_removes_only_stored_entries(store):
    assert await store.pop("a") == {"n": []}
    await store.put("a", 1)
    assert await store.pop("a") == 1
    default = await store.get_versioned("b")
    await store.put("a", 1)
    version = (await store.get_versioned("a")).version
    assert await store.remove(None, ["a", "b"], [version, default.version]) == [True, True]
    assert await store.base.get("a") is None


async def test_it_works_with_any_serializer(base):
    for name in ("json", "msgpack", "pickle"):
        store = stack().default_value({"a": 1}).serialize(name).over(MemoryStore())
        assert await store.get("x") == {"a": 1}
    store = stack().default_value(b"raw").over(base)
    assert await store.get("x") == b"raw"


async def test_compression_outside_leaves_it_unchanged(base):
    store = stack().compress(min_size=0).default_value({"a": "b" * 500}).over(base)
    assert await store.get("x") == {"a": "b" * 500}


async def test_it_can_apply_to_some_collections_only(base):
    store = stack().default_value(0, collections=["counts", None]).over(base)
    assert await store.get("a", collection="counts") == 0
    assert await store.get("a") == 0
    assert await store.get("a", collection="names") is None
    assert not await store.exists("a", collection="names")


async def test_each_store_has_its_own_version():
    layer = DefaultValue(0)
    one, other = layer.over(MemoryStore()), layer.over(MemoryStore())
    assert (await one.get_versioned("a")).version != (await other.get_versioned("a")).version
    assert isinstance((await one.read(None, ["a"]))[0], Entry)


def test_capabilities_are_unchanged(store, base):
    assert store.capabilities == base.capabilities
    assert Capability.COMPARE_AND_PUT in store.capabilities


def test_inside_encryption_it_is_refused():
    ring = Keyring({"k": Keyring.generate_key()})
    with pytest.raises(ConfigurationError, match="default-inside-encryption"):
        stack().encrypt(ring).default_value(0).over(MemoryStore())


def test_inside_a_cache_it_is_reported():
    with pytest.warns(StackWarning, match="default-inside-cache"):
        stack().read_through(MemoryStore()).default_value(0).over(MemoryStore())


def test_invalid_arguments_are_refused():
    with pytest.raises(SerializationError):
        DefaultValue(datetime(2020, 1, 1))
    with pytest.raises(InvalidTTL):
        DefaultValue(0, ttl=0)
    with pytest.raises(ConfigurationError):
        DefaultValue(0, collections="counts")
