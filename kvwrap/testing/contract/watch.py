"""Watching for changes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from kvwrap import ALL, Capability, Change, ChangeKind, InvalidKey, Store, StoreUnavailable, Watch
from kvwrap.core.changes import Scope
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs

PATIENCE = 60
"""Seconds for a change to arrive, on a machine that runs many tests at once."""

Told = Callable[[list[Change]], bool]


async def read_until(changes: Watch, is_enough: Told) -> list[Change]:
    """Return the changes that are told, up to the first with which they are enough."""
    told: list[Change] = []
    async with asyncio.timeout(PATIENCE):
        while not is_enough(told):
            told.append(await anext(changes))
    return told


def _last_is(*names: object) -> Told:
    """Return True once the last change is one of this collection and key, or `LOST`."""
    return lambda told: (
        bool(told)
        and ((told[-1].collection, told[-1].key) == names or told[-1].kind is ChangeKind.LOST)
    )


def _has(*wanted: tuple[object, object]) -> Told:
    """Return True once all these have been told, or `LOST`."""
    return lambda told: set(wanted) <= _names(told) or any(c.kind is ChangeKind.LOST for c in told)


def _names(told: list[Change]) -> set[tuple[object, object]]:
    return {(change.collection, change.key) for change in told if change.key is not None}


_PUT = {ChangeKind.PUT, ChangeKind.CHANGED}
_GONE = {ChangeKind.REMOVED, ChangeKind.CHANGED}


class Watching(Contract):
    """`watch` tells what changes, under the names that the user knows.

    Attributes:
        tells_names: False if the backend tells only that something has changed (`LOST`).
    """

    tells_names: bool = True

    @needs(Capability.WATCH)
    async def test_what_changes_is_told(self, store: Store) -> None:
        default = store.default_collection
        async with store.watch() as changes:
            await store.put("a", 1)
            await store.put_many(["b", "c"], [2, 3], collection="there", ttl=50)
            told = await read_until(changes, _has((default, "a"), ("there", "b"), ("there", "c")))
            if not self.tells_names:
                return
            assert {change.kind for change in told} <= _PUT
            assert await store.delete("a")
            told = await read_until(
                changes,
                lambda told: any(each.key == "a" and each.kind in _GONE for each in told),
            )
            await store.put("a", 2)
            await read_until(changes, _last_is(default, "a"))
            assert await store.expire("b", 500, collection="there")
            told = await read_until(changes, _last_is("there", "b"))
            assert told[-1].kind in _PUT
            assert await store.put_if_absent("new", 1)
            assert not await store.put_if_absent("new", 2)
            assert await store.increment("n") == 1
            told = await read_until(changes, _last_is(default, "n"))
            assert (default, "new") in _names(told)

    @needs(Capability.WATCH)
    async def test_a_collection_and_a_prefix_limit_what_is_told(self, store: Store) -> None:
        default = store.default_collection
        async with (
            store.watch(collection="there", prefix="k:") as both,
            store.watch(collection=None) as of_default,
            store.watch(prefix="k:") as of_prefix,
        ):
            for collection in ("other", None, "there"):
                await store.put_many(["a", "k:1", "é"], [1, 2, 3], collection=collection)
            await store.put_many(["k:end", "end"], [0, 0], collection="there")
            await store.put_many(["k:end", "end"], [0, 0])
            for changes, wanted in (
                (both, {("there", "k:1"), ("there", "k:end")}),
                (
                    of_default,
                    {(default, "a"), (default, "k:1"), (default, "é"), (default, "end")},
                ),
                (of_prefix, {("other", "k:1"), (default, "k:1"), ("there", "k:1")}),
            ):
                told = await read_until(changes, _has(*wanted))
                allowed = wanted | {("there", "k:end"), (default, "k:end")}
                assert _names(told) <= allowed

    @needs(Capability.WATCH)
    async def test_an_expired_entry_is_told_as_that_if_at_all(
        self, store: Store, clock: ManualClock
    ) -> None:
        default = store.default_collection
        await store.put_many(["a", "b"], [1, 2], ttl=[5, 50])
        if Capability.KEYS in store.capabilities:
            assert await store.count() == 2  # what a layer sends later has been sent
        async with store.watch() as changes:
            clock.advance(10)
            await store.cull()
            assert await store.get_many(["a", "b"]) == [None, 2]
            await store.put("end", 1)
            told = await read_until(changes, _last_is(default, "end"))
            assert {change.kind for change in told if change.key == "a"} <= {
                ChangeKind.EXPIRED,
                ChangeKind.CHANGED,
                ChangeKind.REMOVED,
            }
            assert "b" not in {change.key for change in told}

    @needs(Capability.WATCH, Capability.DESTROY_COLLECTION, Capability.DESTROY)
    async def test_a_dropped_collection_is_told_in_whole_or_by_key(self, store: Store) -> None:
        await store.put_many(["a", "b"], [1, 2], collection="there")
        for drops_all in (False, True):
            await store.put_many(["a", "b"], [1, 2], collection="there")
            async with store.watch(collection="there") as changes:
                drop = store.destroy() if drops_all else store.destroy_collection("there")
                assert await drop
                await read_until(
                    changes,
                    lambda told: any(
                        each.kind is ChangeKind.LOST or each.kind in _GONE for each in told
                    ),
                )

    @needs(Capability.WATCH)
    async def test_the_records_of_layers_are_not_told(self, store: Store) -> None:
        default = store.default_collection
        await store.put("a", 1)
        (entry,) = await store.read(default, ["a"])
        assert entry is not None
        async with store.watch() as changes:
            await store.write("kvwrap.records", ["r"], [entry])
            if not any("renames" in part.traits for part in store.parts):
                await store.write(default, ["kvwrap.record"], [entry])
            await store.put("end", 1)
            told = await read_until(changes, _last_is(default, "end"))
            assert _names(told) <= {(default, "a"), (default, "end")}
        for wanted in ({"collection": "kvwrap.records"}, {"prefix": "kvwrap."}, {"prefix": 7}):
            with pytest.raises(InvalidKey):
                store.watch(**wanted)
        for scope in (Scope("kvwrap.records"), Scope(reserved=True)):
            await store.remove("kvwrap.records", ["r"])  # to write what is there changes nothing
            arrived: asyncio.Queue[Change] = asyncio.Queue()
            subscription = await store.subscribe(scope, arrived.put_nowait)
            await store.write("kvwrap.records", ["r"], [entry])
            async with asyncio.timeout(PATIENCE):
                while (change := await arrived.get()).key == "end":
                    pass
            assert _names([change]) <= {("kvwrap.records", "r")}
            await subscription.close()
            await subscription.close()

    @needs(Capability.WATCH)
    async def test_several_watch_until_they_end(self, store: Store) -> None:
        default = store.default_collection
        first, second = store.watch(), store.watch(collection=ALL)
        async with first, second:
            await store.put("a", 1)
            for changes in (first, second):
                await read_until(changes, _last_is(default, "a"))
            await first.aclose()
            await first.aclose()
            assert [change async for change in first] == []
            await store.put("b", 1)
            await read_until(second, _last_is(default, "b"))
        waiting = asyncio.ensure_future(anext(changes := store.watch()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with changes:
            await store.put("c", 1)
            await read_until(changes, _last_is(default, "c"))

    @needs(Capability.WATCH)
    async def test_a_watch_that_nobody_has_any_more_ends(self, store: Store) -> None:
        await store.put("a", 0)  # connected, which may begin tasks for as long as the store is open
        before = asyncio.all_tasks()
        abandoned = [store.watch() for _ in range(20)]
        await asyncio.gather(*(each.open() for each in abandoned))
        abandoned.clear()
        async with store.watch() as changes:
            await store.put("a", 1)
            await read_until(changes, _last_is(store.default_collection, "a"))
        gc.collect()
        async with asyncio.timeout(PATIENCE):
            while ended := asyncio.all_tasks() - before:
                await asyncio.wait(ended)

    @needs(Capability.WATCH)
    async def test_closing_the_store_ends_its_watches(self, store: Store) -> None:
        changes = store.watch()
        await changes.open()
        waiting = asyncio.ensure_future(anext(store.watch()))
        await asyncio.sleep(0)
        while store.users:
            await store.close()
        for call in (waiting, anext(changes), anext(store.watch())):
            with pytest.raises(StoreUnavailable):
                await call
        await store.open()
        async with store.watch() as changes:
            await store.put("a", 1)
            await read_until(changes, _last_is(store.default_collection, "a"))

    async def test_the_backends_of_an_entry_are_known(self, store: Store) -> None:
        await store.put("key", "value", collection="there")
        origins = store.trace("there", "key")
        assert origins

        async def has_it() -> bool:
            entries = [await origin.read(there, [key]) for origin, there, key in origins]
            return any(entry is not None for (entry,) in entries)

        async with asyncio.timeout(PATIENCE):
            # A layer may send it later.
            while not await has_it():  # noqa: ASYNC110  # what is awaited tells nobody
                await asyncio.sleep(0.001)
