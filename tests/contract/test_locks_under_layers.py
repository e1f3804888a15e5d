"""The contract of locks under every layer, over a store that processes share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kvwrap import Store
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.locks import Locks
from tests.catalog import LAYERS, STACKS, STORES, Resources

CASES = {name: case for name, case in {**LAYERS, **STACKS}.items() if case.writable}


class TestLocksUnder(Locks):
    @pytest_asyncio.fixture(params=CASES)
    async def store(
        self, request: pytest.FixtureRequest, clock: ManualClock, resources: Resources
    ) -> AsyncIterator[Store]:
        stack = CASES[request.param].make(clock)
        async with stack.silence("lock-over-fallback").over(STORES["sqlite"](resources)) as store:
            yield store
