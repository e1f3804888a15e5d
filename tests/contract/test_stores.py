"""The store contract for every store, without layers and in an encrypted stack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kvwrap import Keyring, Store, stack
from kvwrap.testing import StoreContract
from tests.catalog import ALIASES, COMPARES_UTF16, STORES, Resources


@pytest.mark.parametrize("store_name", STORES)
class TestBare(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str) -> None:
        self.__dict__.update(
            default_alias=ALIASES.get(store_name), compares_utf16=store_name in COMPARES_UTF16
        )

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        async with STORES[store_name](resources) as store:
            yield store


@pytest.mark.parametrize("store_name", STORES)
class TestEncrypted(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str) -> None:
        self.__dict__.update(
            default_alias=ALIASES.get(store_name), compares_utf16=store_name in COMPARES_UTF16
        )

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
        async with layers.over(STORES[store_name](resources)) as store:
            yield store
