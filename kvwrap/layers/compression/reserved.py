"""A transform with a reserved collection inside, which it hides from everything above."""

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
    """Hides the collection `RESERVED` and refuses every operation on it.

    Attributes:
        uses_dictionaries: True if this layer writes with dictionaries. Other processes may write
            with them in any case.
    """

    reserved = (RESERVED,)
    uses_dictionaries = False

    def check_collection(self, collection: Collection) -> None:
        """Raise InvalidKey for the reserved collection."""
        if collection == RESERVED:
            raise self._reserved_error()

    def _reserved_error(self) -> InvalidKey:
        return InvalidKey(
            "this collection is reserved for compression dictionaries: choose another name",
            store=self.name,
            collection=RESERVED,
        )

    async def _refuse(self) -> NoReturn:
        # Raised when it is awaited, as every operation does: the caller may have created the
        # coroutines of several operations to run them together.
        raise self._reserved_error()

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        if collection == RESERVED:
            return self._refuse()
        return super().read(collection, keys)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refuse()
        return super().write(collection, keys, entries, expected)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refuse()
        return self.inner.remove(collection, keys, expected)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        if collection == RESERVED:
            return self._refuse()
        return self.inner.touch(collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        self.check_collection(collection)
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return [name for name in await self.inner.list_collections() if name != RESERVED]

    async def drop(self, collection: Collection) -> bool:
        self.check_collection(collection)
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        """Drop everything but the dictionaries, since other processes may be writing with them."""
        if Capability.COLLECTIONS not in self.inner.capabilities:
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
        capabilities = self.inner.capabilities
        needed = {Capability.COLLECTIONS, Capability.DESTROY_COLLECTION}
        if self.uses_dictionaries and not needed <= capabilities:
            return capabilities - {Capability.DESTROY}
        return capabilities
