"""Repair: never over something newer, at no cost where replicas agree, and counted exactly."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import MemoryStore, Store, StoreUnavailable
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.layers.replication import Replication, ReplicationSnapshot
from kvwrap.testing import ManualClock
from tests.layers.connections import connect
from tests.layers.faulty import FaultyStore


class Overtaken(FaultyStore):
    """A replica that another process writes to just before a write of this one arrives."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.other: Store | None = None

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        if primitive == "write" and self.other is not None:
            other, self.other = self.other, None
            await other.put("a", "newest")
        return await super().call(primitive, arguments)


@pytest.fixture
def replicas(clock: ManualClock) -> list[FaultyStore]:
    return [Overtaken(clock=clock) for _ in range(3)]


def over(replicas: list[FaultyStore], **options: Any) -> Store:
    arguments: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**6, **options}
    return Replication(replicas[1:], **arguments).over(replicas[0])


async def fall_behind(store: Store, replica: FaultyStore) -> None:
    """Put 1, and then 2 where the replica misses it."""
    await store.put("a", 1)
    replica.down = True
    await store.put("a", 2)
    replica.down = False


@pytest.mark.parametrize("everything", [False, True])
async def test_a_repair_does_not_replace_what_was_written_meanwhile(
    replicas: list[FaultyStore], clock: ManualClock, everything: bool
) -> None:
    store = over(replicas)
    await fall_behind(store, replicas[0])
    before = store.find(Replication).snapshot()
    connections = [connect(replica, clock) for replica in replicas]
    behind = replicas[0]
    assert isinstance(behind, Overtaken)
    behind.other = Replication(connections[1:]).over(connections[0])
    if everything:
        assert await store.find(Replication).repair_all() == 0
    else:
        assert await store.get("a") == 2
    for replica in replicas:
        assert await Replication([MemoryStore]).over(connect(replica, clock)).get("a") == "newest"
    assert store.find(Replication).snapshot() == before
    assert all(keys for primitive, _, keys in behind.calls if primitive == "write")


async def test_a_replica_that_fails_half_way_counts_for_the_keys_that_it_has(
    clock: ManualClock,
) -> None:
    class FailsAfterAWrite(Overtaken):
        async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
            result = await super().call(primitive, arguments)
            self.down = primitive == "write" and len(arguments[1]) == 2
            return result

    replica = FailsAfterAWrite(clock=clock)
    base = FaultyStore(clock=clock)
    store = Replication([replica]).over(base)
    replica.other = Replication([MemoryStore]).over(connect(replica, clock))
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(["a", "b"], [1, 1])  # "a" is changed meanwhile, and asked for again
    assert caught.value.succeeded == ("b",)


async def test_reads_of_replicas_that_agree_write_nothing(replicas: list[FaultyStore]) -> None:
    store = over(replicas, read_quorum=3)
    await store.put_many(["a", "b"], [1, 2])
    before = [replica.count("write") for replica in replicas]
    assert await store.get_many(["a", "b", "missing"]) == [1, 2, None]
    assert await store.find(Replication).repair_all() == 0
    assert [replica.count("write") for replica in replicas] == before


async def test_only_the_copies_that_are_behind_are_written(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    await store.put_many(["b", "c"], [0, 0])
    await fall_behind(store, replicas[0])
    before = [len(replica.written()) for replica in replicas]
    assert await store.get_many(["a", "b", "c"]) == [2, 0, 0]
    after = [len(replica.written()) for replica in replicas]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 0, 0]
    assert replicas[0].written()[-1] == "a"


async def test_failures_and_repairs_are_counted_one_by_one(replicas: list[FaultyStore]) -> None:
    store = over(replicas)

    def counts() -> ReplicationSnapshot:
        return store.find(Replication).snapshot()

    await fall_behind(store, replicas[0])  # the put fails there once
    assert counts() == ReplicationSnapshot(0, {"0": 1, "1": 0, "2": 0})
    replicas[0].write_errors = {"a": StoreUnavailable("refused")}
    assert await store.get("a") == 2  # so does the repair
    assert counts() == ReplicationSnapshot(0, {"0": 2, "1": 0, "2": 0})
    await store.put("a", 3)  # and the write after an answer
    assert counts() == ReplicationSnapshot(0, {"0": 3, "1": 0, "2": 0})
    replicas[0].write_errors = {}
    replicas[1].down = True
    assert await store.get("a") == 3  # a read of a replica that is down
    assert counts() == ReplicationSnapshot(1, {"0": 3, "1": 1, "2": 0})
    replicas[1].down = False
    assert await store.get("a") == 3
    assert await store.increment("n") == 1
    assert await store.delete("a")
    assert counts() == ReplicationSnapshot(1, {"0": 3, "1": 1, "2": 0})
    replicas[2].down = True
    with pytest.raises(StoreUnavailable):
        await store.find(Replication).repair_all()
    assert counts().failures == {"0": 3, "1": 1, "2": 1}


async def test_repair_all_counts_its_own_repairs(replicas: list[FaultyStore]) -> None:
    store = over(replicas, repair=False)
    await fall_behind(store, replicas[0])
    replicas[2].down = True
    await store.put_many(["b", "c"], [1, 1])
    replicas[2].down = False
    assert await store.get("a") == 2
    assert store.find(Replication).snapshot().repaired == 0
    assert await store.find(Replication).repair_all() == 3
    assert store.find(Replication).snapshot().repaired == 3


async def test_copies_from_before_replication_are_repaired(replicas: list[FaultyStore]) -> None:
    for number, replica in enumerate(replicas[:2]):
        entry = Entry(b"%d" % number, codec.JSON, 1.0 + number, None, 5 + number)
        await replica.write(None, ["a"], [entry])
    store = over(replicas, read_quorum=3)
    assert await store.get("a") == 1
    assert [await replica.get("a") for replica in replicas] == [1, 1, 1]
