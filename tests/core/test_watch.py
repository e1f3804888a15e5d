"""`store.watch`: its buffer, its end, and a thousand of them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest

from kvwrap import (
    ALL,
    Capability,
    Change,
    ChangeKind,
    MemoryStore,
    StoreUnavailable,
    UnsupportedOperation,
    adapt,
    stack,
)
from kvwrap.core.changes import LOST, Listener, Scope, Subscription

pytestmark = pytest.mark.asyncio


class Counting(MemoryStore):
    """Counts the subscriptions that are open."""

    open_subscriptions = 0

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        self.open_subscriptions += 1
        return Counted(self, await super().subscribe(scope, listener))


class Counted:
    def __init__(self, store: Counting, subscription: Subscription) -> None:
        self._store, self._subscription = store, subscription

    @property
    def heard_at(self) -> float:
        return self._subscription.heard_at

    async def close(self) -> None:
        self._store.open_subscriptions -= 1
        await self._subscription.close()


async def test_a_slow_reader_gets_lost_and_what_came_after_it() -> None:
    async with MemoryStore() as store, store.watch() as changes:
        keys = [f"k{number}" for number in range(1_000)]
        await store.put_many(keys, keys)
        assert [change.key for change in await changes.next_changes()] == keys
        await store.put_many([*keys, "over", "after"], [0] * 1_002)
        assert await changes.next_changes() == [LOST, Change(ChangeKind.PUT, None, "after")]


async def test_a_loss_takes_the_place_of_what_was_not_read() -> None:
    async with MemoryStore() as store, store.watch() as changes:
        await store.put_many(["a", "b"], [1, 2], collection="c")
        await store.destroy_collection("c")
        await store.put("c", 1)
        await store.destroy()
        await store.put("d", 1)
        assert await changes.next_changes() == [LOST, Change(ChangeKind.PUT, None, "d")]


async def test_a_thousand_watches_leave_nothing() -> None:
    async with Counting() as backend, stack().prefix_key("p/").over(backend) as store:
        before = asyncio.all_tasks()

        async def watch(seen: list[object]) -> None:
            async for change in store.watch():
                seen.append(change.key)

        seen: list[object] = []
        tasks = [asyncio.create_task(watch(seen)) for _ in range(1000)]
        while backend.open_subscriptions < 1000:
            await asyncio.sleep(0)
        await store.put("a", 1)
        while len(seen) < 1000:
            await asyncio.sleep(0)
        assert seen == ["a"] * 1000
        assert all(task.cancel() for task in tasks)
        await asyncio.wait(tasks)
        tasks.clear()
        gc.collect()
        while backend.open_subscriptions or not asyncio.all_tasks() <= before:
            await asyncio.sleep(0)


async def test_breaking_off_ends_the_watch() -> None:
    async with Counting() as store:
        task = asyncio.create_task(_first(store))
        while not store.open_subscriptions:
            await asyncio.sleep(0)
        await store.put("a", 1)
        assert await task == "a"
        while store.open_subscriptions:
            await asyncio.sleep(0)


async def _first(store: MemoryStore) -> str | None:
    async for change in store.watch():
        return change.key
    return None


async def test_a_wait_that_was_cancelled_is_repeated() -> None:
    async with MemoryStore() as store, store.watch() as changes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(changes)
        await store.put("a", 1)
        assert (await anext(changes)).key == "a"


async def test_closing_while_it_begins() -> None:
    backend = Counting()
    async with stack().route({"x": MemoryStore}).over(backend) as store:
        waiting = asyncio.create_task(anext(store.watch()))
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting
    while backend.open_subscriptions:
        await asyncio.sleep(0)


async def test_after_its_end_there_is_nothing() -> None:
    async with Counting() as store:
        async with store.watch() as changes:
            await changes.open()  # once more does nothing
            assert store.open_subscriptions == 1
            await store.put("a", 1)
        assert not store.open_subscriptions
        await changes.open()
        assert not store.open_subscriptions
        assert await changes.next_changes() == []
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        await changes.aclose()


async def test_a_watch_that_could_not_begin_outlives_its_store() -> None:
    class Failing(MemoryStore):
        fails = True

        async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
            if self.fails:
                raise StoreUnavailable("gone")
            return await super().subscribe(scope, listener)

    store = Failing()
    async with store:
        changes = store.watch()
        with pytest.raises(StoreUnavailable, match="gone"):
            await changes.open()
    store.fails = False
    async with store, changes:
        await store.put("a", 1)
        assert (await anext(changes)).key == "a"


class LosingAtItsEnd(MemoryStore):
    """Tells a loss when its subscription is closed, as one of several stores does."""

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        subscription = await super().subscribe(scope, listener)

        class Losing:
            heard_at = subscription.heard_at

            async def close(self) -> None:
                listener(LOST)
                await subscription.close()

        return Losing()


async def test_what_is_told_of_a_store_that_closes_is_not_read() -> None:
    async with LosingAtItsEnd() as store:
        changes = store.watch()
        await changes.open()
    with pytest.raises(StoreUnavailable, match="closed"):
        await anext(changes)


async def test_a_store_that_is_collected_with_its_watches() -> None:
    store = MemoryStore()
    changes = store.watch()
    await changes.open()
    gone = weakref.ref(store)
    del store, changes
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_what_cannot_watch_says_which_part() -> None:
    for store, part in (
        (stack().hash_keys(b"s" * 32).over(MemoryStore()), "HashedKey"),
        (stack().prefix_key("a-").over(adapt({})), "MappingStore"),
        (stack().fallback(lambda: adapt({})).over(MemoryStore()), "MappingStore"),
    ):
        assert Capability.WATCH not in store.capabilities
        with pytest.raises(UnsupportedOperation) as raised:
            await anext(store.watch())
        assert raised.value.store in {part, "PrefixKey", "Fallback"}


@pytest.mark.parametrize(
    ("scope", "told", "untold"),
    [
        (Scope(), [(None, "a"), ("c", "a")], [("kvwrap.x", "a"), (None, "kvwrap.x")]),
        (Scope(None), [(None, "a")], [("c", "a"), (None, "kvwrap.x")]),
        (Scope("c", "k:"), [("c", "k:")], [("c", "k"), (None, "k:"), ("c", "kvwrap.k:")]),
        (Scope(ALL, "kvwrap."), [("c", "kvwrap.x"), ("kvwrap.c", "kvwrap.x")], [("c", "a")]),
        (Scope("kvwrap.c"), [("kvwrap.c", "a"), ("kvwrap.c", "kvwrap.a")], [("kvwrap.d", "a")]),
        (Scope(reserved=True), [(None, "a"), ("kvwrap.c", "a"), (None, "kvwrap.a")], []),
    ],
)
async def test_a_scope_covers_what_it_names(
    scope: Scope,
    told: Sequence[tuple[str | None, str]],
    untold: Sequence[tuple[str | None, str]],
) -> None:
    assert [names for names in (*told, *untold) if scope.covers(*names)] == list(told)


async def test_memory_tells_what_it_evicts_and_what_expires() -> None:
    for store in (MemoryStore(max_entries=2), MemoryStore(max_entries_per_collection=2)):
        async with store, store.watch() as changes:
            await store.put_many(["a", "b", "c"], [1, 2, 3])
            kinds = [(change.kind, change.key) for change in await changes.next_changes()]
            assert kinds[:2] == [(ChangeKind.PUT, "a"), (ChangeKind.PUT, "b")]
            assert (ChangeKind.REMOVED, "a") in kinds
            assert (ChangeKind.PUT, "c") in kinds


async def test_all_shows_as_it_is_written() -> None:
    assert repr(ALL) == "kvwrap.ALL"
