"""A master is killed under load: no call fails through Retry, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from kvwrap import RedisStore, Store, ValkeyStore, stack
from kvwrap.testing.servers import RedisCluster, RedisSentinel, ValkeyCluster, ValkeySentinel
from kvwrap.testing.servers.group import ServerGroup

TASKS = 8


def _kill_a_master(group: ServerGroup) -> None:
    if isinstance(group, RedisCluster):
        group.nodes[0].kill()
    else:
        assert isinstance(group, RedisSentinel)
        group.primary.kill()


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


@pytest.mark.parametrize(
    ("kind", "store_class"),
    [
        (RedisCluster, RedisStore),
        (RedisSentinel, RedisStore),
        (ValkeyCluster, ValkeyStore),
        (ValkeySentinel, ValkeyStore),
    ],
)
async def test_a_master_killed_under_load(
    kind: type[ServerGroup], store_class: Callable[..., Store], capsys: pytest.CaptureFixture[str]
) -> None:
    layers = stack().retry(attempts=1000, wait=0.05, max_wait=0.2, timeout=90)
    acknowledged: dict[str, int] = {}
    gaps: list[float] = []
    end = asyncio.Event()
    with kind() as group:
        async with layers.over(store_class(group.url, timeout=30)) as store:
            async with asyncio.TaskGroup() as tasks:
                for task in range(TASKS):
                    tasks.create_task(_write(store, task, acknowledged, gaps, end))
                await _until(lambda: len(gaps) > 20 * TASKS)
                _kill_a_master(group)
                # All tasks meet the dead master, and go on after the failover.
                done = dict(acknowledged)
                await _until(
                    lambda: all(
                        acknowledged[f"n{task}"] > done[f"n{task}"] + 100 for task in range(TASKS)
                    )
                )
                end.set()
            found = await store.get_many(list(acknowledged))
        assert dict(zip(acknowledged, found, strict=True)) == acknowledged
    with capsys.disabled():
        print(f" {kind.__name__}: a master killed under load, gap {max(gaps):.1f} s", end="")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.02)
