"""Which rung of coherence is chosen, what it says of itself, and how copies end."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from kvwrap import (
    AccessDenied,
    Capability,
    ConfigurationError,
    MemoryStore,
    ReadThrough,
    Stack,
    StackWarning,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.changes import LOST
from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import FailingNear, Far, Shared, Watched, counts, over


class Link:
    """A subscription whose link the test moves."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Distant(Far):
    """A far store that tells changes, over a link that the test holds."""

    capabilities = Far.capabilities | {Capability.SHARED}

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock)
        self.link = Link()
        self.tell: Any = None
        self.refusal: Exception | None = None

    async def subscribe(self, scope: Any, listener: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.scope = scope
        self.tell = listener
        self.link = Link()
        self.link.heard_at = self.clock.monotonic()
        return self.link


@pytest.fixture
def distant(clock: ManualClock) -> Distant:
    return Distant(clock)


async def watched(far: Any, **options: Any) -> Any:
    store = over(far, coherence="watch", bound=1.0, **options)
    await store.open()
    return store


async def test_a_change_by_others_ends_the_copy(far: Far, clock: ManualClock) -> None:
    store = await watched(far)
    await store.put("k", 1)
    await clock.settle()
    assert [await store.get("k"), await store.get("k")] == [1, 1]
    assert len(far.reads) == 1
    await far.put("k", 2)
    assert await store.get("k") == 2
    await far.delete("k")
    assert await store.get("k") is None
    await far.put_many(["k", "l"], [3, 4])
    assert await store.get_many(["k", "l"]) == [3, 4]
    await far.destroy()
    assert await store.get_many(["k", "l"]) == [None, None]
    await store.close()


async def test_names_are_mapped_through_hashes_and_prefixes(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    inside = stack().hash_keys(b"s" * 32, collections=True).prefix_key("app:")
    other = inside.over(base)
    tiers = stack().read_through(lambda: MemoryStore(clock=clock), coherence="watch") + inside
    async with tiers.over(base) as store:
        await store.put("k", 1, collection="c")
        assert await store.get("k", collection="c") == 1
        await other.put("k", 2, collection="c")
        assert await store.get("k", collection="c") == 2


async def test_changes_by_others_remove_copies_from_a_near_store_that_callers_wait_for(
    far: Far, clock: ManualClock
) -> None:
    near = FailingNear(clock=clock)
    store = await watched(far, near=near)
    await far.put_many(["k", "l"], [1, 1])
    assert await store.get_many(["k", "l"]) == [1, 1]
    await far.put_many(["k", "l"], [2, 2])
    await clock.settle()
    assert await near.keys() == []
    for _ in range(2):
        assert await store.get_many(["k", "l"]) == [2, 2]
    assert len(far.reads) == 2
    await store.close()


async def test_a_change_that_is_told_during_a_fill_wins(far: Far, clock: ManualClock) -> None:
    store = await watched(far)
    await far.put("k", 1)
    far.hold = asyncio.Event()
    reading = asyncio.create_task(store.get("k"))
    await clock.settle()
    hold, far.hold = far.hold, None
    await far.put("k", 2)
    hold.set()
    await reading
    assert await store.get("k") == 2
    assert counts(store).refused_fills == 1
    await store.close()


async def test_nothing_is_served_beyond_the_bound_of_a_silent_link(
    distant: Distant, clock: ManualClock
) -> None:
    store = await watched(distant)
    await distant.put("k", 1)
    await store.get("k")
    clock.advance(0.9)
    await store.get("k")
    assert len(distant.reads) == 1
    clock.advance(0.2)
    await store.get("k")
    assert len(distant.reads) == 2
    distant.link.heard_at = clock.monotonic()
    await store.get("k")
    assert len(distant.reads) == 2
    assert distant.scope.bound == 1.0
    await store.close()
    assert distant.link.is_closed


async def test_the_lag_is_the_time_since_the_link_was_heard(
    distant: Distant, clock: ManualClock
) -> None:
    distant.refusal = StoreUnavailable("down")
    store = await watched(distant)
    _, coherence, _ = store.find(ReadThrough).measured()
    assert coherence.lag == inf, "no link yet"
    await store.close()
    distant.refusal = None
    await store.open()
    assert coherence.lag == 0
    clock.advance(0.9)
    assert coherence.lag == pytest.approx(0.9)
    distant.tell(LOST)
    assert coherence.lag == inf
    await store.close()
    assert coherence.lag is None


@pytest.mark.parametrize("keys", [["k"], ["k", "l"]])
async def test_a_read_that_began_longer_ago_than_the_bound_is_not_joined(
    distant: Distant, clock: ManualClock, keys: list[str]
) -> None:
    store = await watched(distant)
    distant.hold = asyncio.Event()
    calls = [asyncio.create_task(store.get("k"))]
    await clock.settle()
    clock.advance(1.1)
    calls.append(asyncio.create_task(store.get_many(keys)))
    await clock.settle()
    assert distant.reads == [("k",), tuple(keys)]
    distant.hold.set()
    assert await asyncio.gather(*calls) == [None, [None] * len(keys)]
    await store.close()


@pytest.mark.parametrize("keys", [["k"], ["k", "l"]])
async def test_such_a_read_is_joined_if_the_link_was_heard_meanwhile(
    distant: Distant, clock: ManualClock, keys: list[str]
) -> None:
    store = await watched(distant)
    distant.hold = asyncio.Event()
    calls = [asyncio.create_task(store.get("k"))]
    await clock.settle()
    clock.advance(1.1)
    distant.link.heard_at = clock.monotonic()
    calls.append(asyncio.create_task(store.get_many(keys)))
    await clock.settle()
    assert distant.reads == [("k",), *[("l",)] * (len(keys) - 1)]
    distant.hold.set()
    assert await asyncio.gather(*calls) == [None, [None] * len(keys)]
    await store.close()


async def test_nothing_is_kept_while_changes_may_be_missing(
    distant: Distant, clock: ManualClock
) -> None:
    store = await watched(distant)
    await distant.put("k", 1)
    await store.get("k")
    distant.tell(LOST)
    link = distant.link
    await clock.settle()
    for reads in (2, 3):
        clock.advance(1)
        await store.get("k")
        assert len(distant.reads) == reads
    await clock.settle()
    assert distant.link is link, "the store restores its link itself"
    assert not link.is_closed
    distant.link.heard_at = clock.monotonic()
    for _ in range(3):
        await store.get("k")
    assert len(distant.reads) == 4
    await store.close()


async def test_stale_copies_are_kept_for_an_outage_and_dropped_after_it(
    distant: Distant, clock: ManualClock
) -> None:
    store = await watched(distant, stale_if_error=60)
    await distant.put("k", 1)
    await store.get("k")
    distant.tell(LOST)
    distant.error = StoreUnavailable("down")
    assert await store.get("k") == 1
    assert counts(store).stale_served == 1
    distant.error = None
    await distant.put("k", 2)
    distant.link.heard_at = clock.monotonic() + 0.1
    clock.advance(0.1)
    assert await store.get("k") == 2
    await store.close()


async def test_a_subscription_that_fails_at_first_is_tried_again(
    distant: Distant, clock: ManualClock
) -> None:
    distant.refusal = StoreUnavailable("down")
    store = await watched(distant)
    await distant.put("k", 1)
    await store.get("k")
    distant.refusal = None
    clock.advance(1)
    await store.get("k")
    await clock.settle()
    await store.get("k")
    reads = len(distant.reads)
    assert await store.get("k") == 1
    assert len(distant.reads) == reads
    await store.close()


@pytest.mark.parametrize("refusal", [UnsupportedOperation("no"), AccessDenied("no rights")])
async def test_a_server_that_refuses_leaves_the_ttl(
    distant: Distant, clock: ManualClock, refusal: Exception
) -> None:
    distant.refusal = refusal
    with pytest.raises(type(refusal)):
        await watched(distant)
    store = over(distant, coherence="auto", ttl=30)
    assert "coherence is by watch" in store.explain()
    await store.open()
    assert f"coherence is by ttl, since {refusal}" in store.explain()
    assert "after at most 30 s" in store.explain()
    await distant.put("k", 1)
    await store.get("k")
    clock.advance(29)
    await store.get("k")
    assert len(distant.reads) == 1
    await store.close()


def test_explain_says_which_rung_and_the_bound() -> None:
    text = over(Watched(), coherence="auto", bound=2.5).explain()
    assert "coherence is by watch" in text
    assert "at most 2.5 s" in text
    text = over(Shared(), coherence="auto", ttl=30).explain()
    assert "coherence is by ttl, since Shared cannot tell changes" in text
    assert "at most 30 s" in text
    text = over(Watched(), Shared(), coherence="auto", ttl=30).explain()
    assert "other processes may use the same Shared as near store" in text


@pytest.mark.parametrize(("base", "near"), [(Shared, MemoryStore), (Watched, Shared)])
def test_watch_is_refused_where_it_cannot_be(base: Any, near: Any) -> None:
    with pytest.raises(ConfigurationError, match="coherence-refused"):
        ReadThrough(near, ttl=5, coherence="watch").over(base())


@pytest.mark.parametrize(
    "inside",
    [
        stack().fallback(MemoryStore),  # its answers in an outage are of another store
        stack().shard({"b": stack().fallback(MemoryStore).over(Watched())}, name="a"),
        stack().route({"local*": Shared}),
    ],
)
def test_a_stack_inside_that_does_not_tell_all_changes_goes_by_ttl(inside: Stack) -> None:
    with pytest.raises(ConfigurationError, match="coherence-refused"):
        stack().read_through(MemoryStore, ttl=5, coherence="watch").over(inside.over(Watched()))


async def test_what_was_refused_once_is_refused_again(distant: Distant) -> None:
    distant.refusal = AccessDenied("no rights")
    store = stack().read_through(MemoryStore, ttl=5, coherence="watch").over(distant)
    for _ in range(2):
        with pytest.raises((AccessDenied, UnsupportedOperation)):
            await store.open()
        distant.capabilities = distant.capabilities - {Capability.WATCH}


def test_a_ttl_is_asked_for_only_where_changes_are_not_told() -> None:
    assert not ReadThrough(MemoryStore).over(Watched()).findings
    with pytest.warns(StackWarning, match="near-without-ttl"):
        ReadThrough(MemoryStore, coherence="ttl").over(Watched())


async def test_watched_copies_have_a_ttl_besides(distant: Distant, clock: ManualClock) -> None:
    store = await watched(distant)
    await distant.put("k", 1)
    await store.get("k")
    clock.advance(600)
    distant.link.heard_at = clock.monotonic()
    await store.get("k")
    assert len(distant.reads) == 2
    await store.close()


async def test_a_wall_clock_that_is_set_back_does_not_extend_a_copy(
    far: Far, clock: ManualClock
) -> None:
    store = over(far, ttl=30)
    await far.put("k", 1)
    await store.get("k")
    clock.jump(-3600)
    await far.put("k", 2)
    await clock.settle()
    assert await store.get("k") == 2
    clock.jump(3600)
    await store.get("k")
    clock.jump(-3600)
    await far.put("k", 3)
    clock.advance(30)
    assert await store.get("k") == 3


async def test_a_store_is_used_in_one_loop_after_another() -> None:
    clock = ManualClock()
    far = MemoryStore(clock=clock)
    near = stack().read_through(lambda: MemoryStore(clock=clock), coherence="watch", bound=1)
    store = near.over(far)

    async def use(value: int) -> None:
        await far.put("k", value)
        hits = counts(store).near_hits
        for _ in range(3):
            assert await store.get("k") == value
        assert counts(store).near_hits == hits + 2
        await far.put("k", -value)
        await asyncio.sleep(0)
        assert await store.get("k") == -value

    def run(value: int) -> None:
        asyncio.run(use(value))

    for value in (1, 2):
        await asyncio.to_thread(run, value)
        clock.advance(1)  # the loop that was told of changes has ended


async def test_names_of_evicted_copies_are_dropped(clock: ManualClock) -> None:
    far = MemoryStore(clock=clock)
    store = over(far, lambda: MemoryStore(clock=clock, max_entries=100), coherence="watch")
    names = [f"k{number}" for number in range(30_000)]
    await far.put_many(names, names)
    for start in range(0, 30_000, 1000):
        await store.get_many(names[start : start + 1000])
    await clock.settle(200)
    told = counts(store).told
    await far.put(names[0], "new")
    assert counts(store).told == told, "its name was dropped with its copy"
    await far.put(names[-1], "new")
    assert counts(store).told == told + 1
    assert await store.get(names[-1]) == "new"
    assert await store.get_many(names[-50:-1]) == names[-50:-1]


async def test_what_was_subscribed_ends_if_another_backend_refuses(clock: ManualClock) -> None:
    one, other = Distant(clock), Distant(clock)
    one.refusal = AccessDenied("no right to watch")
    layers = stack().read_through(MemoryStore(clock=clock), coherence="watch")
    store = layers.route({"other": other}).over(one)
    with pytest.raises(AccessDenied):
        await store.open()
    assert other.link.is_closed
    one.refusal = None
    async with store:
        assert not other.link.is_closed
    assert one.link.is_closed
    assert other.link.is_closed


async def test_a_backend_that_tells_no_names_is_watched_only_if_asked_for(
    clock: ManualClock,
) -> None:
    class Vague(Distant):
        traits = frozenset({"tells_loss_only"})

    base = Vague(clock)
    auto = stack().read_through(MemoryStore(clock=clock), ttl=60).over(base)
    assert "by ttl, since Vague tells that something has changed, and not what" in auto.explain()
    async with auto:
        await auto.put("a", 1)
        assert base.tell is None
    watching = stack().read_through(MemoryStore(clock=clock), coherence="watch").over(base)
    async with watching:
        assert await watching.get("a") == 1
        base.link.heard_at = clock.monotonic()
        assert await watching.get("a") == 1
        base.tell(LOST)
        clock.advance(0.1)
        base.link.heard_at = clock.monotonic()
        before = counts(watching).misses
        assert await watching.get("a") == 1
        assert counts(watching).misses == before + 1
