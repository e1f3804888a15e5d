"""What a near copy is, and for how long it is used."""

from __future__ import annotations

import asyncio
import random
import struct
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kvwrap import Keyring, MemoryStore, ReadThrough, StoreUnavailable, TTLClamp, stack
from kvwrap.core.codec import JSON, NEAR_COPY, NEAR_MISS, WRITE_DATE, annotation, describe
from kvwrap.core.entry import Entry
from kvwrap.layers.read_through.copies import Copy, decode, encode, make
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far, counts, over


async def test_the_second_read_does_not_reach_the_far_store(far: Far) -> None:
    store = over(far)
    await store.put("a", {"n": 1})
    assert await store.get("a") == {"n": 1}
    far.error = StoreUnavailable("must not be asked")
    assert await store.get("a") == {"n": 1}
    assert await store.get_many(["a", "a"]) == [{"n": 1}, {"n": 1}]
    assert far.reads == [("a",)]
    assert (counts(store).near_hits, counts(store).misses) == (2, 1)


async def test_a_copy_is_the_entry_as_the_far_store_returned_it(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30)
    await store.put("a", [1, "é"], ttl=1000.25)
    await store.put("b", None)
    direct = await far.read(None, ("a", "b"))
    clock.advance(1.5)
    assert await store.read(None, ("a", "b")) == direct
    clock.advance(1.5)
    far.error = StoreUnavailable("must not be asked")
    assert await store.read(None, ("a", "b")) == direct
    assert await store.read(None, ("a",)) == direct[:1]


async def test_ttl_through_a_near_hit_is_the_far_entrys(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1, ttl=100)
    await store.put("b", 2)
    await store.get_many(["a", "b"])
    clock.advance(20)
    assert await store.ttl_many(["a", "b"]) == [(1, 80.0), (2, None)]
    assert len(far.reads) == 1


async def test_increment_and_move_keep_the_far_expiry(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1, ttl=100)
    await store.get("a")
    clock.advance(20)
    assert await store.increment("a") == 2
    assert await far.ttl("a") == (2, 80.0)
    await store.get("a")
    await store.move("a", "b")
    assert await far.ttl("b") == (2, 80.0)
    assert await store.get("a") is None


async def test_a_copy_is_used_for_its_ttl_and_no_longer(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30)
    await store.put("a", 1)
    await store.get("a")
    await far.put("a", 2)  # as another process would
    clock.advance(29.9)
    assert await store.get("a") == 1
    clock.advance(0.1)
    assert await store.get("a") == 2


async def test_a_copys_ttl_counts_from_when_the_far_store_was_asked(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    clock.advance(20)
    far.hold.set()
    assert await reading == 1
    await far.put("a", 2)
    clock.advance(10)
    assert await store.get("a") == 2


async def test_no_copy_is_kept_of_an_answer_that_took_longer_than_the_ttl(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30)
    await far.put("a", 1)
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("a"))
    await clock.settle()
    clock.advance(30)
    far.hold.set()
    assert await reading == 1
    assert counts(store).fills == 0


async def test_a_copy_expires_with_the_entry(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=30, stale_if_error=1000)
    await store.put("a", 1, ttl=10)
    clock.advance(8)
    assert await store.get("a") == 1
    clock.advance(2)
    far.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    assert await store.find(ReadThrough).near.read(None, ("a",)) == [None]


@settings(deadline=None)
@given(
    ttl=st.none() | st.floats(1, 100),
    life=st.none() | st.floats(1, 100),
    stale=st.none() | st.floats(1, 100),
    steps=st.lists(st.floats(0, 30), max_size=8),
    jitter=st.sampled_from([0.0, 0.5]),
    ahead=st.none() | st.floats(0.1, 0.9),
)
async def test_never_an_expired_value_and_always_the_true_ttl(
    ttl: Any, life: Any, stale: Any, steps: list[float], jitter: float, ahead: Any
) -> None:
    clock = ManualClock()
    far = Far(clock)
    store = over(far, ttl=ttl, stale_if_error=stale, jitter=jitter, refresh_ahead=ahead)
    await store.put("a", 1, ttl=life)
    for step in steps:
        assert await store.ttl("a") == await far.ttl("a")
        clock.advance(step)
    await store.close()


async def test_the_expiry_is_the_one_that_a_layer_inside_set(far: Far, clock: ManualClock) -> None:
    layers = stack(ReadThrough(lambda: MemoryStore(clock=clock), ttl=500), TTLClamp(maximum=60))
    store = layers.over(far)
    await store.put("a", 1)
    assert await store.ttl("a") == (1, 60.0)
    assert await store.ttl("a") == (1, 60.0)
    clock.advance(60)
    assert await store.get("a") is None


