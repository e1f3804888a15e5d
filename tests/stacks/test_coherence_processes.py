"""Near tiers of processes over one Redis whose links are cut and which restarts, or is stopped."""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kvwrap import MemoryStore, RedisStore, SQLiteStore, Store, StoreTimeout, stack
from kvwrap.testing import RedisServer
from kvwrap.testing.lab import History, Operation, older_reads
from tests.conftest import SOAK
from tests.stacks.coherence_worker import BOUND, KEYS

PROCESSES = 4
RATE, SECONDS, CUTS, RESTARTS = (500, 60, 20, 5) if SOAK else (50, 8, 4, 1)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Provide a server of this test's own, since it is restarted and stopped."""
    with RedisServer() as server:
        yield server


def begin(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stacks.coherence_worker", url, str(RATE), str(SECONDS)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def disturb(server: RedisServer, history: History) -> None:
    """Cut the links and restart the server at random. A restart loses what was written."""
    faults = ["cut"] * CUTS + ["restart"] * RESTARTS
    random.shuffle(faults)
    for fault in faults:
        time.sleep(random.uniform(0.5, 1.5) * SECONDS / (len(faults) + 1))
        if fault == "cut":
            server.run("CLIENT KILL TYPE pubsub SKIPME yes")
            server.run("CLIENT KILL TYPE normal SKIPME yes")
        else:
            began = time.monotonic()
            server.restart()
            history += [Operation("server", "write", key, began, time.monotonic()) for key in KEYS]


def test_no_read_is_older_than_the_bound(server: RedisServer) -> None:
    workers = [begin(server.url) for _ in range(PROCESSES)]
    history = History(time.monotonic)
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        disturb(server, history)
        for number, worker in enumerate(workers):
            output, _ = worker.communicate()
            assert worker.returncode == 0
            for kind, key, began, ended, value in json.loads(output):
                end = math.inf if ended is None else ended
                history.append(Operation(str(number), kind, key, began, end, value))
    finally:
        for worker in workers:
            with worker:
                worker.kill()
    assert not older_reads(history, BOUND)
    returned = [each for each in history if each.kind == "read" and each.ended < math.inf]
    assert len(returned) > PROCESSES * SECONDS  # most of the time there were answers


@pytest.mark.parametrize("middle", ["memory", "disk"])
async def test_three_tiers_are_coherent(server: RedisServer, tmp_path: Path, middle: str) -> None:
    """A file may be opened by others, so a tier there goes by ttl, and so does what is outside."""

    def tiers(name: str) -> Store:
        layers = stack().read_through(MemoryStore, ttl=0.5 if middle == "disk" else 600)
        if middle == "disk":
            layers = layers.read_through(SQLiteStore(tmp_path / f"{name}.db"), ttl=0.5)
        else:
            layers = layers.read_through(MemoryStore, ttl=600)
        return layers.silence("cached-twice").over(RedisStore(server.url))

    async with tiers("one") as one, tiers("other") as other:
        assert f"coherence is by {'ttl' if middle == 'disk' else 'watch'}" in one.explain()
        for value in range(3 if middle == "disk" else 20):
            await one.put("k", value)
            assert await one.get("k") == value
            while await other.get("k") != value:
                await asyncio.sleep(0.001)
            assert await one.get("k") == await other.get("k") == value


async def test_stale_values_are_served_while_the_server_is_stopped(server: RedisServer) -> None:
    keys = [str(number) for number in range(64)]
    tier = stack().read_through(MemoryStore, coherence="ttl", ttl=0.2, stale_if_error=600)
    async with tier.timeout(0.05).over(RedisStore(server.url)) as store:

        async def fill(key: str) -> None:
            while True:  # a busy machine may be slower than the timeout
                with suppress(StoreTimeout):
                    await store.put(key, f"old {key}")
                    assert await store.get(key) == f"old {key}"
                    return

        for key in keys:
            await fill(key)
        await asyncio.sleep(0.3)  # until no copy is fresh
        server.freeze()
        try:
            answers = await asyncio.gather(*(store.get(key) for key in keys))
        finally:
            server.thaw()
        assert answers == [f"old {key}" for key in keys]
