"""RedisStore: names of keys, and their enumeration."""

from __future__ import annotations

from typing import Any

from kvwrap.stores.redis import RedisStore
from kvwrap.stores.redis.keys import pattern

NAMES = ["a", "a:b", "a%3Ab", "%", ":", "::", "*", "a*", "[a]", "a?", "\\", "\0", "ä", "𐀀", "a\n"]


async def test_different_keys_have_different_names(store: RedisStore) -> None:
    for collection in (None, *NAMES):
        await store.put_many(NAMES, [[collection, n] for n in NAMES], collection=collection)
    for collection in (None, *NAMES):
        values = await store.get_many(NAMES, collection=collection)
        assert values == [[collection, name] for name in NAMES]
        assert sorted(await store.keys(collection)) == sorted(NAMES)
    assert await store.collections() == sorted(NAMES)
    for prefix in NAMES:
        found = [key async for key in store.scan(collection="*", prefix=prefix)]
        assert sorted(found) == sorted(name for name in NAMES if name.startswith(prefix))
    assert await store.destroy_collection("a*") is True
    assert await store.destroy_collection("a*") is False
    assert await store.collections() == sorted(set(NAMES) - {"a*"})


async def test_namespaces_do_not_touch_one_another(redis_url: str, namespace: str) -> None:
    async with (
        RedisStore(redis_url, namespace=namespace) as one,
        RedisStore(redis_url, namespace=namespace + ":x") as two,
    ):
        await one.put("k", 1, collection="x")
        await one.put("x:k", 1)
        await two.put("k", 2)
        assert await one.collections() == ["x"]
        assert await one.destroy() is True
        assert await one.destroy() is False
        assert await two.get("k") == 2
        await two.destroy()


async def test_the_layout_in_redis(store: RedisStore, client: Any, namespace: str) -> None:
    await store.put("k:1", 1)
    await store.put("k", 1, collection="a:b%")
    assert set(await client.keys(f"{namespace}*")) == {
        f"{namespace}::k:1".encode(),
        f"{namespace}:a%3Ab%25:k".encode(),
    }


async def test_scan_yields_every_key_once_over_many_pages(store: RedisStore) -> None:
    keys = [f"key-{i}" for i in range(3000)]
    await store.put_many(keys, [0] * 3000, collection="c")
    found = await store.keys("c")
    assert len(found) == 3000
    assert set(found) == set(keys)
    some = [key async for key in store.scan(collection="c", prefix="key-1", end="key-11")]
    assert set(some) == {key for key in keys if key.startswith("key-1") and key < "key-11"}


async def test_pattern_escapes_the_characters_of_globs() -> None:
    assert pattern("a*b?[c]\\") == b"a\\*b\\?\\[c]\\\\*"
