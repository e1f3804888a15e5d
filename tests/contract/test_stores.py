"""The store contract for every store, without layers and in an encrypted stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import Keyring, Store, stack
from kvwrap.testing import StoreContract
from tests.catalog import ALIASES, COMPARES_UTF16, LONGEST_NAMES, SLOW, STORES, Resources
from tests.stores.adapted.objects import FORMS, OBJECTS

FEW_KEYS = 510
"""Keys in the large batches of a slow server: more than a page."""


def expectations(store_name: str) -> dict[str, Any]:
    """Return the attributes of the contract for a store of the catalog."""
    return {
        "default_alias": ALIASES.get(store_name),
        "compares_utf16": store_name in COMPARES_UTF16,
        **({"longest_name": LONGEST_NAMES[store_name]} if store_name in LONGEST_NAMES else {}),
        **({"most_keys": FEW_KEYS} if store_name in SLOW else {}),
    }


@pytest.mark.parametrize("store_name", STORES)
class TestBare(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str) -> None:
        self.__dict__.update(expectations(store_name))

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        async with STORES[store_name](resources) as store:
            yield store


@pytest.mark.parametrize(
    "store_name", [name for name in STORES if name not in OBJECTS or name in FORMS]
)
class TestEncrypted(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str) -> None:
        self.__dict__.update(expectations(store_name))

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
        async with layers.over(STORES[store_name](resources)) as store:
            yield store
