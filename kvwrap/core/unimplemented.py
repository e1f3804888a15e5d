"""The primitives of a store before it implements them."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import touch_by_writing
from kvwrap.core.part import Part
from kvwrap.core.primitives import Collection, Expected, KeyRange, Origin, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.ranges import count_by_listing, drop_by_removing
from kvwrap.errors import UnsupportedOperation


class Unimplemented(Part):
    """The primitives, for stores to implement; see `kvwrap.core.primitives`.

    Those that a store does not implement raise `UnsupportedOperation`, or use others.
    """

    clock: Clock

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        raise self._unsupported("read")

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        raise self._unsupported("write")

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        raise self._unsupported("delete")

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Do the primitive by reading and writing, for stores without a better way.

        If the store cannot compare versions, a write between the two is lost.
        """
        return await touch_by_writing(
            self, collection, keys, expires, _with_expiry, owner=self.name
        )

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        raise self._unsupported("enumerate keys")

    async def list_collections(self) -> list[Collection]:
        raise self._unsupported("enumerate collections")

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        """List the keys, unless the store overrides this with a better way to count them."""
        return await count_by_listing(self, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        """List and remove the keys, unless the store overrides this with a better way."""
        return await drop_by_removing(self, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        raise self._unsupported("destroy a collection")

    async def drop_all(self) -> bool:
        raise self._unsupported("destroy everything it holds")

    async def sweep(self) -> None:
        """Do nothing, unless the store overrides this."""

    async def ping(self) -> None:
        """Set up, unless the store overrides this with a better way to reach its backend."""
        await self.ready()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        raise self._unsupported("watch for changes")

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        return ((self, collection, key),)

    def _unsupported(self, operation: str) -> UnsupportedOperation:
        return UnsupportedOperation(f"{self.name} cannot {operation}", store=self.name)


def _with_expiry(entry: Entry, expires_at: float | None) -> Entry:
    return entry.with_expiry(expires_at, new_version())
