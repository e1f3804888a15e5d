"""Values of several keys that are computed together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import kvwrap
from kvwrap import (
    CorruptEntry,
    Deadlock,
    InvalidBatch,
    InvalidTTL,
    Keyring,
    MemoryStore,
    Passthrough,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.errors import ConfigurationError
from kvwrap.testing import ManualClock


class Factory:
    """Doubles keys, and records what it was called with; `go_on` lets it finish."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[list[str]] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.error = error
        self.left_out: set[str] = set()

    async def __call__(self, keys: list[str]) -> Mapping[str, str]:
        self.calls.append(keys)
        self.begun.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return {key: key * 2 for key in keys if key not in self.left_out}


class Calls(Passthrough):
    """Records the primitives that are called, with the number of keys; may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.error: dict[str, Exception] = {}

    async def read(self, collection: Any, keys: Any) -> Any:
        self.calls.append(("read", len(keys)))
        if "read" in self.error:
            raise self.error["read"]
        return await self.inner.read(collection, keys)

    async def write(self, collection: Any, keys: Any, entries: Any, expected: Any = None) -> Any:
        self.calls.append(("write", len(keys)))
        if "write" in self.error:
            raise self.error["write"]
        return await self.inner.write(collection, keys, entries, expected)


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return stack(Calls()).over(MemoryStore(clock=clock))


async def test_one_read_one_call_and_one_write(store: Store) -> None:
    factory = Factory()
    await store.put("b", "here")
    calls = store.find(Calls).calls
    calls.clear()
    assert await store.get_or_put_many(["c", "b", "a", "c"], factory) == ["cc", "here", "aa", "cc"]
    assert factory.calls == [["c", "a"]]
    assert calls == [("read", 3), ("write", 2)]
    assert await store.get_or_put_many(["a", "b", "c"], factory) == ["aa", "here", "cc"]
    assert len(factory.calls) == 1
    assert await store.get_or_put_many([], factory) == []
    assert (store.computations.computed, store.computations.stored) == (1, 2)


async def test_what_the_factory_leaves_out_has_no_value(store: Store) -> None:
    factory = Factory()
    factory.left_out = {"b"}
    assert await store.get_or_put_many(["a", "b"], factory) == ["aa", None]
    assert await store.keys() == ["a"]
    assert await store.get_or_put_many(["a"], lambda keys: {"a": 1, "other": 2}) == ["aa"]
    assert await store.get_or_put_many(["n"], lambda keys: {"n": None, "other": 2}) == [None]
    assert sorted(await store.keys()) == ["a", "n"]


async def test_options_are_those_of_get_or_put(store: Store, clock: ManualClock) -> None:
    keys = ["a", "bbb"]
    values = await store.get_or_put_many(
        keys, Factory(), collection="c", ttl=len, keep=lambda value: len(value) < 5
    )
    assert values == ["aa", "bbbbbb"]
    assert await store.ttl("a", collection="c") == ("aa", 2.0)
    assert not await store.exists("bbb", collection="c")
    assert store.computations.not_kept == 1


async def test_batches_that_overlap_share_their_computations(store: Store) -> None:
    factory = Factory()
    factory.go_on.clear()
    first = asyncio.create_task(store.get_or_put_many(["c", "a", "b"], factory))
    await factory.begun.wait()
    single = asyncio.create_task(store.get_or_put("a", lambda: "single"))
    second = asyncio.create_task(store.get_or_put_many(["d", "b"], factory))
    await asyncio.sleep(0)
    factory.go_on.set()
    assert await first == ["cc", "aa", "bb"]
    assert await single == "aa"
    assert await second == ["dd", "bb"]
    assert factory.calls == [["c", "a", "b"], ["d"]]
    assert store.idle


async def test_a_batch_waits_for_a_single_key(store: Store) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "single"

    single = asyncio.create_task(store.get_or_put("b", slow))
    await begun.wait()
    factory = Factory()
    batch = asyncio.create_task(store.get_or_put_many(["a", "b"], factory))
    await asyncio.sleep(0)
    assert not factory.calls
    go_on.set()
    assert await batch == ["aa", "single"]
    assert await single == "single"
    assert factory.calls == [["a"]]


async def test_its_failure_reaches_those_who_wait_for_it(store: Store) -> None:
    factory = Factory(ValueError("no"))
    factory.go_on.clear()
    batch = asyncio.create_task(store.get_or_put_many(["a", "b"], factory))
    await factory.begun.wait()
    single = asyncio.create_task(store.get_or_put("a", lambda: "single"))
    await asyncio.sleep(0)
    factory.go_on.set()
    for task in (batch, single):
        with pytest.raises(ValueError, match="no"):
            await task
    assert store.computations.failed == 1
    assert store.idle


async def test_a_cancelled_batch_lets_the_next_compute(store: Store) -> None:
    factory = Factory()
    factory.go_on.clear()
    batch = asyncio.create_task(store.get_or_put_many(["a", "b"], factory))
    await factory.begun.wait()
    other = asyncio.create_task(store.get_or_put_many(["b", "c"], Factory()))
    await asyncio.sleep(0)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert await other == ["bb", "cc"]
    assert not await store.exists("a")
    assert store.idle


async def test_a_cancelled_wait_leaves_no_lock(store: Store) -> None:
    factory = Factory()
    factory.go_on.clear()
    first = asyncio.create_task(store.get_or_put_many(["b"], factory))
    await factory.begun.wait()
    waiting = asyncio.create_task(store.get_or_put_many(["a", "b", "c"], Factory()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await store.get_or_put("a", lambda: 1) == 1
    factory.go_on.set()
    assert await first == ["bb"]
    assert store.idle


async def test_a_change_meanwhile_wins(store: Store) -> None:
    factory = Factory()
    factory.go_on.clear()
    batch = asyncio.create_task(store.get_or_put_many(["a", "b", "c"], factory))
    await factory.begun.wait()
    await store.put("a", "put")
    await store.delete("b")
    await store.base.put("c", "by another process")
    factory.go_on.set()
    assert await batch == ["aa", "bb", "cc"]
    assert await store.get_many(["a", "b", "c"]) == ["put", None, "by another process"]
    assert store.computations.overtaken == 3


async def test_a_factory_that_needs_its_own_values_is_told(store: Store) -> None:
    async def one(keys: list[str]) -> dict[str, Any]:
        return {"a": await store.get_or_put("b", lambda: 1)}

    async def other(keys: list[str]) -> dict[str, Any]:
        return {"a": (await store.get_or_put_many(["b"], one))[0]}

    for factory in (one, other):
        with pytest.raises(Deadlock):
            await store.get_or_put_many(["a", "b"], factory)
    assert store.idle
    assert await store.get_or_put_many(["a"], one) == [1]


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_a_store_that_fails(store: Store, operation: str) -> None:
    store.find(Calls).error[operation] = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get_or_put_many(["a", "b"], Factory())
    factory = Factory()
    assert await store.get_or_put_many(["a", "b"], factory, on_error="compute") == ["aa", "bb"]
    assert factory.calls == [["a", "b"]]
    assert store.computations.store_failures
    assert store.idle


async def test_values_that_cannot_be_read(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    store = stack().encrypt(Keyring.generate("k")).over(base)
    await store.put_many(["a", "b"], ["A", "B"])
    (entry,) = await base.read(None, ["a"])
    assert entry is not None
    await base.write(None, ["a"], [entry.with_body(entry.body[:-1] + b"?", entry.codec)])
    with pytest.raises((CorruptEntry, kvwrap.DecryptionError)):
        await store.get_or_put_many(["a", "b", "c"], Factory())
    values = await store.get_or_put_many(["a", "b", "c"], Factory(), on_invalid="compute")
    assert values == ["aa", "B", "cc"]
    assert await store.get_many(["a", "b"]) == ["aa", "B"]
    assert store.computations.invalid == 1


async def test_stale_values_if_the_factory_fails(store: Store, clock: ManualClock) -> None:
    options: dict[str, Any] = {"ttl": 10, "stale_ttl": 50}
    await store.get_or_put_many(["a", "b"], Factory(), **options)
    clock.advance(20)
    failing = Factory(ValueError("no"))
    assert await store.get_or_put_many(["a", "b"], failing, **options) == ["aa", "bb"]
    assert store.computations.stale_served == 2
    for keys, others in ((["a", "new"], options), (["a"], {})):
        with pytest.raises(ValueError, match="no"):
            await store.get_or_put_many(keys, failing, **others)
    assert await store.get_or_put_many(["a"], lambda keys: {"a": "new"}, **options) == ["new"]


async def test_wrong_arguments(store: Store) -> None:
    with pytest.raises(InvalidBatch):
        await store.get_or_put_many("abc", Factory())
    with pytest.raises(ConfigurationError, match="factory"):
        await store.get_or_put_many(["a"], 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="mapping"):
        await store.get_or_put_many(["a"], lambda keys: ["value"])  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidTTL):
        await store.get_or_put_many(["a"], Factory(), ttl=-1)
    with pytest.raises(ConfigurationError, match="stale_ttl"):
        await store.get_or_put_many(["a"], Factory(), stale_ttl=5)
    assert await store.keys() == []


def test_in_the_blocking_view() -> None:
    with kvwrap.sync(MemoryStore()) as store:
        store.put("a", 1)

        def plain(keys: list[str]) -> dict[str, Any]:
            return {key: store.get("a") for key in keys}

        assert store.get_or_put_many(["a", "b"], plain) == [1, 1]
        assert store.get_or_put_many(["c"], Factory()) == ["cc"]
        with pytest.raises(ZeroDivisionError):
            store.get_or_put_many(["d"], lambda keys: {"d": 1 / 0})


async def test_thousands_of_keys(store: Store) -> None:
    keys = [str(number) for number in range(5_000)]
    factory = Factory()
    assert await store.get_or_put_many(keys, factory) == [key * 2 for key in keys]
    assert factory.calls == [keys]
    assert await store.count() == 5_000
