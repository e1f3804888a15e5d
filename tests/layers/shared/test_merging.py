"""The keys of several stores as one listing: of stores that list in order, and of others."""

from __future__ import annotations

import zlib

import pytest

from kvwrap import Capability, MemoryStore, stack
from kvwrap.core.primitives import Collection, KeyRange, Page
from tests.layers.faulty import numbered_keys


class Unordered(MemoryStore):
    """Lists its keys in an order of its own, a few at a time.

    Attributes:
        name: What its order depends on.
    """

    capabilities = MemoryStore.capabilities - {Capability.RANGE}
    name = ""

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        page = await super().list_keys(collection, key_range, None)
        keys = sorted(page.keys, key=lambda key: zlib.crc32(f"{self.name}{key}".encode()))
        start = cursor if isinstance(cursor, int) else 0
        end = start + 7
        return Page(keys[start:end], end if end < len(keys) else None)


@pytest.mark.parametrize("layer", ["replicate", "shard"])
@pytest.mark.parametrize("kind", [MemoryStore, Unordered])
async def test_every_key_is_listed_once_and_in_order_if_the_stores_do_so(
    layer: str, kind: type[MemoryStore]
) -> None:
    stores = [kind(), kind(), kind()]
    for number, each in enumerate(stores):
        if isinstance(each, Unordered):
            each.name = str(number)
    keys = numbered_keys(100)
    if layer == "shard":
        store = stack().shard(stores[1:]).over(stores[0])
        await store.put_many(keys, keys)
    else:
        for number, each in enumerate(stores):  # from before the replication
            mine = [*keys[number::4], *keys[3::4]]
            await each.put_many(mine, mine)
        store = stack().replicate(stores[1:], read_quorum=3, repair=False).over(stores[0])
    ordered = kind is MemoryStore
    assert (Capability.RANGE in store.capabilities) is ordered
    listed = [key async for key in store.scan()]
    assert sorted(listed) == sorted(keys)
    if ordered:
        assert listed == sorted(keys)
        assert await store.keys(limit=5) == sorted(keys)[:5]
