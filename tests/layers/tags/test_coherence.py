"""Invalidations by other processes, here other stacks: when they are seen, and what that costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import MemoryStore, Passthrough, Stack, Store, StoreUnavailable, Tags, stack
from kvwrap.core.changes import LOST, Listener, Scope, Subscription
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import SECRET, Counting, tagged, unwatched


class Cuts(Passthrough):
    """Keeps changes back while `is_cut`, as a link that was lost does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False
        self.listeners: list[Listener] = []

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        self.listeners.append(listener)
        return await self.inner.subscribe(
            scope, lambda change: None if self.is_cut else listener(change)
        )

    def trace(self, collection, key):  # type: ignore[no-untyped-def]
        return ((self, collection, key),)


def over(base: Store, inside: Stack | None = None) -> Store:
    return ((stack().tags(SECRET) + (inside or stack())).layer(Counting())).over(base)


@pytest.mark.parametrize(
    "inside",
    [
        stack(),
        stack().hash_keys(b"h" * 16, collections=True),
        stack().prefix_collection("p-").single_collection("all"),
        stack().read_through(MemoryStore),
    ],
    ids=["bare", "hashed", "renamed", "near"],
)
async def test_where_changes_are_told_it_is_seen_at_once(clock: ManualClock, inside: Stack) -> None:
    base = MemoryStore(clock=clock)
    async with over(base, inside) as one, over(base, inside) as other:
        await one.put("a", 1, tags=["t"])
        for _ in range(3):
            assert await one.get("a") == await other.get("a") == 1
            await other.find(Tags).invalidate("t")
            assert await one.get("a") is await other.get("a") is None
            await one.put("a", 1, tags=["t"])
        await other.find(Tags).clear()
        assert await one.get("a") is None


async def test_where_they_are_not_it_is_seen_within_a_second(clock: ManualClock) -> None:
    base = unwatched(clock)
    async with over(base) as one, over(base) as other:
        await one.put("a", 1, tags=["t"])
        assert await one.get("a") == await other.get("a") == 1
        await other.find(Tags).invalidate("t")
        assert await other.get("a") is None
        clock.advance(1)
        assert await one.get("a") is None


async def test_copies_of_records_in_a_near_store_are_not_used(clock: ManualClock) -> None:
    base = unwatched(clock)
    near = stack().read_through(lambda: MemoryStore(clock=clock), ttl=600, coherence="ttl")
    async with over(base, near) as one, over(base, near) as other:
        await one.put("a", 1, tags=["t"])
        assert await one.get("a") == await other.get("a") == 1
        await other.find(Tags).invalidate("t")
        clock.advance(1)
        assert await one.get("a") is await other.get("a") is None


async def test_an_invalid_copy_does_not_hide_what_replaced_it(clock: ManualClock) -> None:
    base = unwatched(clock)
    near = stack().read_through(lambda: MemoryStore(clock=clock), ttl=600, coherence="ttl")
    async with over(base, near) as one, over(base, near) as other:
        await one.put("a", 1, tags=["t"])
        assert await one.get("a") == 1
        await other.find(Tags).invalidate("t")
        await other.put("a", 2, tags=["t"])
        clock.advance(1)
        assert await one.get_many(["a", "b"]) == [2, None]


async def test_after_a_loss_records_are_read_again(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    async with over(base, stack(Cuts())) as one, over(base) as other:
        cuts = one.find(Cuts)
        await one.put("a", 1, tags=["t"])
        clock.advance(1)
        assert await one.get("a") == 1
        cuts.is_cut = True
        await other.find(Tags).invalidate("t")
        assert await one.get("a") == 1  # as told
        for listener in cuts.listeners:
            listener(LOST)
        assert await one.get("a") is None


async def test_a_hit_reads_no_record(clock: ManualClock) -> None:
    async with tagged(clock) as store:
        await store.put("a", 1, tags=["t", "u"])
        clock.advance(5)
        await store.get("a")  # reads the records again, whose changes are told from now on
        calls = store.find(Counting).calls
        calls.clear()
        for _ in range(3):
            clock.advance(100)
            assert await store.get("a") == 1
        assert calls == {"read": 3}
        calls.clear()
        await store.put("b", 1, tags=["t"])
        assert calls == {"write": 1}


async def test_a_hit_of_what_has_no_tags_reads_no_record(clock: ManualClock) -> None:
    async with tagged(clock) as store:
        await store.base.put("a", 1)  # before the stack had tags
        await store.get("a")
        calls = store.find(Counting).calls
        calls.clear()
        for _ in range(3):
            clock.advance(100)
            assert await store.get("a") == 1
        assert calls == {"read": 3}


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("a"),
        lambda store: store.get_many(["a", "b"]),
        lambda store: store.put("b", 1, tags=["t"]),
        lambda store: store.find(Tags).invalidate("t"),
        lambda store: store.find(Tags).expire("t"),
        lambda store: store.find(Tags).clear(),
    ],
)
async def test_the_first_call_opens_the_layer(clock: ManualClock, call: Any) -> None:
    base = MemoryStore(clock=clock)
    async with base, over(base) as other:
        await other.put("a", 1, tags=["t"])
        store = over(base)
        await call(store)
        assert store.find(Tags).is_open
        await store.close()
        assert store.find(Tags).is_closed


