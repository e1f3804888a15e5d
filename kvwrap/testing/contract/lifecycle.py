"""Opening, closing, capabilities, `explain` and `find`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from kvwrap import Capability, ConfigurationError, Store, StoreUnavailable, UnsupportedOperation
from kvwrap.core.changes import Scope
from kvwrap.core.layer import Layer
from kvwrap.core.part import View
from kvwrap.testing.contract.base import Contract


class Lifecycle(Contract):
    """A store can be opened, closed and reopened, and its capabilities match what works."""

    async def test_check_succeeds(self, store: Store) -> None:
        await store.check()

    async def test_it_closes_when_its_last_user_closes_it(self, store: Store) -> None:
        await store.put("key", 1)
        async with store:
            assert await store.get("key") == 1
        assert await store.get("key") == 1

    async def test_a_closed_store_refuses_calls_and_closing_twice_is_harmless(
        self, store: Store
    ) -> None:
        await store.put("key", 1)
        capabilities = store.capabilities
        await store.close()
        await store.close()
        calls: tuple[tuple[Callable[[], Awaitable[Any]], Capability | None], ...] = (
            (lambda: store.get("key"), None),
            (lambda: store.get_many(["key"]), None),
            (lambda: store.ttl("key"), None),
            (lambda: store.put("key", 2), None),
            (lambda: store.delete("key"), None),
            (lambda: store.expire("key", 5), None),
            (store.check, None),
            (store.keys, Capability.KEYS),
            (store.count, Capability.KEYS),
            (lambda: store.delete_where(prefix="k"), Capability.KEYS),
            (store.collections, Capability.COLLECTIONS),
            (lambda: store.put_if_absent("other", 1), Capability.COMPARE_AND_PUT),
            (lambda: store.pop("key"), Capability.COMPARE_AND_PUT),
            (lambda: store.destroy_collection("other"), Capability.DESTROY_COLLECTION),
            (store.destroy, Capability.DESTROY),
            (store.cull, Capability.CULL),
            (lambda: store.subscribe(Scope(), print), Capability.WATCH),
        )
        for call, capability in calls:
            if capability is None or capability in capabilities:
                with pytest.raises(StoreUnavailable) as raised:
                    await call()
                assert isinstance(raised.value, ConnectionError)

    async def test_it_can_be_reopened(self, store: Store) -> None:
        await store.put("key", 1)
        await store.close()
        async with store:
            if Capability.PERSISTENT in store.capabilities:
                assert await store.get("key") == 1
            await store.put("key", 2)
            assert await store.get("key") == 2

    async def test_scrubbing_keeps_every_entry(self, store: Store) -> None:
        await store.put_many(["key", "other"], [1, 2])
        await store.put("key", 3)
        await store.delete("other")
        before = await store.get_many(["key", "other"])
        await store.base.scrub()
        assert await store.get_many(["key", "other"]) == before

    async def test_its_location_stays_the_same(self, store: Store) -> None:
        location = store.base.location
        assert location
        await store.put("key", 1)
        assert store.base.location == location

    async def test_capabilities_match_what_works(self, store: Store) -> None:
        assert store.capabilities <= set(Capability)
        await store.put("key", 1)
        calls: dict[Capability, Callable[[], Awaitable[Any]]] = {
            Capability.KEYS: store.keys,
            Capability.COLLECTIONS: store.collections,
            Capability.COMPARE_AND_PUT: lambda: store.put_if_absent("other", 1),
            Capability.DESTROY_COLLECTION: lambda: store.destroy_collection("other"),
            Capability.DESTROY: store.destroy,
        }
        for capability, call in calls.items():
            if capability in store.capabilities:
                await call()
            else:
                with pytest.raises(UnsupportedOperation) as raised:
                    await call()
                assert raised.value.store
                assert isinstance(raised.value, NotImplementedError)

    async def test_explain_names_every_part(self, store: Store) -> None:
        text = store.explain()
        assert repr(store.base) in text
        for layer in store.layers:
            assert type(layer).__name__ in text
            assert isinstance(store.find(type(layer)), type(layer))
        assert all(capability in text for capability in store.capabilities)

    async def test_a_drawing_names_every_part(self, store: Store) -> None:
        views: tuple[bool | View, ...] = (True, "read", "write", "both")
        for view in views:
            svg = store.explain(svg=view)
            assert svg == store.explain(svg=view)
            texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
            words = "".join(text.text or "" for text in texts)
            assert all(part.name in words for part in store.parts)

    async def test_find_refuses_a_layer_that_is_not_in_the_stack(self, store: Store) -> None:
        class Nowhere(Layer):
            pass

        with pytest.raises(ConfigurationError, match="Nowhere"):
            store.find(Nowhere)
