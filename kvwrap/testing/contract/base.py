"""Fixtures and helpers of the contract suites."""

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


def needs(*capabilities: Capability) -> Callable[[Test[P]], Test[P]]:
    """Mark a test of operations that not every store supports.

    For a store without these capabilities, the test must raise `UnsupportedOperation`, and the
    error must name the part that lacks the capability.
    """

    def mark(test: Test[P]) -> Test[P]:
        signature = inspect.signature(test)

        @functools.wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            store: Store = signature.bind(*args, **kwargs).arguments["store"]
            missing = set(capabilities) - store.capabilities
            if not missing:
                await test(*args, **kwargs)
                return
            with pytest.raises(UnsupportedOperation) as raised:
                await test(*args, **kwargs)
            assert raised.value.store, "the error must name the part that lacks the capability"

        return run

    return mark


def remaining(seconds: float) -> Any:
    """Return what equals a remaining ttl of `seconds`, up to the rounding to milliseconds."""
    return pytest.approx(seconds, abs=0.01)


class Contract:
    """Fixtures that all parts of the store contract use.

    Attributes:
        longest_name: Maximum length, in characters, of a key or collection of the store.
        default_alias: The backend's own name of the default collection, if it has one. The
            collection of this name and the default collection are the same.
        compares_utf16: True if the server of the tests, unlike the real one, orders texts by their
            UTF-16 code units. U+E000 to U+FFFF are then behind the characters above U+FFFF.
        most_keys: Number of keys in the tests of large batches and of listings, more than a page
            of the backend and of kvwrap has (500). Fewer are for a server that takes long.
        every: Of the rounds of long tests, every which one is made: 1 for all, more for a server
            that takes long.
    """

    pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_task_fails_unseen")]  # noqa: RUF012  # read by pytest
    longest_name: int = 1000
    default_alias: str | None = None
    compares_utf16: bool = False
    most_keys: int = 1_203
    every: int = 1

    @property
    def many_keys(self) -> list[str]:
        """Keys that do not fit in one page."""
        return [f"key-{number:04d}" for number in range(self.most_keys)]

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Provide the clock that the store under test must use."""
        return ManualClock()

    def make_store(self, clock: ManualClock) -> Store | Awaitable[Store]:
        """Create an empty store that uses this clock. A subclass defines this; it may be async."""
        raise NotImplementedError(
            f"{type(self).__name__} must define make_store(), or override the fixture `store`"
        )

    @pytest_asyncio.fixture
    async def store(self, clock: ManualClock) -> AsyncIterator[Store]:
        """Provide the store under test, opened. Override it to use other fixtures."""
        created = self.make_store(clock)
        store = await created if isinstance(created, Awaitable) else created
        async with store:
            yield store
