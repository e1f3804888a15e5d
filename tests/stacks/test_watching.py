"""Changes through stacks: the names that the user knows, and stores of which there are several."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from math import inf

import pytest

from kvwrap import (
    AccessDenied,
    Capability,
    Change,
    ChangeKind,
    Keyring,
    MemoryStore,
    Stack,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.core.changes import LOST, Listener, Scope, Subscription
from kvwrap.core.primitives import Collection
from kvwrap.layers.base import Renaming
from kvwrap.testing import ManualClock

pytestmark = pytest.mark.asyncio


class Away(MemoryStore):
    """A store that changes cannot be watched of while it is away."""

    is_away = False
    refuses = False
    hangs = False

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_away:
            raise StoreUnavailable("it is away", store=self.name)
        if self.refuses:
            raise AccessDenied("it refuses", store=self.name)
        return await super().subscribe(scope, listener)


async def listen(store: Store, scope: Scope | None = None) -> tuple[list[Change], Subscription]:
    told: list[Change] = []
    return told, await store.subscribe(scope or Scope(), told.append)


KEYS = Keyring({"k": b"k" * 32})
RENAMING = {
    "prefix_key": stack().prefix_key("p/"),
    "prefix_collection": stack().prefix_collection("p-"),
    "single_collection": stack().single_collection("all"),
    "several": stack().prefix_key("a").single_collection("%", separator="::").prefix_key("b"),
    "bytes": stack()
    .compress(min_size=0)
    .prefix_collection("p-")
    .encrypt(Keyring({"k": b"k" * 32})),
}


@pytest.mark.parametrize("layers", RENAMING.values(), ids=RENAMING)
async def test_names_are_those_of_the_user_and_others_are_left_out(layers: Stack) -> None:
    backend = MemoryStore()
    async with layers.over(backend) as store:
        names: Sequence[tuple[Collection, str]] = [(None, "a"), ("c", "a"), ("%::", "p/::%3A")]
        told, _ = await listen(store)
        of_one, _ = await listen(store, Scope("c", "a"))
        for collection, key in names:
            await store.put(key, 1, collection=collection)
        # Of other programs, or of none.
        for collection in (None, "p", "p-", "all", "%", "other"):
            for key in ("q", "p/", "b", "::", "ba"):
                if collection != "p-":
                    await backend.put(key, 1, collection=collection)
        assert told[: len(names)] == [Change(ChangeKind.PUT, *each) for each in names]
        known = {(change.collection, change.key) for change in told[len(names) :]}
        listed = {
            (collection, key)
            for collection in [None, *await store.collections()]
            for key in await store.keys(collection)
        }
        assert known <= listed
        assert of_one == [Change(ChangeKind.PUT, "c", "a")]


async def test_layers_around_calls_take_no_part() -> None:
    layers = (
        stack()
        .log(logging.getLogger("test"))
        .statistics()
        .retry()
        .limit_concurrency(1)
        .timeout(1)
        .chaos(lost_rate=1.0, operations=["read"])
        .silence("chaos-over-real-data")
    )
    async with layers.over(MemoryStore()) as store:
        told, subscription = await listen(store)
        await store.put("a", 1)
        assert told == [Change(ChangeKind.PUT, None, "a")]
        assert subscription.heard_at == inf


async def test_a_renaming_layer_that_does_not_map_back_takes_it_away() -> None:
    class OneWay(Renaming):
        def map_collection(self, collection: Collection) -> tuple[Collection, str]:
            return collection, "x"

    assert Capability.WATCH not in stack().layer(OneWay()).over(MemoryStore()).capabilities


async def test_each_route_tells_its_own_keys_only() -> None:
    backend, logs = MemoryStore(), MemoryStore()
    async with stack().route({"log-*": logs}).over(backend) as store:
        told, _ = await listen(store)
        of_logs, _ = await listen(store, Scope("log-a"))
        await store.put("a", 1, collection="log-a")
        await store.put("b", 1)
        await backend.put("hidden", 1, collection="log-a")
        await logs.put("hidden", 1)
        assert told == [Change(ChangeKind.PUT, "log-a", "a"), Change(ChangeKind.PUT, None, "b")]
        assert of_logs == told[:1]
        assert store.trace("log-a", "a") == ((logs, "log-a", "a"),)
        assert store.trace(None, "b") == ((backend, None, "b"),)


async def test_a_function_that_fails_for_a_name_hides_nothing() -> None:
    def choose(collection: Collection, key: str) -> str | None:
        return {"a": None, "b": "other"}[key]

    backend = MemoryStore()
    async with stack().route({"other": MemoryStore}, choose=choose).over(backend) as store:
        told, _ = await listen(store)
        await backend.put_many(["a", "b", "c"], [1, 2, 3])
        assert [change.key for change in told] == ["a", "c"]


async def test_shards_are_one_store_also_while_entries_move() -> None:
    shards = {"a": MemoryStore(), "b": MemoryStore()}
    layers = stack().shard({"b": shards["b"]}, name="a", previous=["a"])
    async with layers.over(shards["a"]) as store:
        keys = [f"k{number}" for number in range(20)]
        await shards["a"].put_many(keys, keys)
        told, _ = await listen(store)
        await store.put_many(keys, keys)
        assert {change.key for change in told} == set(keys)
        for key in keys:
            assert {id(origin) for origin, _, _ in store.trace(None, key)} <= {
                id(shard) for shard in shards.values()
            }
            assert store.trace(None, key)


async def test_replicas_tell_that_something_changed() -> None:
    other = MemoryStore()
    async with stack().replicate([other]).over(MemoryStore()) as store:
        told, _ = await listen(store)
        await store.put("a", 1)
        await store.delete("a")
        assert set(told) == {Change(ChangeKind.CHANGED, None, "a")}
        assert store.trace("c", "a") == ((store.base, "c", "a"), (other, "c", "a"))


@pytest.mark.parametrize("is_inner", [True, False])
async def test_a_store_that_is_away_is_watched_once_it_is_back(is_inner: bool) -> None:
    clock, before = ManualClock(), asyncio.all_tasks()
    away, there = Away(clock=clock), MemoryStore(clock=clock)
    away.is_away = True
    inner, other = (away, there) if is_inner else (there, away)
    async with stack().fallback(other).over(inner) as store:
        assert store.trace("c", "a") == ((inner, "c", "a"), (other, "c", "a"))
        told, subscription = await listen(store)
        await there.put("a", 1)
        assert told == [Change(ChangeKind.PUT, None, "a")]
        assert subscription.heard_at == -inf
        await clock.run(60.0)
        assert told[1:] == []
        away.is_away = False
        await clock.run(60.0)
        assert told[1:] == [LOST]
        assert subscription.heard_at == inf
        await away.put("b", 1)
        assert told[2:] == [Change(ChangeKind.PUT, None, "b")]
        await subscription.close()
        await there.put("c", 1)
        assert len(told) == 3
    assert asyncio.all_tasks() <= before


async def test_a_store_that_refuses_once_it_is_back_is_told_as_lost_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, before = ManualClock(), asyncio.all_tasks()
    away, refusing = Away(clock=clock), Away(clock=clock)
    layers = stack().replicate([away, refusing], write_quorum=2)
    async with layers.silence("quorums-do-not-overlap").over(MemoryStore(clock=clock)) as store:
        away.is_away = refusing.is_away = True
        told, subscription = await listen(store)
        refusing.is_away, refusing.refuses = False, True
        await clock.run(200.0)
        count = len(told)
        assert set(told) == {LOST}
        assert count >= 200 // 30
        assert subscription.heard_at == -inf
        (message,) = [each.message for each in caplog.records if "watched" in each.message]
        assert "it refuses" in message
        away.is_away = refusing.refuses = False  # the others were not given up
        await clock.run(60.0)
        assert set(told[count:]) == {LOST}
        assert subscription.heard_at == inf
        count = len(told)
        await clock.run(200.0)
        assert told[count:] == []
        await subscription.close()
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("hanging", [0, 1, 2])
async def test_who_gives_up_beginning_to_watch_leaves_nothing(hanging: int) -> None:
    stores, before = [Away() for _ in range(3)], asyncio.all_tasks()
    stores[hanging].hangs = True
    async with stack().shard(stores[1:]).over(stores[0]) as store:
        told: list[Change] = []
        beginning = asyncio.create_task(store.subscribe(Scope(), told.append))
        for _ in range(20):
            await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        for each in stores:
            await each.put_many(["a", "b", "c", "d", "e", "f"], range(6))
        assert told == []
    assert asyncio.all_tasks() <= before


async def test_nothing_is_left_if_no_store_can_be_watched() -> None:
    stores = [Away(), Away()]
    for store in stores:
        store.is_away = True
    async with stack().fallback(stores[1]).over(stores[0]) as store:
        with pytest.raises(StoreUnavailable, match="away"):
            await store.subscribe(Scope(), lambda change: None)
    stores = [Away(), Away()]
    stores[1].is_away = True
    async with stack().shard([stores[1]]).over(stores[0]) as store:
        told: list[Change] = []
        with pytest.raises(StoreUnavailable, match="away"):
            await store.subscribe(Scope(), told.append)
        await stores[0].put("a", 1)
        assert told == []


async def test_hashed_names_are_traced() -> None:
    backend = MemoryStore()
    layers = stack().hash_keys(b"s" * 16, collections=True).prefix_key("p/")
    async with layers.over(backend) as store:
        await store.put("a", 1, collection="c")
        ((origin, collection, key),) = store.trace("c", "a")
        assert origin is backend
        assert await backend.keys(collection) == [key]
