"""EtcdStore: changes that etcd tells, also across cut connections and compactions."""

from __future__ import annotations

import asyncio
import shutil
import uuid

import pytest

from kvwrap import Change, ChangeKind, EtcdStore, StoreUnavailable, stack
from kvwrap.core.changes import LOST, Scope
from kvwrap.testing.servers import EtcdServer
from tests.stores.told import Arrivals, put

pytestmark = pytest.mark.asyncio


async def test_stores_with_one_login_share_a_connection_and_hear_each_other(
    own_server: EtcdServer,
) -> None:
    one, two, other = (
        EtcdStore(own_server.url, prefix=prefix, timeout=60) for prefix in ("a:%", "a:%", "a")
    )
    async with one, two, other:
        told: list[Arrivals] = [Arrivals(), Arrivals(), Arrivals()]
        for store, each in zip((one, two, other), told, strict=True):
            await store.subscribe(Scope(), each.add)
        await one.put("é:%", 1, collection=":%")
        await other.put("other", 1)
        await told[2].until(lambda told: put("other") in told)
        assert told[2] == [put("other")]
        for each in told[:2]:
            await each.until(lambda told: told)
            assert each == [Change(ChangeKind.PUT, ":%", "é:%")]
        await two.close()
        assert told[1][1:] == [LOST]
        await one.delete("é:%", collection=":%")
        await told[0].until(lambda told: len(told) > 1)
        assert told[0][1:] == [Change(ChangeKind.REMOVED, ":%", "é:%")]
        assert len(told[1]) == 2


async def test_nothing_is_missed_while_the_server_restarts(own_server: EtcdServer) -> None:
    async with EtcdStore(own_server.url, timeout=60) as store:
        told = Arrivals()
        subscription = await store.subscribe(Scope(bound=0.3), told.add)
        for turn in range(3):
            await store.put(f"before {turn}", 1)
            own_server.kill()
            with pytest.raises(StoreUnavailable):
                await store.put("never", 1)
            own_server.start()
            await eventually(store, f"after {turn}")
            await told.until(lambda told, turn=turn: put(f"after {turn}") in told)
        keys = [change.key for change in told]
        assert LOST not in told
        assert [key for key in keys if key and key.startswith("before")] == [
            f"before {turn}" for turn in range(3)
        ]
        heard_at = subscription.heard_at
        async with asyncio.timeout(60):
            while subscription.heard_at == heard_at:
                await asyncio.sleep(0.01)
        await subscription.close()


async def eventually(store: EtcdStore, key: str) -> None:
    """Put a key as soon as the server is back."""
    async with asyncio.timeout(60):
        while True:
            try:
                await store.put(key, 1)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_what_was_compacted_meanwhile_is_lost(own_server: EtcdServer) -> None:
    writer = EtcdStore(own_server.url, timeout=60)
    async with EtcdStore(own_server.url, timeout=1) as store, writer:
        told = Arrivals()
        await store.subscribe(Scope(bound=0.3), told.add)
        await writer.put("a", 1)
        await told.until(lambda told: put("a") in told)
        own_server.kill()
        own_server.start()
        await eventually(writer, "b")
        # Everything before is compacted, before or after the link is back.
        revision = own_server.call("kv/put", key="eA==", value="eA==")["header"]["revision"]
        own_server.call("kv/compaction", revision=revision, physical=True)
        await eventually(writer, "c")
        # A link that is back after all that tells no name: the loss stands for them.
        await told.until(lambda told: {put("b"), put("c")} <= set(told) or LOST in told)


async def test_a_server_that_was_emptied_is_told_as_a_loss(own_server: EtcdServer) -> None:
    writer = EtcdStore(own_server.url, timeout=60)
    async with EtcdStore(own_server.url, timeout=5) as store, writer:
        told = Arrivals()
        await store.subscribe(Scope(bound=0.3), told.add)
        for number in range(20):
            await writer.put(f"before {number}", 1)
        await told.until(lambda told: put("before 19") in told)
        own_server.kill()
        for path in own_server.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        own_server.start()
        await told.until(lambda told: LOST in told)
        await eventually(writer, "after")
        await told.until(lambda told: put("after") in told)


async def test_a_dropped_collection_is_told_by_key(own_server: EtcdServer) -> None:
    prefix = uuid.uuid4().hex
    layers = stack().prefix_collection("p-")
    async with layers.over(EtcdStore(own_server.url, prefix=prefix, timeout=60)) as store:
        await store.put_many(["a", "b"], [1, 2], collection="c")
        async with store.watch() as changes:
            await store.destroy()
            told = [await anext(changes), await anext(changes)]
            assert told == [Change(ChangeKind.REMOVED, "c", key) for key in ("a", "b")]
