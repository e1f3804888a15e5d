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


# -- stale values: the default replaces them ------------------------------------------------


def _unexpected():
    raise AssertionError("the default is a value, so nothing is computed")


@pytest.fixture
async def stale(base, clock):
    """A key "a" whose value is stale, put by another store object."""
    await base.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    clock.advance(10)
    return "a"


async def test_a_stale_value_reads_as_the_default(store, stale):
    assert await store.get(stale) == {"n": []}
    assert await store.get_many([stale, "b"]) == [{"n": []}, {"n": []}]
    assert await store.exists(stale)
    made = store.get_or_put(stale, _unexpected, ttl=10, stale_ttl=100, soft_timeout=1)
    assert await made == {"n": []}


async def test_a_value_with_a_stale_part_is_itself_until_its_end(store, base, clock):
    await base.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    assert await store.get("a") == 1
    clock.advance(10)
    assert await store.get("a") == {"n": []}


async def test_what_the_default_replaced_is_missing_for_changes_and_listings(store, stale):
    await store.get(stale)
    assert await store.delete(stale) is False
    assert await store.expire(stale, 5) is False
    assert await store.keys() == []
    assert await store.count() == 0


async def test_stale_values_are_dropped_without_counting(store, base, stale):
    await store.get(stale)
    assert await store.delete_where() == 0
    assert await base.get_or_put(stale, lambda: 2, ttl=10, stale_ttl=5) == 2
    assert await store.get(stale) == 2
    base.clock.advance(10)
    assert await store.destroy_collection(None) is False
    assert len(base) == 0


async def test_put_if_absent_replaces_a_stale_value_that_nobody_has_seen(store, stale):
    assert await store.put_if_absent(stale, 5) is True
    assert await store.get(stale) == 5


async def test_increments_begin_from_the_default_in_place_of_a_stale_value(base, stale):
    store = stack().default_value(40).over(base)
    assert await store.increment(stale, 2) == 42
    assert await store.get(stale) == 42


async def test_a_condition_on_a_stale_version_does_not_hold(store, base, clock):
    await base.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    versioned = await store.get_versioned("a")
    clock.advance(10)
    assert not await store.compare_and_put("a", 2, versioned.version)
    assert not await store.compare_and_delete("a", versioned.version)


async def test_other_collections_keep_their_stale_values(base, clock):
    store = stack().default_value(0, collections=["counts"]).over(base)
    options = {"collection": "c", "ttl": 10, "stale_ttl": 100}
    await store.get_or_put("a", lambda: 1, **options)
    clock.advance(10)

    def fails():
        raise LookupError

    assert await store.get("a", collection="c") is None
    assert await store.get_or_put("a", fails, **options) == 1
