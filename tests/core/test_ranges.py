"""Whole ranges: a class that changes what they rest on counts and deletes them by its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from kvwrap import (
    Capability,
    KvwrapError,
    MemoryStore,
    Passthrough,
    PrefixKey,
    SQLiteStore,
    StoreUnavailable,
    UnsupportedOperation,
)
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.ranges import matching
from kvwrap.layers.base import Around, Call, Layer
from kvwrap.testing import Tap

T = TypeVar("T")


class Hiding(Passthrough):
    """A layer that knows nothing of ranges, and hides keys."""

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        page = await self.inner.list_keys(collection, key_range, cursor)
        return Page([key for key in page.keys if "secret" not in key], page.cursor)


class Keeping(Passthrough):
    """A layer that knows nothing of ranges, and removes nothing."""

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return [False] * len(keys)


class RefusingDrops(Passthrough):
    """A layer that knows nothing of ranges, and counts what is removed."""

    removed = 0

    async def remove(self, collection: Collection, keys: Sequence[str], *args: Any) -> list[bool]:
        self.removed += len(keys)
        return await self.inner.remove(collection, keys, *args)

    async def drop(self, collection: Collection) -> bool:
        raise self.unsupported("drop")


class KeepingMixin:
    async def remove(self, collection: Any, keys: Sequence[str], *args: Any) -> list[bool]:
        return [False] * len(keys)


class KeepingPrefix(PrefixKey):
    """Derived from a layer that has ranges of its own."""

    async def remove(self, collection: Any, keys: Any, expected: Any = None) -> Any:
        return [False] * len(keys)


class MixedPrefix(KeepingMixin, PrefixKey):  # type: ignore[misc]  # its `remove` is async
    """The same, by a mixin."""


class KeepingMemory(KeepingMixin, MemoryStore):
    """A store derived from one that has ranges of its own."""


class KeepingSQLite(SQLiteStore):
    async def remove(self, collection: Any, keys: Any, expected: Any = None) -> list[bool]:
        return [False] * len(keys)


async def filled(store: Any) -> Any:
    await store.put_many(["a1", "a2", "a secret", "b"], [1, 2, 3, 4], collection="c")
    return store


async def test_a_layer_that_hides_keys_hides_them_from_ranges() -> None:
    store = Hiding().over(await filled(MemoryStore()))
    assert await store.count(collection="c", prefix="a") == 2
    assert await store.delete_where(collection="c", prefix="a") == 2
    assert await store.get("a secret", collection="c") == 3
    assert await store.delete_where(collection="c") == 1
    assert await store.get("a secret", collection="c") == 3


@pytest.mark.parametrize(
    "store",
    [
        Keeping().over(MemoryStore()),
        KeepingPrefix("p/").over(MemoryStore()),
        MixedPrefix("p/").over(MemoryStore()),
        KeepingMemory(),
        KeepingSQLite(":memory:"),
    ],
    ids=lambda store: repr(store),
)
async def test_what_keeps_entries_from_removal_keeps_them_in_ranges(store: Any) -> None:
    async with store:
        await filled(store)
        assert await store.delete_where(collection="c", prefix="a") == 0
        assert await store.delete_where(collection="c") == 0
        assert await store.count(collection="c") == 4


async def test_removals_are_seen_by_a_layer_that_counts_them() -> None:
    store = RefusingDrops().over(await filled(MemoryStore()))
    assert await store.delete_where(collection="c", prefix="a") == 3
    assert store.find(RefusingDrops).removed == 3


class Guarding(Around):
    """Refuses operations by names, and does not know those of ranges."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    async def around(self, call: Call[T]) -> T:
        self.operations.append(call.operation)
        if call.operation in ("remove", "drop", "drop_all"):
            raise StoreUnavailable("guarded", succeeded=["x"])
        return await call()


class Knowing(Guarding):
    """Knows the names of ranges."""

    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        return await super().around(call)


class Changing(Knowing):
    """Derived from one that knows them, with another `around`."""

    async def around(self, call: Call[T]) -> T:
        return await super().around(call)


@pytest.mark.parametrize("kind", [Guarding, Changing])
async def test_around_sees_ranges_as_listings_and_removals(kind: type[Guarding]) -> None:
    store = kind().over(await filled(MemoryStore()))
    assert await store.count(collection="c") == 4
    with pytest.raises(StoreUnavailable):
        await store.delete_where(collection="c", prefix="a")
    assert store.find(kind).operations == ["list_keys", "list_keys", "remove"]
    assert await store.count(collection="c") == 4


async def test_around_sees_ranges_as_such_if_it_says_so() -> None:
    store = Knowing().over(await filled(MemoryStore()))
    assert await store.count(collection="c") == 4
    assert await store.delete_where(collection="c", prefix="a") == 3
    assert store.find(Knowing).operations == ["count_range", "drop_range"]


async def test_unchanged_ranges_go_to_the_next_part() -> None:
    asked: list[str] = []

    async def record(operation: str) -> None:
        asked.append(operation)

    store = Passthrough().over(Tap(before=record).over(await filled(MemoryStore())))
    assert await store.count(collection="c", prefix="a") == 3
    assert await store.delete_where(collection="c") == 4
    assert asked == ["count_range", "drop_range"]


async def test_a_failure_names_no_keys_and_leaves_the_others() -> None:
    class Failing(MemoryStore):
        left = 1

        async def remove(self, *arguments: Any) -> list[bool]:
            if not self.left:
                raise StoreUnavailable("down", succeeded=["key-0500"])
            self.left -= 1
            return await super().remove(*arguments)

    store = Failing()
    keys = [f"key-{number:04d}" for number in range(1200)]
    await store.put_many(keys, keys)
    with pytest.raises(StoreUnavailable) as raised:
        await store.delete_where(prefix="key")
    assert raised.value.succeeded is None
    assert await store.count() == 700
    store.left = 9
    assert await store.delete_where(prefix="key") == 700


async def test_a_store_that_lists_no_keys_has_no_ranges() -> None:
    class Blind(MemoryStore):
        capabilities = MemoryStore.capabilities - {Capability.KEYS, Capability.RANGE}

        async def list_keys(self, *arguments: Any) -> Page:
            raise UnsupportedOperation("Blind cannot enumerate keys", store="Blind")

    for call in (Blind().count(), Blind().delete_where(prefix="a")):
        with pytest.raises(KvwrapError, match="enumerate") as raised:
            await call
        assert isinstance(raised.value, UnsupportedOperation)


def test_matching_leaves_out_the_records_of_layers() -> None:
    keys = ["a", "kv", "kvwrap", "kvwrap.", "kvwrap.a", "kvwrap/", "l"]
    for prefix in ("", "k", "kvwrap", "kvwrap.", "kvwrap.a", "kvwrap/", "l", "kvx"):
        wanted = [k for k in keys if k.startswith(prefix) and not k.startswith("kvwrap.")]
        assert matching(keys, KeyRange(prefix)) == wanted, prefix
    assert matching(keys, KeyRange("", "kv", "kvwrap/")) == ["kv", "kvwrap"]
    assert matching(iter(keys), KeyRange("", "l")) == ["l"]
    assert matching(keys, KeyRange("", None, "")) == []
