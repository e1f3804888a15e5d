"""Stale values through layers, and in processes that know nothing of them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvwrap import ConfigurationError, Keyring, MemoryStore, StoreUnavailable, stack
from kvwrap.core import codec
from kvwrap.core.stale import stale_part, user_expiry, with_stale_part
from kvwrap.stores.mapping import MappingStore
from kvwrap.testing import Tap

KEYRING = Keyring({"k": b"k" * 32})


def fails():
    raise LookupError("the factory fails")


async def make(store, value="v", ttl=10, stale_ttl=100, key="k", **options):
    return await store.get_or_put(key, lambda: value, ttl=ttl, stale_ttl=stale_ttl, **options)


async def test_the_annotation_is_in_front_of_the_serializers_step(clock):
    entries = []
    store = stack(Tap(alter=lambda entry: entries.append(entry) or entry)).over(
        MemoryStore(clock=clock)
    )
    await make(store, stale_ttl=0.0005)
    await store.get("k")
    entry = entries[-1]
    assert entry.codec == bytes.fromhex("3f0703000000000001") + codec.JSON
    assert entry.expires_at == pytest.approx(clock.time() + 10.0005)
    assert user_expiry(entry) == pytest.approx(clock.time() + 10, abs=1e-3)
    assert stale_part(codec.ZSTD + entry.codec) == 0.001
    assert stale_part(codec.JSON) == 0
    assert stale_part(bytes.fromhex("3f020300") + codec.JSON) == 0, "damaged"
    lookalike = codec.annotation(codec.NEAR_COPY, entry.codec[:3]) + codec.JSON
    assert stale_part(lookalike) == 0
    assert stale_part(bytes.fromhex("3f020301") + lookalike) == 0, "damaged, and a lookalike"
    never = with_stale_part(entry.with_expiry(None), 5)
    assert user_expiry(never) is None
    huge = with_stale_part(entry, 1e300)
    assert user_expiry(huge) == pytest.approx(entry.expires_at, abs=0.01)


CLAMPS = {
    "outside": lambda: stack().clamp_ttl(minimum=50, maximum=60, default=55).encrypt(KEYRING),
    "inside": lambda: stack().encrypt(KEYRING).clamp_ttl(maximum=60, default=55),
    "inside compression": lambda: (
        stack().compress(min_size=0).clamp_ttl(minimum=50, maximum=60, default=55)
    ),
}


@pytest.mark.parametrize("where", CLAMPS)
async def test_clamps_act_on_the_users_ttl(clock, where):
    store = CLAMPS[where]().over(MemoryStore(clock=clock))
    for key, ttl, expected in (("long", 1000, 60), ("none", None, 55), ("short", 1, 50)):
        if key == "short" and where == "inside":
            continue
        await make(store, ttl=ttl, key=key)
        _, seconds = await store.ttl(key)
        assert seconds == pytest.approx(expected, abs=0.01)
        clock.advance(seconds)
        assert await store.get(key) is None
        clock.advance(99)
        assert await make_failing(store, key) == "v"
        clock.advance(2)
        with pytest.raises(LookupError):
            await make_failing(store, key)


async def too_slow(clock, *calls):
    """Await calls whose soft timeout of one second passes."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    while clock.sleeping < len(tasks):
        await asyncio.sleep(0)
    clock.advance(1)
    return await asyncio.gather(*tasks)


async def make_failing(store, key="k"):
    return await store.get_or_put(key, fails, ttl=10, stale_ttl=100)


async def test_expire_is_clamped_and_keeps_the_stale_part(clock):
    store = stack().clamp_ttl(maximum=60).encrypt(KEYRING).over(MemoryStore(clock=clock))
    await make(store)
    assert await store.expire("k", 1000)
    assert (await store.ttl("k"))[1] == pytest.approx(60, abs=0.01)
    clock.advance(100)
    assert await make_failing(store) == "v"


async def test_expire_moves_the_users_expiry_and_keeps_the_stale_part(clock):
    store = MemoryStore(clock=clock)
    await make(store)
    assert await store.expire("k", 20)
    assert (await store.ttl("k"))[1] == pytest.approx(20, abs=0.01)
    clock.advance(119)
    assert await store.get("k") is None
    assert await make_failing(store) == "v"
    clock.advance(2)
    with pytest.raises(LookupError):
        await make_failing(store)


