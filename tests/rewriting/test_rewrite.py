"""Rewriting in place: every entry gets its current form, and no concurrent write is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kvwrap import (
    Compression,
    Keyring,
    MemoryStore,
    Passthrough,
    ReadThrough,
    Stack,
    Statistics,
    Store,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock
from tests.rewriting.entries import NEW, OLD, Interloper, contents_of, fill

NEW_STEP = b"\x98" + codec.fingerprint("new")


def layered(keyring: Keyring, algorithm: Any = "zstd") -> Stack:
    """Return a stack with several layers outside those that change bytes."""
    return (
        stack()
        .statistics()
        .read_through(lambda: MemoryStore(), ttl=30)
        .clamp_ttl(maximum=3600)
        .prefix_collection("app-")
        .compress(algorithm, min_size=0, accept=["gzip"])
        .encrypt(keyring)
    )


async def test_every_entry_gets_its_current_form(
    backend: Callable[[], Store], clock: ManualClock
) -> None:
    async with layered(OLD, "gzip").over(backend()) as store:
        values = await fill(store)
    clock.advance(100)
    base = backend()
    async with layered(NEW).over(base) as store:
        before = await store.get_versioned("k000", collection="users")
        store.find(Statistics).reset()
        dry = await rewrite(store, dry_run=True)
        assert (dry.seen, dry.rewritten, dry.current, dry.failed) == (750, 750, 0, 0)
        assert dry.keys == {"old": 750}
        assert dry.retirable == []

        report = await rewrite(store, batch=64)
        assert (report.seen, report.rewritten, report.current, report.failed) == (750, 750, 0, 0)
        assert report.keys == {"new": 750}
        assert report.retirable == ["old"]
        assert report.complete

        again = await rewrite(store)
        assert (again.rewritten, again.current) == (0, 750)
        assert store.find(Statistics).snapshot().rows == ()
        assert store.find(ReadThrough).snapshot().near_hits == 0

        # Version and expiry are unchanged: readers notice nothing.
        assert await store.get_versioned("k000", collection="users") == before
        assert (await store.ttl("k000", collection="users"))[1] == pytest.approx(900, abs=0.01)
        assert await contents_of(store, [None, "users", "orders"]) == values
        entries = await base.read("app-users", ["k000", "k249"])
        for entry in entries:
            assert entry is not None
            steps = [step for step in codec.steps(entry.codec) if step[0] != codec.ANNOTATION]
            assert steps == [NEW_STEP, codec.ZSTD, codec.JSON]
    async with layered(NEW.retired("old")).over(backend()) as store:
        assert await contents_of(store, [None, "users", "orders"]) == values
        await store.destroy()


async def test_a_concurrent_write_wins() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many(["a", "b", "c", "d"], [1, 2, 3, 4])
    writer = stack().encrypt(OLD).over(base)
    store = stack().encrypt(NEW).layer(Interloper()).over(base)

    async def interfere() -> None:
        await writer.put("b", "changed")
        await writer.delete("c")
        await writer.expire("d", 60)

    store.find(Interloper).act = interfere
    report = await rewrite(store)
    assert (report.rewritten, report.gone, report.failed) == (3, 1, 0)
    assert report.keys == {"new": 3}
    assert await store.get_many(["a", "b", "c", "d"]) == [1, "changed", None, 4]
    assert (await store.ttl("d"))[1] == pytest.approx(60, abs=1)


async def test_no_increment_is_lost_while_rewriting(backend: Callable[[], Store]) -> None:
    base = backend()
    keys = [f"k{n}" for n in range(40)]
    unaware = stack().encrypt(NEW.promoted("old")).over(base)
    await unaware.put_many(keys, [0] * len(keys))
    store = stack().encrypt(NEW).over(base)
    counted = 0
    stop = asyncio.Event()

    async def count() -> None:
        nonlocal counted
        while not stop.is_set():
            # Half of the writers do not have the promoted keyring yet.
            writer = unaware if counted % 2 else store
            await writer.increment(keys[counted % len(keys)])
            counted += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(3):
        report = await rewrite(store, batch=7)
        assert report.failed == 0
    stop.set()
    await counting
    assert counted > 0
    assert sum(value or 0 for value in await store.get_many(keys)) == counted


async def test_an_entry_that_always_changes_is_reported() -> None:
    base = MemoryStore()
    writer = stack().encrypt(OLD).over(base)
    await writer.put("a", 0)

    class Changing(Passthrough):
        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            entries = await self.inner.read(collection, keys)
            await writer.put("a", 1)
            return entries

    store = stack().encrypt(NEW).layer(Changing()).over(base)
    report = await rewrite(store)
    assert (report.failed, report.rewritten) == (1, 0)
    (failure,) = report.failures
    assert (failure.collection, failure.key) == (None, "a")
    assert "changed during" in failure.reason


async def test_entries_that_do_not_open_are_reported_and_left_unchanged(
    backend: Callable[[], Store],
) -> None:
    base = backend()
    store = stack().encrypt(OLD).over(base)
    await store.put_many(["a", "b", "c", "d"], [1, 2, 3, 4], collection="x")
    broken = (await base.read("x", ["b"]))[0]
    assert broken is not None
    await base.write("x", ["b"], [broken.with_body(broken.body[:-1], broken.codec)])
    await base.put("c", "plain", collection="x")
    report = await rewrite(stack().encrypt(NEW).over(base))
    assert (report.rewritten, report.failed) == (2, 2)
    assert {failure.key for failure in report.failures} == {"b", "c"}
    assert all(failure.collection == "x" for failure in report.failures)
    assert report.retirable == []
    assert "failed" in str(report)
    assert (await base.read("x", ["b"]))[0] is not None
    assert await base.get("c", collection="x") == "plain"


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_plaintext_is_encrypted(backend: Callable[[], Store]) -> None:
    base = backend()
    values = await fill(base, 20)
    store = stack().encrypt(NEW, accept_plaintext=True).over(base)
    dry = await rewrite(store, dry_run=True)
    assert (dry.unencrypted, dry.keys) == (60, {})
    report = await rewrite(store)
    assert (report.unencrypted, report.keys) == (0, {"new": 60})
    closed = stack().encrypt(NEW).over(base)
    assert await contents_of(closed, [None, "users", "orders"]) == values


def visitor(n: int) -> dict[str, Any]:
    return {"name": f"user {n}", "city": "Paris", "likes": ["tea", "books"], "visits": n * 7}


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_entries_of_another_program_in_redis_are_encrypted(redis_url: str) -> None:
    async with RedisStore(redis_url.removesuffix("/0") + "/9", raw=True) as base:
        await base.put_many([f"user:{n}" for n in range(50)], [b'{"n": %d}' % n for n in range(50)])
        await base.put("no-json", b"\xff\xfe")
        users = stack().serialize("json").encrypt(NEW, accept_plaintext=True).over(base)
        report = await rewrite(users, everything=True)
        assert (report.rewritten, report.failed, report.unencrypted) == (50, 1, 1)
        assert report.foreign == 50
        assert report.failures[0].key == "no-json"
        assert await base.get("no-json") == b"\xff\xfe"
        await base.delete("no-json")
        closed = stack().serialize("msgpack").encrypt(NEW).over(base)
        assert await closed.get("user:7") == {"n": 7}
        assert [key async for key, _ in closed.items(prefix="user:4")] != []
        await base.delete_many(await base.keys())


@pytest.mark.filterwarnings("ignore:migration-open")
async def test_the_expiry_of_another_programs_value_is_sealed(
    redis_url: str, clock: ManualClock
) -> None:
    url = redis_url.removesuffix("/0") + "/8"
    async with RedisStore(url, raw=True, clock=clock) as base:
        await base.put("user:7", b'{"n": 7}', ttl=600)
        users = stack().serialize("json").encrypt(NEW, accept_plaintext=True).over(base)
        await rewrite(users, prefix="user:")
        assert (await users.ttl("user:7"))[1] == pytest.approx(600, abs=300)
        (entry,) = await base.read(None, ["user:7"])
        assert entry is not None
        await base.write(None, ["user:7"], [entry.with_expiry(None)])
        assert await users.get("user:7") == {"n": 7}
        clock.advance(601)
        assert await users.get("user:7") is None
        await base.delete("user:7")


async def test_dictionaries_are_rewritten_with_the_new_key() -> None:
    base = MemoryStore()
    old = stack().compress(dictionaries=True).encrypt(OLD).over(base)
    for n in range(300):
        await old.put(f"k{n}", visitor(n))
    info = await old.find(Compression).train(size=1024)
    store = stack().compress(dictionaries=True).encrypt(NEW).over(base)
    report = await rewrite(store)
    # 300 values, and two records of the dictionary, need the new key.
    assert report.keys == {"new": 302}
    assert report.dictionaries == {info.id: 300}
    last = stack().compress(dictionaries=True).encrypt(NEW.retired("old")).over(base)
    assert await last.get("k7") == visitor(7)

    await last.find(Compression).retire()
    report = await rewrite(last)
    assert report.dictionaries == {}


async def test_two_rewrites_at_a_time_share_the_work_and_both_reports_are_true() -> None:
    base = MemoryStore()
    values = await fill(stack().encrypt(OLD).over(base), 60)
    store = stack().encrypt(NEW).over(base)
    reports = await asyncio.gather(*(rewrite(store, batch=7) for _ in range(3)))
    assert sum(report.rewritten for report in reports) == 180
    assert all(report.keys == {"new": 180} for report in reports)
    assert await contents_of(store, [None, "users", "orders"]) == values


async def test_a_cancelled_rewrite_can_be_started_again() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1)
    store = stack().encrypt(NEW).layer(Interloper()).over(base)
    gate = asyncio.Event()
    store.find(Interloper).act = gate.wait
    first = asyncio.create_task(rewrite(store))
    await ManualClock.settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await rewrite(store)).rewritten == 1
