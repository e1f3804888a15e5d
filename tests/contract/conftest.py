"""What the contract tests are parametrized with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from kvwrap import Store
from kvwrap.testing import ManualClock
from tests.catalog import STORES, Place


@pytest.fixture
def place(clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Where the stores of one test are made."""

    def redis_url() -> str:
        url: str = request.getfixturevalue("redis_url")
        return url

    return Place(clock, tmp_path, redis_url)


@pytest_asyncio.fixture
async def backend(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Store]:
    """The store of the catalog that the test is parametrized with, open."""
    async with STORES[request.param](place) as store:
        yield store


Make = Callable[[str], Store]
