"""The store contract over every store as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kvwrap import Store
from kvwrap.testing import StoreContract
from tests.catalog import ALIASES, STORES, Place


@pytest.mark.parametrize("where", STORES)
class TestBare(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, where: str) -> None:
        self.__dict__.update(default_alias=ALIASES.get(where))

    @pytest_asyncio.fixture
    async def store(self, where: str, place: Place) -> AsyncIterator[Store]:
        async with STORES[where](place) as store:
            yield store
