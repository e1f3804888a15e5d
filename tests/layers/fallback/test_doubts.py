"""One order for all readers: no read shows an older state than one before it, whichever store
answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest

from kvwrap import (
    MemoryStore,
    ReadOnlyViolation,
    Store,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.fallback.doubts import Doubts
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore

Writes = Literal["both", "journal"]


class Lossy(FaultyStore):
    """Carries out the next change, and loses its answer."""

    loses = False

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        result = await super().call(primitive, arguments)
        if self.loses and primitive in ("write", "remove", "touch", "drop", "drop_all"):
            self.loses = False
            raise StoreTimeout("the answer was lost")
        return result


@pytest.fixture
async def lossy(clock: ManualClock) -> Any:
    async with Lossy(clock=clock) as opened:
        yield opened


@pytest.fixture(params=["both", "journal"])
def writes(request: pytest.FixtureRequest) -> Writes:
    mode: Writes = request.param
    return mode


def fallback(other: Store, writes: Writes, tmp_path: Path) -> Fallback:
    journal = tmp_path / "journal" if writes == "journal" else None
    return Fallback(other, writes=writes, failures=100, journal=journal)


CHANGES = {
    "increment": lambda store: store.increment("n"),
    "pop": lambda store: store.pop("n"),
    "expire": lambda store: store.expire("n", 5),
    "destroy": lambda store: store.destroy(),
    "destroy_collection": lambda store: store.destroy_collection("c"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_whose_answer_was_lost_is_not_read_and_then_unread(
    lossy: Lossy, other: FaultyStore, writes: Writes, tmp_path: Path, change: str
) -> None:
    async with fallback(other, writes, tmp_path).over(lossy) as store:
        await store.put_many(["n", "untouched"], [1, 1])
        await store.put("m", 1, collection="c")
        lossy.loses = True
        with pytest.raises(StoreTimeout):
            await CHANGES[change](store)
        collection = "c" if change == "destroy_collection" else None
        key = "m" if collection else "n"
        lossy.down = True  # nobody has read it yet, but somebody may have
        with pytest.raises(StoreUnavailable, match="older state"):
            await store.get(key, collection=collection)
        if change != "destroy":
            assert await store.get("untouched") == 1
        lossy.down = False
        seen = await store.ttl(key, collection=collection)
        lossy.down = True
        assert await store.ttl(key, collection=collection) == seen
        lossy.down = False


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
async def test_a_put_with_an_unknown_outcome_is_not_read_and_then_unread(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path, ends: str
) -> None:
    async with fallback(other, "both", tmp_path).over(backend) as store:
        await store.put("k", "old")
        backend.gate.clear()
        write = asyncio.create_task(store.put("k", "new"))
        await ManualClock.settle()
        if ends == "cancelled":
            write.cancel()
        else:
            backend.down = StoreTimeout("lost")
            backend.gate.set()
        await asyncio.gather(write, return_exceptions=True)
        backend.gate.set()
        backend.down = False
        await backend.put("k", "new")  # it was carried out nevertheless
        backend.down = True
        with pytest.raises(StoreUnavailable):
            await store.get("k")
        assert store.find(Fallback).snapshot().in_doubt == 1
        backend.down = False
        assert await store.get("k") == "new"
        assert store.find(Fallback).snapshot().in_doubt == 0
        backend.down = True
        assert await store.get("k") == "new"


async def test_a_failed_copy_is_made_good_before_the_other_store_answers(
    backend: FaultyStore, other: FaultyStore, writes: Writes, tmp_path: Path
) -> None:
    async with fallback(other, writes, tmp_path).over(backend) as store:
        await store.put_many(["a", "b", "c"], ["old"] * 3)
        other.down = True
        await store.put_many(["a", "b"], ["new"] * 2)
        await store.delete("c")
        other.down = False
        backend.down = True
        for key in "abc":
            with pytest.raises(StoreUnavailable):
                await store.get(key)
        backend.down = False
        assert await store.get("a") == "new"
        await store.put("b", "newest")
        assert store.find(Fallback).snapshot().in_doubt == 1
        backend.down = True
        assert await store.get_many(["a", "b"]) == ["new", "newest"]
        with pytest.raises(StoreUnavailable):
            await store.get_many(["a", "c"])


async def test_a_read_in_the_outage_waits_for_the_write_in_progress(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    """Or another reader may have seen the new value already."""
    async with fallback(other, "both", tmp_path).over(backend) as store:
        await store.put("k", "old")
        original = other.call
        copying = asyncio.Event()

        async def slow_copy(primitive: str, arguments: tuple[Any, ...]) -> Any:
            if primitive == "write":
                await copying.wait()
            return await original(primitive, arguments)

        other.call = slow_copy  # type: ignore[method-assign]  # to hold back the copy
        write = asyncio.create_task(store.put("k", "new"))
        await ManualClock.settle()
        assert await store.get("k") == "new"
        backend.down = True
        read = asyncio.create_task(store.get("k"))
        await ManualClock.settle()
        assert not read.done()
        copying.set()
        assert await read == "new"
        await write


OF_ONE_KEY = {
    "put": lambda store: store.put("k", 2),
    "delete": lambda store: store.delete("k"),
    "expire": lambda store: store.expire("k", 5),
}


OF_ALL_KEYS = {
    "destroy": lambda store: store.destroy(),
    "destroy_collection": lambda store: store.destroy_collection(None),
}


@pytest.mark.parametrize("change", [*OF_ONE_KEY, *OF_ALL_KEYS])
async def test_what_the_inner_store_was_not_asked_is_not_in_doubt(
    backend: FaultyStore, other: FaultyStore, change: str
) -> None:
    async with Fallback(other, writes="both", failures=1).over(backend) as store:
        await store.put("k", 1)
        backend.down = True
        assert await store.get("k") == 1
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await {**OF_ONE_KEY, **OF_ALL_KEYS}[change](store)
        assert await store.get("k") == 1
        assert store.find(Fallback).snapshot().in_doubt == 0


@pytest.mark.parametrize("change", OF_ONE_KEY)
async def test_a_refused_change_is_not_in_doubt(
    backend: FaultyStore, other: FaultyStore, change: str
) -> None:
    async with Fallback(other, writes="both", failures=1).over(backend) as store:
        await store.put("k", 1)
        backend.down = ReadOnlyViolation("refused")
        with pytest.raises(ReadOnlyViolation):
            await OF_ONE_KEY[change](store)
        backend.down = True
        assert await store.get("k") == 1
        assert store.find(Fallback).snapshot().in_doubt == 0


async def test_what_both_stores_have_deleted_is_not_in_doubt(
    backend: FaultyStore, other: FaultyStore
) -> None:
    async with Fallback(other, writes="both", failures=100).over(backend) as store:
        other.down = True
        await store.put("a", 1, collection="c")
        await store.put("b", 1)
        other.down = False
        await store.destroy_collection("c")
        assert store.find(Fallback).snapshot().in_doubt == 1
        backend.down = True
        assert await store.get("a", collection="c") is None
        with pytest.raises(StoreUnavailable):
            await store.get("b")
        backend.down = False
        await store.destroy()
        backend.down = True
        assert await store.get("b") is None


@pytest.mark.parametrize("name", ["destroy_collection", "destroy"])
async def test_what_only_the_inner_store_has_deleted_is_in_doubt(
    backend: FaultyStore, other: FaultyStore, name: str
) -> None:
    async with Fallback(other, writes="both", failures=100).over(backend) as store:
        await store.put("a", 1, collection="c")
        await store.put("b", 1)
        other.down = True
        await (store.destroy() if name == "destroy" else store.destroy_collection("c"))
        other.down, backend.down = False, True
        with pytest.raises(StoreUnavailable, match="older state"):
            await store.get("a", collection="c")
        if name == "destroy":
            with pytest.raises(StoreUnavailable, match="older state"):
                await store.get("b")
        else:
            assert await store.get("b") == 1
        backend.down = False
        assert await store.get("a", collection="c") is None
        backend.down = True
        assert await store.get("a", collection="c") is None


async def test_an_expiry_that_only_the_inner_store_has_is_in_doubt(
    backend: FaultyStore, other: FaultyStore
) -> None:
    async with Fallback(other, writes="both", failures=100).over(backend) as store:
        await store.put("k", 1)
        other.down = True
        other.calls.clear()
        assert not await store.expire("missing", 5)
        assert not other.calls
        assert await store.expire("k", 5)
        assert other.count("touch") == 1
        other.down, backend.down = False, True
        with pytest.raises(StoreUnavailable, match="older state"):
            await store.get("k")


async def test_a_doubt_costs_no_read_while_the_other_store_is_down(
    backend: FaultyStore, other: FaultyStore
) -> None:
    async with Fallback(other, writes="both", failures=1).over(backend) as store:
        other.down = True
        await store.put("k", 1)
        backend.calls.clear()
        for _ in range(5):
            assert await store.get("k") == 1
        assert backend.count("read") == 5


async def test_after_a_restart_a_copy_that_failed_is_in_doubt(
    backend: FaultyStore, other: FaultyStore, tmp_path: Path
) -> None:
    layer = Fallback(other, writes="journal", journal=tmp_path / "j", recovery_delay=0)
    await other.put("k", "old")
    backend.down = True
    async with Fallback(MemoryStore, writes="journal", journal=tmp_path / "j").over(
        backend
    ) as store:
        await store.put("k", "new")
    other.down = True
    async with layer.over(backend) as store:
        assert await store.get("k") == "new"
        other.down = backend.down = False
        await store.find(Fallback).flush()
        backend.down = True
        with pytest.raises(StoreUnavailable):
            await store.get("k")


async def test_a_refused_write_is_not_in_doubt(backend: FaultyStore, other: FaultyStore) -> None:
    async with Fallback(other, writes="both", failures=100).over(backend) as store:
        await store.put_many(["k", "l"], [1, 1])
        backend.write_errors = {"k": ValueTooLarge("over the limit")}
        with pytest.raises(ValueTooLarge):
            await store.put("k", 2)
        assert store.find(Fallback).snapshot().in_doubt == 0
        # Of several keys, those not refused may have been written.
        with pytest.raises(ValueTooLarge):
            await store.put_many(["k", "l"], [2, 2])
        backend.down = True
        with pytest.raises(StoreUnavailable):
            await store.get("l")


def test_the_doubts_are_bounded_and_the_oldest_end_first() -> None:
    doubts = Doubts()
    keys = [(None, str(number)) for number in range(100_003)]
    doubts.add(keys[:3])
    doubts.add(keys[3:])
    assert len(doubts) == 100_000
    assert doubts.of(keys[:5]) == keys[3:5]
    assert doubts.of(keys[-1:]) == keys[-1:]


def test_a_key_whose_doubt_came_back_is_in_doubt_with_its_collection() -> None:
    doubts, key = Doubts(), ("c", "k")
    doubts.add_scope("c")
    doubts.settle([key])
    assert not doubts.of([key])
    doubts.add([key])
    doubts.add((None, str(number)) for number in range(100_000))  # it is forgotten as a key
    assert doubts.of([key, (None, "new")]) == [key]
