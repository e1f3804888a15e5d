"""A batch that fails in the middle names the keys for which it succeeded, as the caller does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kvwrap import (
    KvwrapError,
    MemoryStore,
    Passthrough,
    ReadOnly,
    Stack,
    StoreUnavailable,
    builder,
    stack,
)
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS, STACKS

KEYS = [f"{number:0{number}}" for number in range(1, 9)]


class Halves(Passthrough):
    """A layer that does the first half of a batch, and then fails."""

    def __init__(self, *, after: int = 0, ends: type[KvwrapError] = StoreUnavailable) -> None:
        self.left = after
        self.ends = ends

    def _half(self, keys: Sequence[str]) -> int:
        self.left -= 1
        return len(keys) // 2 if self.left < 0 and len(keys) > 1 else len(keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        size = self._half(keys)
        wanted = None if expected is None else expected[:size]
        written = await self.inner.write(collection, keys[:size], entries[:size], wanted)
        if size < len(keys):
            raise self.ends("by the test", store="the backend", succeeded=keys[:size])
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        size = self._half(keys)
        wanted = None if expected is None else expected[:size]
        removed = await self.inner.remove(collection, keys[:size], wanted)
        if size < len(keys):
            raise self.ends("by the test", store="the backend", succeeded=keys[:size])
        return removed

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        size = self._half(keys)
        touched = await self.inner.touch(collection, keys[:size], expires[:size])
        if size < len(keys):
            raise self.ends("by the test", store="the backend", succeeded=keys[:size])
        return touched


async def failed(call: Any) -> KvwrapError:
    with pytest.raises(KvwrapError) as raised:
        await call
    return raised.value


def _prefixes(clock: Clock | None) -> Stack:
    return stack().prefix_key("a").single_collection("b").prefix_key("c")


CASES = {
    **{name: LAYERS[name].make for name in builder.LAYERS},
    **{name: case.make for name, case in STACKS.items()},
    "prefixes in prefixes": _prefixes,
}
# A write that a journal acknowledged fails later, and no caller gets the error.
LATER = {"write_behind"}


@pytest.mark.parametrize("name", sorted(CASES.keys() - LATER))
async def test_every_layer_names_the_callers_keys_that_succeeded(name: str) -> None:
    clock = ManualClock()
    layers: Stack = CASES[name](clock)
    backend = MemoryStore(clock=clock)
    async with (layers + stack(Halves(ends=_NotAgain))).over(backend) as store:
        error = await failed(store.put_many(KEYS, list(range(8)), collection="there"))
        if any(isinstance(layer, ReadOnly) for layer in layers):
            assert error.succeeded is None
            return
        found = await store.get_many(KEYS, collection="there")
        there = [key for key, value in zip(KEYS, found, strict=True) if value is not None]
        assert error.succeeded is not None
        if "replicate" in name:
            # Reads return what one replica has; acknowledged are the keys that both have.
            assert there == KEYS
            there = KEYS[:4]
        assert list(error.succeeded) == there
        assert 0 < len(there) < len(KEYS)
        error = await failed(store.touch("there", KEYS, [clock.time() + 9] * len(KEYS)))
        assert error.succeeded is not None
        assert set(error.succeeded) < set(KEYS)
        touched = await store.read("there", error.succeeded)
        assert all(entry is None or entry.expires_at is not None for entry in touched)
        error = await failed(store.delete_many(KEYS, collection="there"))
        assert error.succeeded is not None
        assert set(error.succeeded) >= set(there[: len(there) // 2])
        assert set(error.succeeded) < set(KEYS)


async def test_one_of_two_keys_is_named_as_the_caller_does() -> None:
    pair = KEYS[:2]
    for layers in (stack().prefix_key("a"), stack().single_collection("b"), _prefixes(None)):
        store = (layers + stack(Halves())).over(MemoryStore())
        for call in (
            store.put_many(pair, [1, 1]),
            store.touch(None, pair, [None, None]),
            store.delete_many(pair),
        ):
            assert (await failed(call)).succeeded == (KEYS[0],)


class Refuses(Passthrough):
    """A layer that refuses every change, once it is told to."""

    told = False

    async def _change(self, primitive: str, *arguments: Any) -> Any:
        if self.told:
            raise _NotAgain("by the test")
        return await getattr(self.inner, primitive)(*arguments)

    def write(self, *arguments: Any) -> Any:
        return self._change("write", *arguments)

    def remove(self, *arguments: Any) -> Any:
        return self._change("remove", *arguments)

    def touch(self, *arguments: Any) -> Any:
        return self._change("touch", *arguments)


@pytest.mark.parametrize("name", sorted(CASES.keys() - LATER - {"read_only"}))
async def test_the_error_of_a_single_key_names_none(name: str) -> None:
    clock = ManualClock()
    layers: Stack = CASES[name](clock)
    keys = KEYS[:6]  # a layer may keep some of them in other stores
    async with (layers + stack(Refuses())).over(MemoryStore(clock=clock)) as store:
        await store.put_many(keys, [1] * 6, collection="there")
        version = [await store.get_versioned(key, collection="there") for key in keys]
        store.find(Refuses).told = True
        named = []
        for key, found in zip(keys, version, strict=True):
            assert found is not None
            for call in (
                store.put(key, 2, collection="there"),
                store.put_if_absent(f"{key} new", 2, collection="there"),
                store.compare_and_put(key, 2, found.version, collection="there"),
                store.expire(key, 50, collection="there"),
                store.delete(key, collection="there"),
            ):
                try:
                    await call
                except _NotAgain as error:
                    named.append(error.succeeded)
        assert named
        assert set(named) == {None}


class _NotAgain(KvwrapError):
    """An error that is not the backend's, so that no layer recovers from it."""


