"""Conditional writes: decided by the first replica, kept by a quorum, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import CorruptEntry, MemoryStore, Store, StoreUnavailable, ValueTooLarge, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT
from kvwrap.layers.chaos import Chaos
from kvwrap.layers.replication import Replication
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


@pytest.fixture
def replicas(clock: ManualClock) -> list[FaultyStore]:
    return [FaultyStore(clock=clock) for _ in range(3)]


def over(replicas: list[FaultyStore], **options: Any) -> Store:
    arguments: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**6, **options}
    return Replication(replicas[1:], **arguments).over(replicas[0])


def refuse_writes(*replicas: FaultyStore) -> None:
    for replica in replicas:
        replica.write_errors = {"n": StoreUnavailable("refused"), "m": StoreUnavailable("refused")}


def accept_writes(*replicas: FaultyStore) -> None:
    for replica in replicas:
        replica.write_errors = {}


async def test_what_only_the_first_replica_took_is_not_acknowledged(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas)
    await store.put("n", 1)
    found = await store.get_versioned("n")
    assert found is not None
    refuse_writes(*replicas[1:])
    with pytest.raises(StoreUnavailable, match="1 of 3 replicas took the write, and 2 are needed"):
        await store.increment("n")
    with pytest.raises(StoreUnavailable):
        await store.put_if_absent("m", 1)
    with pytest.raises(StoreUnavailable):
        await store.pop("n")
    assert store.find(Replication).snapshot().failures == {"0": 0, "1": 4, "2": 3}  # and a repair
    replicas[2].write_errors = {"n": ValueTooLarge("over the limit")}
    accept_writes(replicas[1])
    replicas[1].down = True
    with pytest.raises(ValueTooLarge):
        await store.put_if_absent("n", 5)


async def test_a_repeated_write_is_acknowledged_once_a_quorum_has_it(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas, write_quorum=3)
    entries = [Entry(b"1", codec.JSON, 1.0, None, version) for version in (5, 6)]
    refuse_writes(*replicas[1:])
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="of 3 replicas took the write"):
            await store.write(None, ["n"], entries[:1], [ABSENT])
    accept_writes(replicas[1])
    with pytest.raises(StoreUnavailable, match="2 of 3 replicas took the write"):
        await store.write(None, ["m", "n"], entries[::-1], [ABSENT, ABSENT])
    accept_writes(replicas[2])
    assert await store.write(None, ["m", "n"], entries[::-1], [ABSENT, ABSENT]) == [True, True]
    for replica in replicas:
        kept = await replica.read(None, ["n", "m"])
        assert [entry.version for entry in kept if entry is not None] == [5, 6]


@pytest.mark.parametrize(("quorum", "named"), [(1, ("m",)), (2, ()), (3, ())])
async def test_keys_that_only_the_first_replica_took_are_named_if_it_is_a_quorum(
    clock: ManualClock, quorum: int, named: tuple[str, ...]
) -> None:
    class FailsHalfWay(FaultyStore):
        async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
            if primitive != "write":
                return await super().call(primitive, arguments)
            collection, keys, *batches = arguments
            await super().call(primitive, (collection, keys[:1], *(b[:1] for b in batches)))
            raise StoreUnavailable("half way", succeeded=keys[:1])

    replicas = [FailsHalfWay(clock=clock), FaultyStore(clock=clock), FaultyStore(clock=clock)]
    store = over(replicas, write_quorum=quorum, read_quorum=3)
    entries = [Entry(b"1", codec.JSON, 1.0, None, version) for version in (5, 6)]
    with pytest.raises(StoreUnavailable, match="half way") as caught:
        await store.write(None, ["m", "n"], entries, [ABSENT, ABSENT])
    assert caught.value.succeeded == named


async def test_a_batch_that_is_refused_lists_what_a_quorum_has(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas)
    await store.put("seen", 1)
    (seen,) = await store.read(None, ["seen"])
    assert seen is not None
    refuse_writes(*replicas[1:])
    with pytest.raises(StoreUnavailable) as caught:
        await store.write(None, ["n", "m"], [seen, seen], [ABSENT, ABSENT])
    assert caught.value.succeeded == ()
    replicas[0].down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.write(None, ["x", "y"], [seen, seen], [ABSENT, ABSENT])
    assert not caught.value.succeeded
    assert await store.get_many(["x", "y"]) == [None, None]


async def test_without_the_first_replica_they_are_refused(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    await store.put("n", 1)
    found = await store.get_versioned("n")
    assert found is not None
    replicas[0].down = True
    before = [replica.count("write") for replica in replicas]
    with pytest.raises(StoreUnavailable, match="replica '0', which decides conditional writes"):
        await store.increment("n")
    for refused in (
        store.put_if_absent("m", 1),
        store.compare_and_put("n", 2, found.version),
        store.pop("n"),
        store.expire("n", 5),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
    assert [replica.count("write") for replica in replicas] == before
    assert await store.get("n") == 1


async def test_fewer_replicas_than_show_every_write_refuse_them(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas)
    await store.put("n", 1)
    replicas[1].down = replicas[2].down = True
    before = replicas[0].count("write")
    with pytest.raises(StoreUnavailable, match="1 of 3 replicas answered, and 2 are needed"):
        await store.put_if_absent("n", 2)
    assert replicas[0].count("write") == before


async def test_a_first_replica_that_lost_its_entries_decides_by_those_of_the_others(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas)
    assert await store.increment("n") == 1
    await MemoryStore.drop_all(replicas[0])
    assert await store.increment("n") == 2
    await MemoryStore.drop_all(replicas[0])
    assert not await store.put_if_absent("n", 9)
    assert await store.get("n") == 2


async def test_a_refusal_tells_what_later_reads_show(replicas: list[FaultyStore]) -> None:
    store = over(replicas, write_quorum=3, read_quorum=1)
    replicas[0].write_errors = {"n": StoreUnavailable("refused")}
    with pytest.raises(StoreUnavailable):
        await store.put("n", 7)  # on two replicas, not acknowledged
    accept_writes(replicas[0])
    assert await store.get("n") is None
    # The primary alone shows every acknowledged write here; the others refuse with what they have.
    assert not await store.put_if_absent("n", 8)
    assert await store.get("n") == 7


@pytest.mark.parametrize("replica", range(3))
@pytest.mark.parametrize("fault", ["failure_rate", "lost_rate"])
async def test_every_acknowledged_increment_counts_while_a_replica_fails(
    replica: int, fault: str
) -> None:
    faults: Any = {fault: 0.3, "seed": replica}
    stores: list[Store] = [MemoryStore() for _ in range(3)]
    stores[replica] = stack().chaos(**faults).over(stores[replica])
    store = (
        stack().replicate(stores[1:], write_quorum=2, read_quorum=2, failures=10**6).over(stores[0])
    )
    numbers = []
    failed = 0
    for _ in range(500):
        try:
            numbers.append(await store.increment("n"))
        except StoreUnavailable:
            failed += 1
    assert stores[replica].find(Chaos).faults > 100
    assert numbers == sorted(set(numbers))
    final = await store.get("n")
    assert final is not None
    assert len(numbers) <= final <= len(numbers) + failed
    if fault == "failure_rate" or replica:
        assert final == len(numbers)


@pytest.mark.parametrize("replica", range(3))
async def test_retried_increments_count_once(replica: int) -> None:
    stores: list[Store] = [MemoryStore() for _ in range(3)]
    stores[replica] = stack().chaos(seed=5, lost_rate=0.3).over(stores[replica])
    store = (
        stack()
        .retry(attempts=50, wait=0)
        .replicate(stores[1:], write_quorum=2, read_quorum=2, failures=10**6)
        .over(stores[0])
    )
    assert [await store.increment("n") for _ in range(200)] == list(range(1, 201))


async def test_an_unreadable_copy_at_the_first_replica_refuses_them_until_it_is_replaced(
    clock: ManualClock,
) -> None:
    class Unreadable(FaultyStore):
        damaged = False

        async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
            if primitive == "read" and self.damaged and "n" in arguments[1]:
                raise CorruptEntry("damaged", key="n")
            if primitive == "write" and "n" in arguments[1]:
                self.damaged = False
            return await super().call(primitive, arguments)

    replicas = [Unreadable(clock=clock) for _ in range(3)]
    store = over(list(replicas))
    await store.put_many(["n", "m"], [1, 1])
    replicas[0].damaged = True
    assert await store.get("n") == 1
    with pytest.raises(CorruptEntry):
        await store.increment("n")
    await store.put_many(["m", "n"], [2, 2])
    assert not replicas[0].damaged
    assert await store.increment("n") == 3
    replicas[1].damaged = True
    before = replicas[1].count("write")
    assert not await store.put_if_absent("n", 4)
    assert replicas[1].count("write") == before  # nothing tells what another process does there
    replicas[0].damaged = True
    assert await store.delete("n")
    assert await store.get_many(["n", "m"]) == [None, 2]


class RefusesConditions(FaultyStore):
    """Writes nothing on a condition, although it has what is expected."""

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        if primitive == "write" and arguments[3] is not None:
            return [False] * len(arguments[1])
        return await super().call(primitive, arguments)


@pytest.mark.parametrize("place", [0, 1])
async def test_a_replica_that_refuses_every_condition_ends_the_call(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    for module in ("replica", "writer"):
        monkeypatch.setattr(f"kvwrap.layers.replication.{module}.ATTEMPTS", range(4))
    replicas = [FaultyStore(clock=clock), FaultyStore(clock=clock)]
    replicas[place] = RefusesConditions(clock=clock)
    store = over(replicas)
    message = "1 of 2 replicas took the write" if place else "attempts to update the entry"
    with pytest.raises(StoreUnavailable, match=message):
        await store.put_if_absent("n", 1)
    with pytest.raises(StoreUnavailable, match="1 of 2 replicas took the write") as caught:
        await store.put("m", 1)
    assert "attempts to update the entry" in str(caught.value.__cause__)


async def test_a_key_whose_second_write_fails_is_named_for_its_first(clock: ManualClock) -> None:
    class FailsAfterAWrite(FaultyStore):
        async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
            result = await super().call(primitive, arguments)
            self.down = primitive == "write"
            return result

    replicas = [FailsAfterAWrite(clock=clock), FaultyStore(clock=clock)]
    store = over(replicas)
    entries = [Entry(b"1", codec.JSON, 1.0, None, version) for version in (5, 6)]
    with pytest.raises(StoreUnavailable) as caught:
        await store.write(None, ["n", "n"], entries, [ABSENT, 5])
    assert caught.value.succeeded == ("n",)
