"""Two stores that fail on request, for layers over one or both of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


@pytest.fixture
async def backend(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    """Return the store under a stack."""
    async with FaultyStore(clock=clock) as opened:
        yield opened


@pytest.fixture
async def other(clock: ManualClock) -> AsyncIterator[FaultyStore]:
    """Return a second store."""
    async with FaultyStore(clock=clock) as opened:
        yield opened
