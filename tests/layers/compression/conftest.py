"""Fixtures of the tests of compression."""

from __future__ import annotations

import pytest

from kvwrap import MemoryStore
from kvwrap.testing import ManualClock


@pytest.fixture
def base(clock: ManualClock) -> MemoryStore:
    """Return the backend that the stacks of a test share."""
    return MemoryStore(clock=clock)
