"""The shadow follows the inner store, reports differences, and never delays or fails a caller."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    StackWarning,
    StoreUnavailable,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.shadow import Shadow
from kvwrap.layers.shadow.difference import Difference
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


async def test_every_change_is_mirrored(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = Shadow(other).over(backend)
    await store.put_many(["a", "b", "a"], [1, 2, 3], ttl=60)
    await store.delete("b")
    await store.increment("n", 5)
    await store.increment("n", 5)
    assert not await store.put_if_absent("n", 0)
    await store.expire("a", 7)
    await store.move("n", "m")
    await store.put("x", 1, collection="gone")
    await store.destroy_collection("gone")
    await store.put_many(["k1", "k2"], [1, 2])
    await other.put("k3", 3)
    assert await store.delete_where(prefix="k") == 2
    await store.find(Shadow).drain()
    assert await other.keys() == ["a", "m"]
    assert await other.ttl("a") == (3, 7.0)
    assert await other.get("m") == 10
    assert await other.collections() == []
    await store.destroy()
    await store.find(Shadow).drain()
    assert len(other) == 0
    snapshot = store.find(Shadow).snapshot()
    assert snapshot.differences == {}
    assert snapshot.dropped == snapshot.pending == 0


async def test_each_mirrored_change_is_counted(backend: FaultyStore, other: FaultyStore) -> None:
    store = Shadow(other).over(backend)
    for change in (
        store.put_many(["a", "b"], [1, 2]),
        store.expire("a", 5),
        store.delete("b"),
        store.destroy_collection("c"),
        store.destroy(),
    ):
        before = store.find(Shadow).snapshot().mirrored
        await change
        await store.find(Shadow).drain()
        assert store.find(Shadow).snapshot().mirrored == before + 1


async def test_a_change_with_a_certain_outcome_is_mirrored_without_reading(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Shadow(other).over(backend)
    await store.put_many(["a", "b"], [1, 2])
    await store.delete("a")
    await store.find(Shadow).drain()
    assert backend.count("read") == 0
    assert (other.written(), await other.keys()) == (["a", "b"], ["b"])


async def test_differences_are_counted_and_reported_by_kind(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    reported: list[Difference] = []
    store = Shadow(other, on_difference=reported.append).over(backend)
    for target, values in ((backend, (1, 2, 3, 4)), (other, (1, 9, 3, 4))):
        await target.put_many(["same", "value", "later", "close"], values, collection="c", ttl=60)
    await backend.put("missing", 1, collection="c")
    await other.put("extra", 1, collection="c")
    await other.expire("later", 90, collection="c")
    await other.expire("close", 61, collection="c")
    await store.get_many(
        ["same", "value", "later", "close", "missing", "extra", "none"], collection="c"
    )
    await store.find(Shadow).drain()
    expected = [
        Difference("value", "c", "value"),
        Difference("expiry", "c", "later"),
        Difference("missing", "c", "missing"),
        Difference("extra", "c", "extra"),
    ]
    assert reported == expected
    snapshot = store.find(Shadow).snapshot()
    assert snapshot.differences == {"value": 1, "expiry": 1, "missing": 1, "extra": 1}
    assert snapshot.last == tuple(expected)
    assert snapshot.compared == 7


async def test_differences_are_logged_without_values(
    backend: FaultyStore, other: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await backend.put("key", "secret-one")
    await other.put("key", "secret-two")
    store = Shadow(other).over(backend)
    await store.get("key")
    await store.find(Shadow).drain()
    assert "'key'" in caplog.text
    assert "secret" not in caplog.text


async def test_a_shadow_that_hangs_delays_nobody(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = Shadow(other, max_pending=10, shutdown_timeout=3).over(backend)
    await store.open()
    other.gate.clear()
    for number in range(50):
        await store.put("k", number)
        assert await store.get("k") == number
    snapshot = store.find(Shadow).snapshot()
    assert snapshot.pending == 10
    assert snapshot.dropped >= 89
    closing = asyncio.create_task(store.close())
    await ManualClock.settle()
    assert not closing.done()
    clock.advance(3)
    await closing


async def test_closing_cancels_the_call_to_a_shadow_that_hangs(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    async with Shadow(other, shutdown_timeout=0).over(backend) as store:
        other.gate.clear()
        await store.put("k", 2)
        await ManualClock.settle()
    other.gate.set()
    await ManualClock.settle()
    assert "k" not in other.written()


def test_a_stack_whose_loop_stopped_with_a_call_in_progress_can_be_closed(
    clock: ManualClock,
) -> None:
    class Hangs(MemoryStore):
        async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
            await asyncio.Event().wait()

    store = Shadow(Hangs).over(MemoryStore(clock=clock))

    async def use() -> None:
        await store.put("k", 1)
        await ManualClock.settle()

    with asyncio.Runner() as stopped:
        stopped.run(use())
        asyncio.run(store.close())


async def test_a_shadow_that_fails_fails_nobody(
    backend: FaultyStore, other: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = Shadow(other).over(backend)
    other.down = True
    await store.put("k", 1)
    assert await store.get("k") == 1
    assert await store.delete("k")
    await store.find(Shadow).drain()
    assert store.find(Shadow).snapshot().errors == {"StoreUnavailable": 3}
    assert len(caplog.records) == 1


async def test_a_shadow_that_cannot_be_opened_does_not_stop_the_stack(
    backend: FaultyStore,
) -> None:
    class Closed(MemoryStore):
        async def setup(self) -> None:
            raise StoreUnavailable("not there")

        async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
            await self.ready()

    async with Shadow(Closed).over(backend) as store:
        await store.put("k", 1)
        assert await store.get("k") == 1
        assert store.find(Shadow).snapshot().errors["StoreUnavailable"] >= 1


async def test_errors_of_the_inner_store_are_raised(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Shadow(other).over(backend)
    await store.put("k", 1)
    backend.down = True
    for refused in (store.put("k", 2), store.get("k"), store.delete("k"), store.destroy()):
        with pytest.raises(StoreUnavailable):
            await refused
    backend.down = False
    await store.find(Shadow).drain()
    assert await other.get("k") == 1


async def test_after_a_failed_write_the_shadow_gets_the_entries_of_the_inner_store(
    backend: FaultyStore, other: FaultyStore
) -> None:
    class Half(FaultyStore):
        async def write(self, collection, keys, entries, expected=None):  # type: ignore[no-untyped-def]  # as the base
            await super().write(collection, keys[:1], entries[:1], expected)
            raise StoreUnavailable("half done", succeeded=keys[:1])

    store = Shadow(other).over(Half())
    with pytest.raises(StoreUnavailable):
        await store.put_many(["a", "b"], [1, 2])
    await store.find(Shadow).drain()
    assert await other.keys() == ["a"]


async def test_writes_that_overtake_each_other_leave_both_stores_equal(
    other: FaultyStore, clock: ManualClock
) -> None:
    rng = random.Random(3)

    class Slow(MemoryStore):
        async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
            written = await super().write(*arguments)
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            return written

    backend = Slow(clock=clock)
    store = Shadow(other).over(backend)
    for _ in range(30):
        await asyncio.gather(*(store.put("k", n) for n in range(4)), store.get("k"))
        await store.find(Shadow).drain()
        assert await other.get("k") == await backend.get("k")
    assert store.find(Shadow).snapshot().differences == {}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_under_any_use_the_shadow_ends_up_equal(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        clock = ManualClock()

        class Yielding(MemoryStore):
            async def read(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
                await pause()
                found = await super().read(*arguments)
                await pause()
                return found

            async def write(self, *arguments):  # type: ignore[no-untyped-def]  # as the base
                await pause()
                done = await super().write(*arguments)
                await pause()
                return done

        async def pause() -> None:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

        backend, other = Yielding(clock=clock), Yielding(clock=clock)
        store = Shadow(other).over(backend)

        async def use() -> None:
            for _ in range(8):
                key = rng.choice("abc")
                match rng.randrange(4):
                    case 0:
                        await store.put(key, rng.randrange(99), ttl=rng.choice([None, 50]))
                    case 1:
                        await store.delete(key)
                    case 2:
                        await store.expire(key, rng.randrange(10, 99))
                    case _:
                        await store.get_many(["a", "b", "c"])

        await asyncio.gather(use(), use(), use())
        await store.find(Shadow).drain()
        for key in "abc":
            assert await other.ttl(key) == await backend.ttl(key)
        assert store.find(Shadow).snapshot().differences == {}

    asyncio.run(run())


async def test_a_sample_of_reads_is_compared(backend: FaultyStore, other: FaultyStore) -> None:
    store = Shadow(other, sample=0.25, rng=random.Random(1)).over(backend)
    for _ in range(400):
        await store.get("k")
        await store.find(Shadow).drain()
    assert 60 < store.find(Shadow).snapshot().compared < 140
    silent = Shadow(MemoryStore, sample=0).over(MemoryStore())
    await silent.get("k")
    await silent.find(Shadow).drain()
    assert silent.find(Shadow).snapshot().compared == 0


async def test_a_callback_that_fails_is_logged(
    backend: FaultyStore, other: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(difference: Difference) -> None:
        raise RuntimeError("callback")

    store = Shadow(other, on_difference=fails).over(backend)
    await backend.put_many(["a", "b"], [1, 2])
    await store.get("a")
    await store.get("b")
    await store.find(Shadow).drain()
    assert store.find(Shadow).snapshot().differences == {"missing": 2}
    assert "on_difference failed" in caplog.text


async def test_an_entry_that_is_changed_while_it_is_compared_again_is_not_a_difference(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Shadow(other).over(backend)
    await backend.put("k", 1)
    assert await store.get("k") == 1
    reads = backend.count("read")
    backend.gate.clear()
    async with asyncio.timeout(30):
        while backend.count("read") == reads:
            await asyncio.sleep(0)
        change = asyncio.create_task(store.put("k", 2))
        while backend.count("write") < 2:
            await asyncio.sleep(0)
    backend.gate.set()
    await change
    await store.find(Shadow).drain()
    assert await other.get("k") == 2
    assert store.find(Shadow).snapshot().differences == {}


async def test_an_entry_that_expired_meanwhile_is_not_a_difference(
    backend: FaultyStore, other: FaultyStore, clock: ManualClock
) -> None:
    store = Shadow(other).over(backend)
    await store.put("k", 1, ttl=5)
    await store.find(Shadow).drain()
    other.gate.clear()
    await store.get("k")
    clock.advance(6)
    other.gate.set()
    await store.find(Shadow).drain()
    assert store.find(Shadow).snapshot().differences == {}


@pytest.mark.parametrize("opened", [True, False])
async def test_closing_works_off_the_queue(clock: ManualClock, opened: bool) -> None:
    mirrored: list[str] = []

    class Recording(MemoryStore):
        async def write(self, collection, keys, entries, expected=None):  # type: ignore[no-untyped-def]  # as the base
            mirrored.extend(keys)
            return await super().write(collection, keys, entries, expected)

    store = Shadow(Recording).over(MemoryStore(clock=clock))
    if opened:
        await store.open()
    for number in range(30):
        await store.put(f"k{number}", number)
    await store.close()
    assert mirrored == [f"k{number}" for number in range(30)]
    assert store.find(Shadow).snapshot().errors == {}
    await store.close()


def layer_with_trait(name: str) -> Layer:
    return type(name.title(), (Layer,), {"traits": frozenset({name})})()


class Shared(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.SHARED}


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        (stack(Shadow(Shared), layer_with_trait("encrypts")), "plaintext-second-store"),
        (stack(Shadow(MemoryStore), layer_with_trait("caches")), "cache-inside-shadow"),
    ],
)
def test_known_mistakes_are_reported(layers: object, code: str) -> None:
    with pytest.warns(StackWarning, match=code):
        layers.over(MemoryStore())  # type: ignore[attr-defined]  # a stack


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample": 1.5},
        {"sample": -0.1},
        {"max_pending": 0},
        {"shutdown_timeout": -1},
        {"on_difference": "log"},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="|".join(arguments)):
        Shadow(MemoryStore, **arguments)  # type: ignore[arg-type]  # that is the point


async def test_it_is_idle_once_the_queue_was_worked_off(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Shadow(other).over(backend)
    layer = store.find(Shadow)
    assert layer.idle
    backend.gate.clear()
    writing = asyncio.create_task(store.put("k", 1))
    await ManualClock.settle()
    assert not layer.idle, "a change is in progress"
    other.gate.clear()
    backend.gate.set()
    await writing
    assert not layer.idle, "a call to the shadow is queued"
    other.gate.set()
    await layer.drain()
    assert layer.idle