async def test_expire_can_end_the_expiry_of_a_value_with_a_stale_part(clock):
    store = MemoryStore(clock=clock)
    await make(store)
    assert await store.expire("k", None)
    clock.advance(1_000)
    assert await store.ttl("k") == ("v", None)


async def test_a_near_copy_is_not_fresh_once_it_is_stale(clock):
    far = MemoryStore(clock=clock)
    store = stack().read_through(MemoryStore(clock=clock), ttl=1000).over(far)
    other = stack().compress(min_size=0).over(far)
    await make(store)
    assert await store.get("k") == "v"
    clock.advance(10)
    assert await store.get("k") is None
    assert await make(other, "renewed elsewhere") == "renewed elsewhere"
    assert await make_failing(store) == "renewed elsewhere"


async def test_a_store_object_that_knows_nothing_of_stale_values(clock):
    base = MemoryStore(clock=clock)
    await make(stack().compress().over(base))
    clock.advance(10)
    assert await base.keys() == ["k"], "nothing was read yet"
    assert await base.get("k") is None
    assert await base.keys() == []
    assert not await base.delete("k")

    await make(base)
    clock.advance(10)
    reads = []

    async def note(operation):
        reads.append(operation)

    unknowing = stack(Tap(before=note)).over(base)
    await unknowing.keys()
    await unknowing.delete("other")
    assert reads == ["list_keys", "remove"], "no entry is read"


async def test_put_if_absent_looks_at_what_refused_it(clock):
    base = MemoryStore(clock=clock)
    calls = []

    async def note(operation):
        calls.append(operation)

    unknowing = stack(Tap(before=note)).over(base)
    assert await unknowing.put_if_absent("k", 1)
    assert calls == ["write"], "no entry is read"
    assert not await unknowing.put_if_absent("k", 2)
    assert calls[1:] == ["write", "read"]
    await base.delete("k")
    await make(base)
    assert not await unknowing.put_if_absent("k", 3), "not stale yet"
    clock.advance(10)
    assert await unknowing.put_if_absent("k", 4, ttl=5)
    assert await base.ttl("k") == (4, 5)


async def test_what_a_store_object_that_knows_nothing_of_stale_values_observes(clock):
    """The lines of the guide: what differs until this object reads or stores a stale part."""
    base = MemoryStore(clock=clock)
    await make(stack().compress().over(base))
    assert await base.expire("k", 150)
    clock.advance(49)
    assert await base.keys() == ["k"]
    clock.advance(1)
    assert await base.keys() == ["k"]
    assert await base.count() == 1
    assert await base.delete_where() == 1
    await make(stack().compress().over(base))
    clock.advance(10)
    assert await base.expire("k", 150), "it is set for what is stale too"
    assert await base.delete("k")


async def test_a_declared_function_makes_the_store_look(clock):
    base = MemoryStore(clock=clock)
    await make(stack().compress().over(base))
    clock.advance(10)
    store = stack().compress().over(base)

    @store.cached(ttl=1, stale_ttl=1)
    async def function(): ...

    assert await store.keys() == []


async def test_raw_stores_are_refused(clock):
    store = MappingStore({}, raw=True, clock=clock)
    with pytest.raises(ConfigurationError, match="raw=True"):
        await make(store)
    with pytest.raises(ConfigurationError, match="raw=True"):
        store.cached(ttl=1, stale_ttl=1)
    assert await store.get_or_put("k", lambda: b"v", ttl=5) == b"v"


async def test_an_invalidated_value_is_not_served_stale(clock):
    store = MemoryStore(clock=clock)
    await make(store)
    clock.advance(10)

    async def invalidates():
        await store.delete("k")
        raise LookupError

    with pytest.raises(LookupError):
        await store.get_or_put("k", invalidates, ttl=10, stale_ttl=100)


async def test_an_invalidated_value_is_not_served_after_a_soft_timeout(clock):
    store, go = MemoryStore(clock=clock), asyncio.Event()
    await make(store)
    clock.advance(10)

    async def slow():
        await go.wait()
        return "new"

    task = asyncio.create_task(store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=1))
    while not clock.sleeping:
        await asyncio.sleep(0)
    await store.delete("k")
    clock.advance(1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    assert await task == "new"
    assert not await store.exists("k")


async def test_a_background_failure_is_logged_and_a_later_call_tries_again(clock, caplog):
    store, go, calls = MemoryStore(clock=clock), asyncio.Event(), []
    await make(store)
    clock.advance(10)

    async def slow():
        calls.append(1)
        await go.wait()
        raise LookupError("secret")

    def call():
        return store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=1)

    with caplog.at_level(logging.WARNING, "kvwrap.computed"):
        assert await too_slow(clock, call(), call()) == ["v", "v"]
        go.set()
        while not store.idle:
            await asyncio.sleep(0)
        assert await make_failing(store) == "v"
    assert len(caplog.records) == 1, "once an interval"
    assert "LookupError" in caplog.text
    assert "secret" not in caplog.text
    assert len(calls) == 1
    assert store.computations.failed == 2


