"""The contract of a layer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from kvwrap import (
    Capability,
    ConfigurationError,
    KvwrapError,
    MemoryStore,
    Passthrough,
    ReadOnlyViolation,
    Stack,
    StackWarning,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import PRIMITIVES
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.base import left, needs
from kvwrap.testing.tap import Tap, alterations

_VALUE = {"name": "value under test", "numbers": [1, 2, 3]}
_KEYS = [f"key {number}" for number in range(8)]
_who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class LayerContract:
    """What every layer keeps to, whatever it does.

    Subclass it in a test file, under a name that pytest collects, and state `make_layers`;
    `make_store` too, to run over another backend than memory.

    >>> from kvwrap import Passthrough
    >>> class TestPassthrough(LayerContract):
    ...     def make_layers(self, clock):
    ...         return Passthrough()

    That the promises of a store hold under the layer as well is for `StoreContract` to show.

    Attributes:
        lost: Capabilities that the layer takes away from the backend.
        gained: Capabilities that it adds.
        writable: False for a layer that refuses every write.
    """

    pytestmark = pytest.mark.asyncio
    lost: ClassVar[frozenset[Capability]] = frozenset()
    gained: ClassVar[frozenset[Capability]] = frozenset()
    writable: ClassVar[bool] = True

    def make_layers(self, clock: ManualClock) -> Layer | Stack:
        """The layer, or several that only make sense together; for subclasses to state.

        A second store is given as a factory, since the contract puts the layer over
        several stores.
        """
        raise NotImplementedError(f"{type(self).__name__} states make_layers")

    def make_store(self, clock: ManualClock) -> Store:
        """An empty backend that goes by this clock."""
        return MemoryStore(clock=clock)

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock that everything under test goes by."""
        return ManualClock()

    @pytest.fixture
    def layers(self, clock: ManualClock) -> Stack:
        """What is under test."""
        made = self.make_layers(clock)
        return made if isinstance(made, Stack) else stack(made)

    @pytest_asyncio.fixture
    async def backend(self, clock: ManualClock) -> AsyncIterator[Store]:
        """The store under the layer, opened; override it to use other fixtures."""
        async with self.make_store(clock) as store:
            yield store

    @pytest_asyncio.fixture
    async def store(self, layers: Stack, backend: Store) -> AsyncIterator[Store]:
        """The layer over the backend, opened."""
        async with layers.over(backend) as store:
            yield store

    # -- the description ---------------------------------------------------------------

    async def test_a_description_is_a_value(self, layers: Stack) -> None:
        for layer in layers:
            again = layer.anew()
            assert again is not layer
            assert again == layer
            assert hash(again) == hash(layer)
            assert repr(again) == repr(layer)
            assert repr(layer).startswith(type(layer).__name__)
            assert layer != Passthrough() or type(layer) is Passthrough
        assert layers + stack() == layers == stack() + layers

    async def test_use_leaves_the_description_as_it_was(self, layers: Stack, store: Store) -> None:
        before = [dict(vars(layer)) for layer in layers]
        shown = [repr(layer) for layer in layers]
        await self._used(store)
        assert [dict(vars(layer)) for layer in layers] == before
        assert [repr(layer) for layer in layers] == shown
        for layer in layers:
            running = store.find(type(layer))
            assert running is not layer
            assert not hasattr(layer, "inner")

    async def test_one_description_over_two_stores_shares_nothing(
        self, layers: Stack, clock: ManualClock
    ) -> None:
        bases = [MemoryStore(clock=clock) for _ in range(2)]
        one = layers.over(bases[0])
        try:
            two = layers.over(bases[1])
        except ConfigurationError as error:
            assert "factory" in str(error), "a second store serves one stack, and the way out"
            return
        async with one, two:
            for part, twin in zip(one.layers, two.layers, strict=True):
                assert part is not twin
                for (_, second), (_, other) in zip(part.seconds, twin.seconds, strict=True):
                    assert second is not other
            if not self.writable:
                return
            await one.put("key", "one")
            assert await two.get("key") != "one"
            await two.put("key", "two")
            await one.delete("key")
            assert await two.get("key") == "two"
            assert await one.get("key") != "two"

    async def test_it_is_found_and_explained(self, layers: Stack, store: Store) -> None:
        text = store.explain()
        assert repr(store.base) in text
        for layer, running in zip(layers, store.layers, strict=False):
            assert isinstance(running, type(layer))
            assert isinstance(store.find(type(layer)), type(layer))
            assert type(layer).__name__ in text
            for role, second in running.seconds:
                assert f"{role}: " in text
                assert repr(second.base) in text
            for note in running.notes():
                assert note in text

    async def test_what_it_leaves_alone_costs_nothing(self, store: Store) -> None:
        for part in store.layers:
            for name in PRIMITIVES:
                if getattr(type(part), name) is not getattr(Layer, name):
                    continue
                bound = getattr(part, name)
                around = getattr(type(part), "around", None)
                assert bound == getattr(part.inner, name) or around is not None, name

    # -- what a stack with it can do ---------------------------------------------------

    async def test_its_capabilities_are_as_stated(self, store: Store, backend: Store) -> None:
        assert store.capabilities == (backend.capabilities - self.lost) | self.gained

    async def test_values_go_through_it(
        self, store: Store, backend: Store, clock: ManualClock
    ) -> None:
        writer = store if self.writable else backend
        await writer.put("one", _VALUE, collection="there", ttl=100)
        await writer.put_many(["two", "three"], [2, _VALUE])
        await writer.put("none", None)
        assert await store.get("one", collection="there") == _VALUE
        assert await store.get_many(["three", "two"]) == [_VALUE, 2]
        assert await store.exists("none")
        assert await store.require("none") is None
        assert await store.ttl("one", collection="there") == (_VALUE, left(100))
        clock.advance(101)
        assert not await store.exists("one", collection="there")
        assert await store.get("two") == 2
        if self.writable:
            assert await store.delete("two")
            assert await store.delete_many(["two", "three", "none"]) == 2
            assert not await store.exists("three")

    @needs(Capability.KEYS)
    async def test_keys_come_back_as_they_were_put(self, store: Store, backend: Store) -> None:
        writer = store if self.writable else backend
        await writer.put_many(["b:1", "b:2", "a", "😀"], [1, 2, 3, 4], collection="x:y")
        await writer.put("default", 5)
        assert sorted(await store.keys("x:y")) == ["a", "b:1", "b:2", "😀"]
        assert sorted([k async for k in store.scan(collection="x:y", prefix="b:")]) == [
            "b:1",
            "b:2",
        ]
        assert [k async for k in store.scan(collection="x:y", start="b:2", end="c")] == ["b:2"]
        assert [item async for item in store.items(collection="x:y", prefix="😀")] == [("😀", 4)]
        assert await store.keys() == ["default"]

    @needs(Capability.COLLECTIONS)
    async def test_collections_come_back_as_they_were_put(
        self, store: Store, backend: Store
    ) -> None:
        writer = store if self.writable else backend
        for collection in ("x", "x:y", "😀", None):
            await writer.put("key", 1, collection=collection)
        assert sorted(await store.collections()) == ["x", "x:y", "😀"]

    @needs(Capability.DESTROY_COLLECTION, Capability.DESTROY)
    async def test_what_is_destroyed_through_it(self, store: Store) -> None:
        for collection in ("x", "xy", None):
            await store.put("key", 1, collection=collection)
        assert await store.destroy_collection("x")
        assert not await store.exists("key", collection="x")
        assert await store.exists("key", collection="xy")
        assert await store.destroy()
        assert not await store.exists("key", collection="xy")
        assert not await store.exists("key")

    @needs(Capability.COMPARE_AND_PUT)
    async def test_what_is_atomic_stays_so(self, store: Store) -> None:
        async def put() -> bool:
            return await store.put_if_absent("new", _VALUE, ttl=100)

        assert sorted(await asyncio.gather(*(put() for _ in range(5)))) == [False] * 4 + [True]
        versioned = await store.get_versioned("new")
        assert versioned is not None
        assert versioned.value == _VALUE
        assert await store.compare_and_put("new", 1, versioned.version, ttl=100)
        assert not await store.compare_and_put("new", 2, versioned.version)
        assert await store.get("new") == 1
        await asyncio.gather(*(store.increment("new") for _ in range(10)))
        assert await store.ttl("new") == (11, left(100))
        assert await store.pop("new") == 11
        assert await store.pop("new", "gone") == "gone"

    async def test_expire_and_move_go_through_it(self, store: Store, clock: ManualClock) -> None:
        if not self.writable:
            for write in (store.put("key", 1), store.expire("key", 1), store.delete("key")):
                with pytest.raises(ReadOnlyViolation):
                    await write
            return
        await store.put("key", _VALUE)
        assert await store.expire("key", 100)
        assert await store.move("key", "moved", target_collection="there")
        assert await store.ttl("moved", collection="there") == (_VALUE, left(100))
        assert not await store.exists("key")
        clock.advance(101)
        assert not await store.exists("moved", collection="there")

    async def test_it_works_within_a_stack(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        within = (
            stack(Passthrough()).prefix_collection("out-")
            + layers
            + stack(Passthrough()).prefix_collection("in-")
        )
        under = stack().prefix_collection("in-").over(backend)
        with warnings.catch_warnings():
            # The place may be a known mistake; it must work all the same.
            warnings.simplefilter("ignore", StackWarning)
            whole = within.over(backend)
        async with whole as store:
            if self.writable:
                await store.put_many(["a", "b"], [_VALUE, 2], collection="there", ttl=50)
            else:
                await under.put_many(["a", "b"], [_VALUE, 2], collection="out-there", ttl=50)
            assert await store.get_many(["b", "a"], collection="there") == [2, _VALUE]
            clock.advance(51)
            assert not await store.exists("a", collection="there")

    # -- opening and closing -----------------------------------------------------------

    async def test_it_works_without_being_opened(self, layers: Stack, backend: Store) -> None:
        store = layers.over(backend)
        await self._used(store)
        await store.close()
        assert backend.is_open, "what somebody else opened stays open"

    async def test_closing_ends_what_it_began(self, layers: Stack, backend: Store) -> None:
        before = asyncio.all_tasks()
        store = layers.over(backend)
        async with store:
            await self._used(store)
            seconds = [second for part in store.layers for _, second in part.seconds]
            assert all(second.is_open for second in seconds)
        assert asyncio.all_tasks() <= before
        assert not any(second.is_open for second in seconds)
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.get("key")
        async with store:
            await store.get("key")

    # -- when things go wrong ----------------------------------------------------------

    async def test_altered_bytes_give_a_typed_error(self, layers: Stack, backend: Store) -> None:
        stored: list[Entry] = []

        def noted(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers if self.writable else stack()).over(backend) as writer:
            await writer.put_many(_KEYS, [_VALUE] * len(_KEYS))
        async with (layers + stack(Tap(alter=noted))).over(backend) as store:
            # A layer may keep some keys elsewhere than in the backend.
            found = [key for key in _KEYS if await store.get(key) == _VALUE and stored]
        if not found:
            return
        key, entry = found[0], stored[0]
        authenticated = any("encrypts" in layer.traits for layer in layers)
        for altered in alterations(entry):
            # A stack of its own for each, so that no nearer copy answers.
            async with (layers + stack(Tap(alter=_always(altered)))).over(backend) as store:
                try:
                    value = await store.get(key)
                except KvwrapError as error:
                    assert "value under test" not in str(error)
                else:
                    # Without authentication, bytes that are valid again are a value again.
                    assert not authenticated, f"altered bytes gave {value!r}"

    async def test_another_keys_entry_does_not_open_where_encrypted(
        self, layers: Stack, backend: Store
    ) -> None:
        if not any("encrypts" in layer.traits for layer in layers):
            return  # an entry's checksum finds it then, in stores that keep bytes
        stored: list[Entry] = []

        def noted(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers + stack(Tap(alter=noted))).over(backend) as store:
            await store.put("one", "of one")
            await store.put("one", "of another collection", collection="there")
            await store.get("one")
        async with (layers + stack(Tap(alter=_always(stored[-1])))).over(backend) as store:
            await store.put("two", "of two")
            assert await store.get("one") == "of one"
            with pytest.raises(KvwrapError):
                await store.get("two")
            with pytest.raises(KvwrapError):
                await store.get("one", collection="there")

    async def test_a_failing_backend_gives_a_typed_error(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        cause = ConnectionResetError("by the test")

        async def fail(operation: str) -> None:
            raise StoreUnavailable("the backend is down") from cause

        async with (layers + stack(Tap(before=fail))).over(backend) as store:
            for use in self._uses(store):
                try:
                    await self._finished(clock, use())
                except KvwrapError as error:
                    assert isinstance(error, StoreUnavailable) or not self.writable

    async def test_a_cancelled_call_leaves_no_stuck_lock(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        held = asyncio.Event()
        open_gate = asyncio.Event()

        async def hold(operation: str) -> None:
            held.set()
            await open_gate.wait()

        async with (layers + stack(Tap(before=hold))).over(backend) as store:
            for use in self._uses(store):
                held.clear()
                open_gate.clear()
                tasks = [asyncio.create_task(use()) for _ in range(3)]
                await asyncio.sleep(0.002)
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(result, BaseException):
                        assert isinstance(result, asyncio.CancelledError | KvwrapError)
                open_gate.set()
                await self._finished(clock, self._quietly(use))
            if self.writable:
                await self._finished(clock, store.put("key", _VALUE))
                assert await self._finished(clock, store.get("key")) == _VALUE

    async def test_the_callers_context_reaches_the_backend(
        self, layers: Stack, backend: Store
    ) -> None:
        seen = []

        async def note(operation: str) -> None:
            seen.append(_who.get())

        async with (layers + stack(Tap(before=note))).over(backend) as store:
            _who.set("the caller")
            seen.clear()
            await store.get("never put")
        assert not seen or seen[0] == "the caller"

    # -- helpers -----------------------------------------------------------------------

    def _uses(self, store: Store) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
        reads: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: store.get("key"),
            lambda: store.get_many(["key", "other"]),
            lambda: store.ttl("key"),
        ]
        writes: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: store.put("key", _VALUE),
            lambda: store.put_many(["key", "other"], [_VALUE, 2]),
            lambda: store.delete("key"),
            lambda: store.expire("key", 100),
        ]
        return [*writes, *reads] if self.writable else reads

    async def _used(self, store: Store) -> None:
        for use in self._uses(store):
            await use()

    @staticmethod
    async def _quietly(use: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        with contextlib.suppress(KvwrapError):
            await use()

    @staticmethod
    async def _finished(clock: ManualClock, use: Coroutine[Any, Any, Any]) -> Any:
        """What it gives, with the clock moved on while it waits on that."""
        task = asyncio.create_task(use)
        for _ in range(300):
            await asyncio.sleep(0.0005)
            if task.done():
                return await task
            if clock.sleeping:
                await clock.run(1.0)
        task.cancel()
        raise AssertionError("the call never came back")


def _always(entry: Entry) -> Callable[[Entry], Entry]:
    return lambda _: entry
