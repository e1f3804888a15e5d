"""The mode `writes="journal"` of a `Fallback`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from kvwrap.core.batch import first_of_each
from kvwrap.core.entry import Entry
from kvwrap.core.figures import Measured
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page, Primitives
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.fallback.copies import CopyWrites
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.fallback.outage import OutageJournal
from kvwrap.layers.fallback.snapshot import FallbackSnapshot
from kvwrap.layers.shared.guard import Guard


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

    passage = replace(
        CopyWrites.passage,
        write="goes to the backend, then as a copy to the fallback; in an outage it waits in the "
        "journal",
    )

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

    def measured(self) -> tuple[Measured, ...]:
        return (*super().measured(), self._outage.figures)

    async def open(self) -> None:
        self._doubts.add(await self._outage.open())

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

    async def count_range(
        self, collection: Collection, key_range: KeyRange, *, of_other: bool = False
    ) -> int:
        of_other = of_other or await self._must_list_other()
        return await super().count_range(collection, key_range, of_other=of_other)

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
        async with self._lock_all():
            await self._settle_all()  # what was accepted meanwhile
            return await self._drop(collection)

    async def drop_all(self) -> bool:
        await self._settle_all()
        async with self._lock_all():
            await self._settle_all()
            return await self._drop_all()

    async def _settle_all(self) -> None:
        await self._prepare()
        await self._outage.sender.settle_all()

    async def _accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> list[bool]:
        try:
            await self._outage.accept(collection, keys, entries)
        except asyncio.CancelledError:
            # The journal may accept them nevertheless, and the other store gets no copy.
            self._doubts.add((collection, key) for key in keys)
            raise
        accepted = [True] * len(keys)
        # For enumerations the other store needs a copy; if that fails, the journal has the change.
        await self._copy(collection, keys, entries, accepted)
        return accepted

    async def _accept_removal(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        entries = await self._outage.read(self._read_locked, collection, keys)
        existed = [entry is not None for entry in entries]
        await self._accept(collection, keys, [None] * len(keys))
        return first_of_each(keys, existed)

    async def _read_locked(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read keys whose locks are held, from the other store even if they are in doubt."""
        try:
            return await self._guard.call(self._inner.read, collection, keys)
        except StoreUnavailable:
            return await self._other.read(collection, keys)
