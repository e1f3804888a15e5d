"""What changes a key while its value is computed wins, in every order in which calls are served."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kvwrap import (
    Capability,
    CorruptEntry,
    MemoryStore,
    SQLiteStore,
    StoreUnavailable,
    adapt,
    stack,
)
from kvwrap.core.computations import Computations
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock, Tap
from tests.layers.interleaving import GatedStore, World, every_order, settle, some_orders

EVERY_CHANGE = {
    "put": lambda store: store.put("k", "put"),
    "put_many": lambda store: store.put_many(["j", "k"], ["put", "put"]),
    "put_if_absent": lambda store: store.put_if_absent("k", "put"),
    "compare_and_put": lambda store: store.compare_and_put("k", "put", 1),
    "delete": lambda store: store.delete("k"),
    "delete_many": lambda store: store.delete_many(["j", "k"]),
    "delete_where": lambda store: store.delete_where(prefix="k"),
    "pop": lambda store: store.pop("k"),
    "expire": lambda store: store.expire("k", 5),
    "move from": lambda store: store.move("k", "j"),
    "move to": lambda store: store.move("other", "k"),
    "destroy_collection": lambda store: store.destroy_collection(None),
    "destroy": lambda store: store.destroy(),
}


class Computing(World):
    """One that computes a value from a source, and one that changes the source and the key.

    Args:
        change: The change of the key.
        stale: True if there is a stale value in the beginning.
        compares: False to take the ability to compare from the store.
        readers: How many compute.
        before: The calls that wait before they take effect.
        after: The calls that wait afterwards.
    """

    def __init__(
        self,
        change: str,
        *,
        stale: bool = False,
        compares: bool = True,
        readers: int = 1,
        before: str = "read write remove drop",
        after: str = "read write remove drop",
    ) -> None:
        super().__init__()
        self.change = change
        self.stale = stale
        self.readers = readers
        self.store = GatedStore(self.stage, "store", before, after)
        if not compares:
            self.store.capabilities -= {Capability.COMPARE_AND_PUT}
        self.source = "old"
        self.begun = asyncio.Event()
        self.compares = compares

    async def begin(self) -> None:
        self.stage.is_open = True
        await self.store.put("other", "moved")
        if self.stale:
            await self.store.get_or_put("k", lambda: "stale", ttl=1e-3, stale_ttl=1e6)
            await asyncio.sleep(2e-3)
        self.stage.is_open = False

    async def factory(self) -> str:
        value = self.source
        self.begun.set()
        await self.stage.gate("factory")
        return value

    async def compute(self) -> str:
        value: str = await self.store.get_or_put("k", self.factory, ttl=60, stale_ttl=60)
        return value

    async def reader(self) -> None:
        assert await self.compute() in ("old", "new", "put", "moved")

    async def writer(self) -> None:
        if not self.compares:
            await self.begun.wait()
        self.source = "new"
        await EVERY_CHANGE[self.change](self.store)
        # From now on nobody must get, or leave, what was computed from the old source.
        assert await self.compute() != "old"

    def actors(self) -> Any:
        readers = {f"reader{number}": self.reader for number in range(self.readers)}
        return {**readers, "writer": self.writer}

    async def end(self) -> None:
        assert await self.store.get("k") != "old"
        assert await self.compute() != "old"
        if self.change == "put":
            assert await self.store.get("k") == "put"
        assert self.store.idle


@pytest.mark.parametrize("change", ["put", "delete"])
@pytest.mark.parametrize("stale", [False, True])
async def test_every_order_of_one_change(change: str, stale: bool) -> None:
    def make() -> World:
        return Computing(change, stale=stale, before="read write remove", after="write remove")

    assert await every_order(make, at_most=100_000) > 20


@pytest.mark.parametrize("change", EVERY_CHANGE)
async def test_every_change_overtakes(change: str) -> None:
    store = MemoryStore()
    await store.put("other", "moved")

    async def factory() -> str:
        await EVERY_CHANGE[change](store)
        return "computed"

    assert await store.get_or_put("k", factory) == "computed"
    assert store.computations.overtaken == 1
    assert await store.get("k") in (None, "put", "moved")


@pytest.mark.parametrize("change", EVERY_CHANGE)
async def test_every_change_has_its_effect_while_another_value_is_computed(
    change: str, clock: ManualClock
) -> None:
    outcomes = []
    for computes in (False, True):
        store = MemoryStore(clock=clock)
        await store.put_many(["j", "k", "other"], [1, 2, 3], ttl=60)

        async def factory(store: MemoryStore = store) -> Any:
            return [await EVERY_CHANGE[change](store)]

        result = await (store.get_or_put("computed", factory) if computes else factory())
        outcomes.append((result, await store.ttl_many(["j", "k", "other"])))
    assert outcomes[0] == outcomes[1]


REPLACING = [
    name for name in EVERY_CHANGE if name not in ("put_if_absent", "compare_and_put", "expire")
]


@pytest.mark.parametrize("change", REPLACING)
async def test_some_orders_of_every_change(change: str) -> None:
    await some_orders(lambda: Computing(change, readers=2), seed=1, count=150)
    await some_orders(lambda: Computing(change, readers=2, stale=True), seed=2, count=50)


@pytest.mark.parametrize("change", ["put", "delete", "destroy"])
async def test_a_store_that_cannot_compare(change: str) -> None:
    await some_orders(lambda: Computing(change, compares=False), seed=3, count=150)


@pytest.mark.parametrize("kind", ["sqlite", "redis", "layers"])
async def test_real_backends(kind: str, tmp_path: Any, redis_url: str, request: Any) -> None:
    store: Any = {
        "sqlite": lambda: SQLiteStore(tmp_path / "store.db"),
        "redis": lambda: RedisStore(redis_url, namespace=request.node.name),
        "layers": lambda: (
            stack()
            .read_through(MemoryStore(), ttl=60)
            .compress(min_size=0)
            .coalesce()
            .over(SQLiteStore(tmp_path / "store.db"))
        ),
    }[kind]()
    rng = random.Random(1)
    async with store:
        for number in range(60):
            key, source, begun = f"k{number}", ["old"], asyncio.Event()

            async def factory(source: list[str] = source, begun: asyncio.Event = begun) -> str:
                value = source[0]
                begun.set()
                await asyncio.sleep(rng.random() * 0.002)
                return value

            first = asyncio.create_task(store.get_or_put(key, factory))
            await begun.wait()
            await asyncio.sleep(rng.random() * 0.003)
            source[0] = "new"
            if number % 2:
                await store.put(key, "new")
            else:
                await store.delete(key)
            assert await store.get(key) in (None, "new")
            assert await first in ("old", "new")
            assert await store.get_or_put(key, factory) == "new"
            assert await store.get(key) == "new"


async def test_another_process_that_puts_meanwhile_wins():
    base = MemoryStore()
    store = stack().compress().over(base)
    other = stack().compress().over(base)

    go = asyncio.Event()

    async def factory():
        await go.wait()
        await other.put("k", "theirs")
        return "ours"

    first = asyncio.create_task(store.get_or_put("k", factory))
    await asyncio.sleep(0)
    second = asyncio.create_task(store.get_or_put("k", lambda: "third"))
    await asyncio.sleep(0)
    go.set()
    assert await first == "ours"
    assert await second == "theirs"
    assert await store.get("k") == "theirs"
    assert store.computations.overtaken == 1


async def test_a_factory_that_puts_its_own_key():
    store = MemoryStore()

    async def factory():
        await store.put("k", "put")
        return "computed"

    assert await store.get_or_put("k", factory) == "computed"
    assert await store.get("k") == "put"
    assert store.computations.overtaken == 1
    assert store.computations.stored == 0


async def test_those_who_wait_share_what_is_not_stored():
    store, calls, go = MemoryStore(), [], asyncio.Event()

    async def factory():
        calls.append(1)
        await go.wait()
        return object

    def call():
        return store.get_or_put("k", factory, keep=lambda value: False)

    tasks = [asyncio.create_task(call()) for _ in range(20)]
    await asyncio.sleep(0.01)
    tasks[3].cancel()
    go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes.count(object) == 19
    assert len(calls) == 1
    assert await call() is object
    assert len(calls) == 2
    assert store.idle


async def test_those_who_come_after_a_change_do_not_share():
    store, go = MemoryStore(), asyncio.Event()
    source = ["old"]

    async def factory():
        value = source[0]
        await go.wait()
        if value == "old":
            raise LookupError(value)
        return value

    first = asyncio.create_task(store.get_or_put("k", factory))
    await asyncio.sleep(0.01)
    source[0] = "new"
    await store.delete("k")
    second = asyncio.create_task(store.get_or_put("k", factory))
    await asyncio.sleep(0.01)
    go.set()
    with pytest.raises(LookupError):
        await first
    assert await second == "new"


async def test_a_change_of_another_key_or_collection_overtakes_nothing():
    store = MemoryStore()

    async def factory():
        await store.put("other", 1)
        await store.delete("k", collection="c")
        await store.destroy_collection("c")
        await store.delete_where(prefix="o")
        await store.delete_where(collection="c", prefix="k")
        return 1

    await store.get_or_put("k", factory)
    assert await store.get("k") == 1
    assert store.computations.stored == 1


async def test_a_miss_reads_once():
    calls = []

    class Counting(MemoryStore):
        async def read(self, collection, keys):
            calls.append(keys)
            return await super().read(collection, keys)

    store = Counting()
    await store.get_or_put("k", lambda: 1)
    assert len(calls) == 1


async def test_what_is_stored_while_a_miss_is_answered_is_not_computed_again() -> None:
    class LateAnswer(MemoryStore):
        late: asyncio.Event | None = None

        async def read(self, *arguments: Any) -> Any:
            found = await super().read(*arguments)
            late, self.late = self.late, None
            if late is not None:
                await late.wait()
            return found

    store = LateAnswer()
    store.late = late = asyncio.Event()
    first = asyncio.create_task(store.get_or_put("k", lambda: "first"))
    await settle()
    assert await store.get_or_put("k", lambda: "second") == "second"
    late.set()
    assert await first == "second"
    assert store.computations.computed == 1


async def test_a_store_that_cannot_compare_gets_no_condition():
    class Simple(MemoryStore):
        async def write(self, collection, keys, entries, expected=None):
            assert expected is None
            return await super().write(collection, keys, entries)

    store = Simple()
    store.capabilities -= {Capability.COMPARE_AND_PUT}
    assert await store.get_or_put("k", lambda: 1) == 1
    assert await store.get("k") == 1


async def test_what_cannot_be_read_is_replaced_without_a_condition():
    class Damaged(MemoryStore):
        async def read(self, collection, keys):
            entries = await super().read(collection, keys)
            if entries[0] is not None and entries[0].body == b"0":
                raise CorruptEntry("damaged")
            return entries

    store = Damaged()
    await store.put("k", 0)
    assert await store.get_or_put("k", lambda: 1, on_invalid="compute") == 1
    assert await store.get("k") == 1
    assert store.computations.invalid == 1


@pytest.mark.parametrize("kind", ["write_behind", "replicate", "journal", "mapping"])
@pytest.mark.parametrize("turns", range(8))
async def test_a_put_that_returns_while_a_value_is_computed_wins_though_it_began_before(
    kind: str, turns: int, tmp_path: Any
) -> None:
    stacks = {
        "write_behind": lambda: stack().write_behind(tmp_path / "j").over(MemoryStore()),
        "replicate": lambda: stack().replicate([MemoryStore] * 2).over(MemoryStore()),
        "journal": lambda: (
            stack()
            .fallback(MemoryStore(), writes="journal", journal=tmp_path / "j")
            .over(SQLiteStore(tmp_path / "db"))
        ),
        "mapping": lambda: stack().timeout(30).over(adapt({})),
    }
    async with stacks[kind]() as store:
        put = asyncio.create_task(store.put("k", "put"))
        for _ in range(turns):
            await asyncio.sleep(0)

        async def factory() -> str:
            await put
            await settle()
            return "computed"

        await store.get_or_put("k", factory)
        await put
        assert await store.get("k") == "put"


async def test_a_result_is_stored_without_a_condition_while_only_a_journal_takes_it(
    tmp_path: Any,
) -> None:
    class Down(MemoryStore):
        async def write(self, collection, keys, entries, expected=None):
            raise StoreUnavailable("down")

        remove = write

    async with stack().write_behind(tmp_path / "j").over(Down()) as store:
        assert await store.get_or_put("k", lambda: 1) == 1
        assert await store.get("k") == 1


def test_a_computation_that_ended_is_not_kept_and_ends_no_later_one() -> None:
    computations = Computations(ManualClock())
    name = ("c", "k")
    stopped = computations.begin(name)  # in a loop that was stopped
    later = computations.begin(name)
    computations.end(name, stopped)
    assert computations == {name: later}
    computations.end(name, later)
    assert computations == {}
    assert computations.ended == 2


async def test_several_changes_wait_for_a_result_that_is_being_written() -> None:
    writes, may_write = asyncio.Event(), asyncio.Event()

    async def before(operation: str) -> None:
        if operation == "write" and not writes.is_set():
            writes.set()
            await may_write.wait()

    store = stack().layer(Tap(before=before)).over(MemoryStore())
    computing = asyncio.create_task(store.get_or_put("k", lambda: "computed"))
    await writes.wait()
    changes = [asyncio.create_task(store.delete("k")) for _ in range(3)]
    await settle()
    may_write.set()
    assert await computing == "computed"
    await settle()
    assert [change.done() for change in changes] == [True] * 3
    assert await store.get("k") is None
