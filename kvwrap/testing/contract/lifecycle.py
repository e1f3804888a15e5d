"""Opening, closing, and what a store says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvwrap import Capability, ConfigurationError, Store, StoreUnavailable, UnsupportedOperation
from kvwrap.core.layer import Layer
from kvwrap.testing.contract.base import Contract


class Lifecycle(Contract):
    """A store can be opened and closed, and says truly what it can do."""

    async def test_it_can_be_reached(self, store: Store) -> None:
        await store.check()

    async def test_it_closes_with_the_last_of_those_who_opened_it(self, store: Store) -> None:
        await store.put("key", 1)
        async with store:
            assert await store.get("key") == 1
        assert await store.get("key") == 1

    async def test_closed_it_refuses_and_closing_twice_does_nothing(self, store: Store) -> None:
        await store.put("key", 1)
        await store.close()
        await store.close()
        for use in (store.get("key"), store.put("key", 2), store.get_many(["key"]), store.check()):
            with pytest.raises(StoreUnavailable) as raised:
                await use
            assert isinstance(raised.value, ConnectionError)

    async def test_it_can_be_opened_again(self, store: Store) -> None:
        await store.put("key", 1)
        await store.close()
        async with store:
            if Capability.PERSISTENT in store.capabilities:
                assert await store.get("key") == 1
            await store.put("key", 2)
            assert await store.get("key") == 2

    async def test_it_says_truly_what_it_can_do(self, store: Store) -> None:
        assert store.capabilities <= set(Capability)
        await store.put("key", 1)
        uses: dict[Capability, Callable[[], Awaitable[Any]]] = {
            Capability.KEYS: store.keys,
            Capability.COLLECTIONS: store.collections,
            Capability.COMPARE_AND_PUT: lambda: store.put_if_absent("other", 1),
            Capability.DESTROY_COLLECTION: lambda: store.destroy_collection("other"),
            Capability.DESTROY: store.destroy,
        }
        for capability, use in uses.items():
            if capability in store.capabilities:
                await use()
            else:
                with pytest.raises(UnsupportedOperation) as raised:
                    await use()
                assert raised.value.store
                assert isinstance(raised.value, NotImplementedError)

    async def test_it_explains_itself(self, store: Store) -> None:
        text = store.explain()
        assert repr(store.base) in text
        for layer in store.layers:
            assert type(layer).__name__ in text
            assert isinstance(store.find(type(layer)), type(layer))
        assert all(capability in text for capability in store.capabilities)

    async def test_what_is_not_in_it_is_not_found(self, store: Store) -> None:
        class Nowhere(Layer):
            pass

        with pytest.raises(ConfigurationError, match="Nowhere"):
            store.find(Nowhere)
