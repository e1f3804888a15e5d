"""Fixtures and helpers of the layer contract."""

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


class LayerFixtures:
    """Fixtures and helpers that all parts of the layer contract use.

    Attributes:
        lost: Capabilities that the backend has and the layer removes.
        gained: Capabilities that the layer adds.
        writable: False if the layer refuses every write.
    """

    pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_task_fails_unseen")]  # noqa: RUF012  # read by pytest
    lost: ClassVar[frozenset[Capability]] = frozenset()
    gained: ClassVar[frozenset[Capability]] = frozenset()
    writable: ClassVar[bool] = True

    def make_layers(self, clock: ManualClock) -> Layer | Stack:
        """Create the layer, or several that only make sense together. A subclass defines this.

        Pass a second store as a factory, because the contract puts the layer over several
        stores.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_layers()")

    def make_store(self, clock: ManualClock) -> Store:
        """Create an empty backend that uses this clock."""
        return MemoryStore(clock=clock)

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Provide the clock of the whole stack under test."""
        return ManualClock()

    @pytest.fixture
    def layers(self, clock: ManualClock) -> Stack:
        """Provide the layers under test, as a stack."""
        layers = self.make_layers(clock)
        return layers if isinstance(layers, Stack) else stack(layers)

    @pytest_asyncio.fixture
    async def backend(self, clock: ManualClock) -> AsyncIterator[Store]:
        """Provide the store under the layer, opened. Override it to use other fixtures."""
        async with self.make_store(clock) as store:
            yield store

    @pytest_asyncio.fixture
    async def store(self, layers: Stack, backend: Store) -> AsyncIterator[Store]:
        """Provide the layer over the backend, opened."""
        async with layers.over(backend) as store:
            yield store

    def calls(self, store: Store) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
        """Return calls that the layer must support: reads, and writes if it is writable."""
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

    async def use(self, store: Store) -> None:
        """Make each of `calls` once."""
        for call in self.calls(store):
            await call()

    @staticmethod
    async def ignore_errors(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Make a call and ignore kvwrap's errors."""
        with contextlib.suppress(KvwrapError):
            await call()

    @staticmethod
    async def finish(clock: ManualClock, call: Coroutine[Any, Any, Any]) -> Any:
        """Await a call, and move the clock forward while the call waits for it."""
        task = asyncio.create_task(call)
        try:
            async with asyncio.timeout(60):
                while not task.done():
                    await asyncio.sleep(0.0005)
                    if clock.sleeping:
                        await clock.run(1.0)
        except TimeoutError:
            task.cancel()
            raise AssertionError("the call did not finish") from None
        return await task