async def test_the_near_store_may_have_another_clock(far: Far, clock: ManualClock) -> None:
    near_clock = ManualClock(5.0)
    store = over(far, lambda: MemoryStore(clock=near_clock), ttl=30)
    await store.put("a", 1)
    for _ in range(3):
        assert await store.get("a") == 1
    assert len(far.reads) == 1
    clock.advance(30)
    await store.get("a")
    assert len(far.reads) == 2


async def test_jitter_spreads_the_expiries(far: Far, clock: ManualClock) -> None:
    store = over(far, ttl=100, jitter=0.5, rng=random.Random(3))
    keys = [str(n) for n in range(200)]
    await store.put_many(keys, keys)
    await store.get_many(keys)
    clock.advance(49.9)
    await store.get_many(keys)
    assert len(far.reads) == 1
    clock.advance(25)
    await store.get_many(keys)
    assert 60 < len(far.reads[1]) < 140
    clock.advance(25.2)
    near = store.find(ReadThrough).near
    assert not any(await near.read(None, [key for key in keys if key not in far.reads[1]]))


def stored(copy: Copy) -> Entry:
    """Return the copy as a near store that keeps bytes has it."""
    return Entry(copy.body, copy.codec, copy.created_at, copy.expires_at, copy.version)


def test_a_copy_is_decoded_as_it_was_encoded() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.5, None, 7)
    for copied in (entry, entry.with_expiry(9.125), None):
        copy = encode(make(copied, 2.25, 3.5, 4.0))
        assert (copy.entry, copy.refresh_at, copy.fresh_until) == (copied, 2.25, 3.5)
        assert decode(copy) is copy
        assert (copy.direct_until, copy.refresh_at) == (2.25, 2.25)
        assert decode(stored(copy)) == replace(copy, direct_until=-inf)  # each hit is noted
    assert decode(entry) is None
    assert decode(Entry(b"", b"\x01" * 40, 0.0, None, 1)) is None
    assert (
        describe(encode(make(entry, 1.0, 1.0, None)).codec) == "annotation 04 over zstd over JSON"
    )


def test_the_times_of_a_copy_are_one_annotation() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.5, None, 7)
    for copied, kind, times, steps in (
        (entry, NEAR_COPY, (7, 2.25, 3.5, float("inf")), entry.codec),
        (entry.with_expiry(9.125), NEAR_COPY, (7, 2.25, 3.5, 9.125), entry.codec),
        (None, NEAR_MISS, (0, 2.25, 3.5, 3.5), JSON),
    ):
        expected = annotation(kind, struct.pack(">Q3d", *times)) + steps
        assert encode(make(copied, 2.25, 3.5, None)).codec == expected


def test_a_copy_is_decoded_behind_annotations_of_other_layers() -> None:
    entry = Entry(b"body", b"\x10\x01", 1.5, 9.0, 7)
    foreign = annotation(WRITE_DATE, bytes(8))
    behind = entry.with_body(entry.body, foreign + entry.codec)
    for copied, expected in ((entry, behind), (None, None)):
        kept = encode(make(copied, 2.25, 3.5, 4.0))
        found = Entry(kept.body, foreign + kept.codec, entry.created_at, 4.0, 8)
        copy = decode(found)
        assert copy is not None
        assert (copy.entry, copy.refresh_at, copy.fresh_until) == (expected, 2.25, 3.5)
    damaged = foreign + annotation(NEAR_COPY, bytes(31)) + bytes(8)
    assert decode(Entry(b"", damaged, 0.0, None, 1)) is None


@pytest.mark.parametrize(
    "inside", [stack(), stack().encrypt(Keyring({"k": b"k" * 32}))], ids=["bare", "encrypted"]
)
async def test_the_near_store_can_be_read_directly(inside: Any) -> None:
    clock = ManualClock()
    near, far = inside.over(MemoryStore(clock=clock)), MemoryStore(clock=clock)
    store = stack().read_through(near, ttl=30, negative_ttl=5).over(far)
    await far.put("short", {"n": 1}, ttl=10)
    await far.put("long", {"n": 2}, ttl=1000, collection="there")
    assert await store.get_many(["short", "missing"]) == [{"n": 1}, None]
    assert await store.get("long", collection="there") == {"n": 2}
    assert await near.ttl("short") == ({"n": 1}, pytest.approx(10))
    assert await near.ttl("long", collection="there") == ({"n": 2}, pytest.approx(30))
    assert await near.ttl("missing") == (None, pytest.approx(5))
    assert sorted([item async for item in near.items()]) == [("missing", None), ("short", {"n": 1})]