async def test_all_records_of_a_batch_are_read_at_once(clock: ManualClock) -> None:
    base = unwatched(clock)
    keys = [str(number) for number in range(50)]
    async with over(base) as store:
        for key in keys:
            await store.put(key, key, tags=[key, "all"])
        clock.advance(1)
        calls = store.find(Counting).calls
        calls.clear()
        assert await store.get_many(keys) == keys
        assert calls == {"read": 1, "read of records": 1}


async def test_a_change_during_a_read_of_records_is_not_missed(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Passthrough):
        async def read(self, collection, keys):  # type: ignore[no-untyped-def]
            entries = await self.inner.read(collection, keys)
            if collection == "kvwrap.tags" and not go_on.is_set():
                begun.set()
                await go_on.wait()
            return entries

    async with over(base) as other, over(base, stack(Slow())) as one:
        await other.put("a", 1, tags=["t"])
        reading = asyncio.create_task(one.get("a"))
        await begun.wait()
        await other.find(Tags).invalidate("t")
        go_on.set()
        assert await reading == 1  # as when it began
        clock.advance(1)
        assert await one.get("a") is None


async def test_an_own_invalidation_is_seen_when_it_returns(clock: ManualClock) -> None:
    async with over(unwatched(clock)) as store:
        await store.put("a", 1, tags=["t"])
        assert await store.get("a") == 1
        await store.find(Tags).invalidate("t")
        assert await store.get("a") is None


async def test_a_failed_invalidation_may_have_happened(clock: ManualClock) -> None:
    store = tagged(clock)
    await store.put("a", 1, tags=["t"])
    counting = store.find(Counting)
    counting.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.find(Tags).invalidate("t")
    clock.advance(1)
    with pytest.raises(StoreUnavailable):
        await store.put("b", 2, tags=["never used"])
    counting.error = None
    assert await store.get("a") == 1
    await store.find(Tags).invalidate("t")
    assert await store.get("a") is None


async def test_concurrent_first_uses_of_a_tag_agree(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    stores = [over(base) for _ in range(4)]
    await asyncio.gather(*(each.put(str(n), n, tags=["t"]) for n, each in enumerate(stores)))
    for each in stores:
        assert await each.get_many(["0", "1", "2", "3"]) == [0, 1, 2, 3]
    await stores[0].find(Tags).invalidate("t")
    for each in stores:
        assert await each.keys() == []


def test_it_works_in_one_event_loop_after_another(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    one, other = over(base), over(base)

    async def put() -> None:
        await one.put("a", 1, tags=["t"])
        assert await other.get("a") == 1

    async def invalidate() -> None:
        await other.find(Tags).invalidate("t")
        clock.advance(1)  # changes are told in the loop that ended
        assert await one.get("a") is None

    for _ in range(2):
        asyncio.run(put())
        asyncio.run(invalidate())


async def test_closing_ends_the_subscription(clock: ManualClock) -> None:
    closed = []

    class Ends(Passthrough):
        async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
            subscription = await self.inner.subscribe(scope, listener)
            close = subscription.close

            async def tell() -> None:
                closed.append(scope)
                await close()

            subscription.close = tell  # type: ignore[method-assign]
            return subscription

        def trace(self, collection, key):  # type: ignore[no-untyped-def]
            return ((self, collection, key),)

    store = over(MemoryStore(clock=clock), stack(Ends()))
    await store.put("a", 1, tags=["t"])
    await store.close()
    assert [(scope.collection, scope.bound) for scope in closed] == [("kvwrap.tags", 1.0)]


def test_the_staleness_is_told(clock: ManualClock) -> None:
    assert "seen when it is told, after at most 1 s" in over(MemoryStore()).explain()
    text = over(unwatched(clock)).explain()
    assert "seen 1 s later at most, since MappingStore cannot tell changes" in text


async def test_a_backend_that_tells_no_names_is_read_again_after_a_second(
    clock: ManualClock,
) -> None:
    class Vague(MemoryStore):
        traits = frozenset({"tells_loss_only"})

    base = Vague(clock=clock)
    async with over(base) as one, over(base) as other:
        assert "since Vague tells that something has changed, and not what" in one.explain()
        await one.put("a", 1, tags=["t"])
        assert await one.get("a") == 1
        one.find(Counting).calls.clear()
        await other.put("b", 1)
        assert await one.get("a") == 1
        assert one.find(Counting).calls == {"read": 1}
        await other.find(Tags).invalidate("t")
        clock.advance(1)
        assert await one.get("a") is None
