"""Atomic operations: conditional writes, increment, pop, move, get_or_put, and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from kvwrap import Capability, InvalidKey, InvalidValue, SerializationError, Store
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs, remaining


class Atomic(Contract):
    """Concurrent callers see each operation either done or not done, and lose no update."""

    @needs(Capability.COMPARE_AND_PUT)
    async def test_put_if_absent_succeeds_for_one_of_many_callers(self, store: Store) -> None:
        put = await asyncio.gather(*(store.put_if_absent("key", n, ttl=60) for n in range(20)))
        assert put.count(True) == 1
        assert await store.ttl("key") == (put.index(True), remaining(60))
        await store.put("none", None)
        assert not await store.put_if_absent("none", 1)
        await store.delete("key")
        assert await store.put_if_absent("key", "again")

    @needs(Capability.COMPARE_AND_PUT)
    async def test_compare_and_put_succeeds_for_one_of_many_callers(self, store: Store) -> None:
        await store.put_if_absent("key", "old")
        versioned = await store.get_versioned("key")
        assert versioned is not None
        assert versioned.value == "old"
        version = versioned.version
        assert not await store.compare_and_put("key", "wrong", version ^ 1)
        assert not await store.compare_and_put("missing", "new", version)
        assert await store.get("key") == "old"
        put = await asyncio.gather(
            *(store.compare_and_put("key", n, version, ttl=60) for n in range(20))
        )
        assert put.count(True) == 1
        assert await store.ttl("key") == (put.index(True), remaining(60))
        assert not await store.exists("missing")

    @needs(Capability.COMPARE_AND_PUT)
    async def test_putting_the_same_value_again_changes_the_version(self, store: Store) -> None:
        await store.put_if_absent("key", "same")
        first = await store.get_versioned("key")
        assert first is not None
        assert await store.get_versioned("key") == first
        await store.put("key", "same")
        assert not await store.compare_and_put("key", "new", first.version)
        await store.delete("key")
        await store.put("key", "same")
        assert not await store.compare_and_put("key", "new", first.version)
        assert await store.get("key") == "same"

    @needs(Capability.COMPARE_AND_PUT)
    async def test_a_conditional_write_that_is_repeated_succeeds_again(self, store: Store) -> None:
        """Its first answer may be lost. Its own entry must not make it fail then."""
        await store.put_if_absent("key", "value")
        entry = await _entry(store, "key")
        first = entry.with_expiry(None, entry.version ^ 1)
        second = entry.with_expiry(None, entry.version ^ 2)
        await store.delete("key")
        for _ in range(2):
            assert await store.write(None, ["key"], [first], [ABSENT]) == [True]
        assert await store.write(None, ["key"], [second], [ABSENT]) == [False]
        for _ in range(2):
            assert await store.write(None, ["key"], [second], [first.version]) == [True]
        assert await store.write(None, ["key"], [entry], [first.version]) == [False]
        assert await store.get("key") == "value"

    @needs(Capability.COMPARE_AND_PUT)
    async def test_a_conditional_write_may_keep_the_version(
        self, store: Store, clock: ManualClock
    ) -> None:
        # Renewals and rewrites do so. It is carried out, and revives no expired entry.
        await store.put_if_absent("key", "value", ttl=10)
        entry = await _entry(store, "key")
        later = entry.with_expiry(clock.time() + 50)
        assert await store.write(None, ["key"], [later], [entry.version]) == [True]
        assert await store.ttl("key") == ("value", remaining(50))
        assert await _version(store, "key") == entry.version
        clock.advance(51)
        later = entry.with_expiry(clock.time() + 50)
        assert await store.write(None, ["key"], [later], [entry.version]) == [False]
        assert not await store.exists("key")

    @needs(Capability.COMPARE_AND_PUT)
    async def test_a_batch_may_mix_conditions(self, store: Store) -> None:
        await store.put_many(["a", "b", "c"], ["a", "b", "c"])
        versions = [await _version(store, key) for key in "abc"]
        entries = [await _changed(store, key) for key in "abc"]
        expected = [None, versions[1] ^ 1, versions[2]]
        assert await store.write(None, ["a", "b", "c"], entries, expected) == [True, False, True]
        assert await _version(store, "b") == versions[1]
        assert await store.write(None, ["new", "a"], entries[:2], [ABSENT, ABSENT]) == [True, False]
        assert await store.write(None, ["a", "x"], entries[:2], [None, None]) == [True, True]

    async def test_the_results_of_calls_without_conditions(self, store: Store) -> None:
        await store.put_many(["a", "b"], ["a", "b"])
        entries = [await _changed(store, key) for key in "ab"]
        assert await store.write(None, ["a", "new"], entries) == [True, True]
        assert await store.write(None, ["a"], entries[:1]) == [True]
        assert await store.remove(None, ["a", "missing", "a", "b"]) == [True, False, False, True]

    @needs(Capability.COMPARE_AND_PUT)
    async def test_a_condition_is_of_one_key_in_one_collection(self, store: Store) -> None:
        """Put one entry, with its one version, in several places."""
        await store.put("a", "value")
        entry = await _entry(store, "a")
        places = [(None, "b"), ("c", "a"), ("d", "a"), ("c", "b")]
        for collection, key in places:
            await store.write(collection, [key], [entry])
        changed = entry.with_expiry(entry.expires_at, entry.version ^ 1)
        for other in ((entry.version + 1) % 2**64, (entry.version - 1) % 2**64):
            assert await store.write("c", ["a"], [changed], [other]) == [False]
        assert await store.write("c", ["a"], [changed], [entry.version]) == [True]
        assert await store.remove(None, ["a"], [entry.version]) == [True]
        assert not await store.exists("a")
        found = [
            (await _entry(store, key, collection)).version == entry.version
            for collection, key in places
        ]
        assert found == [True, False, True, True]

    @needs(Capability.COMPARE_AND_PUT)
    async def test_only_what_is_expected_is_removed(self, store: Store) -> None:
        await store.put_many(["a", "b", "c"], ["a", "b", "c"])
        versions = [await _version(store, key) for key in "abc"]
        others = [(version + 1) % 2**64 for version in versions]
        assert await store.remove(None, ["a", "b", "c"], others) == [False] * 3
        lower = [(version - 1) % 2**64 for version in versions]
        assert await store.remove(None, ["a", "b", "c"], lower) == [False] * 3
        assert await store.remove(None, ["a", "missing"], [versions[1], versions[0]]) == [False] * 2
        assert await store.remove(None, ["a", "missing"], [ABSENT, ABSENT]) == [False] * 2
        assert await store.get_many(["a", "b", "c"]) == ["a", "b", "c"]
        mixed = [versions[0], others[1], None]
        assert await store.remove(None, ["a", "b", "c"], mixed) == [True, False, True]
        assert await store.get_many(["a", "b", "c"]) == [None, "b", None]
        assert await store.remove(None, ["b", "b"], [versions[1], versions[1]]) == [True, False]

    @needs(Capability.COMPARE_AND_PUT)
    async def test_compare_and_delete_succeeds_for_one_of_many_callers(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.put_if_absent("key", "old", collection="x", ttl=60)
        version = await _version(store, "key", "x")
        for other in (version ^ 1, -1, 1 << 64):
            assert not await store.compare_and_delete("key", other, collection="x")
        assert not await store.compare_and_delete("missing", version, collection="x")
        assert await store.get("key", collection="x") == "old"
        deleted = await asyncio.gather(
            *(store.compare_and_delete("key", version, collection="x") for _ in range(20))
        )
        assert deleted.count(True) == 1
        assert not await store.exists("key", collection="x")
        # Neither what was put meanwhile nor what has expired has this version.
        await store.put("key", "new", collection="x", ttl=60)
        assert not await store.compare_and_delete("key", version, collection="x")
        version = await _version(store, "key", "x")
        clock.advance(61)
        assert not await store.compare_and_delete("key", version, collection="x")

    async def test_invalid_versions_are_refused(self, store: Store) -> None:
        for bad in ("1", 1.0, None, True, b"1", ABSENT):
            with pytest.raises(InvalidValue):
                await store.compare_and_put("key", 1, bad)  # type: ignore[arg-type]  # to be refused
            with pytest.raises(InvalidValue):
                await store.compare_and_delete("key", bad)  # type: ignore[arg-type]  # to be refused

    @needs(Capability.COMPARE_AND_PUT)
    async def test_no_increment_is_lost(self, store: Store) -> None:
        sums = await asyncio.gather(*(store.increment("key") for _ in range(50)))
        assert sorted(sums) == list(range(1, 51))
        assert await store.get("key") == 50

    @needs(Capability.COMPARE_AND_PUT)
    async def test_increment(self, store: Store, clock: ManualClock) -> None:
        assert await store.increment("a", 5, initial=10, ttl=100) == 15
        assert await store.increment("a", -20, initial=1000, ttl=5000) == -5
        assert await store.ttl("a") == (-5, remaining(100))
        assert await store.increment("big", 2**62) == 2**62
        assert await store.increment("big") == 2**62 + 1
        assert await store.increment("a", collection="other") == 1
        clock.advance(101)
        assert await store.increment("a") == 1
        assert await store.ttl("a") == (1, None)

    @needs(Capability.COMPARE_AND_PUT)
    async def test_only_integers_are_incremented(self, store: Store) -> None:
        assert await store.increment("number") == 1
        for value in ("1", 1.0, True, None, [1], {"a": 1}):
            await store.put("key", value)
            with pytest.raises(InvalidValue):
                await store.increment("key")
            assert await store.get("key") == value
        for bad in (1.5, True, "1", None):
            with pytest.raises(InvalidValue):
                await store.increment("number", bad)  # type: ignore[arg-type]  # to be refused
            with pytest.raises(InvalidValue):
                await store.increment("new", initial=bad)  # type: ignore[arg-type]  # to be refused
        assert await store.get_many(["number", "new"]) == [1, None]

    async def test_pop(self, store: Store) -> None:
        await store.put("a", {"n": 1}, collection="other")
        assert await store.pop("a") is None
        assert await store.pop("a", collection="other") == {"n": 1}
        assert await store.pop("a", {"n": 0}, collection="other") == {"n": 0}

    async def test_pop_returns_the_value_to_one_of_many_callers(self, store: Store) -> None:
        # Without compare-and-put, pop guarantees nothing to concurrent callers.
        callers = 20 if Capability.COMPARE_AND_PUT in store.capabilities else 1
        await store.put("key", "prize")
        popped = await asyncio.gather(*(store.pop("key", "nothing") for _ in range(callers)))
        assert sorted(popped) == ["nothing"] * (callers - 1) + ["prize"]
        assert not await store.exists("key")

    async def test_move(self, store: Store) -> None:
        await store.put("source", {"n": 1}, ttl=100)
        await store.put("target", {"n": 0})
        assert await store.move("source", "target")
        assert not await store.exists("source")
        assert await store.ttl("target") == ({"n": 1}, remaining(100))
        assert await store.move("target", "far", target_collection="other")
        assert not await store.exists("target")
        assert await store.ttl("far", collection="other") == (
            {"n": 1},
            remaining(100),
        )
        assert await store.move("far", "near", collection="other")
        assert await store.get("near", collection="other") == {"n": 1}

    async def test_moving_a_missing_key_and_moving_onto_itself(self, store: Store) -> None:
        await store.put("target", 1)
        assert not await store.move("missing", "target")
        assert not await store.move("missing", "missing")
        assert await store.move("target", "target")
        assert await store.move("target", "target", collection=None, target_collection=None)
        assert await store.get("target") == 1
        with pytest.raises(InvalidKey):
            await store.move("target", "other", target_collection="")
        assert await store.get("target") == 1

    async def test_get_or_put_calls_one_factory_at_a_time(self, store: Store) -> None:
        calls = 0

        async def factory() -> dict[str, int]:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.005)
            return {"call": calls}

        values = await asyncio.gather(
            *(store.get_or_put("key", factory, ttl=60) for _ in range(50))
        )
        assert values == [{"call": 1}] * 50
        assert calls == 1
        assert await store.ttl("key") == ({"call": 1}, remaining(60))
        values[0]["call"] = 2
        assert values[1] == {"call": 1}

    async def test_get_or_put_returns_what_get_would_return(self, store: Store) -> None:
        assert await store.get_or_put("key", lambda: (1, 2)) == [1, 2]
        assert await store.get_or_put("key", lambda: "unused") == [1, 2]
        assert await store.get_or_put("none", lambda: None) is None
        assert await store.exists("none")

    async def test_waiting_callers_share_the_error_of_a_factory(self, store: Store) -> None:
        calls = 0
        fails = True
        all_wait = asyncio.Event()

        async def factory() -> int:
            nonlocal calls
            calls += 1
            await all_wait.wait()
            if fails:
                raise LookupError(f"call {calls}")
            return calls

        read, have_read = store.read, set[asyncio.Task[Any] | None]()

        async def noted_read(collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            found = await read(collection, keys)
            have_read.add(asyncio.current_task())
            if len(have_read) == 5:  # each caller reads before it waits
                all_wait.set()
            return found

        with patch.object(store, "read", noted_read):
            callers = [asyncio.create_task(store.get_or_put("key", factory)) for _ in range(5)]
            async with asyncio.timeout(60):
                await all_wait.wait()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(result, LookupError) for result in results)
        assert calls == 1
        calls = 0
        with pytest.raises(LookupError, match="call 1"):
            await store.get_or_put("key", factory)
        fails = False
        assert await store.get_or_put("key", factory) == 2
        with pytest.raises(SerializationError):
            await store.get_or_put("bad", set)
        assert await store.get_or_put("bad", dict) == {}

    async def test_after_a_cancelled_factory_the_next_caller_runs_its_own(
        self, store: Store
    ) -> None:
        started = asyncio.Event()

        async def never() -> Any:
            started.set()
            await asyncio.Event().wait()

        first = asyncio.create_task(store.get_or_put("key", never))
        await started.wait()
        others = [asyncio.create_task(store.get_or_put("key", lambda: "value")) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        async with asyncio.timeout(30):
            assert await asyncio.gather(*others) == ["value"] * 3

    async def test_cancellation_at_any_point_leaves_the_store_consistent(
        self, store: Store
    ) -> None:
        conditional = Capability.COMPARE_AND_PUT in store.capabilities
        for turns in range(8):
            await store.put("key", "old")
            await store.put("count", 0)
            tasks = [
                asyncio.create_task(store.put("key", "new")),
                asyncio.create_task(store.get("key")),
                asyncio.create_task(store.put_many(["key", "other"], ["new", "new"])),
                asyncio.create_task(store.get_many(["key", "other"])),
                asyncio.create_task(store.get_or_put("computed", lambda: "new")),
                asyncio.create_task(store.expire("key", 100)),
                asyncio.create_task(store.delete("other")),
            ]
            if conditional:
                tasks.append(asyncio.create_task(store.increment("count")))
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, BaseException):
                    assert isinstance(result, asyncio.CancelledError)
            async with asyncio.timeout(30):
                assert await store.get("key") in ("old", "new")
                assert await store.get_or_put("computed", lambda: "new") == "new"
                if conditional:
                    count = await store.get("count")
                    assert count in (0, 1)
                    assert await store.increment("count") == count + 1
                await store.put("key", "newest")
                assert await store.get("key") == "newest"


async def _entry(store: Store, key: str, collection: str | None = None) -> Entry:
    (entry,) = await store.read(collection, [key])
    assert entry is not None
    return entry


async def _version(store: Store, key: str, collection: str | None = None) -> int:
    versioned = await store.get_versioned(key, collection=collection)
    assert versioned is not None
    return versioned.version


async def _changed(store: Store, key: str) -> Entry:
    """Return the entry of a key as another write would have put it."""
    entry = await _entry(store, key)
    return entry.with_expiry(entry.expires_at, entry.version ^ 4)
