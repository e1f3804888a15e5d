"""A master dies or hangs under load: no call fails through Retry, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from kvwrap import RedisStore, Store, ValkeyStore, stack
from kvwrap.testing.servers import LocalServer, RedisCluster, RedisSentinel, ValkeyCluster
from kvwrap.testing.servers.group import ServerGroup

TASKS = 8


def _master(group: ServerGroup) -> LocalServer:
    if isinstance(group, RedisCluster):
        return group.nodes[0]
    assert isinstance(group, RedisSentinel)
    return group.primary


async def _write(
    store: Store, task: int, acknowledged: dict[str, int], gaps: list[float], end: asyncio.Event
) -> None:
    """Write, count and read until the end, and note what was acknowledged."""
    number = 0
    while not end.is_set():
        started = time.monotonic()
        keys = [f"{task}-{number % 50}-{part}" for part in range(4)]
        await store.put_many(keys, [number] * 4)
        acknowledged.update(dict.fromkeys(keys, number))
        acknowledged[f"n{task}"] = await store.increment(f"n{task}")
        assert await store.get_many(keys) == [number] * 4
        gaps.append(time.monotonic() - started)
        number += 1


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize(
    ("kind", "store_class"),
    [(RedisCluster, RedisStore), (RedisSentinel, RedisStore), (ValkeyCluster, ValkeyStore)],
)
async def test_a_master_lost_under_load(
    kind: type[ServerGroup],
    store_class: Callable[..., Store],
    hangs: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    layers = stack().retry(attempts=1000, wait=0.05, max_wait=0.2, timeout=90)
    acknowledged: dict[str, int] = {}
    gaps: list[float] = []
    end = asyncio.Event()

    def counts() -> list[int]:
        return [acknowledged.get(f"n{task}", 0) for task in range(TASKS)]

    async def progress() -> None:
        """Wait until every task has counted further."""
        before = counts()
        async with asyncio.timeout(90):
            while not all(now > then + 20 for now, then in zip(counts(), before, strict=True)):
                await asyncio.sleep(0.02)

    with kind() as group:
        async with layers.over(store_class(group.url, timeout=2 if hangs else 30)) as store:
            async with asyncio.TaskGroup() as tasks:
                for task in range(TASKS):
                    tasks.create_task(_write(store, task, acknowledged, gaps, end))
                await progress()
                master = _master(group)
                (master.freeze if hangs else master.kill)()
                await progress()  # after the failover, since each task writes to all masters
                if hangs:
                    master.thaw()
                    await progress()  # what it has still to carry out is not seen
                end.set()
            found = await store.get_many(list(acknowledged))
        assert dict(zip(acknowledged, found, strict=True)) == acknowledged
    with capsys.disabled():
        lost = "hangs" if hangs else "is killed"
        print(f" [{kind.__name__}: a master {lost} under load, gap {max(gaps):.1f} s]", end="")
