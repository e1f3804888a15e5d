"""The names of keys in LMDB: distinct, reversible, and in the order of the keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import LMDBStore, Store
from kvwrap.stores.lmdb import names

LONG = "a" * names.KEY_LIMIT
TEXTS = st.text(st.sampled_from("ab\0\x7féह😀\U0010ffff"), min_size=1, max_size=4)
KEYS = st.one_of(
    TEXTS,
    st.builds("".join, st.tuples(st.sampled_from([LONG[1:], LONG, LONG + "b"]), TEXTS)),
    st.sampled_from([LONG, LONG[1:] + "é", LONG[2:] + "😀" * 300, "é" * 200, "é" * 1000]),
)
COLLECTIONS = st.one_of(
    st.none(),
    TEXTS,
    st.sampled_from(["c" * 100, "c" * 101, "c" * 1000, "é" * 50, "é" * 51, "\x01", "d" * 255]),
)


@given(COLLECTIONS, KEYS)
def test_a_name_and_its_value_have_collection_and_key(collection: str | None, key: str) -> None:
    prefix = names.prefix_of(collection)
    name = names.name_of(prefix, key)
    assert 8 + len(name) <= 511
    assert names.prefix_in(name) == prefix
    value = names.pack(name, collection, key, b"entry")
    assert names.unpack(name, value)[2] == b"entry"
    assert (value == b"entry") == (len(name) <= names.unframed_length(prefix))
    assert names.collection_of(name, value) == collection
    assert names.key_of(name, value).decode() == key
    assert names.parse_expiry(names.expiry_name(5, name)) == (5, name)


@given(COLLECTIONS, COLLECTIONS, KEYS, KEYS)
def test_different_keys_have_different_names(
    collection: str | None, other_collection: str | None, key: str, other_key: str
) -> None:
    prefix, other = names.prefix_of(collection), names.prefix_of(other_collection)
    name, other_name = names.name_of(prefix, key), names.name_of(other, other_key)
    assert (prefix == other) == (collection == other_collection)
    assert (name == other_name) == ((collection, key) == (other_collection, other_key))
    if prefix != other:
        assert not name.startswith(other)
    assert prefix < names.after(prefix)
    assert name < names.after(prefix)


async def _check_listings(store: Store, keys: set[str], bounds: list[str]) -> None:
    for start in (None, *bounds):
        for end in (None, *bounds):
            wanted = sorted(
                key for key in keys if (start or "") <= key and (end is None or key < end)
            )
            assert [key async for key in store.scan(start=start, end=end)] == wanted
    for prefix in ("", *bounds):
        wanted = sorted(key for key in keys if key.startswith(prefix))
        assert [key async for key in store.scan(prefix=prefix)] == wanted
        assert await store.count(prefix=prefix) == len(wanted)


@given(st.sets(KEYS, max_size=12), st.lists(KEYS, max_size=2))
def test_keys_are_listed_in_the_order_of_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], bounds: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("order") / "e"

    async def check() -> None:
        async with LMDBStore(folder, synchronous="off") as store:
            await store.put_many(list(keys), [0] * len(keys), collection="\x01")
            await store.put_many(list(keys), [0] * len(keys))
            await _check_listings(store, keys, bounds)
            if bounds:
                deleted = await store.delete_where(prefix=bounds[0])
                left = {key for key in keys if not key.startswith(bounds[0])}
                assert deleted == len(keys) - len(left)
                await _check_listings(store, left, bounds)

    asyncio.run(check())


async def test_more_hashed_keys_than_a_page_are_listed_in_order(folder: Path) -> None:
    keys = [f"{LONG}{number * 7919 % 1303:04d}" for number in range(1303)]
    async with LMDBStore(folder, synchronous="off") as store:
        await store.put_many([*keys, LONG, LONG + "z", "b", LONG[1:]], [0] * 1307)
        wanted = sorted([*keys, LONG, LONG + "z", "b", LONG[1:]])
        assert [key async for key in store.scan()] == wanted
        assert [key async for key in store.scan(start=keys[5])] == [
            key for key in wanted if key >= keys[5]
        ]
        assert await store.keys(limit=3) == wanted[:3]
        assert await store.delete_where(prefix=LONG) == 1305
        assert await store.keys() == [LONG[1:], "b"]


async def test_collections_are_found_without_reading_their_keys(folder: Path) -> None:
    collections = [f"c{number}" * (1 + number % 3 * 50) for number in range(60)]
    async with LMDBStore(folder, synchronous="off") as store:
        for collection in collections:
            await store.put_many(["a", "b", LONG * 3], [1, 2, 3], collection=collection)
        await store.put("a", 1)
        assert sorted(await store.collections()) == sorted(collections)
        assert await store.destroy_collection(collections[2])
        assert await store.keys(collections[5]) == ["a", LONG * 3, "b"]
        assert sorted(await store.collections()) == sorted({*collections} - {collections[2]})
        assert await store.keys() == ["a"]