@pytest.mark.parametrize(
    ("outcome", "soft_timeouts"),
    [
        ("fails", ()),
        ("fails for a caller", (1_000,)),
        ("fails after its time", (50,)),
        ("ends", ()),
    ],
)
async def test_a_background_failure_is_logged_if_no_caller_gets_it(
    clock, caplog, outcome, soft_timeouts
):
    store, go = MemoryStore(clock=clock), asyncio.Event()
    await make(store)
    clock.advance(10)

    async def slow():
        await go.wait()
        if outcome == "ends":
            return "new"
        raise LookupError("secret")

    def call(soft_timeout):
        return store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=soft_timeout)

    with caplog.at_level(logging.WARNING, "kvwrap.computed"):
        assert await too_slow(clock, call(1)) == ["v"]
        waiting = [asyncio.create_task(call(soft_timeout)) for soft_timeout in soft_timeouts]
        while clock.sleeping < len(waiting):
            await asyncio.sleep(0)
        clock.advance(100)  # to the end of the stale value
        await clock.settle()
        go.set()
        while not store.idle:
            await asyncio.sleep(0)
        for task in waiting:
            with pytest.raises(LookupError):
                await task
        await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == (
        ["the value of key 'k' was computed in the background, which failed: LookupError"]
        if outcome == "fails"
        else []
    )


async def test_a_cancelled_caller_leaves_the_background_to_the_others(clock):
    store, go = MemoryStore(clock=clock), asyncio.Event()
    await make(store)
    clock.advance(10)

    async def slow():
        await go.wait()
        return "new"

    task = asyncio.create_task(store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=5))
    while not clock.sleeping:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    while not store.idle:
        await asyncio.sleep(0)
    assert await store.get("k") == "new"


async def test_closing_cancels_the_background(clock):
    cancelled = []
    for layers in (stack(), stack().compress()):
        store = layers.over(MemoryStore(clock=clock))
        for opens in (True, False):
            if opens:
                await store.open()
            await make(store)
            clock.advance(10)

            async def slow():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(1)
                    raise

            call = store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=1)
            assert await too_slow(clock, call) == ["v"]
            await asyncio.sleep(0)
            await store.close()
            assert store.idle
            await store.open()
            await store.delete("k")
            await store.close()
            store = layers.over(MemoryStore(clock=clock))
    assert len(cancelled) == 4


async def test_a_failing_store_and_a_stale_value(clock):
    store = stack().chaos().over(MemoryStore(clock=clock))
    await make(store)
    clock.advance(10)

    async def then_down():
        store.layers[0].down = True
        return "new"

    with pytest.raises(StoreUnavailable):
        await store.get_or_put("k", then_down, ttl=10)
    store.layers[0].down = False
    assert await store.get_or_put("k", then_down, ttl=10, on_error="compute") == "new"
    assert store.computations.store_failures == 1


async def test_a_result_without_expiry_has_no_stale_time(clock):
    store = MemoryStore(clock=clock)
    with pytest.raises(ConfigurationError, match="`stale_ttl` needs `ttl`"):
        await make(store, ttl=None)
    with pytest.raises(ConfigurationError, match="`stale_ttl` needs `ttl`"):
        store.cached(stale_ttl=1)
    assert await make(store, ttl=lambda value: None) == "v"
    assert await make(stack().clamp_ttl(default=5).over(MemoryStore()), ttl=None) == "v"


async def test_a_background_failure_is_no_stale_value_for_calls_without_it(clock):
    store, go = MemoryStore(clock=clock), asyncio.Event()
    await make(store)
    clock.advance(10)

    async def slow():
        await go.wait()
        raise LookupError

    patient = store.get_or_put("k", slow, ttl=10, stale_ttl=100, soft_timeout=1)
    assert await too_slow(clock, patient) == ["v"]
    waiting = asyncio.create_task(store.get_or_put("k", fails, ttl=10))
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(LookupError):
        await waiting
    assert store.computations.stale_served == 1
