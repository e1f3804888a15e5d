"""Callers that wait for a value whose computation began before a tag was invalidated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kvwrap import MemoryStore, Passthrough, Tags, stack
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import SECRET, tagged, unwatched


class Source:
    """A value outside of the store, read at once and returned once `goes_on` is set."""

    def __init__(self) -> None:
        self.value = "old"
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.calls = 0

    async def load(self) -> str:
        self.calls += 1
        value = self.value
        self.begun.set()
        await self.goes_on.wait()
        return value


class LateAnswers(Passthrough):
    """Answers writes of the record of moments once it was read twice since `begin`."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()

    def begin(self) -> None:
        self.reads = 0
        self.answers.clear()

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        written = await self.inner.write(collection, keys, entries, expected)
        if "moment" in keys:
            await self.answers.wait()
        return written

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await self.inner.read(collection, keys)
        if "moment" in keys:
            self.reads += 1
            if self.reads == 2:
                self.answers.set()
                for _ in range(20):  # the answer of the write comes first
                    await asyncio.sleep(0)
        return found


@pytest.mark.parametrize("make", [unwatched, lambda clock: MemoryStore(clock=clock)])
async def test_an_own_change_that_is_answered_late_hides_no_later_one(
    clock: ManualClock, make: Any
) -> None:
    base, source = make(clock), Source()
    other = stack().tags(SECRET).over(base)
    async with other, stack().tags(SECRET).layer(LateAnswers()).over(base) as one:
        await one.put("others", 1, tags=["t", "other"])
        one.find(LateAnswers).begin()
        own = asyncio.ensure_future(one.find(Tags).invalidate("other"))
        await clock.settle()
        first = asyncio.ensure_future(one.get_or_put("a", source.load, tags=lambda _: ["t"]))
        await source.begun.wait()
        source.value = "new"
        await other.find(Tags).invalidate("t")
        source.goes_on.set()
        assert await first == "old"
        await own
        assert await one.get("a") is None
        clock.advance(1)
        assert await one.get("a") is None


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("is_many", [False, True], ids=["one", "many"])
async def test_who_comes_after_the_bound_does_not_get_what_another_process_invalidated(
    clock: ManualClock, is_told: bool, is_many: bool
) -> None:
    base = MemoryStore(clock=clock) if is_told else unwatched(clock)
    other = stack().tags(SECRET).over(base)
    async with other, stack().tags(SECRET).over(base) as one:
        await one.put("others", 1, tags=["t"])
        source = Source()

        async def load_many(keys: list[str]) -> dict[str, str]:
            return {key: await source.load() for key in keys}

        first = asyncio.ensure_future(
            one.get_or_put_many(["a"], load_many, tags=["t"])
            if is_many
            else one.get_or_put("a", source.load, tags=["t"])
        )
        await source.begun.wait()
        source.value = "new"
        await other.find(Tags).invalidate("t")
        clock.advance(1.1)
        later = [
            asyncio.ensure_future(one.get_or_put("a", source.load, tags=["t"])) for _ in range(3)
        ]
        await clock.settle()
        source.goes_on.set()
        await first
        assert await asyncio.gather(*later) == ["new"] * 3
        assert await one.get("a") == "new"
        assert source.calls == 2


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("is_kept", [True, False])
async def test_who_comes_in_time_joins(clock: ManualClock, is_told: bool, is_kept: bool) -> None:
    base = MemoryStore(clock=clock) if is_told else unwatched(clock)
    async with stack().tags(SECRET).over(base) as one:
        await one.put("others", 1, tags=["t"])
        source = Source()

        def get() -> asyncio.Future[Any]:
            return asyncio.ensure_future(
                one.get_or_put("a", source.load, tags=["t"], keep=lambda _: is_kept)
            )

        callers = [get()]
        await source.begun.wait()
        clock.advance(0.4)
        callers.append(get())
        await clock.settle()
        clock.advance(10)
        if is_told:
            callers.append(get())
            await clock.settle()
        source.goes_on.set()
        assert await asyncio.gather(*callers) == ["old"] * len(callers)
        assert source.calls == 1


async def test_what_is_computed_in_the_background_is_not_joined_after_its_tag_expired(
    clock: ManualClock,
) -> None:
    async with tagged(clock) as store:
        source = Source()

        def get() -> asyncio.Future[Any]:
            return asyncio.ensure_future(
                store.get_or_put(
                    "a", source.load, ttl=10, stale_ttl=600, soft_timeout=60, tags=["t"]
                )
            )

        source.goes_on.set()
        assert await get() == "old"
        clock.advance(20)
        source.goes_on.clear()
        source.begun.clear()
        source.value = "older"
        first = get()
        await source.begun.wait()
        source.value = "new"
        await store.find(Tags).expire("t")
        later = get()
        await clock.settle()
        source.goes_on.set()
        assert await first == "older"
        assert await later == "new"
