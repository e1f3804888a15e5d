"""A sample of a stack's entries."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import (
    Capability,
    CorruptEntry,
    DecryptionError,
    MemoryStore,
    RedisStore,
    adapt,
    stack,
)
from kvwrap.rewriting.sample import Sample, sample
from kvwrap.testing.servers import RedisServer, SharedServers
from tests.rewriting.entries import NEW, OLD


class Unlisted(MemoryStore):
    """Cannot enumerate its keys."""

    capabilities = MemoryStore.capabilities - {Capability.KEYS}


async def test_a_few_entries_of_a_few_collections_are_read() -> None:
    backend = MemoryStore()
    async with stack().encrypt(NEW).over(backend) as store:
        assert await sample(store) == Sample()
        for name in (None, "a", "b", "c", "d", "e", "f"):
            await store.put_many([f"k{n}" for n in range(15)], [1] * 15, collection=name)
        assert await sample(store) == Sample(50)


@pytest.mark.parametrize("collection", [None, "users"])
async def test_an_entry_of_another_key_is_an_error(collection: str | None) -> None:
    backend = MemoryStore()
    async with backend:
        async with stack().encrypt(NEW).over(backend) as store:
            await store.put("k", 1, collection=collection)
        async with stack().read_through(MemoryStore(), ttl=5).encrypt(OLD).over(backend) as store:
            found = await sample(store)
    assert found.read == 1
    assert isinstance(found.error, DecryptionError)
    assert found.error.key == "k"


async def test_an_entry_that_the_backend_cannot_read_is_an_error() -> None:
    mapping: dict[str, Any] = {}
    async with stack().encrypt(NEW).over(adapt(mapping)) as store:
        await store.put_many(["a", "b"], [1, 2])
        mapping["b"] = mapping["b"][:-1]
        found = await sample(store)
    assert found.read == 2
    assert isinstance(found.error, CorruptEntry)
    assert found.error.key == "b"


async def test_nothing_is_read_where_it_says_nothing(servers: SharedServers) -> None:
    for each in (MemoryStore(), stack().encrypt(NEW).over(Unlisted())):
        async with each as store:
            await store.put("k", 1)
            assert await sample(store) == Sample()
    backend = RedisStore(servers.url(RedisServer), raw=True)
    async with stack().encrypt(NEW).over(backend) as store:
        await store.put("sampled", b"1")
        assert await sample(store) == Sample()
        await store.delete("sampled")
