"""What the parts of the contracts have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

import pytest
import pytest_asyncio

from kvwrap import Capability, Store, UnsupportedOperation
from kvwrap.testing.clock import ManualClock

P = ParamSpec("P")
Test = Callable[P, Coroutine[Any, Any, None]]


def needs(*wanted: Capability) -> Callable[[Test[P]], Test[P]]:
    """Marks a test of what not every store can do.

    Over a store that says it cannot, the test's operations must raise
    `UnsupportedOperation`, and name the part that lacks it.
    """

    def mark(test: Test[P]) -> Test[P]:
        signature = inspect.signature(test)

        @functools.wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            store: Store = signature.bind(*args, **kwargs).arguments["store"]
            lacking = set(wanted) - store.capabilities
            if not lacking:
                await test(*args, **kwargs)
                return
            with pytest.raises(UnsupportedOperation) as raised:
                await test(*args, **kwargs)
            assert raised.value.store, "the error names the part that lacks the capability"

        return run

    return mark


def left(seconds: float) -> Any:
    """Equal to so many seconds, give or take what a header's milliseconds cannot hold."""
    return pytest.approx(seconds, abs=0.01)


class Contract:
    """The fixtures that all parts of the contract use.

    Attributes:
        longest_name: The most characters of a key or collection that the store takes.
        default_alias: The name by which the backend itself calls the default collection, if
            it does: the two are one.
    """

    pytestmark = pytest.mark.asyncio
    longest_name: int = 1000
    default_alias: str | None = None

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock that the store under test goes by."""
        return ManualClock()

    def make_store(self, clock: ManualClock) -> Store | Awaitable[Store]:
        """An empty store that goes by this clock; for subclasses to state."""
        raise NotImplementedError(f"{type(self).__name__} states make_store, or a store fixture")

    @pytest_asyncio.fixture
    async def store(self, clock: ManualClock) -> AsyncIterator[Store]:
        """The store under test, opened; override it to use other fixtures."""
        made = self.make_store(clock)
        store = await made if isinstance(made, Awaitable) else made
        async with store:
            yield store
