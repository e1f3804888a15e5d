"""Opening and closing: counted, in order, and undone if it fails part-way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kvwrap import Deadlock, MemoryStore, Passthrough, Store, StoreUnavailable, stack
from kvwrap.core.entry import Entry
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.primitives import Collection


class Part(Lifecycle):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.gate: asyncio.Event | None = None

    async def setup(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.log.append("setup")

    async def teardown(self) -> None:
        self.log.append("teardown")


async def test_set_up_once_and_torn_down_with_the_last_close() -> None:
    part = Part()
    async with part, part:
        await part.ready()
        assert part.is_open
        assert part.users == 2
    assert part.log == ["setup", "teardown"]
    assert not part.is_open
    assert part.is_closed
    await part.close()
    assert part.log == ["setup", "teardown"]


async def test_set_up_at_the_first_use() -> None:
    part = Part()
    await asyncio.gather(*(part.ready() for _ in range(10)))
    assert part.log == ["setup"]
    await part.close()
    assert part.log == ["setup", "teardown"]
    with pytest.raises(StoreUnavailable):
        await part.ready()
    async with part:
        assert part.is_open
    assert part.log == ["setup", "teardown"] * 2


async def test_a_part_that_was_never_set_up_is_not_torn_down() -> None:
    part = Part()
    await part.close()
    assert part.log == []
    with pytest.raises(StoreUnavailable):
        await part.ready()


async def test_a_failed_setup_can_be_retried() -> None:
    class Flaky(Part):
        tries = 0

        async def setup(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise StoreUnavailable("not yet")
            await super().setup()

    part = Flaky()
    with pytest.raises(StoreUnavailable, match="not yet"):
        await part.open()
    assert part.users == 0
    async with part:
        assert part.log == ["setup"]
    assert part.log == ["setup", "teardown"]


async def test_closing_during_setup() -> None:
    part = Part()
    part.gate = asyncio.Event()
    using = asyncio.create_task(part.ready())
    await asyncio.sleep(0)
    await part.close()
    part.gate.set()
    with pytest.raises(StoreUnavailable):
        await using
    assert part.log == ["setup", "teardown"]
    assert not part.is_open


async def test_after_a_cancelled_setup_the_next_task_sets_up() -> None:
    part = Part()
    part.gate = asyncio.Event()
    first = asyncio.create_task(part.ready())
    second = asyncio.create_task(part.ready())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    part.gate.set()
    async with asyncio.timeout(30):
        await second
    assert part.log == ["setup"]


class Noted(MemoryStore):
    """A store that records when it is opened and closed."""

    def __init__(self, log: list[str], title: str, fails: str = "") -> None:
        super().__init__()
        self.log, self.title, self.fails = log, title, fails

    async def setup(self) -> None:
        if self.fails == "setup":
            raise StoreUnavailable(f"{self.title} does not open")
        self.log.append(f"open {self.title}")

    async def teardown(self) -> None:
        self.log.append(f"close {self.title}")
        if self.fails == "teardown":
            raise StoreUnavailable(f"{self.title} does not close")


class Holding(Passthrough):
    """A layer with second stores that it opens and closes."""

    def __init__(self, log: list[str], title: str, *seconds: Any) -> None:
        self.log, self.title, self.given = log, title, seconds

    def on_bind(self) -> None:
        for number, given in enumerate(self.given):
            self.second(f"second {number}", given)

    async def setup(self) -> None:
        await super().setup()
        self.log.append(f"open {self.title}")

    async def teardown(self) -> None:
        self.log.append(f"close {self.title}")
        await super().teardown()


def holding(log: list[str], title: str, *fails: str) -> Holding:
    seconds = [
        lambda number=number, fail=fail: Noted(log, f"{title}{number}", fail)
        for number, fail in enumerate(fails)
    ]
    return Holding(log, title, *seconds)


async def test_a_stack_opens_from_the_inside_out_and_closes_from_the_outside_in() -> None:
    log: list[str] = []
    async with stack(holding(log, "A", ""), holding(log, "B", "")).over(Noted(log, "base")):
        assert log == ["open base", "open B0", "open B", "open A0", "open A"]
        log.clear()
    assert log == ["close A", "close A0", "close B", "close B0", "close base"]


async def test_opened_parts_are_closed_again_if_opening_fails_part_way() -> None:
    log: list[str] = []
    layers = stack(holding(log, "A", "", "setup"), holding(log, "B", ""))
    store = layers.over(Noted(log, "base"))
    with pytest.raises(StoreUnavailable, match="A1 does not open"):
        await store.open()
    assert log == [
        *("open base", "open B0", "open B", "open A0"),
        *("close A0", "close B", "close B0", "close base"),
    ]
    assert not store.is_open


async def test_every_part_is_closed_even_if_closing_one_fails() -> None:
    log: list[str] = []
    layers = stack(holding(log, "A", "teardown"), holding(log, "B", ""))
    store = layers.over(Noted(log, "base"))
    with pytest.raises(StoreUnavailable, match="A0 does not close"):
        async with store:
            log.clear()
    assert log == ["close A", "close A0", "close B", "close B0", "close base"]
    with pytest.raises(StoreUnavailable):
        await store.get("key")


async def test_a_store_that_other_code_opened_stays_open() -> None:
    log: list[str] = []
    base = Noted(log, "base")
    async with base:
        async with stack(Passthrough()).over(base) as store:
            await store.put("key", 1)
        await store.close()
        await store.close()
        never_opened = stack(Passthrough()).over(base)
        assert await never_opened.get("key") == 1
        await never_opened.close()
        assert log == ["open base"]
        assert await base.get("key") == 1
    assert log == ["open base", "close base"]


async def test_each_of_two_stacks_over_one_store_keeps_it_open() -> None:
    log: list[str] = []
    base = Noted(log, "base")
    one, two = stack(Passthrough()).over(base), stack(Passthrough()).over(base)
    async with one:
        async with two:
            await two.put("key", 1)
        assert await one.get("key") == 1
    assert log == ["open base", "close base"]


async def test_a_stack_over_a_closed_store_opens_it_again() -> None:
    base = MemoryStore()
    async with base:
        await base.put("key", 1)
    with pytest.raises(StoreUnavailable):
        await base.get("key")
    store: Store = stack(Passthrough()).over(base)
    with pytest.raises(StoreUnavailable):
        await store.get("key")
    async with store:
        assert await store.get("key") == 1
        assert await base.get("key") == 1


async def test_a_setup_that_uses_its_own_part_is_refused() -> None:
    class Circular(Passthrough):
        async def setup(self) -> None:
            await super().setup()
            await self.ready()

    store = Circular().over(MemoryStore())
    async with asyncio.timeout(30):
        with pytest.raises(Deadlock, match="Circular"):
            await store.open()
    assert store.idle


async def test_tasks_that_a_setup_begins_may_use_the_part_when_it_is_open() -> None:
    tasks: list[asyncio.Task[object]] = []

    class Busy(Passthrough):
        async def setup(self) -> None:
            await super().setup()
            tasks.append(asyncio.create_task(store.get("key")))
            await asyncio.sleep(0.001)

    store = Busy().over(MemoryStore())
    async with asyncio.timeout(30), store:
        assert await tasks[0] is None


async def test_a_setup_that_fails_fails_all_that_wait_for_it_at_once() -> None:
    attempts: list[int] = []

    class Unavailable(MemoryStore):
        async def setup(self) -> None:
            attempts.append(1)
            await asyncio.sleep(0.001)
            if len(attempts) == 1:
                raise StoreUnavailable("down")

        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            await self.ready()
            return await super().read(collection, keys)

    store = Unavailable()
    outcomes = await asyncio.gather(*(store.get("key") for _ in range(20)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["down"] * 20
    assert attempts == [1]
    assert await store.get("key") is None
