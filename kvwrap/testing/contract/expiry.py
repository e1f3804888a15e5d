"""Expiry: valid and invalid ttls, and entries that are missing once they have expired."""

from __future__ import annotations

import datetime
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from kvwrap import Capability, InvalidBatch, InvalidTTL, KeyNotFound, Store
from kvwrap.core.primitives import ABSENT
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, needs, remaining

INVALID_TTLS: tuple[Any, ...] = (
    *(0, 0.0, -0.0, -1, -0.5, math.nan, math.inf, -math.inf, True, False, 10**400),
    *(Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Fraction(0)),
    *("5", "", b"5", [], {}, (1,), 1j, object(), NotImplemented),
    *(datetime.timedelta(0), datetime.timedelta(seconds=-1)),
    datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC),
)
"""Values that are not a valid ttl."""

TTLS: tuple[Any, ...] = (*(60, 60.0, Decimal(60), Fraction(60), datetime.timedelta(minutes=1)),)
"""One minute, in every type of ttl."""


class Expiry(Contract):
    """An entry lives exactly as long as its ttl says."""

    async def test_an_invalid_ttl_is_refused_and_nothing_is_written(self, store: Store) -> None:
        def never() -> None:
            pytest.fail("the ttl must be checked before the value is computed")

        calls: list[Callable[[Any], Awaitable[Any]]] = [
            lambda ttl: store.put("key", 1, ttl=ttl),
            lambda ttl: store.put_many(["key", "k"], [1, 1], ttl=[None, ttl]),
            lambda ttl: store.put_if_absent("key", 1, ttl=ttl),
            lambda ttl: store.compare_and_put("key", 1, 2, ttl=ttl),
            lambda ttl: store.increment("key", ttl=ttl),
            lambda ttl: store.expire("key", ttl),
            lambda ttl: store.get_or_put("key", never, ttl=ttl),
        ]
        for bad in INVALID_TTLS:
            for call in calls:
                with pytest.raises(InvalidTTL) as raised:
                    await call(bad)
                assert isinstance(raised.value, ValueError)
        for bad in INVALID_TTLS:
            # A sequence has a ttl for each key: see below.
            if not isinstance(bad, list | tuple):
                for keys in (["key"], []):
                    with pytest.raises(InvalidTTL):
                        await store.put_many(keys, keys, ttl=bad)
        assert not await store.exists("key")

    async def test_every_type_of_ttl(self, store: Store, clock: ManualClock) -> None:
        for ttl in TTLS:
            await store.put("key", 1, ttl=ttl)
            assert await store.ttl("key") == (1, remaining(60))
        await store.put("key", 1)
        assert await store.ttl("key") == (1, None)
        await store.put("key", 1, ttl=1e300)
        clock.advance(1e9)
        assert await store.get("key") == 1

    async def test_every_key_of_a_batch_may_have_its_own_ttl(
        self, store: Store, clock: ManualClock
    ) -> None:
        ttls = [5, None, 60.0, datetime.timedelta(seconds=30), 5, None]
        keys = ["a", "b", "c", "d", "e", "a"]
        await store.put_many(keys, [1, 2, 3, 4, 5, 6], ttl=ttls, collection="x")
        found = await store.ttl_many(["a", "b", "c", "d", "e"], collection="x")
        assert found == [
            (6, None),
            (2, None),
            (3, remaining(60)),
            (4, remaining(30)),
            (5, remaining(5)),
        ]
        clock.advance(6)
        assert await store.get_many(keys, collection="x") == [6, 2, 3, 4, None, 6]
        await store.put_many((), (), ttl=())
        await store.put_many(["c"], [7], ttl=iter([5]), collection="x")  # type: ignore[arg-type]  # an iterator
        assert await store.ttl("c", collection="x") == (7, remaining(5))

    async def test_an_invalid_ttl_among_several_is_refused_and_nothing_is_written(
        self, store: Store
    ) -> None:
        for ttls in ([5], [5, 5, 5], (), [[5, 5], [5, 5], 5]):
            with pytest.raises((InvalidBatch, InvalidTTL)):
                await store.put_many(["a", "b"], [1, 2], ttl=ttls)  # type: ignore[arg-type]  # to be refused
        for bad in ("55", b"55", {5: 5, 6: 6}, {5, 6}):
            with pytest.raises(InvalidTTL):
                await store.put_many(["a", "b"], [1, 2], ttl=bad)  # type: ignore[arg-type]  # to be refused
        for bad in INVALID_TTLS:
            with pytest.raises(InvalidTTL) as raised:
                await store.put_many(["a", "b"], [1, 2], ttl=[None, bad])
            assert raised.value.key == "b"
        assert await store.get_many(["a", "b"]) == [None, None]

    async def test_the_remaining_ttl_never_exceeds_the_ttl_given(
        self, store: Store, clock: ManualClock
    ) -> None:
        for _ in range(20):
            clock.advance(0.0123456)
            await store.put_many(["a", "b"], [1, 1], ttl=60)
            await store.put("c", 1)
            await store.expire("c", 60)
            for _, seconds in await store.ttl_many(["a", "b", "c"]):
                assert seconds is not None
                assert 59.99 < seconds <= 60.00001

    async def test_ttl_counts_down(self, store: Store, clock: ManualClock) -> None:
        await store.put_many(["a", "b"], [1, 2], ttl=100)
        await store.put("c", 3)
        clock.advance(40)
        remaining_ttls = await store.ttl_many(["a", "b", "c", "d"])
        assert remaining_ttls == [
            (1, remaining(60)),
            (2, remaining(60)),
            (3, None),
            (None, None),
        ]
        assert await store.ttl("a") == remaining_ttls[0]

    async def test_every_method_treats_an_expired_entry_as_missing(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.put_many(["a", "b", "c", "d"], [1, 1, 1, 1], ttl=10)
        await store.put("stays", 2)
        clock.advance(9.9)
        assert await store.get_many(["a", "b", "c", "d"]) == [1, 1, 1, 1]
        clock.advance(0.2)
        assert await store.get("a") is None
        assert await store.get_many(["a", "stays"]) == [None, 2]
        assert await store.ttl("a") == (None, None)
        assert await store.ttl_many(["stays", "a"]) == [(2, None), (None, None)]
        assert not await store.exists("a")
        with pytest.raises(KeyNotFound):
            await store.require("a")
        assert await store.pop("a", "default") == "default"
        assert await store.get_versioned("a") is None
        assert not await store.expire("b", 100)
        assert not await store.move("b", "target")
        assert not await store.exists("target")
        assert not await store.delete("b")
        assert await store.delete_many(["b", "c", "stays"]) == 1
        assert await store.get_or_put("d", lambda: 3) == 3

    @needs(Capability.KEYS)
    async def test_expired_keys_are_not_listed(self, store: Store, clock: ManualClock) -> None:
        await store.put_many(["a", "b"], [1, 1], ttl=10)
        await store.put_many(["c", "d"], [2, 2], ttl=30)
        clock.advance(20)
        assert sorted(await store.keys()) == ["c", "d"]
        assert [key async for key in store.scan(prefix="a")] == []
        assert {key: value async for key, value in store.items()} == {"c": 2, "d": 2}
        assert len(await store.keys(limit=1)) == 1

    @needs(Capability.COMPARE_AND_PUT)
    async def test_an_expired_entry_does_not_block_conditional_writes(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.put_many(["a", "b", "c"], [1, 5, 1], ttl=10)
        versioned = await store.get_versioned("c")
        assert versioned is not None
        clock.advance(11)
        assert await store.put_if_absent("a", 2)
        assert await store.get("a") == 2
        assert await store.increment("b") == 1
        assert not await store.compare_and_put("c", 2, versioned.version)
        assert not await store.exists("c")

    async def test_a_put_replaces_the_ttl_too(self, store: Store, clock: ManualClock) -> None:
        await store.put("longer", 1, ttl=10)
        await store.put("longer", 2)
        await store.put("shorter", 1)
        await store.put("shorter", 2, ttl=10)
        clock.advance(11)
        assert await store.get_many(["longer", "shorter"]) == [2, None]

    @needs(Capability.KEYS)
    async def test_another_ttl_counts_for_listing_and_culling(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.put_many(["longer", "never", "expire", "persist"], [1] * 4, ttl=5)
        await store.put("shorter", 1)
        await store.put("longer", 2, ttl=50)
        await store.put("never", 2)
        await store.put("shorter", 2, ttl=5)
        assert await store.expire("expire", 50)
        assert await store.expire("persist", None)
        clock.advance(6)
        live = ["expire", "longer", "never", "persist"]
        assert sorted(await store.keys()) == live
        await store.cull()
        await store.put("another", 1)  # writes free the space of expired entries too
        assert sorted(await store.keys()) == ["another", *live]
        assert await store.get_many([*live, "shorter"]) == [1, 2, 2, 1, None]

    @needs(Capability.COLLECTIONS, Capability.DESTROY, Capability.DESTROY_COLLECTION)
    async def test_what_has_just_expired_counts_for_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.put_many(["a", "b"], [1, 2], collection="short", ttl=5)
        await store.put("a", 1, ttl=5)
        clock.advance(5)
        assert await store.collections() == []
        assert not await store.delete("a")
        assert not await store.destroy_collection("short")
        await store.put("a", 1, collection="short", ttl=5)
        clock.advance(5)
        assert not await store.destroy()

    @needs(Capability.COLLECTIONS, Capability.DESTROY_COLLECTION)
    async def test_entries_of_another_collection_do_not_count_for_an_expired_one(
        self, store: Store, clock: ManualClock
    ) -> None:
        for collection in ("first", "last", None):
            await store.put("a", 1, collection=collection, ttl=5)
        await store.put("a", 1, collection="middle")
        clock.advance(5)
        assert await store.collections() == ["middle"]
        assert await store.keys() == []
        for collection in ("first", "last"):
            assert not await store.destroy_collection(collection)
        assert await store.get("a", collection="middle") == 1

    @needs(Capability.COMPARE_AND_PUT)
    async def test_conditions_on_entries_that_have_just_expired(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Many of them, so that no store has freed all by the way."""
        keys = [f"k{number:02}" for number in range(40)]
        await store.put_many(keys, [1] * 40, ttl=5)
        entries = [entry for entry in await store.read(None, keys) if entry is not None]
        versions = [entry.version for entry in entries]
        others = [entry.with_expiry(None, entry.version ^ 1) for entry in entries]
        clock.advance(5)
        # From the last, since a store frees the first ones first.
        assert await store.write(None, [keys[39]], [others[39]], [versions[39]]) == [False]
        assert await store.remove(None, [keys[38]], [versions[38]]) == [False]
        assert await store.write(None, [keys[37]], [others[37]], [ABSENT]) == [True]
        assert not await store.delete(keys[36])
        assert await store.write(None, keys[:5], others[:5], versions[:5]) == [False] * 5
        assert await store.write(None, keys[5:9], others[5:9], [ABSENT] * 4) == [True] * 4
        assert await store.get_many([keys[5], keys[37], keys[39]]) == [1, 1, None]

    async def test_expire(self, store: Store, clock: ManualClock) -> None:
        await store.put_many(["shorter", "longer", "never"], [1, 2, 3], ttl=100)
        await store.put("always", 4)
        assert await store.expire("shorter", 10)
        assert await store.expire("longer", datetime.timedelta(seconds=1000))
        assert await store.expire("never", None)
        assert await store.expire("always", 10)
        assert not await store.expire("missing", 10)
        assert not await store.exists("missing")
        assert await store.ttl("shorter") == (1, remaining(10))
        assert await store.ttl("longer") == (2, remaining(1000))
        assert await store.ttl("never") == (3, None)
        clock.advance(500)
        names = ["shorter", "longer", "never", "always"]
        assert await store.get_many(names) == [None, 2, 3, None]

    async def test_cull_removes_no_live_entry(self, store: Store, clock: ManualClock) -> None:
        await store.put("dead", 1, ttl=10)
        await store.put("alive", 2, ttl=30)
        await store.put("persistent", 3, collection="other")
        clock.advance(20)
        await store.cull()
        assert await store.get_many(["dead", "alive"]) == [None, 2]
        assert await store.get("persistent", collection="other") == 3
