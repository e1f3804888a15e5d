"""One store in several event loops, one after another, as in scripts and blocking frameworks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from kvwrap import Chaos, MemoryStore, Shadow, SQLiteStore, Stack, Store, WriteBehind, stack
from kvwrap.core.clock import Clock
from kvwrap.layers.base.around import Around, Call
from kvwrap.testing import ManualClock

T = TypeVar("T")
ABANDONED: list[object] = []
"""Tasks of closed loops, which never end; referenced here so that none is destroyed pending."""

LOOPS: list[asyncio.AbstractEventLoop] = []
"""Loops that are neither running nor closed, referenced for the same reason."""


class Slow(Around):
    """A layer that takes a moment, so that operations wait for each other."""

    async def around(self, call: Call[T]) -> T:
        await asyncio.sleep(0.001)
        return await call()


class Stuck(Around):
    """A layer that blocks every read until `open` is set."""

    open = False

    async def around(self, call: Call[T]) -> T:
        while call.operation == "read" and not type(self).open:
            await asyncio.sleep(3600)
        return await call()


@pytest.fixture(autouse=True)
def tasks_end_within_the_test(no_task_fails_unseen: None) -> Iterator[None]:
    yield
    gc.collect()


async def crowd(store: Store) -> None:
    keys = [f"key-{number}" for number in range(20)]
    await asyncio.gather(*(store.put(key, key) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == keys
    assert await asyncio.gather(*(store.increment("count") for _ in keys[:3])) != []


CROWDED: dict[str, Callable[[], Stack]] = {
    "limit_concurrency": lambda: stack().limit_concurrency(2),
    "read_through": lambda: stack().read_through(MemoryStore, ttl=60),
    "coalesce": lambda: stack().coalesce(),
    "replicate": lambda: stack().replicate([MemoryStore]),
    "fallback": lambda: stack().fallback(MemoryStore, writes="both"),
    "shard": lambda: stack().shard({"b": MemoryStore}, name="a", previous=["b"]),
    "compress": lambda: stack().compress(dictionaries=True),
}


@pytest.mark.parametrize("name", CROWDED)
@pytest.mark.parametrize("closes", [True, False])
def test_tasks_that_wait_for_each_other_in_two_loops(name: str, closes: bool) -> None:
    store = CROWDED[name]().layer(Slow()).over(MemoryStore())

    async def main() -> None:
        if closes:
            async with store:
                await crowd(store)
        else:
            await crowd(store)

    for _ in range(3):
        asyncio.run(main())


async def failed(store: Store) -> None:
    """Wait until the journal has failed to send once more."""
    journal = store.find(WriteBehind)
    before = journal.snapshot().failures
    async with asyncio.timeout(30):
        while journal.snapshot().failures == before:
            await asyncio.sleep(0.001)


def test_a_journal_continues_in_another_loop(tmp_path: Path) -> None:
    layers = stack().write_behind(tmp_path / "journal", retry_after=0.01, max_pending=2).chaos()
    store = layers.over(MemoryStore())

    async def main() -> None:
        async with store:
            store.find(Chaos).down = True
            await store.put("a", 1)
            await store.put("b", 1)
            more = asyncio.create_task(store.put("c", 1))
            await failed(store)
            assert not more.done()
            store.find(Chaos).down = False
            await more
            await store.find(WriteBehind).flush()

    for _ in range(2):
        asyncio.run(main())


def test_a_shadow_continues_in_another_loop() -> None:
    store = stack().shadow(lambda: Slow().over(MemoryStore())).over(MemoryStore())

    async def main() -> None:
        async with store:
            await asyncio.gather(*(store.put(f"key-{number}", number) for number in range(5)))
            await store.find(Shadow).drain()

    for _ in range(2):
        asyncio.run(main())


@pytest.mark.parametrize(
    "layers",
    [stack().read_through(MemoryStore, ttl=60), stack().coalesce()],
    ids=["read_through", "coalesce"],
)
def test_calls_in_progress_in_an_abandoned_loop_block_nothing(layers: Stack) -> None:
    class Held(Stuck):
        pass

    store = layers.layer(Held()).over(MemoryStore())

    async def begin() -> asyncio.Task[object]:
        reading = asyncio.create_task(store.get("key"))
        await asyncio.sleep(0.01)
        return reading

    loop = asyncio.new_event_loop()
    reading = loop.run_until_complete(begin())
    abandoned = asyncio.all_tasks(loop)
    assert reading in abandoned, "the read is in progress"
    loop.close()
    Held.open = True

    async def main() -> None:
        async with asyncio.timeout(30):
            assert await store.get("key") is None
            await store.put("key", 1)
            assert await store.get("key") == 1

    asyncio.run(main())
    ABANDONED.append(abandoned)


IDLE: dict[str, Callable[[], Stack]] = {
    "read_through": CROWDED["read_through"],
    "coalesce": CROWDED["coalesce"],
    "limit_concurrency": lambda: stack().limit_concurrency(1),
    "limit_rate": lambda: stack().limit_rate(1, per=3600),
}


@pytest.mark.parametrize("name", IDLE)
@pytest.mark.parametrize("is_closed", [True, False])
def test_what_a_stopped_loop_left_unfinished_is_not_in_progress(name: str, is_closed: bool) -> None:
    class Held(Stuck):
        pass

    store = IDLE[name]().layer(Held()).over(MemoryStore())
    loop = asyncio.new_event_loop()
    for number in range(3):
        ABANDONED.append(loop.create_task(store.get_or_put(f"key {number % 2}", lambda: 1)))
    loop.run_until_complete(asyncio.sleep(0.01))
    ABANDONED.append(asyncio.all_tasks(loop))
    assert not store.idle
    if is_closed:
        loop.close()
        assert store.idle

    async def main() -> None:
        assert store.idle
        Held.open = True
        if name != "limit_rate":
            async with asyncio.timeout(30):
                assert await store.get_or_put("key 0", lambda: 2) == 2
        assert store.idle

    asyncio.run(main())
    if not is_closed:
        LOOPS.append(loop)


def test_a_journal_in_an_abandoned_loop(tmp_path: Path) -> None:
    layers = stack().write_behind(tmp_path / "journal", retry_after=3600).chaos()
    store = layers.silence("chaos-over-real-data").over(SQLiteStore(tmp_path / "entries.db"))

    async def down() -> None:
        store.find(Chaos).down = True
        await store.put("key", 1)
        await failed(store)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(down())
    abandoned = asyncio.all_tasks(loop)
    assert abandoned, "the sender waits for another attempt"
    loop.close()

    async def main() -> None:
        store.find(Chaos).down = False
        async with store, asyncio.timeout(30):
            await store.find(WriteBehind).flush()
            await store.put("other", 1)
        async with store:
            assert sorted(await store.keys()) == ["key", "other"]

    asyncio.run(main())
    ABANDONED.append(abandoned)


class Lost(Around):
    """A layer that blocks an operation, by a future to which nothing refers but the call."""

    blocks = ""
    has_blocked = False

    async def around(self, call: Call[T]) -> T:
        if call.operation == Lost.blocks:
            Lost.has_blocked = True
            await asyncio.get_running_loop().create_future()
        return await call()


BACKGROUND: dict[str, tuple[Callable[[Path, Clock], Stack], str, str]] = {
    # The layers, the call that begins the task, and the operation in which it is blocked.
    "shadow": (lambda p, c: stack().shadow(lambda: Lost().over(MemoryStore())), "put", "write"),
    "slide_ttl": (lambda p, c: stack().slide_ttl(60).layer(Lost()), "get", "write"),
    "write_behind": (lambda p, c: stack().write_behind(p / "j").layer(Lost()), "put", "write"),
    "coalesce": (lambda p, c: stack().coalesce().layer(Lost()), "put", "write"),
    "read_through": (
        lambda p, c: (
            stack()
            .read_through(lambda: MemoryStore(clock=c), ttl=30, refresh_ahead=0.5)
            .layer(Lost())
        ),
        "get",
        "read",
    ),
}


@pytest.mark.parametrize("name", BACKGROUND)
def test_background_tasks_of_stopped_loops_are_not_collected(
    name: str, tmp_path: Path, clock: ManualClock
) -> None:
    layers, method, blocked = BACKGROUND[name]
    store = layers(tmp_path, clock).over(MemoryStore(clock=clock))

    async def begin() -> None:
        Lost.blocks, Lost.has_blocked = "", False
        await store.put("key", 1, ttl=50)
        if name == "write_behind":
            await store.find(WriteBehind).flush()
        if name == "read_through":
            await store.get("key")
            clock.advance(29)
        Lost.blocks = blocked
        call = asyncio.create_task(
            store.put("key", 2, ttl=50) if method == "put" else store.get("key")
        )
        async with asyncio.timeout(30):
            while not Lost.has_blocked:
                await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])

    async def go_on() -> None:
        Lost.blocks = ""
        async with asyncio.timeout(30), store:
            await store.put("key", 3, ttl=50)
            assert await store.get("key") == 3

    loops = [asyncio.new_event_loop() for _ in range(2)]
    for loop in loops:
        loop.run_until_complete(begin())
        clock.advance(100)
    asyncio.run(go_on())
    gc.collect()
    for loop in loops:
        tasks = asyncio.all_tasks(loop)
        assert len(tasks) == 1
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
        loop.close()
