"""Keyrings, entries and layers for the tests of rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvwrap import Keyring, Passthrough, Store
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection

OLD = Keyring({"old": b"o" * 32})
NEW = OLD.with_key("new", b"n" * 32).promoted("new")


async def fill(store: Store, count: int = 250) -> dict[tuple[Collection, str], Any]:
    """Write `count` values to each of three collections. Returns them."""
    values: dict[tuple[Collection, str], Any] = {}
    for collection in (None, "users", "orders"):
        keys = [f"k{n:03}" for n in range(count)]
        batch = [{"n": n, "text": f"{collection} " * 40} for n in range(count)]
        await store.put_many(keys, batch, collection=collection, ttl=1000)
        values |= {(collection, key): value for key, value in zip(keys, batch, strict=True)}
    return values


async def contents_of(store: Store, collections: Sequence[Collection]) -> dict[Any, Any]:
    """Return the values in these collections."""
    return {
        (collection, key): value
        for collection in collections
        async for key, value in store.items(collection=collection)
    }


class Interloper(Passthrough):
    """Calls `act` once, after a read."""

    def __init__(self) -> None:
        self.act: Callable[[], Any] | None = None

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if self.act is not None:
            act, self.act = self.act, None
            await act()
        return entries
