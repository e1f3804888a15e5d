"""MappingStore: entries in dicts, shelves and other mutable mappings."""

from __future__ import annotations

import asyncio
import shelve
from collections import OrderedDict, UserDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import Capability, ConfigurationError, CorruptEntry, StoreUnavailable, adapt, stack
from kvwrap.core.serializer import JSON
from kvwrap.stores.mapping import MappingStore
from kvwrap.stores.shared.flat_names import format_name, parse_name
from kvwrap.testing import ManualClock

NAMES = ["a", "@", "@a", "@:", "@a:b", "a:b", ":", "%3A", "@%3A:x", "ä"]


@given(st.none() | st.text("@:%3Aab", min_size=1), st.text("@:%3Aab", min_size=1))
def test_names_can_be_parsed(collection: str | None, key: str) -> None:
    assert parse_name(format_name(collection, key)) == (collection, key)


@pytest.mark.parametrize("name", ["", "@", "@c", "@c:", "@%:k", "@a:\ud800", "\ud800", 5, None])
async def test_other_names_belong_to_no_key(name: Any) -> None:
    assert parse_name(name) is None
    store = MappingStore({name: 1})
    assert (await store.keys(), await store.keys("c"), await store.collections()) == ([], [], [])


async def test_different_keys_have_different_names() -> None:
    store = MappingStore({})
    for collection in (None, *NAMES):
        await store.put_many(NAMES, [[collection, n] for n in NAMES], collection=collection)
    for collection in (None, *NAMES):
        values = await store.get_many(NAMES, collection=collection)
        assert values == [[collection, name] for name in NAMES]
        assert await store.keys(collection) == sorted(NAMES)
    assert await store.collections() == sorted(NAMES)
    assert await store.destroy_collection("@a") is True
    assert await store.collections() == sorted(set(NAMES) - {"@a"})


async def test_what_a_mapping_has_lost_since_it_listed_its_names_is_not_listed() -> None:
    class Fading(dict[str, Any]):
        """Has lost a name when its value is asked for, as a cache with a ttl."""

        def get(self, name: str, default: Any = None) -> Any:
            return default if name.endswith("lost") else super().get(name, default)

    mapping = Fading()
    store = MappingStore(mapping)
    await store.put_many(["k", "lost"], [1, 2])
    await store.put("lost", 1, collection="c")
    assert await store.keys() == ["k"]
    assert await store.collections() == []
    assert await store.count() == 1


async def test_entries_are_bytes_under_their_keys() -> None:
    mapping: dict[str, Any] = {}
    await MappingStore(mapping).put("k", 1)
    await MappingStore(mapping).put("k", 2, collection="c")
    assert set(mapping) == {"k", "@c:k"}
    assert all(type(value) is bytes for value in mapping.values())


async def test_foreign_json_is_read_and_foreign_bytes_are_corrupt() -> None:
    mapping: dict[Any, Any] = {"a": {"x": [1, None]}, "n": 5, "z": 0, "e": "", "d": {}}
    store = adapt(mapping)
    assert await store.get_many(["a", "n", "z", "e", "d"]) == [{"x": [1, None]}, 5, 0, "", {}]
    mapping["null"] = None
    assert await store.get("null") is None
    assert await store.exists("null") is True
    assert await store.increment("n") == 6
    got = await store.get("a")
    got["x"].append(2)
    assert mapping["a"] == {"x": [1, None]}
    mapping |= {"bytes": b"foreign", "set": {1}, "cut": mapping["n"][:-1], 5: "no string", "": 1}
    mapping |= {"digits": b"17", "view": memoryview(b"17"), "array": bytearray(b"17")}
    for key in ("bytes", "set", "cut", "digits", "view", "array"):
        with pytest.raises(CorruptEntry):
            await store.get(key)
    mapping["moved"] = mapping["n"]
    with pytest.raises(CorruptEntry):
        await store.get("moved")
    assert 5 in mapping
    assert "5" not in await store.keys()


async def test_raw_bytes() -> None:
    mapping: dict[str, Any] = {"a": b"one", "j": b'{"x": 1}'}
    store = MappingStore(mapping, raw=True)
    assert await store.get("a") == b"one"
    await store.put("b", b"two")
    assert mapping["b"] == b"two"
    versioned = await store.get_versioned("a")
    assert versioned is not None
    assert await store.compare_and_put("a", b"three", versioned.version) is True
    assert await store.compare_and_put("a", b"four", versioned.version) is False
    await store.put("c", b"x", ttl=100)
    assert (await store.ttl("c"))[1] == pytest.approx(100, abs=5)
    await store.put("magic", b"\xabk like an entry")
    assert await store.get("magic") == b"\xabk like an entry"
    as_json = stack().serialize("json").over(MappingStore(mapping, raw=True))
    assert await as_json.get("j") == {"x": 1}
    assert await MappingStore(mapping, raw=True, serializer=JSON).get("j") == {"x": 1}


