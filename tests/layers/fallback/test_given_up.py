"""Writes that were given up never undo what was acknowledged after them, over a real server that
stands still."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import MemoryStore, RedisStore, Store, StoreUnavailable, stack
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import RedisServer

SIZES = [1, 1_000_000, 50_000_000]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture
def frozen(server: RedisServer) -> Iterator[None]:
    """Stop the server, until the test lets it go on."""
    server.flush()
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


def build(kind: str, path: Path, url: str) -> Store:
    inner = RedisStore(url, timeout=1)
    if kind == "write_behind":
        return stack().write_behind(path, retry_after=0.05, shutdown_timeout=0).over(inner)
    journal = path if kind == "journal" else None
    return Fallback(
        MemoryStore,
        writes="both" if journal is None else "journal",
        journal=journal,
        failures=100,
        open_for=0.05,
        recovery_delay=0,
    ).over(inner)


async def sent(store: Store) -> None:
    """Wait until nothing is pending."""
    layer = next(part for part in store.parts if isinstance(part, WriteBehind | Fallback))
    async with asyncio.timeout(30):
        while True:
            try:
                await layer.flush()
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


@pytest.mark.parametrize("ends", ["timeout", "cancelled"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["write_behind", "both", "journal"])
async def test_a_write_that_was_given_up_does_not_replace_a_newer_one(
    server: RedisServer, frozen: None, tmp_path: Path, kind: str, size: int, ends: str
) -> None:
    async with (
        build(kind, tmp_path / "journal", server.url) as store,
        RedisStore(server.url, timeout=20) as direct,
    ):
        old = asyncio.create_task(store.put("k", "old" + "x" * size))
        if ends == "cancelled":
            await asyncio.sleep(0.1)
            old.cancel()
        (outcome,) = await asyncio.gather(old, return_exceptions=True)
        assert kind == "both" or ends == "cancelled" or outcome is None
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.put("k", "new")
                    break
                except StoreUnavailable:  # with "both", until the server is back
                    await asyncio.sleep(0.02)
        assert await store.get("k") == "new"
        await sent(store)
        for _ in range(5):
            assert await direct.get("k") == "new"
            assert await store.get("k") == "new"
            await asyncio.sleep(0.05)
