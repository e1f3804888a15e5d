"""The layer that changes nothing, to begin one's own from."""

from __future__ import annotations

from kvwrap.layers.base import Layer


class Passthrough(Layer):
    """Forwards everything, at no cost: the base for layers of one's own.

    State only the primitives that you change, of those that `kvwrap.core.primitives` lists.
    A change to `read` changes `get`, `get_many`, `ttl`, `exists`, `items` and every other
    method that reads:

    >>> import asyncio
    >>> from kvwrap import MemoryStore, Passthrough
    >>> class CountReads(Passthrough):
    ...     def __init__(self) -> None:
    ...         self.count = 0
    ...
    ...     async def read(self, collection, keys):
    ...         self.count += len(keys)
    ...         return await self.inner.read(collection, keys)
    >>> store = CountReads().over(MemoryStore())
    >>> asyncio.run(store.get_many(["a", "b"]))
    [None, None]
    >>> store.find(CountReads).count
    2
    """
