"""A transform that has a collection of its own inside, for dictionaries, and hides it."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.errors import InvalidKey
from kvwrap.layers.base.transform import Transform
from kvwrap.layers.compression.records import RESERVED


class ReservedCollection(Transform):
    """Keeps the collection `RESERVED` out of sight and out of harm's way.

    Attributes:
        uses_dictionaries: Whether this layer writes with dictionaries; another process may
            in any case.
    """

    reserved = (RESERVED,)
    uses_dictionaries = False

    def check_collection(self, collection: Collection) -> None:
        """Raise `InvalidKey` for the collection that is not the user's."""
        if collection == RESERVED:
            raise self._refusal()

    def _refusal(self) -> InvalidKey:
        return InvalidKey(
            "compression dictionaries lie in this collection: choose another name",
            store=self.name,
            collection=RESERVED,
        )

    async def _refused(self) -> NoReturn:
        # Raised when awaited, as everything is: others may have been called to be sent together.
        raise self._refusal()

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        if collection == RESERVED:
            return self._refused()
        return super().read(collection, keys)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refused()
        return super().write(collection, keys, entries, expected)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refused()
        return self.inner.remove(collection, keys, expected)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refused()
        return self.inner.touch(collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if collection == RESERVED:
            raise self._refusal()
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return [name for name in await self.inner.list_collections() if name != RESERVED]

    async def drop(self, collection: Collection) -> bool:
        if collection == RESERVED:
            raise self._refusal()
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        """Drop everything but dictionaries, with which other processes may be writing."""
        inside = self.inner.capabilities
        if Capability.COLLECTIONS not in inside:
            if self.uses_dictionaries:
                raise self.unsupported(
                    "destroy everything but its dictionaries: the store cannot enumerate "
                    "collections"
                )
            return await self.inner.drop_all()
        names = await self.inner.list_collections()
        if RESERVED not in names and not self.uses_dictionaries:
            return await self.inner.drop_all()
        return any([await self.inner.drop(name) for name in names if name != RESERVED])

    @property
    def capabilities(self) -> Capabilities:
        inside = self.inner.capabilities
        if self.uses_dictionaries:
            wanted = {Capability.COLLECTIONS, Capability.DESTROY_COLLECTION}
            return inside if wanted <= inside else inside - {Capability.DESTROY}
        return inside
