"""NATSStore over three servers, of which the leader is killed."""

from __future__ import annotations

import asyncio
import time

import nats

from kvwrap import NATSStore, stack
from kvwrap.testing.servers import NATSCluster, NATSServer

TASKS = 8


async def leader_of(cluster: NATSCluster, bucket: str) -> NATSServer:
    client = await nats.connect(cluster.url.removeprefix("nats://").split(","))
    info = await client.jetstream().stream_info(f"KV_{bucket}")
    await client.close()
    return cluster.nodes[int(info.cluster.leader[1:]) - 1]


async def test_killing_the_leader_fails_no_call_and_loses_nothing() -> None:
    with NATSCluster() as cluster:
        layers = stack().retry(attempts=5)
        async with layers.over(NATSStore(cluster.url, bucket="b", replicas=3)) as store:
            written = [0] * TASKS
            gaps: list[float] = []
            is_over = asyncio.Event()

            async def work(task: int) -> None:
                last = time.monotonic()
                while not is_over.is_set():
                    await store.put(f"k{task}", written[task] + 1)
                    written[task] += 1
                    await store.increment("all")
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()

            async def kill_the_leader() -> None:
                while min(written) < 5:
                    await asyncio.sleep(0.01)
                (await leader_of(cluster, "b")).kill()
                killed = list(written)
                while any(now < then + 5 for now, then in zip(written, killed)):
                    await asyncio.sleep(0.05)
                is_over.set()

            async with asyncio.TaskGroup() as group:
                group.create_task(kill_the_leader())
                for task in range(TASKS):
                    group.create_task(work(task))
            assert await store.get_many([f"k{task}" for task in range(TASKS)]) == written
            assert await store.get("all") == sum(written)
            print(f"NATS: the longest gap after the leader was killed was {max(gaps):.1f} s")
