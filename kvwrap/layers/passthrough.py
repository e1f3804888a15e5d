"""A layer that changes nothing: the base class for your own layers."""

from __future__ import annotations

from kvwrap.layers.base import Layer


class Passthrough(Layer):
    """Forwards everything, without overhead: the base class for your own layers.

    Implement only the primitives that you change, out of the thirteen in `kvwrap.core.primitives`.
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
