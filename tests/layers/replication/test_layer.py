"""Replicas that are dead, behind, or come and go."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    MemoryStore,
    StackWarning,
    Store,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.replication import Replication
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys


@pytest.fixture
def parts(clock: ManualClock) -> list[FaultyStore]:
    return [FaultyStore(clock=clock) for _ in range(3)]


def over(parts: list[FaultyStore], **options: object) -> Store:
    return Replication(parts[1:], **options).over(parts[0])  # type: ignore[arg-type]  # any


def quorums(parts: list[FaultyStore], **options: object) -> Store:
    return over(parts, write_quorum=2, read_quorum=2, failures=99, **options)


def part(store: Store) -> Replication:
    return store.find(Replication)


async def values(parts: list[FaultyStore], key: str) -> list[object]:
    """What each replica has, tombstones shown as such."""
    found: list[object] = []
    for each in parts:
        was, each.down = each.down, False
        (entry,) = await MemoryStore.read(each, None, [key])
        each.down = was
        if entry is None:
            found.append(None)
        else:
            found.append("gone" if not entry.body else int(entry.body))
    return found


async def test_every_replica_gets_every_write(parts: list[FaultyStore]) -> None:
    store = over(parts)
    await store.put_many(["a", "b"], [1, 2])
    assert await values(parts, "a") == [1, 1, 1]
    assert await store.increment("a") == 2
    assert await values(parts, "a") == [2, 2, 2]
    assert await store.delete("a")
    assert await values(parts, "a") == ["gone"] * 3
    assert await store.get("a") is None
    assert await store.keys() == ["b"]


async def test_replicas_are_written_at_the_same_time(parts: list[FaultyStore]) -> None:
    store = over(parts)
    for each in parts:
        each.gate.clear()
    writing = asyncio.create_task(store.put("a", 1))
    await ManualClock.settle()
    assert [each.count("write") for each in parts] == [1, 1, 1]
    for each in parts:
        each.gate.set()
    await writing


async def test_a_write_needs_its_quorum(parts: list[FaultyStore]) -> None:
    for needed, dead in [(3, 1), (2, 2), (1, 3)]:
        store = Replication(
            [FaultyStore, FaultyStore], write_quorum=needed, read_quorum=3, failures=99
        ).over(FaultyStore())
        replicas = [replica.store for replica in part(store)._replicas.all]
        await store.put("a", 1)
        for replica in replicas[: dead - 1]:
            replica.down = True  # type: ignore[attr-defined]  # a faulty store
        await store.put("a", 2)
        replicas[2].down = True  # type: ignore[attr-defined]  # a faulty store
        with pytest.raises(StoreUnavailable, match=f"{3 - dead} of 3 .* {needed} are needed"):
            await store.put("a", 3)


async def test_a_refusal_is_told_as_it_is(parts: list[FaultyStore]) -> None:
    store = over(parts)
    parts[2].write_errors = {"big": ValueTooLarge("over the limit")}
    with pytest.raises(ValueTooLarge):
        await store.put("big", 1)


async def test_reads_go_on_from_the_next_replica(parts: list[FaultyStore]) -> None:
    store = over(parts, failures=99)
    await store.put("a", 1)
    parts[0].down = True
    assert await store.get("a") == 1
    assert parts[2].count("read") == 0
    parts[1].down = CorruptEntry("damaged")
    assert await store.get("a") == 1
    parts[2].down = True
    with pytest.raises((StoreUnavailable, CorruptEntry)):
        await store.get("a")
    assert part(store).snapshot().failures == {"0": 3, "1": 2, "2": 1}


async def test_a_dead_replica_is_left_alone_for_a_while(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(parts, write_quorum=2, read_quorum=2, failures=2, open_for=5)
    parts[0].down = True
    for number in range(10):
        await store.put("a", number)
        assert await store.get("a") == number
    assert parts[0].count("read") + parts[0].count("write") == 2
    parts[0].down = False
    clock.advance(5)
    assert await store.get("a") == 9
    assert await values(parts, "a") == [9, 9, 9]


async def test_a_lagging_replica_is_repaired_by_a_read(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(parts)
    await store.put("a", 1)
    clock.advance(1)
    parts[0].down = True
    await store.put("a", 2)
    parts[0].down = False
    assert await values(parts, "a") == [1, 2, 2]
    assert await store.get("a") == 2
    assert await values(parts, "a") == [2, 2, 2]
    assert part(store).snapshot().repaired == 1


async def test_without_repair_reads_are_right_all_the_same(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(parts, repair=False)
    parts[0].down = True
    await store.put("a", 2)
    parts[0].down = False
    assert await store.get("a") == 2
    assert await values(parts, "a") == [None, 2, 2]
    # What decides a condition has to be up to date all the same.
    assert await store.increment("a") == 3
    assert await values(parts, "a") == [3, 3, 3]


async def test_a_removal_that_a_replica_missed_stays_a_removal(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(parts, tombstone_ttl=100)
    await store.put("a", 1)
    parts[0].down = True
    # In the same moment as the write, even.
    assert await store.delete("a")
    parts[0].down = False
    assert await store.get("a") is None
    assert not await store.exists("a")
    assert await values(parts, "a") == ["gone"] * 3
    assert await store.keys() == []
    assert not await store.delete("a")
    assert await store.put_if_absent("a", 2)
    assert await values(parts, "a") == [2, 2, 2]
    await store.delete("a")
    clock.advance(101)
    await store.cull()
    assert [len(each) for each in parts] == [0, 0, 0]


async def test_conditions_are_decided_on_what_a_read_would_see(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(parts)
    await store.put("n", 1)
    clock.advance(1)
    parts[0].down = True
    await store.put("n", 10)
    with pytest.raises(StoreUnavailable):
        await store.increment("n")
    parts[0].down = False
    assert await store.increment("n") == 11
    found = await store.get_versioned("n")
    assert found is not None
    assert await store.compare_and_put("n", 20, found.version)
    assert not await store.compare_and_put("n", 30, found.version)
    assert await store.pop("n") == 20
    assert await store.pop("n") is None
    parts[2].down = True
    assert await store.put_if_absent("n", 5)
    assert await store.expire("n", 9)
    parts[2].down = False
    clock.advance(10)
    assert await store.get("n") is None


async def test_two_writers_leave_all_replicas_alike() -> None:
    rng = random.Random(5)

    class Slow(FaultyStore):
        async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
            return await super().write(*arguments)

    parts = [Slow(), Slow(), Slow()]
    store = over(list(parts))
    for _ in range(20):
        await asyncio.gather(
            *(store.put_many(["a", "b"], [n, n]) for n in range(4)), store.put("b", 9)
        )
        assert len(set(await values(list(parts), "a"))) == 1
        assert len(set(await values(list(parts), "b"))) == 1


async def test_enumerations_join_what_replicas_have(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(parts)
    keys = numbered_keys(700)
    await store.put_many(keys[:400], [0] * 400, collection="c")
    parts[0].down = True
    await store.put_many(keys[400:], [0] * 300, collection="c")
    await store.put("x", 1, collection="d")
    await store.delete_many(keys[:100], collection="c")
    parts[0].down = False
    assert await store.keys("c") == sorted(keys[100:])
    assert await store.collections() == ["c", "d"]
    await store.delete("x", collection="d")
    assert await store.collections() == ["c"]


async def test_whole_collections_go_only_from_all_replicas(parts: list[FaultyStore]) -> None:
    store = quorums(parts)
    await store.put("a", 1, collection="c")
    parts[2].down = True
    with pytest.raises(StoreUnavailable, match="3 are needed"):
        await store.destroy_collection("c")
    with pytest.raises(StoreUnavailable):
        await store.destroy()
    parts[2].down = False
    await store.put("a", 1, collection="c")
    assert await store.destroy_collection("c")
    assert not await store.destroy_collection("c")
    assert [len(each) for each in parts] == [0, 0, 0]


async def test_repair_all_brings_everybody_up_to_date(
    parts: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(parts, write_quorum=1, read_quorum=3, failures=99)
    parts[1].down = parts[2].down = True
    await store.put_many(numbered_keys(600), [7] * 600)
    await store.put_many(numbered_keys(3), [8] * 3, collection="c")
    with pytest.raises(StoreUnavailable):
        await part(store).repair_all()
    parts[1].down = parts[2].down = False
    assert await part(store).repair_all() == 1206
    assert await part(store).repair_all() == 0
    assert [len(each) for each in parts] == [603] * 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pdif-"), st.integers(0, 2)), max_size=40))
def test_with_a_flapping_replica_every_acknowledged_write_is_read(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        clock = ManualClock()
        parts = [FaultyStore(clock=clock) for _ in range(3)]
        store = quorums(parts)
        model: dict[str, int] = {}
        for number, (step, which) in enumerate(steps):
            clock.advance(0.01)
            key = f"k{which}"
            match step:
                case "p":
                    await store.put(key, number)
                    model[key] = number
                case "d":
                    assert await store.delete(key) == (key in model)
                    model.pop(key, None)
                case "i" if not parts[0].down:
                    model[key] = model.get(key, 0) + 1
                    assert await store.increment(key) == model[key]
                case "f":
                    for place, each in enumerate(parts):
                        each.down = place == which
                case _:
                    for each in parts:
                        each.down = False
            assert await store.get_many(["k0", "k1", "k2"]) == [
                model.get(key) for key in ("k0", "k1", "k2")
            ]
            assert await store.keys() == sorted(model)
        for each in parts:
            each.down = False
        await part(store).repair_all()
        for each in parts:
            assert [await values([each], key) for key in sorted(model)] == [
                [model[key]] for key in sorted(model)
            ]

    asyncio.run(run())


async def test_check_needs_both_quorums(parts: list[FaultyStore]) -> None:
    store = quorums(parts)
    await store.check()
    parts[0].down = True
    await store.check()
    parts[1].down = True
    with pytest.raises(StoreUnavailable):
        await store.check()


def test_capabilities_are_those_of_all() -> None:
    class Plain(MemoryStore):
        capabilities = frozenset({Capability.KEYS})

    store = Replication([Plain]).over(MemoryStore())
    assert store.capabilities == {
        Capability.KEYS,
        Capability.COMPARE_AND_PUT,
        Capability.CULL,
    }


def test_quorums_that_do_not_overlap_are_told(parts: list[FaultyStore]) -> None:
    with pytest.warns(StackWarning, match="quorums-do-not-overlap"):
        over(parts, write_quorum=2, read_quorum=1)


@pytest.mark.parametrize(
    ("replicas", "options"),
    [
        ([], {}),
        ({}, {}),
        ("ab", {}),
        ({"0": MemoryStore}, {}),
        ([MemoryStore], {"write_quorum": 3}),
        ([MemoryStore], {"write_quorum": 0}),
        ([MemoryStore], {"read_quorum": 3}),
        ([MemoryStore], {"read_quorum": 1.0}),
        ([MemoryStore], {"tombstone_ttl": 0}),
        ([MemoryStore], {"failures": 0}),
        ([MemoryStore], {"open_for": -1}),
    ],
)
def test_what_cannot_work_is_refused(replicas: object, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Replication(replicas, **options)  # type: ignore[arg-type]  # that is the point


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


def test_a_layer_under_one_store_only_is_told() -> None:
    with pytest.warns(StackWarning) as warned:
        stack(Replication([OnDisk]), Encrypts()).over(MemoryStore())
    codes = {str(each.message).partition(":")[0] for each in warned}
    assert codes == {"plaintext-second-store", "layer-under-one-store"}
    assert stack(Encrypts(), Replication([OnDisk])).over(MemoryStore()).findings == ()
