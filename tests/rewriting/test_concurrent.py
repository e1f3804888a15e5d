"""Rewriting beside readers and writers: nothing stays in an old form, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kvwrap import Keyring, RedisStore, SQLiteStore, Stack, Store, rewrite, stack
from kvwrap.rewriting.rewrite import Report
from kvwrap.testing import RedisServer
from tests.rewriting.entries import NEW, OLD

pytestmark = pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")

READERS = 8
WRITERS = 4


@pytest_asyncio.fixture(params=["sqlite", "redis", "raw"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A backend with a server or file of its own."""
    if request.param == "sqlite":
        async with SQLiteStore(tmp_path / "store.db") as store:
            yield store
        return
    with RedisServer() as server:
        raw = request.param == "raw"
        async with RedisStore(server.url, raw=raw) as store:
            yield store


def layered(keyring: Keyring, *, accept_plaintext: bool = False) -> Stack:
    # Equal numbers are equal bytes: another program's values without anything that tells them
    # apart.
    return stack().serialize("json").encrypt(keyring, accept_plaintext=accept_plaintext)


async def rewrite_beside_others(store: Store, keys: list[str], counted: Counter[str]) -> Report:
    """Rewrite while readers read and writers count, until both have done something."""
    stop = asyncio.Event()

    async def read(rng: random.Random) -> None:
        while not stop.is_set():
            assert await store.get(rng.choice(keys)) is not None
            assert None not in await store.get_many(rng.sample(keys, 10))

    async def count(rng: random.Random) -> None:
        while not stop.is_set():
            key = rng.choice(keys)
            await store.increment(key)
            counted[key] += 1

    others = [asyncio.create_task(read(random.Random(n))) for n in range(READERS)]
    others += [asyncio.create_task(count(random.Random(-1 - n))) for n in range(WRITERS)]
    before = sum(counted.values())
    while sum(counted.values()) == before:
        await asyncio.sleep(0.001)
    report = await rewrite(store, batch=20, everything=True)
    stop.set()
    await asyncio.gather(*others)
    return report


async def check_rewriting(backend: Store, count: int) -> None:
    keys = [f"user:{n}" for n in range(count)]
    counted: Counter[str] = Counter()
    await stack().serialize("json").over(backend).put_many(keys, [0] * count)

    moving = layered(OLD, accept_plaintext=True).over(backend)
    report = await rewrite_beside_others(moving, keys, counted)
    assert (report.seen, report.failed, report.gone) == (count, 0, 0)
    assert (report.unencrypted, report.keys) == (0, {"old": count})
    closed = layered(OLD).over(backend)
    assert await closed.get_many(keys) == [counted[key] for key in keys]
    assert (await rewrite(closed, dry_run=True)).current == count

    rotated = layered(NEW).over(backend)
    report = await rewrite_beside_others(rotated, keys, counted)
    assert (report.seen, report.failed, report.gone) == (count, 0, 0)
    assert (report.unencrypted, report.keys) == (0, {"new": count})
    retired = layered(NEW.retired("old")).over(backend)
    assert await retired.get_many(keys) == [counted[key] for key in keys]
    assert (await rewrite(retired, dry_run=True)).current == count


async def test_nothing_stays_in_an_old_form(shared: Store) -> None:
    await check_rewriting(shared, 200)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("KVWRAP_SOAK"), reason="long")
async def test_nothing_stays_in_an_old_form_among_many(shared: Store) -> None:
    for _ in range(5):
        await check_rewriting(shared, 2000)
        await shared.delete_many([f"user:{n}" for n in range(2000)])


async def test_dry_runs_beside_readers_are_true(shared: Store) -> None:
    """What others read at the same time is not taken for what the rewrite has read."""
    keys = [f"user:{n}" for n in range(60)]
    await stack().serialize("json").over(shared).put_many(keys, [0] * 60)
    store = layered(NEW, accept_plaintext=True).over(shared)
    await store.put_many(keys[:20], [0] * 20)
    stop = asyncio.Event()

    async def read(rng: random.Random) -> None:
        while not stop.is_set():
            await store.get(rng.choice(keys))

    reading = [asyncio.create_task(read(random.Random(n))) for n in range(READERS)]
    reports = [await rewrite(store, dry_run=True, batch=7) for _ in range(5)]
    stop.set()
    await asyncio.gather(*reading)
    for report in reports:
        assert (report.current, report.rewritten, report.unencrypted) == (20, 40, 40)


async def test_a_near_store_inside_the_encryption_is_not_taken_for_the_backend(
    tmp_path: Path,
) -> None:
    """A process that was not told of the new key has written behind the near store's back."""
    async with SQLiteStore(tmp_path / "store.db") as backend:

        def near() -> Store:
            return SQLiteStore(tmp_path / "near.db")

        store = stack().encrypt(NEW).read_through(near, ttl=600).over(backend)
        async with store:
            await store.put("k", 1)
            assert await store.get("k") == 1
            await stack().encrypt(OLD).over(backend).put("k", 2)
            report = await rewrite(store)
            assert (report.rewritten, report.keys) == (1, {"new": 1})
            retired = stack().encrypt(NEW.retired("old")).over(backend)
            assert await retired.get("k") == 2
            assert await store.get("k") == 2