async def test_the_keys_of_all_attempts_count() -> None:
    class Worse(Halves):
        """A layer that does less with every attempt."""

        def _half(self, keys: Sequence[str]) -> int:
            self.left += 1
            return max(0, 4 - 3 * self.left)

    store = stack(Worse(after=-1)).over(MemoryStore())
    assert (await failed(store.put_many(KEYS, KEYS))).succeeded == tuple(KEYS[:4])
    assert (await failed(store.put_many(KEYS, KEYS))).succeeded == (KEYS[0],)
    store = (stack().retry(3, wait=0) + stack(Worse(after=-1))).over(MemoryStore())
    error = await failed(store.put_many(KEYS, KEYS))
    assert error.succeeded == tuple(KEYS[:4])
    assert [k for k in KEYS if await store.exists(k)] == KEYS[:4]


@pytest.mark.parametrize(
    ("quorum", "done"), [(None, KEYS[:2]), (2, KEYS[:4]), (1, None)], ids=["all", "two", "one"]
)
async def test_replication_names_the_keys_that_a_quorum_has(
    quorum: int | None, done: list[str] | None
) -> None:
    class Quarters(Halves):
        def _half(self, keys: Sequence[str]) -> int:
            return len(keys) // 4

    def over(layer: Passthrough) -> Callable[[], Any]:
        return lambda: layer.over(MemoryStore())

    replicas = [over(Quarters()), over(Passthrough())]
    layers = stack().replicate(replicas, write_quorum=quorum, read_quorum=3)
    store = (layers + stack(Halves())).silence("quorums-do-not-overlap").over(MemoryStore())
    if done is None:
        await store.put_many(KEYS, KEYS)
        return
    assert (await failed(store.put_many(KEYS, KEYS))).succeeded == tuple(done)


async def test_a_value_that_is_dropped_after_the_others_were_written() -> None:
    class Refuses(Passthrough):
        async def remove(self, *arguments: Any) -> list[bool]:
            raise StoreUnavailable("by the test")

    layers = stack().limit_size(10, on_too_large="drop") + stack(Refuses())
    store = layers.over(MemoryStore())
    error = await failed(store.put_many(["a", "b", "c"], ["x" * 20, 1, 2]))
    assert error.succeeded == ("b", "c")


async def test_a_shard_that_was_added_since() -> None:
    old, new = MemoryStore(), MemoryStore()
    async with stack().shard({"b": lambda: _shared(old)}, name="a").over(_shared(new)) as store:
        await store.put_many(KEYS, KEYS)

    class KeepsAll(Halves):
        async def remove(self, *arguments: Any) -> list[bool]:
            raise StoreUnavailable("by the test")

    layers = stack().shard({"b": lambda: stack(KeepsAll()).over(old)}, name="a", previous=["b"])
    async with layers.over(new) as store:
        error = await failed(store.put_many(KEYS, list(range(8))))
        assert error.succeeded is not None
        assert 0 < len(error.succeeded) < 8
        assert await store.get_many(error.succeeded) == [KEYS.index(key) for key in error.succeeded]
        deleted = (await failed(store.delete_many(KEYS))).succeeded or ()
        assert 0 < len(deleted) < 8
        assert [key for key in KEYS if not await store.exists(key)] == list(deleted)


def _shared(store: MemoryStore) -> Any:
    return Passthrough().over(store)
