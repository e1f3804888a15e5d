"""Batches, errors, cancellation, closing and findings of Coalesce."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

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
from tests.layers.coalesce.backend import Backend, at_once, settle


async def test_reads_of_one_iteration_are_one_batch(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(["a", "b"], [1, 2])
    backend.calls.clear()
    gets = [store.get(key) for key in ["a", "b", "c", "a"]]
    assert await at_once(*gets, store.exists("b"), store.ttl("a")) == [
        1, 2, None, 1, True, (1, None),
    ]  # fmt: skip
    assert backend.calls == [("read", None, ("a", "b", "c"))]


async def test_writes_of_one_iteration_are_one_batch_per_collection_and_kind(
    backend: Backend,
) -> None:
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


async def test_a_batch_has_at_most_max_batch_keys(backend: Backend) -> None:
    store = Coalesce(max_batch=3).over(backend)
    keys = [str(n) for n in range(7)]
    await at_once(*(store.put(key, key) for key in keys))
    assert await at_once(*(store.get(key) for key in keys)) == keys
    assert [len(keys) for _, _, keys in backend.calls] == [3, 3, 1, 3, 3, 1]


async def test_a_lone_caller_waits_for_one_iteration_and_no_timer(backend: Backend) -> None:
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
async def test_either_may_be_disabled(backend: Backend, reads: bool, writes: bool) -> None:
    store = Coalesce(reads=reads, writes=writes).over(backend)
    await at_once(store.put("a", 1), store.put("b", 2))
    assert await at_once(store.get("a"), store.get("b")) == [1, 2]
    assert await at_once(store.delete("a"), store.delete("b")) == [True, True]
    kinds = ("read", "write", "remove")
    counts = [sum(call == kind for call, _, _ in backend.calls) for kind in kinds]
    assert counts == [1 if reads else 2, 1 if writes else 2, 1 if writes else 2]


async def test_batches_and_conditional_writes_are_sent_unchanged(backend: Backend) -> None:
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


async def test_concurrent_increments_lose_nothing(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await at_once(*(store.increment(f"n{n % 3}") for n in range(60)))
    assert await store.get_many(["n0", "n1", "n2"]) == [20, 20, 20]


async def test_an_error_of_one_key_does_not_reach_the_others(backend: Backend) -> None:
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


async def test_a_refused_delete_does_not_reach_the_others_unless_some_were_carried_out(
    backend: Backend,
) -> None:
    store = Coalesce().over(backend)
    await backend.put_many(list("abc"), [1, 2, 3])
    backend.bad = {"a"}
    first, second = await at_once(store.delete("a"), store.delete("b"))
    assert isinstance(first, ValueTooLarge)
    assert second is True
    backend.bad = {"b"}
    first, second = await at_once(store.delete("c"), store.delete("b"))
    # "c" was deleted before the failure: sent again, it would not be found.
    assert isinstance(first, ValueTooLarge)
    assert first.succeeded == ("c",)
    assert isinstance(second, ValueTooLarge)
    assert second.succeeded == ()


@pytest.mark.parametrize("call", ["get", "put", "delete"])
async def test_when_the_backend_is_unavailable_every_caller_gets_an_error_of_its_own(
    backend: Backend, call: str
) -> None:
    store = Coalesce().over(backend)
    cause = OSError("refused")
    backend.error = StoreUnavailable("down", store="backend", succeeded=["a"])
    backend.error.__cause__ = cause
    arguments: tuple[int, ...] = (1,) if call == "put" else ()
    errors = await at_once(*(getattr(store, call)(key, *arguments) for key in "aab"))
    # No further call for each key; the second delete of a key is a call of its own.
    assert len(backend.calls) == (2 if call == "delete" else 1)
    assert len(set(map(id, errors))) == 3
    assert [type(error) for error in errors] == [StoreUnavailable] * 3
    assert [error.key for error in errors] == list("aab")
    assert [error.succeeded for error in errors] == [("a",), ("a",), ()]
    assert {error.__cause__ for error in errors} == {cause}
    backend.error = None
    assert await store.get("a") is None


async def test_a_bug_in_a_layer_inside_is_raised_unchanged(backend: Backend) -> None:
    store = Coalesce().over(backend)
    backend.error = RuntimeError("a bug")
    assert await at_once(store.get("a"), store.put("b", 1)) == [backend.error] * 2


async def test_one_callers_cancellation_does_not_reach_the_others(backend: Backend) -> None:
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


async def test_calls_that_no_caller_waits_for_are_not_sent(backend: Backend) -> None:
    store = Coalesce().over(backend)
    tasks = [asyncio.create_task(call) for call in (store.get("a"), store.put("b", 1))]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await settle()
    assert backend.calls == []
    await store.put("b", 2)
    assert await store.get("b") == 2


async def test_closing_waits_for_the_collected_calls(backend: Backend) -> None:
    store = Coalesce().over(backend)
    async with store:
        tasks: list[asyncio.Task[Any]]
        tasks = [asyncio.create_task(store.put(key, 1)) for key in "ab"]
        tasks.append(asyncio.create_task(store.delete("a")))
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == [None, None, True]
    async with backend:
        assert await backend.keys() == ["b"]


async def test_a_closed_layer_sends_nothing_over_a_backend_that_is_open(backend: Backend) -> None:
    store = Coalesce().over(backend)
    async with backend:
        async with store:
            await store.put("a", 1)
        layer = store.find(Coalesce)
        for call in (layer.read(None, ["a"]), layer.remove(None, ["a"])):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call
        assert await backend.get("a") == 1


async def test_a_layer_whose_closing_was_cancelled_sends_nothing_either(backend: Backend) -> None:
    store = Coalesce().over(backend)
    async with backend:
        await store.open()
        backend.hold = asyncio.Event()
        putting = asyncio.create_task(store.put("a", 1))
        await settle()
        closing = asyncio.create_task(store.close())
        await settle()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        backend.hold.set()
        await putting
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.find(Coalesce).read(None, ["a"])


async def test_the_layer_is_idle_unless_calls_are_collected_or_sent(backend: Backend) -> None:
    store = Coalesce().over(backend)
    assert store.idle
    backend.hold = asyncio.Event()
    for call in (store.get("a"), store.put("a", 1), store.delete("a")):
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        assert not store.idle, "collected"
        await settle()
        assert not store.idle, "sent"
        backend.hold.set()
        await task
        assert store.idle
        backend.hold.clear()
    first = asyncio.create_task(store.put_many(["a", "b"], [1, 2]))
    await settle()
    assert not store.idle, "a batch of a caller is queued, so that later changes wait for it"
    backend.hold.set()
    await first
    assert store.idle


def test_one_store_in_two_event_loops_one_after_the_other(backend: Backend) -> None:
    store = Coalesce().over(backend)
    loop = asyncio.new_event_loop()
    unfinished = [loop.create_task(call) for call in (store.put("a", 1), store.get("b"))]
    loop.call_soon(loop.stop)  # when both have been requested and nothing has been sent
    loop.run_forever()
    asyncio.run(asyncio.wait_for(store.get("b"), 30))
    asyncio.run(asyncio.wait_for(store.put("a", 2), 30))
    assert asyncio.run(store.get("a")) == 2
    for task in unfinished:
        task.cancel()
    loop.run_until_complete(asyncio.wait(unfinished))
    loop.close()


@pytest.mark.parametrize(
    "options",
    [{"max_batch": 0}, {"max_batch": 2.5}, {"max_batch": True}, {"reads": False, "writes": False}],
)
def test_invalid_arguments_are_refused(options: dict[str, Any]) -> None:
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
