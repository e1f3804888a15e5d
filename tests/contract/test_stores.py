"""The store contract for every store, without layers and in an encrypted stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import Capability, Keyring, Store, stack
from kvwrap.core.changes import Scope
from kvwrap.stores.dynamodb import store as dynamodb_store
from kvwrap.stores.elasticsearch import store as elasticsearch_store
from kvwrap.stores.object import listing as object_listing
from kvwrap.testing import StoreContract
from tests.catalog import (
    ALIASES,
    COMPARES_UTF16,
    LONGEST_NAMES,
    STORES,
    TELLS_NO_NAMES,
    Resources,
)
from tests.stores.adapted.objects import ENCRYPTED, OBJECTS

FEW_KEYS, SMALL_PAGE = 103, 25
"""Keys in the large batches of a slow server, and in a page of its listings."""
PAGED = {
    "s3": object_listing,
    "az": object_listing,
    "dynamodb": dynamodb_store,
    "opensearch": elasticsearch_store,
}
"""The modules that ask slow servers for a page."""
LISTED_SLOWLY = {*PAGED, "memcached", "nats"}
"""Servers where each listing takes milliseconds."""


def expectations(store_name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the attributes of the contract for a store of the catalog."""
    if store_name in PAGED:
        monkeypatch.setattr(PAGED[store_name], "PAGE_SIZE", SMALL_PAGE)
    return {
        "default_alias": ALIASES.get(store_name),
        "compares_utf16": store_name in COMPARES_UTF16,
        "tells_names": store_name not in TELLS_NO_NAMES,
        **({"longest_name": LONGEST_NAMES[store_name]} if store_name in LONGEST_NAMES else {}),
        **({"most_keys": FEW_KEYS} if store_name in PAGED else {}),
        **({"every": 7} if store_name in LISTED_SLOWLY else {}),
    }


FIRST_CALLS: tuple[tuple[Callable[[Store], Awaitable[Any]], Capability | None], ...] = (
    (lambda store: store.put("k", 1), None),
    (lambda store: store.get("k"), None),
    (lambda store: store.ttl("k"), None),
    (lambda store: store.expire("k", 1000), None),
    (lambda store: store.delete("k"), None),
    (lambda store: store.check(), None),
    (lambda store: store.base.scrub(), None),
    (lambda store: store.keys(), Capability.KEYS),
    (lambda store: store.count(), Capability.KEYS),
    (lambda store: store.delete_where(prefix="k"), Capability.KEYS),
    (lambda store: store.collections(), Capability.COLLECTIONS),
    (lambda store: store.put_if_absent("k", 1), Capability.COMPARE_AND_PUT),
    (lambda store: store.destroy_collection("c"), Capability.DESTROY_COLLECTION),
    (lambda store: store.destroy(), Capability.DESTROY),
    (lambda store: store.cull(), Capability.CULL),
    (lambda store: store.subscribe(Scope(), print), Capability.WATCH),
)
"""Calls, each with the capability that it needs."""


@pytest.mark.parametrize("store_name", STORES)
class TestBare(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.__dict__.update(expectations(store_name, monkeypatch))

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        async with STORES[store_name](resources) as store:
            yield store

    async def test_the_first_call_opens_the_store(
        self, store_name: str, resources: Resources
    ) -> None:
        for call, capability in FIRST_CALLS:
            unopened = STORES[store_name](resources)
            try:
                if capability is None or capability in unopened.capabilities:
                    await call(unopened)
            finally:
                await unopened.close()


@pytest.mark.parametrize(
    "store_name", [name for name in STORES if name not in OBJECTS or name in ENCRYPTED]
)
class TestEncrypted(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, store_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.__dict__.update(expectations(store_name, monkeypatch))

    @pytest_asyncio.fixture
    async def store(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
        async with layers.over(STORES[store_name](resources)) as store:
            yield store
