from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Coalesce,
    ConfigurationError,
    CorruptEntry,
    MemoryStore,
    Passthrough,
    StackWarning,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock
from tests.layers.read_through.interleaving import GatedStore, World, every_order, play

settle = ManualClock.settle


class Backend(MemoryStore):
    """Notes its calls, can be held back, and refuses some keys."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str | None, tuple[str, ...]]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.bad: set[str] = set()

    async def _go(self, call: str, collection: Any, keys: Sequence[str]) -> None:
        self.calls.append((call, collection, tuple(keys)))
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        for at, key in enumerate(keys):
            if key in self.bad:
                error = CorruptEntry if call == "read" else ValueTooLarge
                raise error("refused", store="backend", key=key, succeeded=keys[:at])

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        await self._go("read", collection, keys)
        return await super().read(collection, keys)

    async def write(
        self, collection: Any, keys: Sequence[str], entries: Any, expected: Any = None
    ) -> list[bool]:
        await self._go("write" if expected is None else "swap", collection, keys)
        return await super().write(collection, keys, entries, expected)

    async def remove(self, collection: Any, keys: Sequence[str], expected: Any = None) -> Any:
        await self._go("remove", collection, keys)
        return await super().remove(collection, keys, expected)

    async def touch(self, collection: Any, keys: Sequence[str], expires: Any) -> list[bool]:
        before = [*self.calls, ("touch", collection, tuple(keys))]
        try:
            return await super().touch(collection, keys, expires)
        finally:
            self.calls = before


@pytest.fixture
def backend() -> Backend:
    return Backend()


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


# -- what goes out ---------------------------------------------------------------------


async def test_reads_of_one_turn_are_one_batch(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(["a", "b"], [1, 2])
    backend.calls.clear()
    gets = [store.get(key) for key in ["a", "b", "c", "a"]]
    assert await at_once(*gets, store.exists("b"), store.ttl("a")) == [
        1, 2, None, 1, True, (1, None),
    ]  # fmt: skip
    assert backend.calls == [("read", None, ("a", "b", "c"))]


async def test_writes_of_one_turn_are_one_batch_per_collection_and_kind(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(["x", "y"], [8, 9])
    backend.calls.clear()
    assert await at_once(
        store.put("a", 1),
        store.delete("x"),
        store.put("b", 2, collection="c"),
        store.put("b", 3),
        store.delete("nothing"),
    ) == [None, True, None, None, False]
    assert sorted(backend.calls, key=repr) == [
        ("remove", None, ("x", "nothing")),
        ("write", "c", ("b",)),
        ("write", None, ("a", "b")),
    ]
    assert await store.get_many(["a", "b", "x", "y"]) == [1, 3, None, 9]


async def test_of_two_puts_the_last_is_sent_and_both_are_acknowledged(backend: Backend) -> None:
    store = Coalesce().over(backend)
    assert await at_once(*(store.put("a", n, ttl=n + 100) for n in range(5))) == [None] * 5
    assert backend.calls == [("write", None, ("a",))]
    assert await store.get("a") == 4


async def test_a_batch_holds_no_more_than_it_may(backend: Backend) -> None:
    store = Coalesce(max_batch=3).over(backend)
    keys = [str(n) for n in range(7)]
    await at_once(*(store.put(key, key) for key in keys))
    assert await at_once(*(store.get(key) for key in keys)) == keys
    assert [len(keys) for _, _, keys in backend.calls] == [3, 3, 1, 3, 3, 1]


async def test_who_is_alone_waits_for_one_turn_and_no_timer(backend: Backend) -> None:
    store = Coalesce().over(backend)
    loop = asyncio.get_running_loop()
    timers = loop.call_at
    loop.call_at = None  # type: ignore[assignment,method-assign]  # no timer, or an error
    try:
        reading = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        assert backend.calls == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert backend.calls == [("read", None, ("a",))]
        assert await reading is None
    finally:
        loop.call_at = timers  # type: ignore[method-assign]


@pytest.mark.parametrize(("reads", "writes"), [(True, False), (False, True)])
async def test_either_may_be_left_alone(backend: Backend, reads: bool, writes: bool) -> None:
    store = Coalesce(reads=reads, writes=writes).over(backend)
    await at_once(store.put("a", 1), store.put("b", 2))
    assert await at_once(store.get("a"), store.get("b")) == [1, 2]
    counts = [sum(call == kind for call, _, _ in backend.calls) for kind in ("read", "write")]
    assert counts == [1 if reads else 2, 1 if writes else 2]


async def test_batches_and_conditional_writes_go_out_as_they_are(backend: Backend) -> None:
    store = Coalesce().over(backend)
    done = await at_once(
        store.put_many(["a", "b"], [1, 2]),
        store.put_if_absent("c", 3),
        store.get_many(["a", "b", "c"]),
        store.expire("a", 50),
        store.delete_many(["b", "c"]),
    )
    assert done == [None, True, [1, 2, 3], True, 2]
    assert [call for call, _, _ in backend.calls] == ["write", "swap", "read", "touch", "remove"]


async def test_increments_at_once_lose_nothing(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await at_once(*(store.increment(f"n{n % 3}") for n in range(60)))
    assert await store.get_many(["n0", "n1", "n2"]) == [20, 20, 20]


# -- order -----------------------------------------------------------------------------


async def test_a_read_sees_the_write_before_it_in_the_same_turn(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put("a", 0)
    done = await at_once(
        store.put("a", 1), store.get("a"), store.get_many(["a", "b"]), store.delete("a"),
        store.get("a"), store.put("a", 2), store.get("a"),
    )  # fmt: skip
    assert done == [None, 1, [1, None], True, None, None, 2]


async def test_a_put_that_was_given_up_does_not_overtake_the_next(backend: Backend) -> None:
    store = Coalesce().over(backend)
    backend.hold = asyncio.Event()
    given_up = asyncio.create_task(store.put("a", "old"))
    await settle()
    given_up.cancel()
    await settle()
    newer = asyncio.create_task(store.put("a", "new"))
    await settle()
    assert len(backend.calls) == 1
    backend.hold.set()
    await newer
    assert await store.get("a") == "new"


class Ordered(World):
    """Concurrent calls over a backend that serves its calls in any order.

    Every change puts a value of its own. The changes of a key must take effect in the
    order in which they were asked for, and a read give none older than the last asked for
    before it that was not given up.
    """

    def __init__(self, plans: Sequence[Sequence[Sequence[tuple[str, str]]]], **options: Any):
        super().__init__()
        self.plans = plans
        gates = "read write remove"
        self.far = GatedStore(self.stage, "far", before=gates)
        self.store = Coalesce(**options).over(self.far)
        self.asked: dict[str, list[Any]] = {key: [None] for key in "ab"}
        self.given_up: set[Any] = set()
        self.effects: dict[str, list[Any]] = {key: [None] for key in "ab"}
        self.count = 0

    async def begin(self) -> None:
        self.far.on_effect = self._took_effect

    def _took_effect(self, call: str, keys: Any, entries: Any) -> None:
        for at, key in enumerate(keys if call != "read" else ()):
            log = self.effects[key]
            if call == "write":
                log.append(self.store._value(entries[at], None, key))
                order = [self.asked[key].index(value) for value in log if value != "gone"]
                assert order == sorted(order), f"{key} changed in the order {log}"

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        def actor(plan: Any) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                for turn in plan:
                    await asyncio.gather(*(getattr(self, step)(key) for step, key in turn))

            return act

        return {f"{'tuv'[n]}?": actor(plan) for n, plan in enumerate(self.plans)}

    def _ask(self, key: str) -> int:
        self.count += 1
        self.asked[key].append(self.count)
        return self.count

    async def _change(self, change: Awaitable[Any], *values: Any) -> None:
        try:
            await change
        except asyncio.CancelledError:
            self.given_up.update(values)
            raise

    async def put(self, key: str) -> None:
        value = self._ask(key)
        await self._change(self.store.put(key, value), value)

    async def put_many(self, key: str) -> None:
        values = [self._ask("a"), self._ask("b")]
        await self._change(self.store.put_many(["a", "b"], values), *values)

    async def swap(self, key: str) -> None:
        value = self._ask(key)
        self.given_up.add(value)  # it may find something else there, and put nothing
        await self.store.put_if_absent(key, value)

    async def get(self, key: str) -> None:
        self._check(key, self._floor(key), await self.store.get(key))

    async def get_many(self, key: str) -> None:
        floors = [self._floor(key) for key in "ab"]
        for key, floor, value in zip("ab", floors, await self.store.get_many(["a", "b"])):
            self._check(key, floor, value)

    def _floor(self, key: str) -> list[Any]:
        return list(self.asked[key])

    def _check(self, key: str, before: list[Any], value: Any) -> None:
        sure = [at for at, asked in enumerate(before) if asked not in self.given_up]
        assert self.asked[key].index(value) >= max(sure), f"{key} is {value} after {before}"

    async def end(self) -> None:
        for key in "ab":
            sure = [value for value in self.asked[key] if value not in self.given_up]
            value = await self.store.get(key)
            assert self.asked[key].index(value) >= self.asked[key].index(sure[-1])
        layer = self.store.find(Coalesce)
        assert not layer._order.last
        assert not layer._reads
        assert not layer._changes
        await self.store.close()
        assert not layer._tasks


STEP = st.tuples(
    st.sampled_from(["put", "put", "get", "put_many", "get_many", "swap"]), st.sampled_from("ab")
)
PLAN = st.lists(st.lists(STEP, min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(plans=st.lists(PLAN, min_size=1, max_size=3), seed=st.integers(0, 9), most=st.integers(1, 3))
async def test_the_order_of_each_key_holds(plans: Any, seed: int, most: int) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        await play(Ordered(plans, max_batch=most), rng.randrange)


@pytest.mark.parametrize(
    "plans",
    [
        [[[("put", "a"), ("put", "a"), ("get", "a")]], [[("put", "a")], [("get", "a")]]],
        [[[("put", "a"), ("put_many", "a"), ("put", "a")]], [[("get", "a")]]],
        [[[("put", "a")]], [[("swap", "a"), ("get", "a")]], [[("put", "a")]]],
    ],
)
async def test_every_order_of_the_answers(plans: Any) -> None:
    assert await every_order(lambda: Ordered(plans)) > 20


# -- errors ----------------------------------------------------------------------------


async def test_an_error_of_one_key_is_not_the_others(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(list("abc"), [1, 2, 3])
    backend.bad = {"b"}
    first, second, third = await at_once(*(store.get(key) for key in "abc"))
    assert (first, third) == (1, 3)
    assert isinstance(second, CorruptEntry)
    assert second.key == "b"
    first, second, third = await at_once(*(store.put(key, 9) for key in "abc"))
    assert (first, third) == (None, None)
    assert isinstance(second, ValueTooLarge)
    assert await backend.get_many(["a", "c"]) == [9, 9]


async def test_a_refused_removal_is_not_the_others_before_it_began(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(list("abc"), [1, 2, 3])
    backend.bad = {"a"}
    first, second = await at_once(store.delete("a"), store.delete("b"))
    assert isinstance(first, ValueTooLarge)
    assert second is True
    backend.bad = {"b"}
    first, second = await at_once(store.delete("c"), store.delete("b"))
    # "c" had been gone through when it failed: asked again it would not be found.
    assert isinstance(first, ValueTooLarge)
    assert first.succeeded == ("c",)
    assert isinstance(second, ValueTooLarge)
    assert second.succeeded == ()


@pytest.mark.parametrize("call", ["get", "put", "delete"])
async def test_when_the_backend_is_away_everyone_gets_an_error_of_his_own(
    backend: Backend, call: str
) -> None:
    store = Coalesce().over(backend)
    cause = OSError("refused")
    backend.error = StoreUnavailable("away", store="backend", succeeded=["a"])
    backend.error.__cause__ = cause
    arguments: tuple[int, ...] = (1,) if call == "put" else ()
    errors = await at_once(*(getattr(store, call)(key, *arguments) for key in "aab"))
    assert len(set(map(id, errors))) == 3
    assert [type(error) for error in errors] == [StoreUnavailable] * 3
    assert [error.key for error in errors] == list("aab")
    assert [error.succeeded for error in errors] == [("a",), ("a",), ()]
    assert {error.__cause__ for error in errors} == {cause}
    backend.error = None
    assert await store.get("a") is None


async def test_a_bug_further_in_comes_through(backend: Backend) -> None:
    store = Coalesce().over(backend)
    backend.error = RuntimeError("a bug")
    assert await at_once(store.get("a"), store.put("b", 1)) == [backend.error] * 2


# -- cancellation ----------------------------------------------------------------------


async def test_one_callers_cancellation_is_not_the_others(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put("a", 1)
    backend.hold = asyncio.Event()
    gets = [asyncio.create_task(store.get("a")) for _ in range(3)]
    puts = [asyncio.create_task(store.put(key, 2)) for key in "bc"]
    await settle()
    gets[0].cancel()
    puts[0].cancel()
    await settle()
    backend.hold.set()
    assert await asyncio.gather(*gets[1:], puts[1]) == [1, 1, None]
    assert gets[0].cancelled()
    assert puts[0].cancelled()


async def test_what_nobody_waits_for_is_not_sent(backend: Backend) -> None:
    store = Coalesce().over(backend)
    tasks = [asyncio.create_task(call) for call in (store.get("a"), store.put("b", 1))]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await settle()
    assert backend.calls == []
    await store.put("b", 2)
    assert await store.get("b") == 2


async def test_closing_waits_for_what_was_asked_for(backend: Backend) -> None:
    store = Coalesce().over(backend)
    async with store:
        tasks = [asyncio.create_task(store.put(key, 1)) for key in "ab"]
        tasks.append(asyncio.create_task(store.delete("a")))
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == [None, None, True]
    async with backend:
        assert await backend.keys() == ["b"]


def test_one_store_in_one_loop_after_the_other(backend: Backend) -> None:
    store = Coalesce().over(backend)
    loop = asyncio.new_event_loop()
    left = [loop.create_task(call) for call in (store.put("a", 1), store.get("b"))]
    loop.call_soon(loop.stop)  # when both have been asked for, and nothing has been sent
    loop.run_forever()
    asyncio.run(asyncio.wait_for(store.get("b"), 5))
    asyncio.run(asyncio.wait_for(store.put("a", 2), 5))
    assert asyncio.run(store.get("a")) == 2
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.wait(left))
    loop.close()


# -- building --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"max_batch": 0}, {"max_batch": 2.5}, {"max_batch": True}, {"reads": False, "writes": False}],
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Coalesce(**options)


class Cache(Passthrough):
    traits = frozenset({"caches"})


@pytest.mark.parametrize(
    ("code", "wrong", "right"),
    [
        ("coalesce-outside-cache", stack(Coalesce(), Cache()), stack(Cache(), Coalesce())),
        ("coalesced-twice", stack(Coalesce(), Coalesce()), stack(Coalesce())),
    ],
)
def test_findings(code: str, wrong: Any, right: Any) -> None:
    with pytest.warns(StackWarning, match=f"^{code}:"):
        store = wrong.over(MemoryStore())
    assert code in store.explain()
    assert not right.over(MemoryStore()).findings


# -- over a server ---------------------------------------------------------------------


class CountReads(Passthrough):
    def __init__(self) -> None:
        self.count = 0

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        self.count += 1
        return await self.inner.read(collection, keys)


async def test_over_redis_many_tasks_share_round_trips(redis_url: str) -> None:
    backend = RedisStore(redis_url, namespace="coalesce")
    async with stack(Coalesce(), CountReads()).over(backend) as store:
        keys = [f"k{n}" for n in range(256)]
        await at_once(*(store.put(key, {"key": key}) for key in keys))

        async def reader(task: int) -> None:
            for step in range(20):
                key = keys[(task * 7 + step * 13) % 256]
                assert await store.get(key) == {"key": key}

        await asyncio.gather(*(reader(task) for task in range(64)))
        assert store.find(CountReads).count < 64 * 20 / 10
        await store.destroy()
