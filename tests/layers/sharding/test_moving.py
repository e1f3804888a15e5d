"""Claims, and writes of processes that do not know the new shard."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import MemoryStore, Store, StoreUnavailable
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.sharding.rendezvous import Rendezvous
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore, numbered_keys

CLAIM = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.claim"))
KEY, OTHER, *_ = [k for k in numbered_keys(50) if Rendezvous(["a", "b"]).owner(None, k) == "b"]


class Overtaken(FaultyStore):
    """A store in which something happens just before a call of one primitive."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.before: dict[str, Any] = {}

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        action = self.before.pop(primitive, None)
        if action is not None:
            await action()
        return await super().call(primitive, arguments)


@pytest.fixture
def old(clock: ManualClock) -> Overtaken:
    return Overtaken(clock)


@pytest.fixture
def new(clock: ManualClock) -> Overtaken:
    return Overtaken(clock)


def moving(old: Store, new: Store) -> Store:
    return Sharding({"b": new}, name="a", previous=["a"]).over(old)


async def claim(new: MemoryStore, clock: ManualClock) -> None:
    """Leave the claim of a process that stopped in the middle of a move."""
    entry = Entry(b"", CLAIM, 0.0, clock.time() + 60, 5)
    await new.write(None, [KEY], [entry])


async def test_a_claim_that_was_left_counts_as_missing(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    store = moving(old, new)
    await claim(new, clock)
    assert await store.get(KEY) is None
    assert await store.keys() == []
    assert not await store.delete(KEY)
    await claim(new, clock)
    assert not await store.expire(KEY, 5)
    assert await store.pop(KEY) is None
    assert await store.put_if_absent(KEY, 1)
    await claim(new, clock)
    await store.put(KEY, 2)
    assert await store.get(KEY) == 2
    await claim(new, clock)
    assert await store.increment(KEY) == 1


async def test_a_move_goes_on_from_the_claim_of_another(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    await old.put(KEY, 1)
    await claim(new, clock)
    store = moving(old, new)
    assert await store.get(KEY) == 1
    assert await store.keys() == [KEY]
    assert await store.find(Sharding).rebalance() == 1
    assert (await new.get(KEY), await old.get(KEY)) == (1, None)


async def test_a_write_costs_one_read_where_nothing_has_to_move(
    old: Overtaken, new: Overtaken
) -> None:
    await moving(old, new).put(KEY, 1)
    assert old.calls == [("read", None, (KEY,))]
    assert new.calls == [("write", None, (KEY,))]


async def test_a_move_takes_five_steps(old: Overtaken, new: Overtaken) -> None:
    await old.put(KEY, 1)
    old.calls.clear()
    store = moving(old, new)
    await store.delete(KEY)
    assert [name for name, _, _ in old.calls] == ["read", "read", "remove"]
    assert [name for name, _, _ in new.calls] == ["write", "write", "read", "remove"]
    assert await store.get(KEY) is None


async def test_a_move_that_was_stopped_leaves_nothing_for_long(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    await old.put(KEY, 1)
    store = moving(old, new)

    async def stop_after_the_claim() -> None:
        old.before["read"] = stop

    new.before["write"] = stop_after_the_claim
    with pytest.raises(StoreUnavailable):
        await store.put(KEY, 2)
    assert len(new) == 1
    assert await store.get(KEY) == 1
    await old.delete(KEY)
    clock.advance(60)
    assert await new.keys() == []


async def stop() -> None:
    raise StoreUnavailable("stopped")


async def test_a_move_keeps_version_times_and_expiry(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    await old.put(KEY, 1, ttl=50)
    before = await MemoryStore.read(old, None, [KEY])
    clock.advance(9)
    assert await moving(old, new).find(Sharding).rebalance() == 1
    assert await MemoryStore.read(new, None, [KEY]) == before


async def test_a_write_to_the_old_shard_during_the_move_is_not_lost(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    async def put() -> None:  # by a process that does not know the new shard
        clock.advance(1)
        await MemoryStore.write(old, None, [KEY], [Entry(b"2", codec.JSON, clock.time(), None, 6)])

    await old.put(KEY, 1)
    old.before["remove"] = put
    store = moving(old, new)
    await store.find(Sharding).rebalance()
    assert await store.get(KEY) == 2
    assert await MemoryStore.read(old, None, [KEY]) == [None]


async def test_an_entry_that_is_gone_after_the_claim_is_not_moved(
    old: Overtaken, new: Overtaken, clock: ManualClock
) -> None:
    async def delete() -> None:
        await MemoryStore.remove(old, None, [KEY])

    await old.put(KEY, 1)
    new.before["write"] = delete
    store = moving(old, new)
    assert await store.find(Sharding).rebalance() == 0
    assert await store.get(KEY) is None
    assert len(new) == 0


async def test_a_failed_move_fails_the_write_and_loses_nothing(
    old: Overtaken, new: Overtaken
) -> None:
    await old.put(KEY, 1)
    store = moving(old, new)
    for primitive, failing in (("remove", old), ("write", new), ("read", old)):
        failing.before[primitive] = stop
        with pytest.raises(StoreUnavailable) as caught:
            await store.put_many([KEY, "x"], [2, 2])
        assert caught.value.succeeded == ()
        assert await store.get(KEY) == 1
        failing.before.clear()
    await store.put_many([KEY, "x"], [2, 2])
    assert await store.get(KEY) == 2


async def test_the_keys_that_were_removed_before_a_failure_are_named(
    old: Overtaken, new: Overtaken
) -> None:
    async def replace() -> None:  # by another process, before the backend fails
        await MemoryStore.write(new, None, [OTHER], [Entry(b"3", codec.JSON, 1.0, None, 6)])
        new.before["read"] = stop

    await new.put_many([KEY, OTHER], [1, 2])
    store = moving(old, new)
    new.before["remove"] = replace
    with pytest.raises(StoreUnavailable) as caught:
        await store.delete_many([KEY, OTHER])
    assert caught.value.succeeded == (KEY,)
    await new.put(OTHER, 2)
    new.before["remove"] = replace
    with pytest.raises(StoreUnavailable) as caught:
        await store.delete(OTHER)
    assert caught.value.succeeded is None
    assert await new.keys() == [OTHER]
