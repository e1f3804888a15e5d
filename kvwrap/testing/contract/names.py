"""Names of keys and collections: every valid name works, invalid ones are refused, none collide."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import Capability, InvalidBatch, InvalidKey, Store, UnsupportedOperation
from kvwrap.testing.contract.base import Contract, needs

NAMES = (
    "plain",
    "Plain",
    "with space",
    " ",
    "a:b",
    "a/b",
    "a\\b",
    "a%3Ab",
    "a%b",
    "%",
    ".",
    "..",
    "*",
    "?",
    "[a-z]",
    "'",
    '"',
    "`;--",
    "$x",
    "a\x00b",
    "\x00",
    "line\nbreak",
    "tab\t",
    "\x7f",
    "caf\u00e9",
    "cafe\u0301",
    "stra\u00dfe",
    "ключ",
    "\u05d0\u05d1",
    "鍵",
    "😀",
    "\U0010ffff",
    "\ufffe",
    "None",
    "default",
    "__default__",
    "kvwrap",
)
"""Valid names that have caused faults in backends, file systems or escaping."""

INVALID_NAMES: tuple[Any, ...] = ("", 1, 1.5, True, b"bytes", ("a",), "\ud800", "a\udfffb")
"""Values that are not a valid key or collection."""
INVALID_BOUNDS = tuple(name for name in INVALID_NAMES if name != "")
"""Values that are neither a valid prefix nor a valid bound of a range."""


class _Name(enum.StrEnum):
    KEY = "the-key"
    COLLECTION = "the-collection"


class Names(Contract):
    """Every valid name works, and no two of them collide."""

    async def test_every_valid_name_works_as_a_key(self, store: Store) -> None:
        names = [*NAMES, "x" * self.longest_name, "é" * self.longest_name]
        await store.put_many(names, names)
        assert await store.get_many(names) == names
        for name in names:
            assert await store.get(name) == name
        assert await store.delete_many(names) == len(names)

    async def test_every_valid_name_works_as_a_collection(self, store: Store) -> None:
        names = [*NAMES, "x" * self.longest_name, "é" * self.longest_name]
        for name in names:
            await store.put("key", name, collection=name)
        await store.put("key", "in the default collection")
        for name in names:
            assert await store.get("key", collection=name) == name
        assert await store.get("key") == "in the default collection"

    @needs(Capability.KEYS)
    async def test_keys_are_listed_under_their_own_names(self, store: Store) -> None:
        names = [*NAMES, "x" * self.longest_name, "é" * self.longest_name]
        await store.put_many(names, names, collection="a:b")
        assert sorted(await store.keys("a:b")) == sorted(names)
        assert {key: value async for key, value in store.items(collection="a:b")} == dict(
            zip(names, names, strict=True)
        )

    @needs(Capability.COLLECTIONS)
    async def test_collections_are_listed_under_their_own_names(self, store: Store) -> None:
        names = [*NAMES, "x" * self.longest_name, "é" * self.longest_name]
        await store.put("key", 0)
        for name in names:
            await store.put("key", 1, collection=name)
        assert sorted(await store.collections()) == sorted(names)
        assert len(await store.collections(limit=3)) == 3
        assert await store.collections(limit=0) == []

    async def test_collections_do_not_collide(self, store: Store) -> None:
        names = ("a", "a:b", "a::b", "a/b", "a:", "None", "default", "default_collection")
        keys = ("c", "b:c", ":c", "b/c", "/c", "b::c", "a")
        collections = [None, *(name for name in names if name != self.default_alias)]
        pairs = list(itertools.product(collections, keys))
        for number, (collection, key) in enumerate(pairs):
            await store.put(key, number, collection=collection)
        for number, (collection, key) in enumerate(pairs):
            assert await store.get(key, collection=collection) == number, (collection, key)
        if Capability.KEYS in store.capabilities:
            for collection in collections:
                assert sorted(await store.keys(collection)) == sorted(keys)
        assert await store.delete("c", collection="a")
        if Capability.DESTROY_COLLECTION in store.capabilities:
            assert await store.destroy_collection("a")
        for number, (collection, key) in enumerate(pairs):
            if collection != "a":
                assert await store.get(key, collection=collection) == number, (collection, key)

    async def test_a_string_enum_counts_as_its_value(self, store: Store) -> None:
        await store.put(_Name.KEY, 1, collection=_Name.COLLECTION)
        assert await store.get("the-key", collection="the-collection") == 1
        assert await store.get_many([_Name.KEY], collection=_Name.COLLECTION) == [1]
        if Capability.KEYS in store.capabilities:
            assert [type(key) for key in await store.keys("the-collection")] == [str]

    async def test_every_method_refuses_invalid_names(self, store: Store) -> None:
        calls = _calls(store)
        for (method, call), bad in itertools.product(calls.items(), INVALID_NAMES):
            with pytest.raises(InvalidKey) as raised:
                await call(bad, None)
            assert isinstance(raised.value, ValueError), method
            with pytest.raises(InvalidKey):
                await call("key", bad)
        for bad in INVALID_NAMES:
            for collection_call in (
                store.destroy_collection,
                store.keys,
                lambda name: store.keys(name, limit=0),
            ):
                with pytest.raises((InvalidKey, UnsupportedOperation)):
                    await collection_call(bad)
        assert not await store.exists("key")

    async def test_scans_refuse_bounds_that_are_not_text(self, store: Store) -> None:
        await store.put("key", 1)
        bad: Any
        for bad, bound in itertools.product(INVALID_BOUNDS, ("prefix", "start", "end")):
            for method in (store.scan, store.items):
                with pytest.raises((InvalidKey, UnsupportedOperation)):
                    async for _ in method(**{bound: bad}):
                        pass

    async def test_nothing_is_written_when_one_key_of_a_batch_is_refused(
        self, store: Store
    ) -> None:
        for bad in INVALID_NAMES:
            with pytest.raises(InvalidKey):
                await store.put_many(["good", bad], [1, 2])
        assert not await store.exists("good")

    async def test_a_string_is_refused_as_a_batch(self, store: Store) -> None:
        await store.put_many(["a", "b"], [1, 2])
        bad: Any
        for bad in ("ab", b"ab", 3):
            for call in (store.get_many, store.ttl_many, store.delete_many):
                with pytest.raises(InvalidBatch):
                    await call(bad)
        with pytest.raises(InvalidBatch):
            await store.put_many("ab", [3, 4])
        for bad in ("ab", b"ab", {"a": 3, "b": 4}, 3, None):
            with pytest.raises(InvalidBatch):
                await store.put_many(["a", "b"], bad)
        assert await store.get_many(["a", "b"]) == [1, 2]

    async def test_keys_and_values_of_different_lengths_are_refused(self, store: Store) -> None:
        for keys, values in ((["a", "b"], [1]), (["a"], [1, 2]), ([], [1]), (["a"], [])):
            with pytest.raises(InvalidBatch) as raised:
                await store.put_many(keys, values)
            assert isinstance(raised.value, ValueError)
        assert await store.get_many(["a", "b"]) == [None, None]


def _calls(store: Store) -> dict[str, Callable[[Any, Any], Any]]:
    """Return, for each method that takes a key and a collection, a function that calls it."""
    return {
        "get": lambda key, name: store.get(key, collection=name),
        "get_many": lambda key, name: store.get_many([key], collection=name),
        "ttl": lambda key, name: store.ttl(key, collection=name),
        "ttl_many": lambda key, name: store.ttl_many([key], collection=name),
        "put": lambda key, name: store.put(key, 1, collection=name),
        "put_many": lambda key, name: store.put_many([key], [1], collection=name),
        "delete": lambda key, name: store.delete(key, collection=name),
        "delete_many": lambda key, name: store.delete_many([key], collection=name),
        "exists": lambda key, name: store.exists(key, collection=name),
        "require": lambda key, name: store.require(key, collection=name),
        "pop": lambda key, name: store.pop(key, collection=name),
        "put_if_absent": lambda key, name: store.put_if_absent(key, 1, collection=name),
        "increment": lambda key, name: store.increment(key, collection=name),
        "get_versioned": lambda key, name: store.get_versioned(key, collection=name),
        "compare_and_put": lambda key, name: store.compare_and_put(key, 1, 2, collection=name),
        "compare_and_delete": lambda key, name: store.compare_and_delete(key, 2, collection=name),
        "expire": lambda key, name: store.expire(key, 1, collection=name),
        "move from": lambda key, name: store.move(key, "other", collection=name),
        "move to": lambda key, name: store.move("other", key, target_collection=name),
        "get_or_put": lambda key, name: store.get_or_put(key, dict, collection=name),
    }
