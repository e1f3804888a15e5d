"""Rewriting a part of a store: prefixes, collections, and keys of other programs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

import kvwrap
from kvwrap import (
    ConfigurationError,
    FileTreeStore,
    MemcachedStore,
    MemoryStore,
    RedisStore,
    Store,
    UnsupportedOperation,
    adapt,
    rewrite,
    stack,
)
from tests.rewriting.entries import NEW, OLD, fill

pytestmark = pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")

SEALING = stack().serialize("json").encrypt(NEW, accept_plaintext=True)


async def test_only_keys_with_the_prefix_are_rewritten(backend: Callable[[], Store]) -> None:
    base = backend()
    await fill(stack().prefix_collection("app-").encrypt(OLD).over(base), 30)
    store = stack().prefix_collection("app-").encrypt(NEW).over(base)
    report = await rewrite(store, prefix="k01", batch=4)
    assert (report.seen, report.rewritten, report.complete) == (30, 30, False)
    assert {name: (each.seen, each.rewritten) for name, each in report.collections.items()} == {
        None: (10, 10),
        "users": (10, 10),
        "orders": (10, 10),
    }
    report = await rewrite(store, prefix="k0", collections=["users"], dry_run=True)
    assert (report.current, report.rewritten) == (10, 20)
    assert report.retirable == []


async def test_a_prefix_is_that_of_the_users_keys() -> None:
    base = MemoryStore()
    await stack().prefix_key("app:").encrypt(OLD).over(base).put_many(["a1", "b1"], [1, 2])
    await stack().encrypt(OLD).over(base).put("a1", 3)
    report = await rewrite(stack().prefix_key("app:").encrypt(NEW).over(base), prefix="a")
    assert (report.seen, report.rewritten) == (1, 1)


async def test_keys_that_are_hashed_have_no_prefix() -> None:
    store = stack().hash_keys(b"0123456789abcdef").encrypt(NEW).over(MemoryStore())
    with pytest.raises(ConfigurationError, match=r"`prefix` needs .* HashedKey"):
        await rewrite(store, prefix="a")


@pytest.mark.parametrize("argument", [{"prefix": 5}, {"collections": "users"}, {"collections": 5}])
async def test_names_that_are_no_names_are_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be a"):
        await rewrite(SEALING.over(MemoryStore()), **argument)


async def test_a_name_under_which_nothing_is_found_is_shown() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1, collection="users")
    report = await rewrite(stack().encrypt(NEW).over(base), collections=["uesrs", "users"])
    assert "'uesrs': nothing found" in str(report)
    assert "'users': 1 seen, 1 rewritten" in str(report)
    assert report.collections["uesrs"].seen == 0


async def test_keys_of_other_programs_are_not_sealed_unasked(redis_url: str) -> None:
    url = redis_url.removesuffix("/0") + "/11"
    async with (
        redis.asyncio.Redis.from_url(url) as client,
        SEALING.over(RedisStore(url, raw=True)) as store,
        SEALING.prefix_key("user:").over(RedisStore(url, raw=True)) as prefixed,
    ):
        await client.flushdb()
        await client.mset({"user:1": '{"n": 1}', "user:2": "2", "celery-1": '{"s": "OK"}'})
        for arguments in ({}, {"collections": [None]}, {"collections": ["user", None]}):
            with pytest.raises(ConfigurationError, match=r"prefix='user:'.*everything=True"):
                await rewrite(store, **arguments)
        assert await client.get("user:1") == b'{"n": 1}'
        assert (await rewrite(store, dry_run=True)).foreign == 3

        report = await rewrite(store, prefix="user:1")
        assert (report.seen, report.rewritten, report.foreign) == (1, 1, 1)
        assert "1 values of other programs rewritten" in str(report)
        assert await store.get("user:1") == {"n": 1}
        assert await client.mget("user:2", "celery-1") == [b"2", b'{"s": "OK"}']

        await client.set("user:1", "1")
        report = await rewrite(store, collections=["user"])
        assert report.collections["user"].rewritten == 2
        assert await store.get_many(["1", "2"], collection="user") == [1, 2]
        assert await client.get("celery-1") == b'{"s": "OK"}'

        await client.mset({"user:1": "1", "user:2": "2"})
        assert (await rewrite(prefixed)).rewritten == 2
        assert await client.get("celery-1") == b'{"s": "OK"}'

        await client.mset({"user:1": "1", "user:2": "2"})
        assert (await rewrite(store, everything=True)).foreign == 3
        sealed: Any = await client.get("celery-1")
        assert b"OK" not in sealed
        await client.flushdb()


async def test_a_raw_mapping_is_limited_likewise() -> None:
    mapping: dict[str, Any] = {"user:1": b"1", "other": b"2", "@users:k": b"3"}
    store = SEALING.over(adapt(mapping, raw=True))
    with pytest.raises(ConfigurationError, match="everything=True"):
        await rewrite(store)
    assert (await rewrite(store, collections=["users"])).foreign == 1
    assert (await rewrite(store, prefix="user:")).foreign == 1
    assert mapping["other"] == b"2"


async def test_raw_files_are_limited_likewise(tmp_path: Path) -> None:
    for name in ("users/ada", "others/bob"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text('{"n": 1}')
    async with (
        FileTreeStore(tmp_path, raw=True) as base,
        SEALING.over(base) as store,
        SEALING.prefix_collection("us").over(base) as prefixed,
    ):
        for arguments in ({}, {"collections": [None]}):
            with pytest.raises(ConfigurationError, match="everything=True"):
                await rewrite(store, **arguments)
        assert (await rewrite(store, dry_run=True)).foreign == 2
        assert (await rewrite(prefixed, dry_run=True)).foreign == 1
        assert (await rewrite(prefixed)).foreign == 1
        assert (await rewrite(store, collections=["others"], prefix="x")).foreign == 0
        assert (await rewrite(store, collections=["others"])).foreign == 1


async def test_a_store_that_lists_keys_on_request_says_so() -> None:
    store = SEALING.over(MemcachedStore("memcached://127.0.0.1:1"))
    with pytest.raises(UnsupportedOperation, match=r"enumerate its keys: .*enumerate=True"):
        await rewrite(store)
    with pytest.raises(UnsupportedOperation, match=r"enumerate its keys: .*enumerate=True"):
        await kvwrap.copy(store, MemoryStore())


async def test_what_is_sealed_has_a_version_that_tells_nothing(redis_url: str) -> None:
    """Equal values of another program get different versions, and not the ones that were read."""
    prefix = uuid.uuid4().hex
    keys = [f"{prefix}:{n}" for n in range(4)]
    async with (
        redis.asyncio.Redis.from_url(redis_url) as client,
        RedisStore(redis_url, raw=True) as base,
    ):
        await client.mset(dict.fromkeys(keys, '{"pin": 4821}'))
        before = [entry.version for entry in await base.read(None, keys) if entry]
        assert (await rewrite(SEALING.over(base), prefix=prefix)).foreign == 4
        values: list[Any] = await client.mget(keys)
        headers = [int.from_bytes(value[15:23], "big") for value in values]
        assert len({*before, *headers}) == 8
        again = await rewrite(SEALING.over(base), prefix=prefix)
        assert (again.current, again.foreign) == (4, 0)
        await client.delete(*keys)


async def test_values_in_a_mapping_get_versions_of_their_own_too() -> None:
    mapping: dict[str, Any] = {"a": {"pin": 4821}, "b": {"pin": 4821}}
    report = await rewrite(stack().encrypt(NEW, accept_plaintext=True).over(adapt(mapping)))
    assert (report.rewritten, report.foreign) == (2, 2)
    assert mapping["a"][15:23] != mapping["b"][15:23]
