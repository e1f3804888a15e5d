"""Layers that hide entries which the parts inside hold as alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kvwrap import Capability, CorruptEntry, MemoryStore, Store, StoreUnavailable, adapt, stack
from kvwrap.core.codec import JSON
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange
from kvwrap.core.randomness import new_version
from kvwrap.layers.base import Masking
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock, StoreContract
from tests.layers.faulty import FaultyStore
from tests.layers.without_capabilities import WithoutCapabilities

DEAD, ALIVE = "dead", "alive"


class Graves(Masking):
    """Hides entries with the value "dead"."""

    def is_masked(self, entry: Entry, collection: Collection, key: str) -> bool:
        return entry.body == b'"dead"'


class RareGraves(Graves):
    masks_regularly = False


@pytest.fixture(params=[Graves, RareGraves])
def masking(request: pytest.FixtureRequest) -> Masking:
    layer: Masking = request.param()
    return layer


class TestMaskingLikeAStore(StoreContract):
    @pytest.fixture
    async def store(self, clock: ManualClock, masking: Masking) -> Any:
        async with masking.over(MemoryStore(clock=clock)) as opened:
            yield opened


async def buried(backend: Store, **values: str) -> Store:
    """Put values into the backend."""
    for key, value in values.items():
        await backend.put(key, value, collection="c", ttl=60)
    return backend


async def test_reads_and_listings_do_not_find_it(masking: Masking, backend: FaultyStore) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE))
    assert await store.get("a", collection="c") is None
    assert await store.get_many(["a", "b"], collection="c") == [None, ALIVE]
    assert not await store.exists("a", collection="c")
    assert await store.ttl("a", collection="c") == (None, None)
    assert await store.keys("c") == ["b"]
    assert [key async for key in store.scan(collection="c", prefix="a")] == []
    assert [item async for item in store.items(collection="c")] == [("b", ALIVE)]


async def test_ranges_do_not_count_it_and_delete_it(masking: Masking, backend: FaultyStore) -> None:
    store = masking.over(await buried(backend, a1=DEAD, a2=ALIVE, b=DEAD))
    assert await store.count(collection="c") == await store.count(collection="c", prefix="a") == 1
    assert await store.count(collection="c", prefix="b") == 0
    assert await store.delete_where(collection="c", prefix="a") == 1
    assert await backend.keys("c") == ["b"]
    assert await store.delete_where(collection="c") == 0
    assert await backend.keys("c") == []


async def test_a_listing_reads_one_page_at_a_time(backend: FaultyStore) -> None:
    keys = [f"{n:04}" for n in range(1200)]
    await backend.put_many(keys, [DEAD if int(key) % 2 else ALIVE for key in keys])
    assert await Graves().over(backend).keys() == keys[::2]
    assert backend.count("read") == backend.count("list_keys") == 3


async def test_callers_that_remove_list_hidden_keys_too(
    masking: Masking, backend: FaultyStore
) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE))
    page = await store.list_keys("c", KeyRange(masked=True), None)
    assert page.keys == ["a", "b"]
    assert backend.count("read") == 0

    prefixed = stack().prefix_collection("c").layer(masking).over(backend)
    assert await prefixed.destroy()
    assert await backend.keys("c") == []


async def test_put_if_absent_replaces_it(masking: Masking, backend: FaultyStore) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE))
    assert await store.put_if_absent("a", "new", collection="c")
    assert not await store.put_if_absent("a", "newer", collection="c")
    assert not await store.put_if_absent("b", "new", collection="c")
    assert await backend.get_many(["a", "b"], collection="c") == ["new", ALIVE]


async def test_a_put_that_meets_no_entry_reads_nothing(backend: FaultyStore) -> None:
    store = Graves().over(backend)
    assert await store.put_if_absent("a", 1)
    await store.put("a", 2)
    assert backend.count("read") == 0
    assert backend.count("write") == 2


def new_entry() -> Entry:
    return Entry(b'"new"', JSON, 1.0, None, new_version())


async def test_a_batch_with_several_conditions(masking: Masking, backend: FaultyStore) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE, c=ALIVE, d=DEAD))
    _, _, current, _ = await backend.read("c", ["a", "b", "c", "d"])
    assert current is not None
    keys = ["a", "b", "c", "d", "e", "a"]
    entries = [new_entry() for _ in keys]
    expected: Sequence[Expected] = [ABSENT, ABSENT, current.version, None, ABSENT, ABSENT]
    written = await store.write("c", keys, entries, expected)
    assert written == [True, False, True, True, True, False]


async def test_an_entry_that_goes_while_it_is_looked_at_is_absent(masking: Masking) -> None:
    class Sweeping(FaultyStore):
        """Another process frees the entry before it is read."""

        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            await super().remove(collection, keys)
            return await super().read(collection, keys)

    backend = Sweeping()
    store = masking.over(await buried(backend, a=DEAD))
    assert await store.put_if_absent("a", "new", collection="c")


async def test_a_failure_halfway_names_what_was_written(clock: ManualClock) -> None:
    class FailingLater(FaultyStore):
        async def write(self, *arguments: Any) -> list[bool]:
            self.down = self.count("write") >= 2
            return await super().write(*arguments)

    store = Graves().over(await buried(FailingLater(clock=clock), a=DEAD))
    with pytest.raises(StoreUnavailable) as caught:
        await store.write("c", ["b", "a"], [new_entry(), new_entry()], [ABSENT, ABSENT])
    assert caught.value.succeeded == ("b",)
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_if_absent("a", "new", collection="c")
    assert caught.value.succeeded is None


async def test_the_version_of_a_hidden_entry_is_no_version(backend: FaultyStore) -> None:
    store = Graves().over(await buried(backend, a=DEAD))
    (hidden,) = await backend.read("c", ["a"])
    assert hidden is not None
    assert not await store.compare_and_put("a", "new", hidden.version, collection="c")
    assert await store.remove("c", ["a"], [hidden.version]) == [False]
    rare = RareGraves().over(await buried(backend, a=DEAD))
    (hidden,) = await backend.read("c", ["a"])
    assert hidden is not None
    before = backend.count("read")
    assert await rare.compare_and_put("a", "new", hidden.version, collection="c")
    assert backend.count("read") == before


async def test_conditions_of_other_keys_hold_beside_a_hidden_entry(
    masking: Masking, backend: FaultyStore
) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE, d=ALIVE))
    _, current = await backend.read("c", ["b", "d"])
    assert current is not None
    expected = [None, current.version ^ 1, current.version]
    assert (await store.remove("c", ["a", "b", "d"], expected))[1:] == [False, True]
    assert await store.get_many(["b", "d"], collection="c") == [ALIVE, None]


async def test_removing_and_touching_report_no_entry(
    masking: Masking, backend: FaultyStore
) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE))
    assert not await store.expire("a", 600, collection="c")
    assert (await backend.ttl("a", collection="c"))[1] == 60
    assert await store.touch("c", ["a", "b", "c"], [None] * 3) == [False, True, False]
    assert await store.delete_many(["a", "b", "c", "b"], collection="c") == 1
    assert await backend.keys("c") == []
    assert await store.pop("a", collection="c") is None


async def test_an_entry_written_after_the_look_is_not_removed(masking: Masking) -> None:
    class Refilling(FaultyStore):
        """Another process replaces the entry after it was read."""

        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            entries = await super().read(collection, keys)
            await self.put("a", ALIVE, collection="c")
            return entries

    backend = Refilling()
    store = masking.over(await buried(backend, a=DEAD))
    assert not await store.delete("a", collection="c")
    assert await backend.keys("c") == ["a"]


async def test_cull_frees_it(masking: Masking, backend: FaultyStore) -> None:
    store = masking.over(await buried(backend, a=DEAD, b=ALIVE))
    await backend.put("d", DEAD)
    await store.cull()
    assert await backend.collections() == ["c"]
    assert await backend.keys("c") == ["b"]


async def test_a_store_that_cannot_compare_or_enumerate(masking: Masking) -> None:
    for removed in (Capability.COMPARE_AND_PUT, Capability.KEYS):
        backend = await buried(MemoryStore(), a=DEAD, b=ALIVE)
        store = stack().layer(masking).layer(WithoutCapabilities(removed)).over(backend)
        await store.cull()
        assert await backend.keys("c") == ["a", "b"]
        assert await store.delete_many(["a", "b"], collection="c") == 1
        assert await backend.keys("c") == []


async def test_a_store_that_cannot_enumerate_destroys(masking: Masking) -> None:
    for removed in (Capability.KEYS, Capability.COLLECTIONS):
        backend = await buried(MemoryStore(), a=DEAD, b=ALIVE)
        store = stack().layer(masking).layer(WithoutCapabilities(removed)).over(backend)
        assert await store.destroy_collection("c")
        assert not await store.destroy_collection("c")
        await buried(backend, a=DEAD, b=ALIVE)
        assert await store.destroy()
        assert await backend.collections() == []
        assert not await store.destroy()


async def test_collections_of_hidden_entries_only(backend: FaultyStore) -> None:
    store = Graves().over(await buried(backend, a=DEAD))
    await backend.put("b", ALIVE, collection="d")
    assert await store.collections() == ["d"]
    assert not await store.destroy_collection("c")
    assert await backend.collections() == ["d"]
    await buried(backend, a=DEAD)
    assert await store.destroy()
    await buried(backend, a=DEAD)
    assert not await store.destroy()
    assert await backend.collections() == []


async def test_a_damaged_entry_is_not_taken_for_a_hidden_one(masking: Masking) -> None:
    data: dict[str, Any] = {}
    backend = await buried(adapt(data), a=DEAD, b=ALIVE, d=ALIVE)
    (name,) = [name for name in data if name.endswith("b")]
    data[name] = data[name][:-1]
    store = masking.over(backend)
    assert await store.keys("c") == ["b", "d"]
    with pytest.raises(CorruptEntry):
        await store.get("b", collection="c")
    await store.cull()
    assert len(data) == 2
    assert await store.delete_many(["b", "d"], collection="c") == 2
    assert data == {}


async def test_over_redis(masking: Masking, redis_url: str, request: Any) -> None:
    async with RedisStore(redis_url, namespace=request.node.name) as backend:
        store = masking.over(await buried(backend, a=DEAD, b=ALIVE, d=DEAD, e=DEAD))
        assert await store.keys("c") == ["b"]
        assert await store.put_if_absent("a", "new", collection="c")
        assert not await store.delete("d", collection="c")
        await store.cull()
        assert sorted(await backend.keys("c")) == ["a", "b"]