async def test_expiry_and_cull(clock: ManualClock) -> None:
    mapping: dict[str, Any] = {"foreign": 1}
    store = MappingStore(mapping, clock=clock)
    await store.put("a", 1, ttl=5)
    await store.put("b", 1, ttl=5, collection="c")
    await store.put("c", 1)
    clock.advance(5)
    assert await store.get("a") is None
    assert await store.keys() == ["c", "foreign"]
    assert await store.collections() == []
    assert await store.delete("a") is False
    assert len(mapping) == 3
    await store.cull()
    assert set(mapping) == {"c", "foreign"}
    assert await store.destroy() is True
    assert mapping == {}


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_deleting_everything_tells_whether_there_was_an_entry(
    count: int, clock: ManualClock
) -> None:
    store = MappingStore({}, clock=clock)
    for delete in (store.destroy, lambda: store.destroy_collection(None)):
        for number in range(count):
            await store.put(str(number), number, ttl=5)
        assert await delete() is (count > 0)
        assert await store.keys() == []
        for number in range(count):
            await store.put(str(number), number, ttl=5)
        clock.advance(5)
        assert await delete() is False


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_of_every_kind_are_entries(kind: type, clock: ManualClock) -> None:
    mapping: dict[str, Any] = {"raw": kind(b"text")}
    store = MappingStore(mapping, clock=clock)
    await store.put("k", 1, ttl=5)
    mapping["k"] = kind(mapping["k"])
    assert await store.get("k") == 1
    assert await MappingStore(mapping, raw=True).get("raw") == b"text"
    clock.advance(5)
    assert await store.keys() == ["raw"]
    assert await store.delete("k") is False


async def test_tasks_share_a_counter_exactly() -> None:
    store = adapt({})

    async def count() -> None:
        for _ in range(100):
            await store.increment("n")

    await asyncio.gather(*(count() for _ in range(10)))
    assert await store.get("n") == 1000


async def test_a_shelve_keeps_entries(tmp_path: Path) -> None:
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        store = stack().prefix_collection("p").over(MappingStore(shelf))
        await store.put("k", {"x": 1}, ttl=1000)
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        store = stack().prefix_collection("p").over(MappingStore(shelf))
        assert await store.get("k") == {"x": 1}
        assert Capability.COMPARE_AND_PUT not in store.capabilities
    with pytest.raises(StoreUnavailable) as caught:
        await store.get("k")
    assert isinstance(caught.value.__cause__, ValueError)


class Failing(UserDict[str, Any]):
    def __setitem__(self, key: str, value: Any) -> None:
        if len(self) == 2:
            raise OSError("disk full")
        super().__setitem__(key, value)


async def test_a_failure_in_the_middle_of_a_batch_names_the_keys_that_succeeded() -> None:
    store = adapt(Failing())
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(["a", "b", "c", "d"], [1, 2, 3, 4], collection="x")
    error = caught.value
    assert (error.succeeded, error.key, error.collection) == (("a", "b"), "c", "x")
    assert isinstance(error.__cause__, OSError)


def test_an_object_that_is_not_a_mapping_is_refused() -> None:
    for obj in ([], "text", 5, dict, object(), None):
        with pytest.raises(ConfigurationError):
            adapt(obj)
    with pytest.raises(ConfigurationError):
        MappingStore([])  # type: ignore[arg-type]  # wrong on purpose


def test_only_a_mapping_in_memory_is_known_to_stay_in_the_process() -> None:
    traits = MappingStore({}).traits
    assert traits == MappingStore(OrderedDict()).traits
    assert not traits & {"raw", "adapted"}
    assert MappingStore(UserDict()).traits == traits | {"adapted"}
    assert MappingStore(UserDict(), raw=True).traits == traits | {"adapted", "raw"}
    assert MappingStore({}, raw=True).traits == traits | {"raw"}


class Duck:
    """Has the methods of a mapping, and derives from nothing."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.content[name] = value

    def __delitem__(self, name: str) -> None:
        del self.content[name]

    def __iter__(self) -> Any:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class Getting(Duck):
    def get(self, name: str, default: Any = None) -> Any:
        return self.content.get(name, default)


async def test_an_object_with_the_methods_of_a_mapping_is_one() -> None:
    store = adapt(Getting())
    await store.put("k", 1)
    assert (await store.get("k"), await store.keys()) == (1, ["k"])
    for other in (Getting, Duck()):
        with pytest.raises(ConfigurationError):
            adapt(other)


async def test_adapt_passes_options_to_the_store() -> None:
    clock = ManualClock()
    mapping = {"k": b"another program's"}
    store = adapt(mapping, raw=True, clock=clock)
    assert await store.get("k") == b"another program's"
    assert store.clock is clock
    with pytest.raises(TypeError):
        adapt(mapping, rawer=True)
    with pytest.raises(ConfigurationError, match="pass them to its constructor"):
        adapt(store, raw=True)


async def test_the_description_shows_no_values() -> None:
    store = adapt({"k": "hunter2"})
    assert "hunter2" not in repr(store) + store.explain()
    assert repr(store) == "MappingStore(dict)"
    assert repr(MappingStore(UserDict(), raw=True)) == "MappingStore(UserDict, raw=True)"


class Evicting(dict[str, Any]):
    """A mapping that loses each entry just before it is deleted, as a shared cache may."""

    def __delitem__(self, name: str) -> None:
        self.pop(name)
        raise KeyError(name)


@pytest.mark.parametrize("method", ["delete", "pop", "destroy_collection", "destroy", "cull"])
async def test_an_entry_that_is_gone_before_it_is_deleted_is_no_outage(
    method: str, clock: ManualClock
) -> None:
    store = MappingStore(Evicting(), clock=clock)
    await store.put("a", 1, ttl=5)
    if method == "cull":
        clock.advance(6)
        await store.cull()
    elif method == "pop":
        assert await store.pop("a", "default") == "default"
    elif method == "delete":
        assert await store.delete("a") is False
    elif method == "destroy_collection":
        assert await store.destroy_collection(None) is False
    else:
        assert await store.destroy() is False
    assert await store.get("a") is None


async def test_raw_values_that_look_like_an_expired_header_stay(clock: ManualClock) -> None:
    value = bytes(14) + b"\x01" + bytes(25)
    mapping = {"x": value}
    store = MappingStore(mapping, raw=True, clock=clock)
    assert await store.keys() == ["x"]
    await store.cull()
    assert mapping == {"x": value}
