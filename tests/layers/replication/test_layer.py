"""Replicas that are dead, behind, or come and go."""

from __future__ import annotations

import asyncio
import random
from typing import Any

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
    UnsupportedOperation,
    ValueTooLarge,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.replication import Replication
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys
from tests.layers.without_capabilities import WithoutCapabilities


@pytest.fixture
def replicas(clock: ManualClock) -> list[FaultyStore]:
    return [FaultyStore(clock=clock) for _ in range(3)]


def over(replicas: list[FaultyStore], **options: object) -> Store:
    return Replication(replicas[1:], **options).over(replicas[0])  # type: ignore[arg-type]  # any


def quorums(replicas: list[FaultyStore], **options: object) -> Store:
    return over(replicas, write_quorum=2, read_quorum=2, failures=99, **options)


async def values(replicas: list[FaultyStore], key: str) -> list[object]:
    """Return the value in each replica, "gone" for a tombstone."""
    found: list[object] = []
    for replica in replicas:
        down, replica.down = replica.down, False
        (entry,) = await MemoryStore.read(replica, None, [key])
        replica.down = down
        if entry is None:
            found.append(None)
        else:
            found.append("gone" if not entry.body else int(entry.body))
    return found


async def test_every_replica_gets_every_write(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    await store.put_many(["a", "b"], [1, 2])
    assert await values(replicas, "a") == [1, 1, 1]
    assert await store.increment("a") == 2
    assert await values(replicas, "a") == [2, 2, 2]
    assert await store.delete("a")
    assert await values(replicas, "a") == ["gone"] * 3
    assert await store.get("a") is None
    assert await store.keys() == ["b"]


async def test_replicas_are_asked_and_written_concurrently() -> None:
    both = asyncio.Barrier(3)

    class Together(FaultyStore):
        async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
            await both.wait()
            return await super().call(primitive, arguments)

    replicas = [Together(), Together(), Together()]
    async with asyncio.timeout(30):
        await over(list(replicas)).put("a", 1)
    assert [replica.count("read") for replica in replicas] == [1, 1, 1]
    assert [replica.count("write") for replica in replicas] == [1, 1, 1]


async def test_a_write_needs_its_quorum() -> None:
    for needed, dead in [(3, 1), (2, 2), (1, 3)]:
        replicas = [FaultyStore(), FaultyStore(), FaultyStore()]
        store = over(replicas, write_quorum=needed, read_quorum=3, failures=99)
        await store.put("a", 1)
        for replica in replicas[: dead - 1]:
            replica.down = True
        await store.put("a", 2)
        replicas[2].down = True
        refused = f"{3 - dead} of 3 .* {needed} are needed"
        with pytest.raises(StoreUnavailable, match=refused) as caught:
            await store.put("a", 3)
        assert caught.value.succeeded is None
        with pytest.raises(StoreUnavailable, match=refused) as caught:
            await store.put_many(["a", "b"], [3, 3])
        assert caught.value.succeeded == ()  # not enough have answered, so nothing was written


async def test_the_refusal_of_a_replica_is_raised(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    replicas[2].write_errors = {"big": ValueTooLarge("over the limit")}
    with pytest.raises(ValueTooLarge):
        await store.put("big", 1)


async def test_the_error_for_a_quorum_has_the_first_failure_as_its_cause(
    replicas: list[FaultyStore],
) -> None:
    store = quorums(replicas)
    failures = [StoreUnavailable(f"down {number}") for number in range(3)]
    for replica, failure in zip(replicas, failures, strict=True):
        replica.down = failure
    for call in (store.get("a"), store.put("a", 1), store.keys(), store.destroy(), store.check()):
        with pytest.raises(StoreUnavailable, match=r"0 of 3 replicas .* are needed") as caught:
            await call
        assert caught.value.__cause__ is failures[0]
    replicas[1].down = replicas[2].down = False
    with pytest.raises(StoreUnavailable, match="replica '0', which decides") as caught:
        await store.increment("a")
    assert caught.value.__cause__ is failures[0]


async def test_a_batch_that_fails_in_the_middle_lists_what_a_quorum_has() -> None:
    half = stack().chaos(partial_rate=1, operations=["write"], seed=3).over(MemoryStore())
    store = stack().replicate([half]).over(MemoryStore())
    keys = numbered_keys(10)
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(keys, [0] * 10)
    succeeded = list(caught.value.succeeded or ())
    assert 0 < len(succeeded) < 10
    assert [key for key, entry in zip(keys, await half.read(None, keys)) if entry] == succeeded


async def test_reads_continue_with_the_next_replica(replicas: list[FaultyStore]) -> None:
    store = over(replicas, failures=99)
    await store.put("a", 1)
    replicas[0].down = True
    before = replicas[2].count("read")
    assert await store.get("a") == 1
    assert replicas[2].count("read") == before
    replicas[1].down = CorruptEntry("damaged")
    assert await store.get("a") == 1
    replicas[2].down = True
    with pytest.raises(CorruptEntry, match="damaged"):
        await store.get("a")
    assert store.find(Replication).snapshot().failures == {"0": 3, "1": 2, "2": 1}


async def test_a_read_asks_no_more_replicas_than_it_needs(clock: ManualClock) -> None:
    replicas = [FaultyStore(clock=clock) for _ in range(5)]
    store = over(replicas, write_quorum=4, read_quorum=2)
    await store.put("a", 1)
    before = [replica.count("read") for replica in replicas]
    replicas[0].down = True
    assert await store.get("a") == 1
    asked = [replica.count("read") for replica in replicas]
    assert [new - old for old, new in zip(before, asked, strict=True)] == [1, 1, 1, 0, 0]


async def test_a_failing_replica_is_not_called_for_a_while(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(replicas, write_quorum=2, read_quorum=2, failures=2, open_for=5)
    replicas[0].down = True
    for number in range(10):
        await store.put("a", number)
        assert await store.get("a") == number
    assert replicas[0].count("read") + replicas[0].count("write") == 2
    replicas[0].down = False
    clock.advance(5)
    assert await store.get("a") == 9
    assert await values(replicas, "a") == [9, 9, 9]


async def test_a_lagging_replica_is_repaired_by_a_read(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(replicas)
    await store.put("a", 1)
    clock.advance(1)
    replicas[0].down = True
    await store.put("a", 2)
    replicas[0].down = False
    assert await values(replicas, "a") == [1, 2, 2]
    assert await store.get("a") == 2
    assert await values(replicas, "a") == [2, 2, 2]
    assert store.find(Replication).snapshot().repaired == 1


async def test_without_repair_reads_are_still_correct(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(replicas, repair=False)
    replicas[0].down = True
    await store.put("a", 2)
    replicas[0].down = False
    assert await store.get("a") == 2
    assert await values(replicas, "a") == [None, 2, 2]
    # The replica that decides a conditional write must be up to date even so.
    assert await store.increment("a") == 3
    assert await values(replicas, "a") == [3, 3, 3]


async def test_a_removal_that_a_replica_missed_stays_a_removal(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(replicas, tombstone_ttl=100)
    await store.put("a", 1)
    replicas[0].down = True
    # Even at the same time as the write.
    assert await store.delete("a")
    replicas[0].down = False
    assert await store.get("a") is None
    assert not await store.exists("a")
    assert await values(replicas, "a") == ["gone"] * 3
    assert await store.keys() == []
    assert not await store.delete("a")
    assert await store.put_if_absent("a", 2)
    assert await values(replicas, "a") == [2, 2, 2]
    await store.delete("a")
    clock.advance(101)
    await store.cull()
    assert [len(replica) for replica in replicas] == [0, 0, 0]


async def test_conditional_writes_see_what_a_read_would_see(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(replicas)
    await store.put("n", 1)
    clock.advance(1)
    replicas[0].down = True
    await store.put("n", 10)
    with pytest.raises(StoreUnavailable):
        await store.increment("n")
    replicas[0].down = False
    assert await store.increment("n") == 11
    found = await store.get_versioned("n")
    assert found is not None
    assert await store.compare_and_put("n", 20, found.version)
    assert not await store.compare_and_put("n", 30, found.version)
    assert await store.pop("n") == 20
    assert await store.pop("n") is None
    replicas[2].down = True
    assert await store.put_if_absent("n", 5)
    assert await store.expire("n", 9)
    replicas[2].down = False
    clock.advance(10)
    assert await store.get("n") is None


async def test_concurrent_writers_leave_all_replicas_equal() -> None:
    rng = random.Random(5)

    class Slow(FaultyStore):
        async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
            return await super().write(*arguments)

    replicas = [Slow(), Slow(), Slow()]
    store = over(list(replicas))
    for _ in range(20):
        await asyncio.gather(
            *(store.put_many(["a", "b"], [n, n]) for n in range(4)), store.put("b", 9)
        )
        assert len(set(await values(list(replicas), "a"))) == 1
        assert len(set(await values(list(replicas), "b"))) == 1


async def test_enumerations_merge_the_keys_of_the_replicas(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = quorums(replicas)
    keys = numbered_keys(700)
    await store.put_many(keys[:400], [0] * 400, collection="c")
    replicas[0].down = True
    await store.put_many(keys[400:], [0] * 300, collection="c")
    await store.put("x", 1, collection="d")
    await store.delete_many(keys[:100], collection="c")
    replicas[0].down = False
    assert await store.keys("c") == sorted(keys[100:])
    assert await store.collections() == ["c", "d"]
    await store.delete("x", collection="d")
    assert await store.collections() == ["c"]


async def test_a_collection_is_destroyed_only_on_all_replicas(replicas: list[FaultyStore]) -> None:
    store = quorums(replicas)
    await store.put("a", 1, collection="c")
    replicas[2].down = True
    with pytest.raises(StoreUnavailable, match="3 are needed"):
        await store.destroy_collection("c")
    with pytest.raises(StoreUnavailable):
        await store.destroy()
    replicas[2].down = False
    await store.put("a", 1, collection="c")
    assert await store.destroy_collection("c")
    assert not await store.destroy_collection("c")
    assert [len(replica) for replica in replicas] == [0, 0, 0]


async def test_replicas_that_enumerate_nothing_are_destroyed() -> None:
    stores = [MemoryStore() for _ in range(3)]
    blind = WithoutCapabilities(Capability.KEYS, Capability.COLLECTIONS)
    store = Replication([blind.over(each) for each in stores[1:]]).over(blind.over(stores[0]))
    await store.put("a", 1, collection="c")
    assert await store.destroy_collection("c")
    assert not await store.destroy_collection("c")
    await store.put("a", 1, collection="c")
    assert await store.destroy()
    assert not await store.destroy()
    assert [len(each) for each in stores] == [0, 0, 0]


async def test_repair_all_brings_every_replica_up_to_date(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(replicas, write_quorum=1, read_quorum=3, failures=99)
    replicas[1].down = replicas[2].down = True
    await store.put_many(numbered_keys(600), [7] * 600)
    await store.put_many(numbered_keys(3), [8] * 3, collection="c")
    with pytest.raises(StoreUnavailable):
        await store.find(Replication).repair_all()
    replicas[1].down = replicas[2].down = False
    assert await store.find(Replication).repair_all() == 1206
    assert await store.find(Replication).repair_all() == 0
    assert [len(replica) for replica in replicas] == [603] * 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pdif-"), st.integers(0, 2)), max_size=40))
def test_with_a_flapping_replica_every_acknowledged_write_is_read(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        clock = ManualClock()
        replicas = [FaultyStore(clock=clock) for _ in range(3)]
        store = quorums(replicas)
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
                case "i" if not replicas[0].down:
                    model[key] = model.get(key, 0) + 1
                    assert await store.increment(key) == model[key]
                case "f":
                    for index, replica in enumerate(replicas):
                        replica.down = index == which
                case _:
                    for replica in replicas:
                        replica.down = False
            assert await store.get_many(["k0", "k1", "k2"]) == [
                model.get(key) for key in ("k0", "k1", "k2")
            ]
            assert await store.keys() == sorted(model)
        for replica in replicas:
            replica.down = False
        await store.find(Replication).repair_all()
        for replica in replicas:
            assert [await values([replica], key) for key in sorted(model)] == [
                [model[key]] for key in sorted(model)
            ]

    asyncio.run(run())


async def test_check_needs_both_quorums(replicas: list[FaultyStore]) -> None:
    store = quorums(replicas)
    await store.check()
    replicas[0].down = True
    await store.check()
    replicas[1].down = True
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_capabilities_are_those_of_all_replicas() -> None:
    class Plain(MemoryStore):
        capabilities = frozenset({Capability.KEYS})

        async def write(self, *arguments: Any) -> list[bool]:
            assert len(arguments) == 3 or arguments[3] is None, "it cannot compare versions"
            return await super().write(*arguments)

    store = Replication([Plain]).over(MemoryStore())
    assert store.capabilities == {Capability.KEYS, Capability.CULL}
    # A decision of the first replica could be undone on one that cannot compare versions.
    with pytest.raises(UnsupportedOperation, match="not all of its replicas"):
        await store.increment("n")
    await store.put("n", 1)
    await store.put("n", 2)
    assert await store.delete("n")
    assert await store.get("n") is None


def test_quorums_that_do_not_overlap_are_reported(replicas: list[FaultyStore]) -> None:
    with pytest.warns(StackWarning, match="quorums-do-not-overlap"):
        over(replicas, write_quorum=2, read_quorum=1)


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
def test_invalid_arguments_are_refused(replicas: object, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="|".join([*options, "replicas"])):
        Replication(replicas, **options)  # type: ignore[arg-type]  # that is the point


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


def test_a_layer_under_one_store_only_is_reported() -> None:
    with pytest.warns(StackWarning) as warned:
        stack(Replication([OnDisk]), Encrypts()).over(MemoryStore())
    codes = {str(warning.message).partition(":")[0] for warning in warned}
    assert codes == {"plaintext-second-store", "layer-under-one-store"}
    assert stack(Encrypts(), Replication([OnDisk])).over(MemoryStore()).findings == ()


async def test_it_is_idle_while_no_write_is_in_progress(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    assert store.find(Replication).idle
    replicas[1].gate.clear()
    writing = asyncio.create_task(store.put("a", 1))
    await ManualClock.settle()
    assert not store.find(Replication).idle
    replicas[1].gate.set()
    await writing
    assert store.find(Replication).idle
