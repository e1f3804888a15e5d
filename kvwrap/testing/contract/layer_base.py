"""What the parts of the layer contract have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from kvwrap import (
    Capability,
    KvwrapError,
    MemoryStore,
    Stack,
    Store,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.testing.clock import ManualClock

VALUE = {"name": "value under test", "numbers": [1, 2, 3]}


class LayerParts:
    """The fixtures and helpers that all parts of the layer contract use.

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

    def uses(self, store: Store) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
        reads: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: store.get("key"),
            lambda: store.get_many(["key", "other"]),
            lambda: store.ttl("key"),
        ]
        writes: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: store.put("key", VALUE),
            lambda: store.put_many(["key", "other"], [VALUE, 2]),
            lambda: store.delete("key"),
            lambda: store.expire("key", 100),
        ]
        return [*writes, *reads] if self.writable else reads

    async def used(self, store: Store) -> None:
        for use in self.uses(store):
            await use()

    @staticmethod
    async def quietly(use: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        with contextlib.suppress(KvwrapError):
            await use()

    @staticmethod
    async def finished(clock: ManualClock, use: Coroutine[Any, Any, Any]) -> Any:
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
