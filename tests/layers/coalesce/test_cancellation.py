"""After a cancelled change that had been sent, all readers see one order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kvwrap import Coalesce, MemoryStore, SQLiteStore, Store, StoreUnavailable
from kvwrap.core.primitives import PRIMITIVES
from tests.layers.coalesce.backend import settle

CHANGES: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "delete": lambda store: store.delete("a"),
    "delete_many": lambda store: store.delete_many(["a", "b"]),
    "pop": lambda store: store.pop("a"),
    "delete_where": lambda store: store.delete_where(prefix="a"),
    "destroy": lambda store: store.destroy(),
    "destroy_collection": lambda store: store.destroy_collection(None),
}


class Continuing(MemoryStore):
    """Makes a change to its end, also if its caller is cancelled, as a thread does."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = asyncio.Event()
        self.allowed.set()


def _continuing(name: str) -> Any:
    async def primitive(self: Continuing, *arguments: Any) -> Any:
        async def run() -> Any:
            if name in ("write", "remove", "touch", "drop_range", "drop", "drop_all"):
                await self.allowed.wait()
            return await getattr(MemoryStore, name)(self, *arguments)

        return await asyncio.shield(asyncio.ensure_future(run()))

    return primitive


for _name in PRIMITIVES:
    setattr(Continuing, _name, _continuing(_name))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("later", ["get", "get_many", "put"])
async def test_what_is_asked_after_a_cancelled_change_waits_until_it_has_ended(
    change: str, later: str
) -> None:
    backend = Continuing()
    async with Coalesce().over(backend) as store:
        await store.put_many(["a", "b"], [1, 1])
        backend.allowed.clear()
        changing = asyncio.ensure_future(CHANGES[change](store))
        await settle()
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        match later:
            case "get":
                call = asyncio.ensure_future(store.get("a"))
            case "get_many":
                call = asyncio.ensure_future(store.get_many(["a", "z"]))
            case _:
                call = asyncio.ensure_future(store.put("a", 2))
        await settle()
        assert not call.done()
        assert not store.find(Coalesce).idle
        unconcerned = store.get("a", collection="other")
        if change != "destroy":
            assert await unconcerned is None
        else:
            unconcerned.close()
        backend.allowed.set()
        result = await call
        if later == "put":
            assert await store.get("a") == 2
        else:
            assert result in (None, [None, None])
        assert store.find(Coalesce).idle


async def test_a_change_cancelled_before_its_turn_is_not_made() -> None:
    backend = Continuing()
    async with Coalesce().over(backend) as store:
        await store.put("a", 1)
        backend.allowed.clear()
        first = asyncio.ensure_future(store.put("a", 2))
        await settle()
        waiting = [asyncio.ensure_future(CHANGES[name](store)) for name in ("pop", "destroy")]
        await settle()
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        backend.allowed.set()
        await first
        assert await store.get("a") == 2
        assert store.find(Coalesce).idle


async def test_a_put_after_a_deletion_is_not_sent_with_one_before_it() -> None:
    async with Coalesce().over(MemoryStore()) as store:
        for deletion in (store.destroy, lambda: store.destroy_collection(None), store.delete_where):
            await asyncio.gather(store.put("a", 1), deletion(), store.put("a", 2))
            assert await store.get("a") == 2


async def test_closing_waits_for_a_cancelled_change() -> None:
    backend = Continuing()
    store = Coalesce().over(backend)
    await store.put("a", 1)
    backend.allowed.clear()
    changing = asyncio.ensure_future(store.pop("a"))
    await settle()
    changing.cancel()
    closing = asyncio.ensure_future(store.close())
    await settle()
    assert not closing.done()
    backend.allowed.set()
    await closing
    assert len(backend) == 0


async def test_over_sqlite_no_entry_is_read_and_then_gone(tmp_path: Path) -> None:
    async with Coalesce().over(SQLiteStore(tmp_path / "entries.db")) as store:
        cancelled = 0
        for number in range(60):
            await store.put("k", number)
            popping = asyncio.ensure_future(store.pop("k"))
            await asyncio.sleep(0.0002 * (number % 10))
            if not popping.cancel():
                await popping
                continue
            await asyncio.gather(popping, return_exceptions=True)
            cancelled += 1
            first = await store.get("k")
            await asyncio.sleep(0.002)
            assert await store.get("k") == first
        assert cancelled


async def test_a_change_that_fails_after_its_caller_was_cancelled_is_no_unseen_failure() -> None:
    class Failing(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.allowed = asyncio.Event()

        async def touch(self, *arguments: Any) -> list[bool]:
            await self.allowed.wait()
            raise StoreUnavailable("the backend is gone")

    backend = Failing()
    async with Coalesce().over(backend) as store:
        expiring = asyncio.ensure_future(store.expire("a", 5))
        await settle()
        expiring.cancel()
        await settle()
        backend.allowed.set()
        await settle()
        assert store.idle
    del expiring
    gc.collect()
