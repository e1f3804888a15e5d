"""Shards: even distribution, adding and retiring shards, and use while entries move."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    HashedKey,
    MemoryStore,
    StackWarning,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.core.store import Store
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.sharding.rendezvous import Rendezvous
from kvwrap.stores.null import NullStore
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys

KEYS = [f"user:{number}" for number in range(100_000)]


def test_shares_are_within_two_percent_of_even() -> None:
    owners = Rendezvous(["a", "b", "c", "d", "e"])
    shares = Counter(owners.owner("sessions", key) for key in KEYS)
    assert len(shares) == 5
    assert all(abs(count - 20_000) < 400 for count in shares.values()), shares


def test_a_new_shard_takes_its_share_and_nothing_else_moves() -> None:
    before = Rendezvous(["a", "b", "c", "d"])
    after = Rendezvous(["e", "d", "c", "b", "a"])
    moved = 0
    for key in KEYS[:50_000]:
        old, new = before.owner(None, key), after.owner(None, key)
        if old != new:
            assert new == "e"
            moved += 1
    assert abs(moved - 10_000) < 300


def test_the_owner_of_a_key_never_changes() -> None:
    # Stored entries depend on these owners: another hash would not find them.
    owners = Rendezvous(["a", "b", "c"])
    assert [owners.owner(None, key) for key in ("x", "y", "z", "ä")] == ["c", "c", "a", "b"]
    assert [owners.owner("s", key) for key in ("x", "y", "z", "ä")] == ["b", "b", "b", "a"]


async def test_every_entry_is_in_one_shard_and_is_found_again() -> None:
    shards = [FaultyStore(), FaultyStore(), FaultyStore()]
    store = Sharding(shards[1:]).over(shards[0])
    keys = numbered_keys(300)
    await store.put_many(keys, list(range(300)))
    assert sum(len(shard) for shard in shards) == 300
    assert all(len(shard) > 60 for shard in shards)
    assert [shard.count("write") for shard in shards] == [1, 1, 1]
    assert await store.get_many(keys) == list(range(300))
    assert await store.get("k7") == 7
    assert await store.keys() == sorted(keys)
    assert [key async for key in store.scan(start="k10", end="k12")] == sorted(
        key for key in keys if "k10" <= key < "k12"
    )
    assert await store.delete_many(keys[:100]) == 100
    assert await store.destroy()
    assert sum(len(shard) for shard in shards) == 0


async def test_keys_of_several_shards_are_listed_in_order() -> None:
    store = Sharding([MemoryStore, MemoryStore]).over(MemoryStore())
    keys = numbered_keys(4000)
    await store.put_many(keys, [0] * 4000)
    assert await store.keys() == sorted(keys)
    assert await store.keys(limit=3) == sorted(keys)[:3]


async def test_shards_are_written_concurrently() -> None:
    shards = [FaultyStore(), FaultyStore()]
    store = Sharding(shards[1:]).over(shards[0])
    for shard in shards:
        shard.gate.clear()
    writing = asyncio.create_task(store.put_many(numbered_keys(50), [0] * 50))
    await ManualClock.settle()
    assert [shard.count("write") for shard in shards] == [1, 1]
    for shard in shards:
        shard.gate.set()
    await writing


async def test_if_a_shard_fails_the_error_lists_the_keys_of_the_others() -> None:
    bad = FaultyStore()
    store = Sharding({"bad": bad, "good": MemoryStore}).over(MemoryStore())
    layer = store.find(Sharding)
    keys = numbered_keys(30)
    bad.down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(keys, list(range(30)))
    bad.down = False
    expected = [key for key in keys if layer.shard_of(key) != "bad"]
    assert 0 < len(expected) < 30
    assert list(caught.value.succeeded or ()) == expected
    assert [key for key in keys if await store.exists(key)] == expected


async def test_cancelling_a_batch_cancels_every_shard() -> None:
    shards = [FaultyStore(), FaultyStore()]
    store = Sharding(shards[1:]).over(shards[0])
    for shard in shards:
        shard.gate.clear()
    writing = asyncio.create_task(store.put_many(numbered_keys(50), [0] * 50))
    await ManualClock.settle()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    for shard in shards:
        shard.gate.set()
    await ManualClock.settle()
    assert [len(shard) for shard in shards] == [0, 0]


# -- adding and retiring shards --------------------------------------------------------


async def fill(old: dict[str, Store], keys: Sequence[str]) -> None:
    """Put each entry into its shard, without a stack that would claim the stores."""
    owners = Rendezvous(list(old))
    for number, key in enumerate(keys):
        await old[owners.owner(None, key)].put(key, number)


async def test_adding_a_shard_step_by_step() -> None:
    a, b, c = MemoryStore(), MemoryStore(), MemoryStore()
    keys = numbered_keys(600)
    await fill({"a": a, "b": b}, keys)
    moving = Sharding({"b": b, "c": c}, name="a", previous=["a", "b"]).over(a)
    part = moving.find(Sharding)
    assert await moving.get_many(keys) == list(range(600))
    assert await moving.keys() == sorted(keys)
    assert len(c) == 0
    reported: list[int] = []
    moved = await part.rebalance(progress=reported.append)
    assert 140 < moved < 260
    assert reported[-1] == moved == len(c)
    assert len(a) + len(b) + len(c) == 600
    assert await part.rebalance() == 0
    b.release()
    c.release()
    settled = Sharding({"b": b, "c": c}, name="a").over(a)
    assert await settled.get_many(keys) == list(range(600))


async def test_a_new_shard_need_not_list_its_keys_to_be_filled() -> None:
    old, new = MemoryStore(), HashedKey(b"s" * 16).over(MemoryStore())
    await old.put_many(numbered_keys(9), list(range(9)))
    store = Sharding({"new": new}, name="old", previous=["old"], retired=["old"]).over(old)
    assert await store.find(Sharding).rebalance() == 9
    assert await store.get_many(numbered_keys(9)) == list(range(9))
    layer = Sharding({"new": old}, name="old", previous=["old"], retired=["old"])
    back = stack(layer).silence("layer-under-one-store").over(new)
    with pytest.raises(UnsupportedOperation):
        await back.find(Sharding).rebalance()


async def test_a_stopped_rebalance_can_be_started_again() -> None:
    a, b = MemoryStore(), FaultyStore()
    keys = numbered_keys(2000)
    await fill({"a": a}, keys)
    store = Sharding({"b": b}, name="a", previous=["a"]).over(a)

    def stop(moved: int) -> None:
        b.down = True

    with pytest.raises(StoreUnavailable):
        await store.find(Sharding).rebalance(progress=stop)
    b.down = False
    assert 0 < len(b) < 900
    assert await store.get_many(keys) == list(range(2000))
    before = len(b)
    assert await store.find(Sharding).rebalance() == len(b) - before
    assert len(a) + len(b) == 2000
    assert await store.get_many(keys) == list(range(2000))


async def test_a_shard_is_retired() -> None:
    a, b, c = MemoryStore(), MemoryStore(), MemoryStore()
    keys = numbered_keys(200)
    await fill({"a": a, "b": b, "c": c}, keys)
    layer = Sharding({"b": b, "c": c}, name="a", previous=["a", "b", "c"], retired=["c"])
    store = layer.over(a)
    await store.find(Sharding).rebalance()
    assert len(c) == 0
    assert await store.get_many(keys) == list(range(200))


def moving_key(keys: Sequence[str]) -> str:
    owners = Rendezvous(["a", "b"])
    return next(key for key in keys if owners.owner(None, key) == "b")


async def test_an_old_copy_never_reappears(clock: ManualClock) -> None:
    a, b = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = moving_key(numbered_keys(50))
    await a.put(key, "old")
    store = Sharding({"b": b}, name="a", previous=["a"]).over(a)
    await store.put(key, "new", ttl=5)
    assert await store.get(key) == "new"
    clock.advance(6)
    assert await store.get(key) is None
    await a.put(key, "old")
    assert await store.delete(key)
    assert await store.get(key) is None
    assert not await store.delete(key)


async def test_conditional_writes_hold_while_entries_move(clock: ManualClock) -> None:
    a, b = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = moving_key(numbered_keys(50))
    await a.put(key, 1)
    store = Sharding({"b": b}, name="a", previous=["a"]).over(a)
    assert not await store.put_if_absent(key, 5)
    assert await store.increment(key) == 2
    found = await store.get_versioned(key)
    assert found is not None
    assert await store.compare_and_put(key, 3, found.version)
    assert await store.pop(key) == 3
    await a.put(key, 1)
    assert await store.expire(key, 9)
    clock.advance(10)
    assert await store.get(key) is None


async def test_the_newer_copy_wins_when_both_shards_have_one(clock: ManualClock) -> None:
    a, b = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = moving_key(numbered_keys(50))
    await b.put(key, "older")
    clock.advance(1)
    await a.put(key, "newer")
    store = Sharding({"b": b}, name="a", previous=["a"]).over(a)
    await store.find(Sharding).rebalance()
    assert await store.get(key) == "newer"
    assert len(a) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_during_a_rebalance_the_shards_behave_as_one_store(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        clock = ManualClock()
        a, b = Yielding(rng, clock), Yielding(rng, clock)
        keys = numbered_keys(12)
        model: dict[str, int | None] = {}
        for number, key in enumerate(keys):
            await a.put(key, number)
            model[key] = number
        store = Sharding({"b": b}, name="a", previous=["a"]).over(a)

        async def use(key: str) -> None:
            for _ in range(6):
                clock.advance(0.01)
                match rng.randrange(4):
                    case 0:
                        value = rng.randrange(1000)
                        await store.put(key, value)
                        model[key] = value
                    case 1:
                        assert await store.delete(key) == (model[key] is not None)
                        model[key] = None
                    case 2 if model[key] is not None:
                        model[key] = await store.increment(key)
                    case _:
                        assert await store.get(key) == model[key]

        await asyncio.gather(store.find(Sharding).rebalance(), *map(use, keys))
        await store.find(Sharding).rebalance()
        assert await store.get_many(keys) == [model[key] for key in keys]
        assert len(a) + len(b) == sum(value is not None for value in model.values())

    asyncio.run(run())


class Yielding(MemoryStore):
    """Lets other tasks run before each read and write."""

    def __init__(self, rng: random.Random, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self._rng = rng

    async def _yield(self) -> None:
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)

    async def read(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
        await self._yield()
        return await super().read(*arguments)

    async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
        await self._yield()
        return await super().write(*arguments)

    async def remove(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
        await self._yield()
        return await super().remove(*arguments)


@pytest.mark.parametrize(
    ("shards", "options"),
    [
        ([], {}),
        ({}, {}),
        ("ab", {}),
        ({"0": MemoryStore}, {}),
        ({"": MemoryStore}, {}),
        ([MemoryStore], {"previous": []}),
        ([MemoryStore], {"previous": ["2"]}),
        ([MemoryStore], {"previous": "01"}),
        ([MemoryStore], {"retired": ["1"]}),
        ([MemoryStore], {"previous": ["0"], "retired": ["0", "1"]}),
    ],
)
def test_invalid_arguments_are_refused(shards: object, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="shard|" + "|".join(options)):
        Sharding(shards, **options)  # type: ignore[arg-type]  # that is the point


def test_entries_move_only_between_shards_that_compare_versions() -> None:
    class Simple(NullStore):
        capabilities = frozenset()

    with pytest.raises(ConfigurationError, match="'1'"):
        stack(Sharding([Simple], previous=["0"])).over(MemoryStore())


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


def test_a_layer_under_one_store_only_is_reported() -> None:
    with pytest.warns(StackWarning) as warned:
        stack(Sharding([OnDisk]), Encrypts()).over(MemoryStore())
    codes = {str(warning.message).partition(":")[0] for warning in warned}
    assert codes == {"plaintext-second-store", "layer-under-one-store"}
    assert stack(Encrypts(), Sharding([OnDisk])).over(MemoryStore()).findings == ()


async def test_it_is_idle_while_no_entry_moves() -> None:
    a, b = FaultyStore(), MemoryStore()
    key = moving_key(numbered_keys(50))
    await a.put(key, 1)
    store = Sharding({"b": b}, name="a", previous=["a"]).over(a)
    layer = store.find(Sharding)
    assert layer.idle
    a.gate.clear()
    rebalance = asyncio.create_task(layer.rebalance())
    deletion = asyncio.create_task(store.delete(key))
    await ManualClock.settle()
    assert not layer.idle
    a.gate.set()
    await asyncio.gather(rebalance, deletion)
    assert layer.idle
