"""`get_or_put` within a process: one factory at a time, shared errors, and no wait without end."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import traceback

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    Deadlock,
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    KvwrapError,
    MemoryStore,
    Passthrough,
    StoreUnavailable,
    stack,
)


async def within_seconds(call):
    async with asyncio.timeout(30):
        return await call


async def test_a_factory_that_needs_its_own_key_is_refused():
    store = MemoryStore()
    calls = {
        "get_or_put": lambda: store.get_or_put("k", lambda: 1, collection="c"),
        "increment": lambda: store.increment("k", collection="c"),
        "a task": lambda: asyncio.create_task(store.get_or_put("k", lambda: 1, collection="c")),
        "typed": lambda: store.typed(int, collection="c").get_or_put("k", lambda: 1),
    }
    for name, call in calls.items():
        with pytest.raises(Deadlock, match="factory") as caught:
            await within_seconds(store.get_or_put("k", call, collection="c"))
        assert (caught.value.collection, caught.value.key) == ("c", "k"), name
    assert store.idle
    assert await store.get_or_put("k", lambda: 2, collection="c") == 2


async def test_functions_that_need_each_other_are_refused():
    store, other = MemoryStore(), MemoryStore()

    @store.cached()
    async def a(number):
        return await b(number)

    @other.cached()
    async def b(number):
        return await a(number)

    with pytest.raises(Deadlock, match="factory"):
        await within_seconds(a(1))
    assert store.idle
    assert other.idle


async def test_two_tasks_whose_factories_need_each_others_key_do_not_wait_for_ever():
    store = MemoryStore()
    both = asyncio.Barrier(2)

    async def factory(key):
        await both.wait()
        return await store.get_or_put(key, lambda: 1)

    outcomes = await within_seconds(
        asyncio.gather(
            store.get_or_put("a", lambda: factory("b")),
            store.get_or_put("b", lambda: factory("a")),
            return_exceptions=True,
        )
    )
    assert any(isinstance(outcome, Deadlock) for outcome in outcomes)
    assert store.idle


async def test_a_circle_through_a_task_that_waits_in_between():
    store = MemoryStore()
    c_waits = asyncio.Event()

    async def of_a():
        await c_waits.wait()
        return await store.get_or_put("b", lambda: 1)

    async def of_b():
        await c_waits.wait()
        return await store.get_or_put("c", lambda: 1)

    async def of_c():
        asyncio.get_running_loop().call_later(0.01, c_waits.set)
        return await store.get_or_put("a", lambda: 1)

    outcomes = await within_seconds(
        asyncio.gather(
            store.get_or_put("a", of_a),
            store.get_or_put("b", of_b),
            store.get_or_put("c", of_c),
            return_exceptions=True,
        )
    )
    assert {type(outcome) for outcome in outcomes} == {Deadlock}


async def test_what_only_looks_like_a_circle_is_none():
    store = MemoryStore()

    async def part(number):
        await asyncio.sleep(0.001)
        return await store.get_or_put(f"part {number}", lambda: number)

    async def whole():
        return sum(await asyncio.gather(*(part(number % 3) for number in range(9))))

    async def chain(depth):
        return await store.get_or_put(f"depth {depth}", lambda: chain(depth - 1)) if depth else 1

    wholes = (store.get_or_put("whole", whole) for _ in range(3))
    chains = (chain(depth) for depth in (20, 10, 20))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*wholes, *chains) == [9, 9, 9, 1, 1, 1]
        await store.increment("n")


async def test_what_a_factory_began_may_use_the_key_once_the_factory_has_ended():
    store = MemoryStore()
    go = asyncio.Event()
    tasks = []

    async def later():
        await go.wait()
        return await store.increment("k")

    async def factory():
        tasks.append(asyncio.create_task(later()))
        return 1

    assert await store.get_or_put("k", factory) == 1
    go.set()
    assert await within_seconds(tasks[0]) == 2


async def test_those_who_wait_for_a_failing_factory_get_its_error():
    store, calls, go = MemoryStore(), [], asyncio.Event()

    async def fails():
        calls.append(1)
        await go.wait()
        raise LookupError("no")

    tasks = [asyncio.create_task(store.get_or_put("k", fails)) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[7].cancel()
    await asyncio.sleep(0)
    go.set()
    outcomes = await within_seconds(asyncio.gather(*tasks, return_exceptions=True))
    assert len(calls) == 1
    assert [type(outcome) for outcome in outcomes].count(LookupError) == 19
    assert store.idle
    with pytest.raises(LookupError):
        await store.get_or_put("k", fails)
    assert len(calls) == 2, "those who come later try again"


async def test_the_traceback_of_a_shared_error_does_not_grow():
    async def fails():
        await asyncio.sleep(0.001)
        raise LookupError("no")

    async def frames(store):
        try:
            await store.get_or_put("k", fails)
        except LookupError as error:
            return len(list(traceback.walk_tb(error.__traceback__)))

    store = MemoryStore()
    lengths = await asyncio.gather(*(frames(store) for _ in range(20)))
    assert max(lengths) <= lengths[0] + 4


async def test_an_increment_that_waits_for_a_failing_factory_is_made():
    store, go = MemoryStore(), asyncio.Event()

    async def fails():
        await go.wait()
        raise LookupError("no")

    failing = asyncio.create_task(store.get_or_put("k", fails))
    await asyncio.sleep(0)
    increments = [asyncio.create_task(store.increment("k")) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    assert await within_seconds(asyncio.gather(*increments)) == [1, 2, 3]
    with pytest.raises(LookupError):
        await failing


async def test_a_failing_increment_fails_no_other():
    store = MemoryStore()
    await store.put("k", "text")
    outcomes = await asyncio.gather(
        store.increment("k"), store.increment("k"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [InvalidValue] * 2
    assert outcomes[0] is not outcomes[1]


async def test_a_write_that_fails_reaches_those_who_wait():
    store, calls = stack().chaos().over(MemoryStore()), []

    async def factory():
        calls.append(1)
        await asyncio.sleep(0.01)
        store.find(kvwrap.Chaos).down = True
        return 1

    outcomes = await asyncio.gather(
        *(store.get_or_put("k", factory) for _ in range(3)), return_exceptions=True
    )
    assert isinstance(outcomes[0], StoreUnavailable)
    assert outcomes == [outcomes[0]] * 3
    assert calls == [1]


async def test_cancelling_at_any_step_leaves_the_key_free():
    for steps in range(12):
        store = MemoryStore()

        async def factory():
            for _ in range(3):
                await asyncio.sleep(0)
            return 1

        tasks = [asyncio.create_task(store.get_or_put("k", factory)) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        assert await within_seconds(tasks[2]) == 1
        await asyncio.gather(*tasks, return_exceptions=True)
        assert store.idle


def test_a_factory_in_a_stopped_loop_does_not_block_another_loop():
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    task = loop.create_task(store.get_or_put("k", asyncio.Event().wait))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert not task.done()
    assert not store.idle

    async def main():
        assert store.idle
        async with asyncio.timeout(30):
            assert await store.get_or_put("k", lambda: 1) == 1

    asyncio.run(main())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert store.idle


def test_views_whose_factories_need_each_other_are_told():
    variable = contextvars.ContextVar("variable", default="unset")
    with kvwrap.sync(MemoryStore()) as one, kvwrap.sync(MemoryStore()) as other:

        def of_one():
            return other.get_or_put("b", lambda: one.get_or_put("a", lambda: 1))

        with pytest.raises(Deadlock):
            one.get_or_put("a", of_one)
        with pytest.raises(KvwrapError):
            one.get_or_put("a", lambda: one.increment("a"))
        variable.set("mine")
        assert one.get_or_put("v", variable.get) == "mine"
        assert one.get_or_put("a", lambda: other.get_or_put("c", lambda: 3)) == 3


async def test_no_caller_gets_the_error_of_another_context():
    tenant = contextvars.ContextVar("tenant")

    class Tenants(Passthrough):
        traits = frozenset({"contextual"})

        async def read(self, collection, keys):
            return await self.inner.read(tenant.get(), keys)

        async def write(self, collection, *arguments):
            return await self.inner.write(tenant.get(), *arguments)

    store, started = Tenants().over(MemoryStore()), []

    async def call(name):
        tenant.set(name)

        async def factory():
            started.append(name)
            await asyncio.sleep(0.001)
            if name == "one":
                raise LookupError(name)
            return name

        return await store.get_or_put("k", factory)

    tasks = [asyncio.create_task(call(name)) for name in ("one", "two", "one", "three", "two")]
    outcomes = await within_seconds(asyncio.gather(*tasks, return_exceptions=True))
    assert [str(outcome) for outcome in outcomes] == ["one", "two", "one", "three", "two"]
    assert started == ["one", "two", "one", "three"]


async def test_one_that_waited_for_an_increment_gets_its_sum():
    go = asyncio.Event()

    class Slow(MemoryStore):
        async def write(self, *arguments):
            await go.wait()
            return await super().write(*arguments)

    store = Slow()
    increment = asyncio.create_task(store.increment("k", 5))
    await asyncio.sleep(0)
    computed = asyncio.create_task(store.get_or_put("k", lambda: 1))
    await asyncio.sleep(0)
    go.set()
    assert await increment == 5
    assert await within_seconds(computed) == 5


async def test_what_is_not_kept_is_counted():
    store = MemoryStore()
    for _ in range(2):
        assert (
            await store.get_or_put("k", lambda: None, keep=lambda value: value is not None) is None
        )
    counts = store.computations
    assert (counts.computed, counts.not_kept, counts.stored) == (2, 2, 0)


async def asynchronous(value):
    return value


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"on_error": "ignore"}, "on_error"),
        ({"on_invalid": None}, "on_invalid"),
        ({"across": "threads"}, "across"),
        ({"keep": True}, "keep"),
        ({"keep": asynchronous}, "keep"),
        ({"ttl": asynchronous}, "ttl"),
        ({"tags": "one"}, "tags"),
        ({"tags": asynchronous}, "tags"),
        ({"ttl": 5, "stale_ttl": 5, "soft_timeout": 0}, "soft_timeout"),
        ({"ttl": 5, "soft_timeout": 5}, "soft_timeout"),
        ({"ttl": 5, "stale_ttl": 0}, "stale_ttl"),
        ({"stale_ttl": 5}, "stale_ttl"),
    ],
)
async def test_a_wrong_option_is_refused_by_its_name(options, name):
    store = stack().tags(b"s" * 16).over(MemoryStore())
    with pytest.raises((ConfigurationError, InvalidTTL), match=f"`{name}`"):
        await store.get_or_put("k", lambda: 1, **options)
    with pytest.raises((ConfigurationError, InvalidTTL), match=f"`{name}`"):
        store.cached(**options)
    if "soft_timeout" not in options:
        with pytest.raises((ConfigurationError, InvalidTTL), match=f"`{name}`"):
            await store.get_or_put_many(["k"], lambda keys: {}, **options)
        with pytest.raises((ConfigurationError, InvalidTTL), match=f"`{name}`"):
            store.cached_many(**options)


async def test_a_key_is_checked_as_everywhere():
    class Key(enum.StrEnum):
        ONE = "one"

    store = MemoryStore()
    for wrong in ("", 1, "\ud800", "kvwrap.x"):
        with pytest.raises(InvalidKey):
            await store.get_or_put(wrong, lambda: 1)
    await store.get_or_put(Key.ONE, lambda: 1)
    assert [type(key) for key in await store.keys()] == [str]
