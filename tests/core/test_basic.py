"""The methods of a store check their arguments before the backend is asked anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvwrap import InvalidBatch, InvalidKey, InvalidTTL, KvwrapError, MemoryStore, StoreUnavailable
from kvwrap.core.entry import Entry, live
from kvwrap.core.turns import SLICE
from kvwrap.testing import ManualClock, Tap
from tests.turns import turns_during

Call = Callable[[Any, Any, Any], Awaitable[object]]

METHODS: dict[str, Call] = {
    "get": lambda s, key, c: s.get(key, collection=c),
    "get_many": lambda s, key, c: s.get_many(["k", key], collection=c),
    "ttl": lambda s, key, c: s.ttl(key, collection=c),
    "ttl_many": lambda s, key, c: s.ttl_many(["k", key], collection=c),
    "put": lambda s, key, c: s.put(key, 1, collection=c),
    "put_many": lambda s, key, c: s.put_many(["k", key], [1, 2], collection=c),
    "delete": lambda s, key, c: s.delete(key, collection=c),
    "delete_many": lambda s, key, c: s.delete_many(["k", key], collection=c),
    "exists": lambda s, key, c: s.exists(key, collection=c),
    "require": lambda s, key, c: s.require(key, collection=c),
    "pop": lambda s, key, c: s.pop(key, collection=c),
    "put_if_absent": lambda s, key, c: s.put_if_absent(key, 1, collection=c),
    "get_versioned": lambda s, key, c: s.get_versioned(key, collection=c),
    "compare_and_put": lambda s, key, c: s.compare_and_put(key, 1, 5, collection=c),
    "compare_and_delete": lambda s, key, c: s.compare_and_delete(key, 5, collection=c),
    "increment": lambda s, key, c: s.increment(key, collection=c),
    "expire": lambda s, key, c: s.expire(key, 5, collection=c),
    "move": lambda s, key, c: s.move(key, "n", collection=c),
    "move to": lambda s, key, c: s.move("k", key, target_collection=c),
    "get_or_put": lambda s, key, c: s.get_or_put(key, int, collection=c),
}
NAMES: list[object] = ["", 5, None, b"k", "\ud800"]


def untouched() -> Any:
    """Return a store whose backend must not be asked."""

    async def refuse(operation: str) -> None:
        raise AssertionError(operation)

    return Tap(before=refuse).over(MemoryStore())


@pytest.mark.parametrize("method", METHODS)
async def test_an_invalid_name_is_refused_at_once(method: str) -> None:
    call = METHODS[method]
    for name in NAMES:
        with pytest.raises(InvalidKey):
            await call(untouched(), name, "c")
        if name is not None:  # the default collection
            with pytest.raises(InvalidKey):
                await call(untouched(), "k", name)


COLLECTIONS: dict[str, Call] = {
    "keys": lambda s, _, c: s.keys(c),
    "destroy_collection": lambda s, _, c: s.destroy_collection(c),
    "count": lambda s, _, c: s.count(collection=c),
    "delete_where": lambda s, _, c: s.delete_where(collection=c),
    "scan": lambda s, _, c: anext(s.scan(collection=c)),
    "items": lambda s, _, c: anext(s.items(collection=c)),
}


@pytest.mark.parametrize("method", COLLECTIONS)
async def test_an_invalid_collection_is_refused_at_once(method: str) -> None:
    for name in ("", 5, b"c"):
        with pytest.raises(InvalidKey):
            await COLLECTIONS[method](untouched(), None, name)


PREFIXES: dict[str, Callable[[Any, Any], Awaitable[object]]] = {
    "count": lambda s, prefix: s.count(prefix=prefix),
    "delete_where": lambda s, prefix: s.delete_where(prefix=prefix),
}


@pytest.mark.parametrize("method", PREFIXES)
async def test_an_invalid_prefix_is_refused_at_once(method: str) -> None:
    for prefix in (None, 5, b"c", "\ud800"):
        with pytest.raises(InvalidKey):
            await PREFIXES[method](untouched(), prefix)


BATCHES: dict[str, tuple[Call, type[KvwrapError]]] = {
    "lengths": (lambda s, *_: s.put_many(["a", "b"], [1]), InvalidBatch),
    "a string": (lambda s, *_: s.get_many("ab"), InvalidBatch),
    "ttl of put": (lambda s, *_: s.put("a", 1, ttl=0), InvalidTTL),
    "ttl of put_many": (lambda s, *_: s.put_many(["a"], [1], ttl=-1), InvalidTTL),
    "ttls of put_many": (lambda s, *_: s.put_many(["a", "b"], [1, 2], ttl=[1]), InvalidBatch),
    "one of its ttls": (lambda s, *_: s.put_many(["a", "b"], [1, 2], ttl=[1, 0]), InvalidTTL),
    "ttl of put_if_absent": (lambda s, *_: s.put_if_absent("a", 1, ttl=0), InvalidTTL),
    "ttl of compare_and_put": (lambda s, *_: s.compare_and_put("a", 1, 1, ttl=0), InvalidTTL),
    "ttl of increment": (lambda s, *_: s.increment("a", ttl=0), InvalidTTL),
    "ttl of expire": (lambda s, *_: s.expire("a", 0), InvalidTTL),
    "ttl of get_or_put": (lambda s, *_: s.get_or_put("a", int, ttl=0), InvalidTTL),
}


@pytest.mark.parametrize("case", BATCHES)
async def test_invalid_arguments_are_refused_at_once(case: str) -> None:
    call, error = BATCHES[case]
    with pytest.raises(error):
        await call(untouched(), None, None)


async def test_empty_batches_reach_no_backend() -> None:
    store = untouched()
    assert await store.get_many([]) == []
    assert await store.ttl_many([]) == []
    assert await store.delete_many([]) == 0
    assert await store.keys(limit=0) == []
    await store.put_many([], [])


async def test_check_reaches_the_backend() -> None:
    reached: list[str] = []

    async def record(operation: str) -> None:
        reached.append(operation)
        raise StoreUnavailable("down")

    store = Tap(before=record).over(MemoryStore())
    for call in (store.check, store.cull, store.destroy, lambda: store.destroy_collection("c")):
        with pytest.raises(StoreUnavailable):
            await call()
    assert reached == ["ping", "sweep", "drop_all", "drop"]


async def test_counts_and_limits() -> None:
    store = MemoryStore()
    await store.put_many(["a", "b", "c"], [1, 2, 3], collection="x")
    await store.put("a", 1)
    await store.put("a", 1, collection="y")
    assert sorted(await store.collections()) == ["x", "y"]
    assert len(await store.collections(limit=1)) == 1
    for limit in (1, 2):
        assert len(await store.keys("x", limit=limit)) == limit
    assert len(await store.keys("x", limit=5)) == 3
    assert await store.delete_many(["a", "b", "missing"], collection="x") == 2


async def test_remaining_seconds_are_never_negative(clock: ManualClock) -> None:
    async def late(operation: str) -> None:
        if operation == "read":
            clock.advance(0)

    class Late(MemoryStore):
        async def read(self, *arguments: Any) -> list[Entry | None]:
            entries = await super().read(*arguments)
            clock.advance(7)
            return entries

    store = Tap(before=late).over(Late(clock=clock))
    await store.put("a", 1, ttl=5)
    assert await store.ttl("a") == (1, 0.0)


def test_an_entry_lives_until_the_moment_at_which_it_ends() -> None:
    entry = Entry(b"1", b"", 1.0, 5.0, 1)
    assert live(entry, 4.999) is entry
    assert live(entry, 5.0) is None
    assert live(None, 0.0) is None
    lasting = entry.with_expiry(None)
    assert live(lasting, 1e12) is lasting


async def test_large_batches_give_other_tasks_turns() -> None:
    store = MemoryStore()
    names = [f"key:{number}" for number in range(3 * SLICE)]
    assert await turns_during(store.put_many(names, names, collection="c")) >= 3
    assert await turns_during(store.get_many(names, collection="c")) >= 3
    assert await turns_during(store.ttl_many(names, collection="c")) >= 3
    assert await store.get_many(names, collection="c") == names
    large = ["x" * 1024 * SLICE] * 3
    assert await turns_during(store.put_many(names[:3], large)) >= 3
    assert await turns_during(store.get_many(names[:3])) >= 3


async def test_a_cancelled_put_many_writes_nothing_while_it_serializes() -> None:
    store = MemoryStore()
    names = [f"key:{number}" for number in range(3 * SLICE)]
    putting = asyncio.ensure_future(store.put_many(names, names))
    await asyncio.sleep(0)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert len(store) == 0
