"""Tags in stacks that refuse changes, keep decoded values, or have the data of other programs."""

from __future__ import annotations

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    ReadOnlyViolation,
    Stack,
    Store,
    Tags,
    UnsupportedOperation,
    adapt,
    stack,
)
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import SECRET, unwatched


def near(clock: ManualClock, *, decoded: bool = False) -> Stack:
    return stack().read_through(
        lambda: MemoryStore(clock=clock), ttl=600, coherence="ttl", decoded=decoded
    )


def tags() -> Stack:
    return stack().tags(SECRET)


async def written(base: Store) -> Store:
    """Return a stack that writes tagged entries to the store."""
    writer = tags().over(base)
    await writer.put("a", 1, tags=["t"])
    await writer.put("b", 2)
    return writer


@pytest.mark.parametrize("on_write", ["raise", "ignore"])
async def test_a_store_that_is_only_read_shows_what_others_invalidate(
    clock: ManualClock, on_write: str
) -> None:
    base = unwatched(clock)
    writer = await written(base)
    reader = tags().read_only(on_write=on_write).over(base)
    assert await reader.get_many(["a", "b"]) == [1, 2]
    await writer.find(Tags).invalidate("t")
    clock.advance(1)
    assert await reader.get_many(["a", "b"]) == [None, 2]
    await writer.find(Tags).clear()
    clock.advance(1)
    assert await reader.get_many(["a", "b"]) == [None, None]


async def test_a_store_that_is_only_read_refuses_to_invalidate(clock: ManualClock) -> None:
    base = unwatched(clock)
    await written(base)
    reader = tags().read_only().over(base)
    for change in (
        reader.find(Tags).invalidate("t"),
        reader.find(Tags).clear(),
        reader.put("a", 3, tags=["t"]),
        reader.put("a", 3, tags=["new"]),
    ):
        with pytest.raises(ReadOnlyViolation):
            await change
    with pytest.raises(UnsupportedOperation):
        await reader.find(Tags).expire("t")
    assert await reader.get_many(["a", "b"]) == [1, 2]


async def test_where_changes_are_dropped_so_are_invalidations(clock: ManualClock) -> None:
    base = unwatched(clock)
    await written(base)
    reader = tags().read_only(on_write="ignore").over(base)
    assert await reader.get("a") == 1
    await reader.find(Tags).invalidate("t")
    assert await reader.get("a") == 1
    await reader.find(Tags).clear()
    await reader.put("a", 3, tags=["t", "new"])
    await reader.put("new", 3)
    assert await reader.get_many(["a", "b", "new"]) == [1, 2, None]


async def test_a_guard_outside_refuses_writes_of_users_only(clock: ManualClock) -> None:
    base = unwatched(clock)
    writer = await written(base)
    reader = (stack().read_only() + tags() + near(clock)).over(base)
    assert reader.findings == ()
    assert await reader.get_many(["a", "b"]) == [1, 2]
    await writer.find(Tags).invalidate("t")
    clock.advance(1)
    assert await reader.get_many(["a", "b"]) == [None, 2]
    await reader.find(Tags).clear()
    assert await reader.get_many(["a", "b"]) == [None, None]


@pytest.mark.parametrize("order", ["outside", "inside"])
async def test_a_cache_that_cannot_be_passed_is_a_finding(clock: ManualClock, order: str) -> None:
    cache = near(clock)
    inside = stack().read_only() + cache if order == "outside" else cache.read_only()
    store = (tags() + inside).silence("tags-cached-records").over(unwatched(clock))
    assert await store.get("a") is None
    with pytest.warns(match="tags-cached-records"):
        (tags() + inside).over(unwatched(clock))


async def test_values_that_a_cache_keeps_decoded_stay_shared(clock: ManualClock) -> None:
    base = unwatched(clock)
    store = (tags() + near(clock, decoded=True)).over(base)
    assert store.findings == ()
    await store.put("a", {"n": [1]}, tags=["t"])
    first = await store.get("a")
    assert first == {"n": [1]}
    assert await store.get("a") is first
    clock.advance(5)  # the records are read again
    assert await store.get("a") is first
    assert (await store.get_many(["a", "b"]))[0] is first
    await store.find(Tags).invalidate("t")
    assert await store.get("a") is None
    await store.put("a", {"n": [2]}, tags=["t"])
    assert await store.get("a") == {"n": [2]}


async def test_the_data_of_other_programs_gets_no_tags(clock: ManualClock) -> None:
    with pytest.raises(ConfigurationError, match=r"tags-over-raw.*raw=True"):
        tags().over(adapt({}, raw=True, clock=clock))
    routed = tags().route({"theirs": adapt({}, raw=True, clock=clock)})
    with pytest.raises(ConfigurationError, match=r"tags-over-raw.*raw=True"):
        routed.over(MemoryStore(clock=clock))


async def test_the_form_that_only_reads_gives_no_tags_and_obeys_those_of_others(
    clock: ManualClock,
) -> None:
    base = unwatched(clock)
    reader = stack().tags(SECRET, only_read=True).over(base)
    await reader.put("plain", 1)
    assert await reader.get_or_put("computed", lambda: 2) == 2
    # A process without the layer reads these, and no record was made.
    assert await base.get_many(["plain", "computed"]) == [1, 2]
    assert await base.list_collections() == [None]
    for call in (
        reader.put("k", 1, tags=["t"]),
        reader.get_or_put("k", lambda: 1, tags=["t"]),
    ):
        with pytest.raises(UnsupportedOperation, match="without only_read"):
            await call
    writer = await written(base)
    assert await reader.get_many(["a", "b", "plain"]) == [1, 2, 1]
    assert await writer.get("plain") == 1
    assert await reader.expire("a", 60)
    await writer.find(Tags).invalidate("t")
    clock.advance(1)
    assert await reader.get_many(["a", "b"]) == [None, 2], "its tags stayed"
    await writer.find(Tags).clear()
    clock.advance(1)
    assert await reader.get("plain") is None
    await reader.put("plain", 3)
    assert await writer.get("plain") == await reader.get("plain") == 3


async def test_an_entry_is_found_at_once_though_its_records_were_missing_before(
    clock: ManualClock,
) -> None:
    base = unwatched(clock)
    await base.put("old", 0)
    reader = tags().over(base)
    assert await reader.get("old") == 0
    await written(base)
    assert await reader.get_many(["old", "a", "b"]) == [0, 1, 2]
