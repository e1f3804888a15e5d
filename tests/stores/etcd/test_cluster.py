"""EtcdStore over three servers, of which the leader is lost under load."""

from __future__ import annotations

import asyncio
import time

import pytest

from kvwrap import EtcdStore, stack
from kvwrap.testing.servers import EtcdCluster, EtcdServer

TASKS = 8


@pytest.mark.parametrize("outage", ["kill", "freeze"])
async def test_losing_the_leader_fails_no_call_and_loses_nothing(outage: str) -> None:
    with EtcdCluster() as cluster:
        layers = stack().retry(attempts=8)
        async with layers.over(EtcdStore(cluster.url)) as store:
            written = [0] * TASKS
            gaps: list[float] = []
            is_over = asyncio.Event()

            async def work(task: int) -> None:
                last = time.monotonic()
                while not is_over.is_set():
                    await store.put(f"k{task}", written[task] + 1)
                    written[task] += 1
                    await store.put(f"t{task}", written[task], ttl=1000)
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()

            async def lose_the_leader() -> None:
                while min(written) < 5:
                    await asyncio.sleep(0.01)
                lost = await asyncio.to_thread(lambda: cluster.leader)
                getattr(lost, outage)()
                then = list(written)
                while any(now < before + 5 for now, before in zip(written, then)):
                    await asyncio.sleep(0.05)
                is_over.set()
                if outage == "freeze":
                    # It carries out what it was sent: nothing of that may replace what came later.
                    lost.thaw()
                    while not await asyncio.to_thread(EtcdServer.answers, lost):
                        await asyncio.sleep(0.05)

            async with asyncio.TaskGroup() as group:
                group.create_task(lose_the_leader())
                for task in range(TASKS):
                    group.create_task(work(task))
            for letter in "kt":
                names = [f"{letter}{task}" for task in range(TASKS)]
                assert await store.get_many(names) == written
            print(f"etcd: the longest gap after the leader's {outage} was {max(gaps):.1f} s")
