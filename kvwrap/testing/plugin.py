"""A pytest plugin with fixtures for tests of code that uses kvwrap; found by its entry point.

Nothing of kvwrap is imported before a fixture asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kvwrap import MemoryStore
    from kvwrap.testing import ManualClock

pytest.register_assert_rewrite("kvwrap.testing.contract")


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    from kvwrap.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def memory_store(manual_clock: ManualClock) -> MemoryStore:
    """An empty store in memory that goes by `manual_clock`."""
    from kvwrap import MemoryStore

    return MemoryStore(clock=manual_clock)
