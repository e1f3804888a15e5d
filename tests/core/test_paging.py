"""Pages of keys: reading all of them, stopping early, and going on after an error."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.core.paging import PAGE_SIZE, holds_any, pages
from kvwrap.core.primitives import Collection, KeyRange, Page


class Listed:
    """Lists these pages; cursors are their indexes."""

    def __init__(self, *listed: list[str]) -> None:
        self.listed = listed
        self.calls: list[tuple[Collection, KeyRange, object]] = []
        self.failing = False

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        self.calls.append((collection, key_range, cursor))
        if self.failing:
            raise StoreUnavailable("by the test")
        index = cursor if isinstance(cursor, int) else 0
        return Page(self.listed[index], index + 1 if index + 1 < len(self.listed) else None)


async def test_all_pages_are_read_up_to_the_last() -> None:
    part = Listed(["a"], [], ["b", "c"])
    key_range = KeyRange(prefix="p")
    assert [list(page.keys) async for page in pages(part, "c", key_range)] == [
        ["a"],
        [],
        ["b", "c"],
    ]
    assert part.calls == [("c", key_range, None), ("c", key_range, 1), ("c", key_range, 2)]


async def test_the_iterator_ends_and_stays_at_its_end() -> None:
    part = Listed(["a"])
    iterator = pages(part, None)
    assert list((await anext(iterator)).keys) == ["a"]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)
    assert len(part.calls) == 1


async def test_a_page_that_failed_can_be_requested_again() -> None:
    part = Listed(["a"], ["b"])
    iterator = pages(part, None)
    await anext(iterator)
    part.failing = True
    with pytest.raises(StoreUnavailable):
        await anext(iterator)
    part.failing = False
    assert list((await anext(iterator)).keys) == ["b"]


async def test_stopping_early_leaves_no_task_to_close_an_iterator() -> None:
    loop = asyncio.get_running_loop()
    tasks: list[str] = []

    def record(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        tasks.append(repr(work))
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(record)
    try:
        async for _ in pages(Listed(["a"], ["b"]), None):
            break
        assert await holds_any(Listed(["a"], ["b"]), None)
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_task_factory(None)
    assert tasks == []


@pytest.mark.parametrize(
    ("part", "has_key"),
    [(Listed([]), False), (Listed([], []), False), (Listed([], ["a"]), True)],
    ids=["empty", "empty pages", "key on the second page"],
)
async def test_holds_any(part: Listed, has_key: bool) -> None:
    assert await holds_any(part, "c") is has_key


@pytest.mark.parametrize("limit", [None, 0, 1, PAGE_SIZE, PAGE_SIZE + 1])
async def test_keys_reads_only_the_pages_that_the_limit_needs(limit: int | None) -> None:
    class Counting(MemoryStore):
        calls = 0

        async def list_keys(
            self, collection: Collection, key_range: KeyRange, cursor: object
        ) -> Page:
            self.calls += 1
            return await super().list_keys(collection, key_range, cursor)

    store = Counting()
    names = [f"{number:04}" for number in range(PAGE_SIZE + 5)]
    await store.put_many(names, names)
    assert await store.keys(limit=limit) == names[:limit]
    assert store.calls == {None: 2, 0: 0, 1: 1, PAGE_SIZE: 1, PAGE_SIZE + 1: 2}[limit]
