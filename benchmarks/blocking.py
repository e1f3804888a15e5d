"""For how long calls block the event loop."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

from benchmarks.table import Row, absolute
from benchmarks.timing import median_blocking, pair_blocking
from kvwrap import MemoryStore, stack
from kvwrap.testing import ManualClock

MANY = 100_000
NAMES = [f"key:{number}" for number in range(MANY)]
VALUES = [{"number": number} for number in range(MANY)]

Prepared = Callable[[], Awaitable[object]]


async def filled(ttl: float | None = None) -> tuple[MemoryStore, ManualClock]:
    """Return a store of 100,000 small mappings, and its clock."""
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    await store.put_many(NAMES, VALUES, collection="c", ttl=ttl)
    return store, clock


async def putting_after_expiry() -> Prepared:
    """Prepare one put into a store whose 100,000 entries have expired."""
    store, clock = await filled(ttl=60)
    clock.advance(60)
    return lambda: store.put("key", {"number": 1}, collection="c", ttl=60)


async def putting_many() -> Prepared:
    """Prepare one `put_many` of 100,000 keys."""
    store = MemoryStore()
    return lambda: store.put_many(NAMES, VALUES, collection="c", ttl=60)


async def getting_many() -> Prepared:
    """Prepare one `get_many` of 100,000 keys."""
    store, _ = await filled()
    return lambda: store.get_many(NAMES, collection="c")


async def deleting_many() -> Prepared:
    """Prepare one `delete_many` of 100,000 keys."""
    store, _ = await filled(ttl=60)
    return lambda: store.delete_many(NAMES, collection="c")


async def listing() -> Prepared:
    """Prepare one `keys` of 100,000 keys."""
    store, _ = await filled()
    return lambda: store.keys("c")


async def culling() -> Prepared:
    """Prepare one `cull` of 100,000 expired entries."""
    store, clock = await filled(ttl=60)
    clock.advance(60)
    return store.cull


async def destroying() -> Prepared:
    """Prepare one `destroy` of 100,000 entries."""
    store, _ = await filled(ttl=60)
    return store.destroy


async def getting_many_through_a_cache() -> Prepared:
    """Prepare one `get_many` of 100,000 keys that a cache has."""
    far, _ = await filled()
    store = stack().read_through(MemoryStore, ttl=60).over(far)
    await store.get_many(NAMES, collection="c")
    return lambda: store.get_many(NAMES, collection="c")


async def filling_a_cache() -> Prepared:
    """Prepare one `get_many` of 100,000 keys that a cache does not have."""
    far, _ = await filled()
    store = stack().read_through(MemoryStore, ttl=60).over(far)
    return lambda: store.get_many(NAMES, collection="c")


async def putting_with_a_mirror() -> Prepared:
    """Prepare one `put_many` of 50,000 keys that is copied to a second store."""
    store = stack().fallback(MemoryStore, writes="both").over(MemoryStore())
    return lambda: store.put_many(NAMES[:50_000], VALUES[:50_000], collection="c")


def putting_at_once(journalled: bool) -> Callable[[], Awaitable[Prepared]]:
    """Return what prepares 8,000 puts at once, with a journal or without."""

    async def prepare() -> Prepared:
        folder = tempfile.mkdtemp()
        journal = stack().write_behind(f"{folder}/journal", max_pending=100_000)
        store = journal.over(MemoryStore()) if journalled else MemoryStore()
        await store.put("first", 0)

        async def put() -> None:
            await asyncio.gather(*(store.put(NAMES[n], VALUES[n]) for n in range(8_000)))
            await store.close()
            shutil.rmtree(folder)

        return put

    return prepare


async def rows() -> AsyncIterator[Row]:
    """Measure the calls that once blocked the loop for longest."""
    for name, prepare, before in (
        (
            "one put after 100,000 entries expired: event-loop blocking",
            putting_after_expiry,
            "159 ms",
        ),
        (
            "`get_many` of 100,000 through a cache: event-loop blocking",
            getting_many_through_a_cache,
            "610 ms",
        ),
        ("the same, when the cache is empty: event-loop blocking", filling_a_cache, "610 ms"),
        (
            "`put_many` of 50,000 with a mirror: event-loop blocking",
            putting_with_a_mirror,
            "437 ms",
        ),
        ("`MemoryStore`: `put_many` of 100,000: event-loop blocking", putting_many, ""),
        ("`MemoryStore`: `get_many` of 100,000: event-loop blocking", getting_many, ""),
        ("`MemoryStore`: `delete_many` of 100,000: event-loop blocking", deleting_many, ""),
        ("`MemoryStore`: `keys` of 100,000: event-loop blocking", listing, ""),
        ("`MemoryStore`: `cull` of 100,000: event-loop blocking", culling, ""),
        ("`MemoryStore`: `destroy` of 100,000: event-loop blocking", destroying, ""),
    ):
        yield absolute(name, await median_blocking(prepare), 10, "ms", before)
    # Eight thousand tasks that begin in one turn take their time whatever they do.
    measured = await pair_blocking(
        putting_at_once(journalled=True), putting_at_once(journalled=False)
    )
    yield Row(
        "8,000 journalled puts at once: event-loop blocking, "
        "compared with the same puts without a journal",
        f"{measured.ours:,.1f} ms",
        f"{measured.theirs:,.1f} ms",
        f"{measured.difference:+,.1f} ms",
        "at most +10 ms",
        measured.difference <= 10,
    )
