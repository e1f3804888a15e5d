"""Lifetimes: which are refused, and that nothing is given back after its end."""

from __future__ import annotations

import datetime
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from kvwrap import Capability, InvalidTTL, KeyNotFound, Store
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import Contract, left, needs

NO_TTLS: tuple[Any, ...] = (
    *(0, 0.0, -0.0, -1, -0.5, math.nan, math.inf, -math.inf, True, False, 10**400),
    *(Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Fraction(0)),
    *("5", "", b"5", [], {}, (1,), 1j, object(), NotImplemented),
    *(datetime.timedelta(0), datetime.timedelta(seconds=-1)),
    datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC),
)
"""What is no ttl."""

TTLS: tuple[Any, ...] = (*(60, 60.0, Decimal(60), Fraction(60), datetime.timedelta(minutes=1)),)
"""A minute, in every form."""


class Lifetimes(Contract):
    """Nothing lives longer than it was given, nor shorter."""

    async def test_what_is_no_ttl_is_refused_and_nothing_written(self, store: Store) -> None:
        def never() -> None:
            pytest.fail("the ttl is looked at before the value is made")

        calls: list[Callable[[Any], Awaitable[Any]]] = [
            lambda ttl: store.put("key", 1, ttl=ttl),
            lambda ttl: store.put_many(["key"], [1], ttl=ttl),
            lambda ttl: store.put_many([], [], ttl=ttl),
            lambda ttl: store.put_if_absent("key", 1, ttl=ttl),
            lambda ttl: store.compare_and_put("key", 1, 2, ttl=ttl),
            lambda ttl: store.increment("key", ttl=ttl),
            lambda ttl: store.expire("key", ttl),
            lambda ttl: store.get_or_put("key", never, ttl=ttl),
        ]
        for bad in NO_TTLS:
            for call in calls:
                with pytest.raises(InvalidTTL) as raised:
                    await call(bad)
                assert isinstance(raised.value, ValueError)
        assert not await store.exists("key")

    async def test_every_form_of_a_ttl(self, store: Store, clock: ManualClock) -> None:
        for ttl in TTLS:
            await store.put("key", 1, ttl=ttl)
            assert await store.ttl("key") == (1, left(60))
        await store.put("key", 1)
        assert await store.ttl("key") == (1, None)
        await store.put("key", 1, ttl=1e300)
        clock.advance(1e9)
        assert await store.get("key") == 1

    async def test_no_more_is_left_than_was_given(self, store: Store, clock: ManualClock) -> None:
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
        found = await store.ttl_many(["a", "b", "c", "d"])
        assert found == [
            (1, left(60)),
            (2, left(60)),
            (3, None),
            (None, None),
        ]
        assert await store.ttl("a") == found[0]

    async def test_an_expired_value_is_gone_for_every_method(
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
    async def test_expired_keys_are_not_enumerated(self, store: Store, clock: ManualClock) -> None:
        await store.put_many(["a", "b"], [1, 1], ttl=10)
        await store.put_many(["c", "d"], [2, 2], ttl=30)
        clock.advance(20)
        assert sorted(await store.keys()) == ["c", "d"]
        assert [key async for key in store.scan(prefix="a")] == []
        assert {key: value async for key, value in store.items()} == {"c": 2, "d": 2}
        assert len(await store.keys(limit=1)) == 1

    @needs(Capability.COMPARE_AND_PUT)
    async def test_an_expired_value_is_no_obstacle(self, store: Store, clock: ManualClock) -> None:
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

    async def test_expire(self, store: Store, clock: ManualClock) -> None:
        await store.put_many(["shorter", "longer", "never"], [1, 2, 3], ttl=100)
        await store.put("always", 4)
        assert await store.expire("shorter", 10)
        assert await store.expire("longer", datetime.timedelta(seconds=1000))
        assert await store.expire("never", None)
        assert await store.expire("always", 10)
        assert not await store.expire("missing", 10)
        assert not await store.exists("missing")
        assert await store.ttl("shorter") == (1, left(10))
        assert await store.ttl("longer") == (2, left(1000))
        assert await store.ttl("never") == (3, None)
        clock.advance(500)
        names = ["shorter", "longer", "never", "always"]
        assert await store.get_many(names) == [None, 2, 3, None]

    async def test_culling_takes_nothing_that_lives(self, store: Store, clock: ManualClock) -> None:
        await store.put("dead", 1, ttl=10)
        await store.put("alive", 2, ttl=30)
        await store.put("for ever", 3, collection="there")
        clock.advance(20)
        await store.cull()
        assert await store.get_many(["dead", "alive"]) == [None, 2]
        assert await store.get("for ever", collection="there") == 3
