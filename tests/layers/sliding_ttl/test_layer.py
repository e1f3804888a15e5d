"""Sliding expiration: reads renew lifetimes, later and in batches, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidTTL,
    Keyring,
    MemoryStore,
    ReadThrough,
    SlidingTTL,
    StackWarning,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.testing import ManualClock, Tap
from kvwrap.testing.servers import SharedServers
from tests.catalog import EMBEDDED, LAYERS, STORES, Resources
from tests.layers.sliding_ttl.writes import EVERY, TTL, Writes, left, renewed, sliding
from tests.stores.adapted.objects import OBJECTS

RENEWING: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get": lambda s: s.get("a"),
    "get_many": lambda s: s.get_many(["x", "a"]),
    "ttl": lambda s: s.ttl("a"),
    "ttl_many": lambda s: s.ttl_many(["a", "a"]),
    "require": lambda s: s.require("a"),
    "get_versioned": lambda s: s.get_versioned("a"),
    "typed": lambda s: s.typed(list[int]).get("a"),
}


@pytest.mark.parametrize("method", RENEWING)
async def test_methods_that_return_a_value_renew(method: str, clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", [1], ttl=TTL)
    clock.advance(60)
    await RENEWING[method](store)
    await renewed(store)
    assert await left(store) == TTL
    assert store.find(SlidingTTL).snapshot().renewed == 1
    assert store.idle


async def test_computed_values_expire_however_often_they_are_read(clock: ManualClock) -> None:
    store, calls = sliding(clock), []

    async def count() -> int:
        calls.append(1)
        return len(calls)

    cached = store.cached(ttl=60, key=lambda: "cached")(count)
    for _ in range(3):
        assert await cached() == await store.get_or_put("a", lambda: len(calls), ttl=60) == 1
        clock.advance(19)
        await renewed(store)
    assert store.find(SlidingTTL).snapshot().renewed == 0
    clock.advance(4)
    assert await cached() == await store.get_or_put("a", lambda: len(calls), ttl=60) == 2


async def test_items_renew_each_entry(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put_many(["a", "b"], [1, 2], ttl=[TTL, None])
    clock.advance(60)
    assert [pair async for pair in store.items()] == [("a", 1), ("b", 2)]
    await renewed(store)
    assert (await left(store), await left(store, "b")) == (TTL, None)


async def test_methods_that_return_no_value_do_not_renew(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", 1, ttl=TTL)
    clock.advance(60)
    assert await store.exists("a")
    assert await store.typed(int).exists("a")
    assert await store.keys() == [key async for key in store.scan()] == ["a"]
    assert await store.count() == 1
    await renewed(store)
    assert await left(store) == 40
    assert not store.find(Writes).batches
    await store.get("a")
    await renewed(store)
    assert await left(store) == TTL


async def test_an_entry_is_renewed_at_most_so_often(clock: ManualClock) -> None:
    store = sliding(clock, at_most_every=timedelta(seconds=20))
    await store.put("a", 1, ttl=TTL)
    lives = []
    for _ in range(13):
        clock.advance(5)
        await asyncio.gather(store.get("a"), store.get_many(["a", "a"]))
        await renewed(store)
        lives.append(await left(store))
    assert lives == [95, 90, 85, 100, 95, 90, 85, 100, 95, 90, 85, 100, 95]
    assert store.find(Writes).batches == [(None, 1)] * 3


async def test_a_tenth_of_the_ttl_is_the_default(clock: ManualClock) -> None:
    store = sliding(clock)
    assert store.find(SlidingTTL).at_most_every == EVERY
    await store.put("a", 1, ttl=TTL)
    clock.advance(9.5)
    await store.get("a")
    await renewed(store)
    assert await left(store) == 90.5
    clock.advance(0.5)
    await store.get("a")
    await renewed(store)
    assert await left(store) == TTL


async def test_what_an_entry_was_put_with(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put_many(["short", "long", "never", "even"], [1] * 4, ttl=[5, 500, None, TTL])
    await store.get_many(["short", "long", "never", "even"])
    await renewed(store)
    lives = [await left(store, key) for key in ("short", "long", "never", "even")]
    assert lives == [TTL, 500, None, TTL]
    # A write sets the lifetime that it always sets, also right after a renewal.
    await store.put("short", 2, ttl=3)
    assert await left(store, "short") == 3
    await store.get("short")
    await renewed(store)
    assert await left(store, "short") == TTL


async def test_no_read_waits_for_a_renewal(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", 1, ttl=TTL)
    clock.advance(50)
    writes = store.find(Writes)
    writes.gate.clear()
    assert [await store.get("a") for _ in range(3)] == [1, 1, 1]
    await clock.settle()
    assert not store.idle
    assert writes.batches == [(None, 1)]
    assert await left(store) == 50
    writes.gate.set()
    await renewed(store)
    assert store.idle
    assert await left(store) == TTL


async def test_renewals_are_written_in_batches_for_each_collection(clock: ManualClock) -> None:
    store = sliding(clock)
    keys = [str(number) for number in range(1_200)]
    for collection in (None, "c"):
        await store.put_many(keys, keys, collection=collection, ttl=50)
    await store.get_many(keys)
    await asyncio.gather(*(store.get(key, collection="c") for key in keys[:7]))
    await renewed(store)
    batches = store.find(Writes).batches
    assert batches == [(None, 500), (None, 500), (None, 200), ("c", 7)]
    assert store.find(SlidingTTL).snapshot().renewed == 1_207
    assert await left(store, "3", "c") == TTL
    assert await left(store, "9", "c") == 50


CHANGES: dict[str, tuple[Callable[[Store], Awaitable[object]], Any]] = {
    "a put": (lambda s: s.put("a", 2, ttl=5), (2, 5)),
    "the same value": (lambda s: s.put("a", 1, ttl=5), (1, 5)),
    "a put without expiry": (lambda s: s.put("a", 2), (2, None)),
    "a shorter life": (lambda s: s.expire("a", 5), (1, 5)),
    "an endless life": (lambda s: s.expire("a", None), (1, None)),
    "a delete": (lambda s: s.delete("a"), (None, None)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_meanwhile_stays(change: str, clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", 1, ttl=TTL)
    clock.advance(50)
    store.find(Writes).gate.clear()
    await store.get("a")
    await clock.settle()
    call, expected = CHANGES[change]
    await call(store.base)
    store.find(Writes).gate.set()
    await renewed(store)
    assert await store.base.ttl("a") == expected
    assert store.find(SlidingTTL).snapshot().superseded == 1


@pytest.mark.parametrize("kind", [*(name for name in EMBEDDED if name not in OBJECTS), "redis"])
async def test_an_expired_entry_is_not_revived(
    kind: str, clock: ManualClock, tmp_path: Path, servers: SharedServers
) -> None:
    base = STORES[kind](Resources(clock, tmp_path, servers.url))
    layers = stack().slide_ttl(TTL) + stack(Writes())
    async with layers.over(base) as store:
        await store.put("a", 1, ttl=TTL)
        clock.advance(50)
        store.find(Writes).gate.clear()
        assert await store.get("a") == 1
        await clock.settle()
        clock.advance(51)
        store.find(Writes).gate.set()
        await renewed(store)
        assert await store.get("a") is None
        assert await store.base.keys() == []


async def test_a_renewal_keeps_the_version(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", 1, ttl=TTL)
    clock.advance(50)
    versioned = await store.get_versioned("a")
    assert versioned is not None
    await renewed(store)
    assert await left(store) == TTL
    assert await store.compare_and_put("a", 2, versioned.version)


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"read_only", "slide_ttl"}))
@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_it_renews_over_every_layer(name: str, clock: ManualClock) -> None:
    layers = stack().slide_ttl(TTL) + LAYERS[name].make(clock)
    async with layers.over(MemoryStore(clock=clock)) as store:
        await store.put("a", {"n": 1}, collection="c", ttl=50)
        for _ in range(5):
            clock.advance(40)
            assert await store.get("a", collection="c") == {"n": 1}
            await renewed(store)
        value, seconds = await store.ttl("a", collection="c")
        assert value == {"n": 1}
        assert seconds == pytest.approx(TTL, abs=0.01)


async def test_hits_of_a_cache_inside_renew(clock: ManualClock) -> None:
    near = stack().read_through(lambda: MemoryStore(clock=clock), ttl=1000)
    store = sliding(clock, inner=near)
    await store.put("a", 1, ttl=TTL)
    await store.get("a")
    clock.advance(50)
    assert await store.get("a") == 1
    assert store.find(ReadThrough).snapshot().near_hits == 1
    await renewed(store)
    assert await left(store) == TTL
    clock.advance(90)
    assert await store.get("a") == 1


async def test_a_clamp_that_cuts_renewals_makes_none_at_every_read(clock: ManualClock) -> None:
    with pytest.warns(StackWarning, match="SlidingTTL|cuts"):
        store = sliding(clock, inner=stack().clamp_ttl(maximum=50))
    await store.put("a", 1, ttl=TTL)
    for _ in range(10):
        clock.advance(4)
        await store.get("a")
        await renewed(store)
    # Each read is due, as the entry never has more than 50 s left.
    assert len(store.find(Writes).batches) == 4
    with_room = SlidingTTL(50).over(MemoryStore())
    assert stack().slide_ttl(50).clamp_ttl(maximum=50).over(MemoryStore()).find(SlidingTTL)
    assert with_room.findings == ()


async def test_a_default_is_not_stored(clock: ManualClock) -> None:
    store = sliding(clock, inner=stack().default_value(7, ttl=50))
    assert await store.get("a") == 7
    await renewed(store)
    assert await store.base.keys() == []
    assert store.find(SlidingTTL).snapshot().superseded == 1


async def test_listing_under_it_does_not_use_entries(clock: ManualClock) -> None:
    """Reads of layers outside, which look for entries that are over, renew nothing."""
    encrypted = stack().encrypt(Keyring({"k": b"k" * 32}))
    with pytest.warns(StackWarning, match="inside"):
        store = (encrypted + stack().slide_ttl(TTL) + stack(Writes())).over(
            MemoryStore(clock=clock)
        )
    await store.put("a", 1, ttl=50)
    assert await store.keys() == ["a"]
    assert await store.count() == 1
    assert await store.delete("b") is False
    await renewed(store)
    assert store.find(Writes).batches == []


async def test_a_renewal_moves_the_users_expiry_of_what_is_kept_for_later(
    clock: ManualClock,
) -> None:
    store = sliding(clock)

    async def get(value: int | None) -> Any:
        async def factory() -> Any:
            if value is None:
                raise StoreUnavailable("the source is down")
            return value

        return await store.get_or_put("a", factory, ttl=50, stale_ttl=1000)

    assert await get(1) == 1
    clock.advance(40)
    assert await store.get("a") == 1
    await renewed(store)
    clock.advance(60)
    assert await store.ttl("a") == (1, 40)
    await renewed(store)
    assert await store.ttl("a") == (1, TTL)
    assert await left(store) == TTL
    clock.advance(101)
    assert await store.get("a") is None
    assert await get(None) == 1, "it is stale, and not revived"
    await renewed(store)
    assert await store.get("a") is None


@pytest.mark.parametrize("options", [{"at_most_every": TTL}, {"at_most_every": 2 * TTL}])
def test_renewals_that_would_come_too_late_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="at_most_every"):
        SlidingTTL(TTL, **options)


@pytest.mark.parametrize("bad", [0, -1, "5", None, float("nan")])
def test_invalid_arguments(bad: Any) -> None:
    with pytest.raises(InvalidTTL):
        SlidingTTL(bad)
    if bad is not None:
        with pytest.raises(InvalidTTL):
            SlidingTTL(TTL, at_most_every=bad)


async def test_an_entry_at_the_last_expiry_time_is_not_due(clock: ManualClock) -> None:
    store = sliding(clock, ttl=1e300, at_most_every=1)
    await store.put("a", 1, ttl=1e300)
    await store.get("a")
    await store.put("b", 1, ttl=5)
    await store.get("b")
    await renewed(store)
    await store.get("b")
    await renewed(store)
    assert store.find(Writes).batches == [(None, 1)]


async def test_a_read_that_fails_renews_nothing(clock: ManualClock) -> None:
    async def fail(operation: str) -> None:
        if operation == "read":
            raise StoreUnavailable("down")

    store = (stack().slide_ttl(TTL) + stack(Tap(before=fail))).over(MemoryStore(clock=clock))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert store.idle


def test_it_explains_how_long_entries_live() -> None:
    text = stack().slide_ttl(60, at_most_every=6).over(MemoryStore()).explain()
    assert "at least 54 s after it was last read" in text


async def test_entries_read_are_returned_unchanged(clock: ManualClock) -> None:
    store = sliding(clock)
    await store.put("a", 1, ttl=50)
    (before,) = await store.base.read(None, ["a"])
    (found,) = await store.read(None, ["a"])
    assert isinstance(found, Entry)
    assert found == before
