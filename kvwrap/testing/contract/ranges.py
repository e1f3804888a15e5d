"""Counting and deleting whole ranges of keys."""

from __future__ import annotations

import asyncio
import itertools

from kvwrap import Capability, Store
from kvwrap.core.primitives import KeyRange
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs
from kvwrap.testing.contract.names import NAMES

KEYS = ["a", "aa", "ab", "a*", "a*b", "a?c", "a[b]", "a_", "a%", "a\\", "b", "ba", "é", "éa", "😀"]
"""Keys with characters that patterns of backends give a meaning."""
BOUNDS = (None, "a", "a*", "aa", "ab\0", "b", "c", "é", "\ufffe", "😀a")


class Ranges(Contract):
    """`count` and `delete_where` concern exactly the keys that `scan` lists."""

    @needs(Capability.KEYS)
    async def test_counting_by_collection_and_prefix(self, store: Store) -> None:
        assert await store.count(prefix="a") == 0
        await store.put_many(KEYS, KEYS)
        await store.put_many(["a", "ax", "é"], [1, 2, 3], collection="c")
        for prefix in ("x", *KEYS, "a**", "\U0010ffff", ""):
            wanted = sum(key.startswith(prefix) for key in KEYS)
            assert await store.count(prefix=prefix) == wanted, prefix
            assert len(await store.keys(prefix=prefix)) == wanted, prefix
        assert await store.count(collection="c", prefix="a") == 2
        assert await store.count(collection="c") == 3
        assert await store.count(collection="none") == 0

    @needs(Capability.KEYS)
    async def test_counting_and_deleting_between_bounds(self, store: Store) -> None:
        await store.put_many(KEYS, KEYS)
        bounds = [each for each in BOUNDS if each != "\ufffe" or not self.compares_utf16]
        rounds = list(itertools.product(("a", ""), bounds, (*bounds, "")))
        for prefix, start, end in rounds[:: self.every]:
            listed = [k async for k in store.scan(prefix=prefix, start=start, end=end)]
            key_range = KeyRange(prefix, start, end)
            assert await store.count_range(None, key_range) == len(listed), key_range
        left = sorted(KEYS)
        for key_range in (
            KeyRange("a", "aa", "b"),
            KeyRange("", "é", None),
            KeyRange("", "b", "a"),
            KeyRange("", None, "a?"),
            KeyRange("a", None, ""),
        ):
            deleted = [key for key in left if key in key_range]
            assert await store.drop_range(None, key_range) == len(deleted), key_range
            left = [key for key in left if key not in key_range]
            assert sorted(await store.keys()) == left

    @needs(Capability.KEYS)
    async def test_prefixes_and_bounds_of_every_kind(self, store: Store) -> None:
        long = "x" * self.longest_name
        plain = [each for each in NAMES if each != "\ufffe" or not self.compares_utf16]
        names = [*plain, long, "é" * self.longest_name]
        await store.put_many(names, names)
        for prefix in (*NAMES[:: self.every], ".", "..", long[:-1], "é" * (self.longest_name - 1)):
            wanted = sorted(name for name in names if name.startswith(prefix))
            assert sorted(await store.keys(prefix=prefix)) == wanted, prefix
            assert await store.count(prefix=prefix) == len(wanted), prefix
        assert [key async for key in store.scan(start=long[:-1], end=f"{long}x")] == [long]
        assert [key async for key in store.scan(start=f"{long}x", end=f"{long}y")] == []
        assert await store.delete_where(prefix=f"{long}x") == 0
        assert await store.delete_where(prefix=long[:-1]) == 1
        assert await store.delete_where(prefix=".") == 2
        assert sorted(await store.keys()) == sorted({*names} - {long, ".", ".."})

    @needs(Capability.KEYS)
    async def test_deleting_by_collection_and_prefix(self, store: Store) -> None:
        await store.put_many(KEYS, KEYS)
        await store.put_many(KEYS, KEYS, collection="c")
        await store.put("a", 1, collection="c2")
        left = set(KEYS)
        for prefix in ("a*", "a_", "a%", "a[b]", "a?", "a\\", "x", "a", "é", "a"):
            deleted = {key for key in left if key.startswith(prefix)}
            assert await store.delete_where(collection="c", prefix=prefix) == len(deleted), prefix
            left -= deleted
            assert set(await store.keys("c")) == left
        assert await store.delete_where(collection="c") == len(left)
        assert await store.delete_where(collection="c") == 0
        assert await store.delete_where(collection="none") == 0
        assert await store.get("a", collection="c2") == 1
        assert await store.get_many(KEYS) == KEYS
        assert await store.delete_where() == len(KEYS)
        assert await store.get_many(KEYS) == [None] * len(KEYS)
        assert await store.get("a", collection="c2") == 1
        await store.put("a", 2, collection="c")
        assert await store.get("a", collection="c") == 2

    @needs(Capability.KEYS)
    async def test_expired_entries_are_not_counted(self, store: Store, clock: ManualClock) -> None:
        ttls = [5, None, 50, 5, 50]
        await store.put_many(["a1", "a2", "a3", "b1", "b2"], [1, 2, 3, 4, 5], ttl=ttls)
        assert await store.count(prefix="a") == 3
        clock.advance(5)
        assert await store.count(prefix="a") == 2
        assert await store.count() == 3
        assert await store.delete_where(prefix="b") == 1
        assert await store.expire("a2", 10)
        clock.advance(10)
        assert await store.delete_where(prefix="a") == 1
        assert await store.count() == 0

    @needs(Capability.KEYS)
    async def test_more_than_one_page(self, store: Store) -> None:
        keys = self.many_keys
        await store.put_many(keys, list(range(len(keys))), collection="many")
        await store.put("key-", 0)
        those = [key for key in keys if key.startswith("key-0")]
        assert await store.count(collection="many", prefix="key-0") == len(those)
        assert await store.count(collection="many") == len(keys)
        assert await store.delete_where(collection="many", prefix="key-0") == len(those)
        assert sorted(await store.keys("many")) == keys[len(those) :]
        assert await store.delete_where(collection="many") == len(keys) - len(those)
        assert await store.count(collection="many") == 0
        assert await store.get("key-") == 0

    @needs(Capability.KEYS)
    async def test_the_records_of_layers_are_neither_counted_nor_deleted(
        self, store: Store
    ) -> None:
        assert await store.count(prefix="k") == 0
        if any("renames" in part.traits for part in store.parts):
            return  # inside, the record has another name
        await store.put_many(["k", "kvwrap", "kvwrap/"], [1, 2, 3])
        (entry,) = await store.read(None, ["k"])
        assert entry is not None
        await store.write(None, ["kvwrap.record"], [entry])
        assert await store.count(prefix="k") == 3
        assert await store.count(prefix="kvwrap.r") == 0
        assert await store.delete_where(prefix="kvwrap.") == 0
        assert await store.delete_where(prefix="k") == 3
        assert await store.count() == 0
        (record,) = await store.read(None, ["kvwrap.record"])
        assert record is not None

    @needs(Capability.KEYS)
    async def test_deleting_beside_puts(self, store: Store) -> None:
        keys = [f"k{number}" for number in range(20)]
        await store.put_many(keys, ["old"] * 20)

        async def put(key: str) -> None:
            await store.put(key, "new")

        deleting = asyncio.ensure_future(store.delete_where(prefix="k"))
        await asyncio.gather(deleting, *(put(key) for key in keys))
        deleted = await deleting
        found = await store.get_many(keys)
        assert set(found) <= {None, "new"}
        assert 20 - found.count("new") <= deleted <= 20
        assert await store.count(prefix="k") == found.count("new")
        await store.put_many(keys, ["last"] * 20)
        assert await store.get_many(keys) == ["last"] * 20
