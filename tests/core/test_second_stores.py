"""A second store is another one than the store that the layer is put over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvwrap import ConfigurationError, MemoryStore, Stack, Store, stack

LAYERS: dict[str, Callable[[Store], Stack]] = {
    "read_through": lambda store: stack().read_through(store, ttl=30),
    "fallback": lambda store: stack().fallback(store),
    "shadow": lambda store: stack().shadow(store),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
async def test_the_same_store_twice_is_refused(make: Callable[[Store], Stack]) -> None:
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="has the same MemoryStore twice"):
        make(store).over(store)
    with pytest.raises(ConfigurationError, match="twice"):
        make(store).over(stack().statistics().over(store))
    # It was released, and can serve another stack.
    async with make(store).over(MemoryStore()) as layered:
        await layered.put("a", 1)
        assert await layered.get("a") == 1
