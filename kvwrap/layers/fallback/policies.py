"""The modes of a `Fallback`: one class per value of its argument `writes`.

Each mode adds to the one before. The methods of the first are the interface of all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from kvwrap.core.batch import first_of_each, succeeded_flags
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page, Primitives
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.fallback.failover import Failover
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.fallback.outage import OutageJournal
from kvwrap.layers.fallback.snapshot import FallbackSnapshot
from kvwrap.layers.shared.guard import Guard

_DESTRUCTIVE = {Capability.DESTROY, Capability.DESTROY_COLLECTION}


class RefuseWrites(Failover):
    """`writes="refuse"`: only the inner store is written to; in an outage writes raise."""

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of the layer and everything under it."""
        return self._inner.capabilities

    @property
    def idle(self) -> bool:
        """True while nothing is in progress."""
        return True

    def snapshot(self) -> FallbackSnapshot:
        """Return the current state and counts."""
        return FallbackSnapshot(
            self._guard.state, self._guard.opened, self.fallback_reads, copy_failures=0
        )

    async def open(self) -> None:
        """Open what the mode needs besides the two stores."""

    async def close(self) -> None:
        """Close what `open` opened."""

    async def flush(self) -> None:
        """Send the changes that were accepted in an outage."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        return await self._guard.call(self._inner.write, collection, keys, entries, expected)

    async def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        return await self._guard.call(self._inner.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._guard.call(self._inner.touch, collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        return await self._guard.call(self._inner.drop, collection)

    async def drop_all(self) -> bool:
        return await self._guard.call(self._inner.drop_all)

    async def sweep(self) -> None:
        await self._guard.call(self._inner.sweep)


class CopyWrites(RefuseWrites):
    """`writes="both"`: what the inner store has carried out is copied to the other store.

    Writes of one key reach the other store in the order of the inner store.

    Args:
        inner: The inner store.
        guard: The circuit breaker around it.
        mirror: The other store, as it receives copies.
        owner: The name of the layer, for errors.
    """

    def __init__(self, inner: Primitives, guard: Guard, mirror: Mirror, *, owner: str) -> None:
        super().__init__(inner, guard, mirror.store, owner=owner)
        self._mirror = mirror
        self._locks = KeyedLocks()

    @property
    def capabilities(self) -> Capabilities:
        # Both stores must be able to delete what is deleted in both.
        return super().capabilities - (_DESTRUCTIVE - self._mirror.store.capabilities)

    @property
    def idle(self) -> bool:
        return not self._locks

    def snapshot(self) -> FallbackSnapshot:
        return replace(super().snapshot(), copy_failures=self._mirror.copy_failures)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        async with self._lock(collection, keys):
            try:
                return await self._write(collection, keys, entries, expected)
            except StoreUnavailable as error:
                await self._copy_succeeded(collection, keys, entries, error)
                raise

    async def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        async with self._lock(collection, keys):
            try:
                return await self._remove(collection, keys, expected)
            except StoreUnavailable as error:
                await self._copy_succeeded(collection, keys, [None] * len(keys), error)
                raise

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        async with self._lock(collection, keys):
            return await self._touch(collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        dropped = await super().drop(collection)
        await self._mirror.call(self._mirror.store.drop, collection)
        return dropped

    async def drop_all(self) -> bool:
        dropped = await super().drop_all()
        await self._mirror.call(self._mirror.store.drop_all)
        return dropped

    async def sweep(self) -> None:
        await super().sweep()
        await self._mirror.call(self._mirror.store.sweep)

    def _lock(
        self, collection: Collection, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[None]:
        # In sorted order, so that no two batches wait for each other.
        return self._locks.hold_all((collection, key) for key in sorted(set(keys)))

    async def _write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        written = await self._guard.call(self._inner.write, collection, keys, entries, expected)
        await self._mirror.copy(collection, keys, entries, written)
        return written

    async def _remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        removed = await self._guard.call(self._inner.remove, collection, keys, expected)
        # The other store may have an entry that the inner one does not have.
        succeeded = removed if expected is not None else [True] * len(keys)
        await self._mirror.copy(collection, keys, [None] * len(keys), succeeded)
        return removed

    async def _touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        touched = await self._guard.call(self._inner.touch, collection, keys, expires)
        await self._mirror.touch(collection, keys, expires, touched)
        return touched

    async def _copy_succeeded(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        error: StoreUnavailable,
    ) -> None:
        await self._mirror.copy(collection, keys, entries, succeeded_flags(keys, error))


class JournalWrites(CopyWrites):
    """`writes="journal"`: as `"both"`, and in an outage a journal accepts puts and deletes.

    Args:
        inner: The inner store.
        guard: The circuit breaker around it.
        mirror: The other store, as it receives copies.
        outage: The journal.
        ready: Opens the layer, and with it the journal, at the first use.
        owner: The name of the layer, for errors.
    """

    def __init__(
        self,
        inner: Primitives,
        guard: Guard,
        mirror: Mirror,
        outage: OutageJournal,
        ready: Callable[[], Awaitable[None]],
        *,
        owner: str,
    ) -> None:
        super().__init__(inner, guard, mirror, owner=owner)
        self._outage = outage
        self._ready = ready

    @property
    def idle(self) -> bool:
        return super().idle and self._outage.idle

    def snapshot(self) -> FallbackSnapshot:
        sender = self._outage.sender
        return replace(
            super().snapshot(),
            pending=len(self._outage.journal.pending),
            replayed=sender.sent,
            refused=sender.refused,
            damaged=self._outage.journal.damaged,
        )

    async def open(self) -> None:
        await self._outage.open()

    async def close(self) -> None:
        await self._outage.close()

    async def flush(self) -> None:
        await self._prepare()
        await self._outage.sender.flush()

    async def _prepare(self) -> None:
        """Open the layer if it is not open; raise in a child that was forked since."""
        await self._ready()
        self._outage.journal.check_process()

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        await self._prepare()
        return await self._outage.read(super().read, collection, keys)

    async def list_keys(
        self, collection: Collection, key_range: KeyRange, cursor: object, *, of_other: bool = False
    ) -> Page:
        of_other = of_other or (cursor is None and await self._must_list_other())
        return await super().list_keys(collection, key_range, cursor, of_other=of_other)

    async def list_collections(self, *, of_other: bool = False) -> list[Collection]:
        of_other = of_other or await self._must_list_other()
        return await super().list_collections(of_other=of_other)

    async def _must_list_other(self) -> bool:
        """Return True if only the other store has all names, since pending changes stay unsent."""
        await self._prepare()
        try:
            await self._outage.sender.flush()
        except StoreUnavailable:
            if not self.can_list_other:
                raise
            return True
        return False

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        async with self._lock(collection, keys):
            await self._prepare()
            if await self._outage.must_queue(collection, keys, expected):
                return await self._accept(collection, keys, entries)
            try:
                return await self._write(collection, keys, entries, expected)
            except StoreUnavailable as error:
                if self._outage.can_accept(expected, error):
                    return await self._accept(collection, keys, entries)
                await self._copy_succeeded(collection, keys, entries, error)
                raise

    async def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        async with self._lock(collection, keys):
            await self._prepare()
            if await self._outage.must_queue(collection, keys, expected):
                return await self._accept_removal(collection, keys)
            try:
                return await self._remove(collection, keys, expected)
            except StoreUnavailable as error:
                if self._outage.can_accept(expected, error):
                    return await self._accept_removal(collection, keys)
                await self._copy_succeeded(collection, keys, [None] * len(keys), error)
                raise

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        async with self._lock(collection, keys):
            await self._prepare()
            await self._outage.must_queue(collection, keys, ())
            return await self._touch(collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        await self._settle_all()
        return await super().drop(collection)

    async def drop_all(self) -> bool:
        await self._settle_all()
        return await super().drop_all()

    async def _settle_all(self) -> None:
        await self._prepare()
        await self._outage.sender.settle_all()

    async def _accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> list[bool]:
        await self._outage.accept(collection, keys, entries)
        accepted = [True] * len(keys)
        # For enumerations the other store needs a copy; if that fails, the journal has the change.
        await self._mirror.copy(collection, keys, entries, accepted)
        return accepted

    async def _accept_removal(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        existed = [entry is not None for entry in await self.read(collection, keys)]
        await self._accept(collection, keys, [None] * len(keys))
        return first_of_each(keys, existed)
