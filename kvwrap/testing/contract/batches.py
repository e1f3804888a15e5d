"""Batches, listing, scanning and destroying: operations on many keys."""

from __future__ import annotations

from kvwrap import Capability, Store
from kvwrap.core.primitives import KeyRange
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs


class Batches(Contract):
    """Batches keep their order. Listings miss no key and repeat none."""

    async def test_results_are_in_the_order_of_their_keys(self, store: Store) -> None:
        await store.put_many(["a", "b", "c"], [1, 2, 3])
        assert await store.get_many(["c", "x", "a", "b"]) == [3, None, 1, 2]
        assert [value for value, _ in await store.ttl_many(["b", "x", "c"])] == [2, None, 3]

    async def test_a_batch_may_repeat_a_key(self, store: Store) -> None:
        await store.put_many(["a", "b", "a"], [1, 2, 3])
        assert await store.get_many(["a", "b", "a"]) == [3, 2, 3]
        assert [value for value, _ in await store.ttl_many(["a", "a"])] == [3, 3]
        assert await store.delete_many(["a", "a", "x", "x"]) == 1
        assert await store.get_many(["a", "b"]) == [None, 2]

    async def test_changes_are_reported_for_each_key(self, store: Store) -> None:
        await store.put_many(["a", "b"], [1, 2])
        entries = [entry for entry in await store.read(None, ["a", "b"]) if entry is not None]
        assert await store.write(None, ["a", "new"], entries) == [True, True]
        assert await store.touch(None, ["x", "new", "a"], [None, None, None]) == [False, True, True]
        assert await store.remove(None, ["a", "x", "new"]) == [True, False, True]
        assert await store.get_many(["a", "b", "new"]) == [None, 2, None]

    async def test_empty_batches_do_nothing(self, store: Store) -> None:
        await store.put("a", 1)
        assert await store.get_many([]) == []
        assert await store.ttl_many([]) == []
        await store.put_many([], [])
        assert await store.delete_many([]) == 0
        assert await store.get("a") == 1

    async def test_a_batch_may_be_any_iterable(self, store: Store) -> None:
        await store.put_many(("a", "b"), {"x": 1, "y": 2}.values())  # type: ignore[arg-type]  # a view
        assert await store.get_many({"a": 0, "b": 0}) == [1, 2]  # type: ignore[arg-type]  # its keys
        assert await store.delete_many(iter("ab")) == 2  # type: ignore[arg-type]  # an iterator

    async def test_large_batches(self, store: Store) -> None:
        keys = self.many_keys
        await store.put_many(keys, list(range(len(keys))))
        assert await store.get_many(keys[::-1]) == list(range(len(keys)))[::-1]
        assert await store.delete_many(keys) == len(keys)
        assert await store.get_many(keys[:3]) == [None] * 3

    @needs(Capability.KEYS)
    async def test_listing_more_than_one_page(self, store: Store) -> None:
        keys = self.many_keys
        await store.put_many(keys, list(range(len(keys))), collection="many")
        await store.put("elsewhere", 0)
        found = await store.keys("many")
        assert sorted(found) == keys
        assert len(await store.keys("many", limit=len(keys) - 5)) == len(keys) - 5
        assert await store.keys("many", limit=0) == []
        assert sorted([item async for item in store.items(collection="many")]) == list(
            zip(keys, range(len(keys)), strict=True)
        )
        assert (
            sorted([key async for key in store.scan(collection="many", prefix="key-00")])
            == (keys[:100])
        )
        assert await store.keys() == ["elsewhere"]
        assert await store.keys("empty") == []

    @needs(Capability.KEYS)
    async def test_a_page_can_be_requested_again(self, store: Store) -> None:
        await store.put_many(self.many_keys, self.many_keys)
        found: list[str] = []
        cursor: object = None
        while True:
            page = await store.list_keys(None, KeyRange(), cursor)
            if cursor is not None:
                # A retry requests a page again whose first answer was lost.
                again = await store.list_keys(None, KeyRange(), cursor)
                assert list(again.keys) == list(page.keys)
                page = again
            found += page.keys
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(found) == self.many_keys

    @needs(Capability.KEYS)
    async def test_scanning_by_prefix_and_range(self, store: Store) -> None:
        keys = ["a", "aa", "ab", "a*", "a*b", "a_", "b", "ba", "é", "😀"]
        await store.put_many(keys, keys)

        async def scanned(
            prefix: str = "", start: str | None = None, end: str | None = None
        ) -> list[str]:
            by_key = [key async for key in store.scan(prefix=prefix, start=start, end=end)]
            items = [item async for item in store.items(prefix=prefix, start=start, end=end)]
            assert sorted(items) == [(key, key) for key in sorted(by_key)]
            return sorted(by_key)

        assert await scanned() == sorted(keys)
        assert await scanned("a") == sorted(["a", "aa", "ab", "a*", "a*b", "a_"])
        assert await scanned("a*") == ["a*", "a*b"]
        assert await scanned("a_") == ["a_"]
        assert await scanned("😀") == ["😀"]
        assert await scanned("x") == []
        assert await scanned(start="b") == ["b", "ba", "é", "😀"]
        assert await scanned(end="aa") == ["a", "a*", "a*b", "a_"]
        assert await scanned(start="aa", end="b") == ["aa", "ab"]
        assert await scanned("a", start="a_", end="ab") == ["a_", "aa"]
        assert await scanned(start="b", end="a") == []
        assert await scanned(start="é") == ["é", "😀"]

    @needs(Capability.KEYS)
    async def test_ranges_follow_code_point_order(self, store: Store) -> None:
        keys = ["\U0001f600", "b", "B", "é", "e", "z", "a\x00", "a"]
        if not self.compares_utf16:
            keys.append("\ufffe")
        await store.put_many(keys, keys)
        if Capability.RANGE in store.capabilities:
            assert await store.keys() == sorted(keys)
            assert await store.keys(limit=3) == sorted(keys)[:3]
            found = [key async for key in store.scan(start="b")]
            assert found == sorted(found)
        assert {key async for key in store.scan(start="b")} == {k for k in keys if k >= "b"}
        assert {key async for key in store.scan(end="é")} == {k for k in keys if k < "é"}

    @needs(Capability.DESTROY_COLLECTION)
    async def test_destroying_a_collection(self, store: Store) -> None:
        await store.put_many(["a", "b"], [1, 2], collection="gone")
        await store.put("a", 3, collection="gone-not")
        await store.put("a", 4)
        assert await store.destroy_collection("gone")
        assert not await store.destroy_collection("gone")
        assert not await store.destroy_collection("never there")
        assert await store.get_many(["a", "b"], collection="gone") == [None, None]
        assert await store.get("a", collection="gone-not") == 3
        assert await store.destroy_collection(None)
        assert await store.get("a") is None
        assert await store.get("a", collection="gone-not") == 3
        await store.put("a", 5, collection="gone")
        assert await store.get("a", collection="gone") == 5

    @needs(Capability.DESTROY)
    async def test_destroying_everything(self, store: Store) -> None:
        keys = self.many_keys[:600]
        await store.put_many(keys, keys)
        for collection in ("x", "y", "a:b"):
            await store.put("a", 1, collection=collection)
        assert await store.destroy()
        assert not await store.destroy()
        assert await store.get_many(keys) == [None] * len(keys)
        assert await store.get("a", collection="x") is None
        await store.put("a", 2)
        assert await store.get("a") == 2

    @needs(Capability.COLLECTIONS)
    async def test_a_collection_is_listed_while_it_holds_an_entry(self, store: Store) -> None:
        assert await store.collections() == []
        await store.put("a", 1)
        await store.put("a", 1, collection="one")
        await store.put("a", 1, collection="two")
        assert sorted(await store.collections()) == ["one", "two"]
        await store.delete("a", collection="one")
        assert await store.collections() == ["two"]

    @needs(Capability.COLLECTIONS)
    async def test_cull_removes_expired_collections(self, store: Store, clock: ManualClock) -> None:
        await store.put("a", 1, collection="short", ttl=10)
        await store.put("a", 1, collection="long")
        clock.advance(11)
        await store.cull()
        found = await store.collections()
        assert "long" in found
        assert "short" not in found or Capability.CULL not in store.capabilities
