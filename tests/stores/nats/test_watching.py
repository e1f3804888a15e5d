"""NATSStore: changes that JetStream tells, also across lost connections and consumers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    AccessDenied,
    Change,
    ChangeKind,
    MemoryStore,
    NATSStore,
    StoreUnavailable,
    stack,
)
from kvwrap.core.changes import LOST, Scope, Subscription
from kvwrap.testing.servers import NATSCluster, NATSServer
from tests.stores.told import Arrivals, put

LONG = "é" * 2000


async def heard_after(subscription: Subscription, moment: float) -> None:
    async with asyncio.timeout(60):
        while subscription.heard_at <= moment:
            await asyncio.sleep(0.01)


async def eventually(store: NATSStore, key: str) -> None:
    """Put a key as soon as the server is back."""
    async with asyncio.timeout(60):
        while True:
            try:
                await store.put(key, 1)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_names_of_any_length_are_told(url: str, bucket: str) -> None:
    async with NATSStore(url, bucket=bucket) as store, NATSStore(url, bucket=bucket) as other:
        async with store.watch() as changes:
            for collection, key in ((None, "é:%"), ("c", LONG), (LONG, "k"), (LONG, LONG)):
                await other.put(key, 1, collection=collection)
                assert await anext(changes) == Change(ChangeKind.PUT, collection, key)
                await other.delete(key, collection=collection)
                assert await anext(changes) == Change(ChangeKind.REMOVED, collection, key)
            await other.put("a", 1, collection="c")
            assert await anext(changes) == Change(ChangeKind.PUT, "c", "a")
            await other.destroy_collection("c")
            assert await anext(changes) == LOST
            await other.put("a", 1)
            assert await anext(changes) == put("a")
            await other.destroy()
            assert await anext(changes) == LOST
        assert await store.collections() == []


async def test_what_other_programs_put_into_the_bucket_is_told_if_it_has_a_name(
    url: str, bucket: str, client: Any
) -> None:
    async with NATSStore(url, bucket=bucket) as store, store.watch() as changes:
        values = await client.jetstream().key_value(bucket)
        await values.put("no-collection", b"1")
        await values.put("c.a", b"1")
        assert await anext(changes) == Change(ChangeKind.PUT, "c", "a")
        await values.purge("c.a")
        assert await anext(changes) == Change(ChangeKind.REMOVED, "c", "a")
        await values.put(f"c.=={'0' * 40}", b"a name that is kept with the value")
        assert await anext(changes) == LOST


async def test_a_server_that_restarts_is_told_as_a_loss(own_server: NATSServer) -> None:
    async with NATSStore(own_server.url, timeout=5) as store:
        told = Arrivals()
        subscription = await store.subscribe(Scope(bound=0.3), told.add)
        await heard_after(subscription, subscription.heard_at)
        for turn in range(2):
            await store.put(f"before {turn}", 1)
            await told.until(lambda told, turn=turn: put(f"before {turn}") in told)
            told.clear()
            own_server.kill()
            await told.until(lambda told: LOST in told)
            own_server.start()
            await told.until(lambda told: told.count(LOST) > 1)
            await eventually(store, f"after {turn}")
            await told.until(lambda told, turn=turn: put(f"after {turn}") in told)
        await heard_after(subscription, subscription.heard_at)
        await subscription.close()


async def test_a_consumer_or_a_bucket_that_was_removed_is_told_as_a_loss(
    url: str, bucket: str, client: Any
) -> None:
    jetstream = client.jetstream()
    async with NATSStore(url, bucket=bucket) as store:
        told = Arrivals()
        await store.subscribe(Scope(bound=0.3), told.add)
        (consumer,) = await jetstream.consumers_info(f"KV_{bucket}")
        await jetstream.delete_consumer(f"KV_{bucket}", consumer.name)
        await told.until(lambda told: told.count(LOST) > 1)
        await store.put("a", 1)
        await told.until(lambda told: put("a") in told)
        told.clear()
        await jetstream.delete_stream(f"KV_{bucket}")
        await told.until(lambda told: told.count(LOST) > 1)
        await eventually(store, "b")
        await told.until(lambda told: put("b") in told)


async def test_a_server_that_hangs_is_not_heard(own_server: NATSServer) -> None:
    async with NATSStore(own_server.url, timeout=0.5) as store:
        told = Arrivals()
        subscription = await store.subscribe(Scope(bound=0.3), told.add)
        await heard_after(subscription, subscription.heard_at)
        own_server.freeze()
        await told.until(lambda told: LOST in told)
        heard_at = subscription.heard_at
        own_server.thaw()
        await heard_after(subscription, heard_at)


async def test_a_client_of_the_users_tells_changes_too(url: str, bucket: str, client: Any) -> None:
    async with NATSStore(client=client, bucket=bucket) as store:
        told = Arrivals()
        subscription = await store.subscribe(Scope(), told.add)
        await store.put("a", 1)
        await told.until(lambda told: told == [put("a")])
        await subscription.close()
        await store.put("b", 1)
        async with store.watch() as changes:
            await store.put("c", 1)
            assert await anext(changes) == put("c")
    assert client.is_connected
    assert told == [put("a")]


async def test_near_copies_end_when_another_process_writes(own_server: NATSServer) -> None:
    layers = stack().read_through(MemoryStore, coherence="watch", bound=30).hash_keys(b"s" * 16)
    one, other = (layers.over(NATSStore(own_server.url, timeout=5)) for _ in range(2))
    async with one, other:
        assert "coherence is by watch" in one.explain()
        for value in range(3):
            await other.put("a", value)
            async with asyncio.timeout(60):
                while await one.get("a") != value:
                    await asyncio.sleep(0.01)
        await other.destroy()
        async with asyncio.timeout(60):
            while await one.get("a") is not None:
                await asyncio.sleep(0.01)


async def test_an_account_that_may_not_watch_goes_on_by_ttl(
    tmp_path: Path, own_server: NATSServer
) -> None:
    text = """authorization { users: [
        { user: reads, password: p, permissions: {
            publish: { deny: ["$JS.API.CONSUMER.>"] } } } ] }"""
    (tmp_path / "nats.conf").write_text(text)
    with NATSServer("-c", str(tmp_path / "nats.conf")) as server:
        url = f"nats://reads:p@127.0.0.1:{server.port}/b"
        async with NATSStore(url, timeout=2) as store:
            with pytest.raises(AccessDenied, match="CONSUMER"):
                await store.subscribe(Scope(), Arrivals().add)
        layers = stack().read_through(MemoryStore, ttl=5)
        async with layers.over(NATSStore(url, timeout=2)) as near:
            await near.put("a", 1)
            assert await near.get("a") == 1
            assert "coherence is by ttl" in near.explain()


async def test_in_a_cluster_nothing_is_missed_when_a_server_dies() -> None:
    with NATSCluster() as cluster:
        async with NATSStore(cluster.url, bucket="b", replicas=3, timeout=20) as store:
            told = Arrivals()
            await eventually(store, "first")
            subscription = await store.subscribe(Scope(bound=0.5), told.add)
            await eventually(store, "before")
            await told.until(lambda told: put("before") in told)
            for node in cluster.nodes[:2]:
                node.kill()
                node.start()
                await eventually(store, "after")
                await told.until(lambda told: {put("after"), LOST} & set(told))
                await heard_after(subscription, subscription.heard_at)
                told.clear()
                await eventually(store, "later")
                await told.until(lambda told: {put("later"), LOST} & set(told))
                await heard_after(subscription, store.clock.monotonic())
                told.clear()
