"""The mode `writes="both"` of a `Fallback`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)

from msgspec.structs import replace

from kvwrap.core.batch import succeeded_flags
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import Entry
from kvwrap.core.part import Passage
from kvwrap.core.primitives import Collection, Expected, Primitives, QualifiedKey
from kvwrap.errors import CircuitOpen, KvwrapError, StoreUnavailable
from kvwrap.layers.fallback.doubts import EVERYTHING, Doubts, Scope
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.fallback.policies import RefuseWrites
from kvwrap.layers.fallback.snapshot import FallbackSnapshot
from kvwrap.layers.shared.guard import Guard

_DESTRUCTIVE = {Capability.DESTROY, Capability.DESTROY_COLLECTION}
_DROP = "drop"
"""The name of the lock that `drop` and `drop_all` hold."""


class CopyWrites(RefuseWrites):
    """`writes="both"`: what the inner store has carried out is copied to the other store.

    Writes of one key reach the other store in the order of the inner store, and collections are
    dropped while no write is in progress. A key is in doubt
    while the other store may have an older state than readers of the inner store have seen: after
    a change that failed or was cancelled with an unknown outcome, or a copy that failed. Reads of
    such a key come from the inner store, or raise. The next read that the inner store answers
    settles the doubt.

    Args:
        inner: The inner store.
        guard: The circuit breaker around it.
        mirror: The other store, as it receives copies.
        owner: The name of the layer, for errors.
    """

    passage = replace(
        RefuseWrites.passage,
        write="goes to the backend, then as a copy to the fallback; in an outage it is refused",
        second=Passage(
            read="comes here while the backend is down",
            write="keeps a copy of what the backend has carried out",
        ),
    )

    def __init__(self, inner: Primitives, guard: Guard, mirror: Mirror, *, owner: str) -> None:
        super().__init__(inner, guard, mirror.store, owner=owner)
        self._mirror = mirror
        self._locks = KeyedLocks()
        self._drops = KeyedLocks()
        self._doubts = Doubts()

    @property
    def capabilities(self) -> Capabilities:
        # Both stores must be able to delete what is deleted in both.
        return super().capabilities - (_DESTRUCTIVE - self._mirror.store.capabilities)

    @property
    def idle(self) -> bool:
        return not self._locks and not self._drops

    def snapshot(self) -> FallbackSnapshot:
        return replace(
            super().snapshot(),
            copy_failures=self._mirror.copy_failures,
            in_doubt=len(self._doubts),
        )

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read these keys from one of the two stores.

        Raises:
            StoreUnavailable: Neither store answers, or the inner one does not and a key is in
                doubt.
        """
        entries = await super().read(collection, keys)
        if self._doubts and self._mirror.is_available:
            await self._settle(collection, keys)
        return entries

    async def read_other(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if self._locks or self._drops:
            # The outcome of the changes in progress may put the keys in doubt.
            async with self._lock(collection, keys):
                pass
        if self._doubts.of(_qualified(collection, keys)):
            raise StoreUnavailable(
                "the fallback may have an older state of a key than was read before: a change of "
                "it was not confirmed, or not copied",
                store=self._owner,
                collection=collection,
            )
        return await super().read_other(collection, keys)

    async def _settle(self, collection: Collection, keys: Sequence[str]) -> None:
        """Copy the keys in doubt from the inner store, if it answers."""
        doubted = [key for _, key in self._doubts.of(_qualified(collection, dict.fromkeys(keys)))]
        if doubted:
            async with self._lock(collection, doubted):
                with suppress(StoreUnavailable):
                    entries = await self._guard.call(self._inner.read, collection, doubted)
                    await self._copy(collection, doubted, entries, [True] * len(doubted))

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        async with self._lock(collection, keys):
            return await self._write(collection, keys, entries, expected)

    async def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        async with self._lock(collection, keys):
            return await self._remove(collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        async with self._lock(collection, keys):
            return await self._touch(collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        async with self._lock_all():
            return await self._drop(collection)

    async def drop_all(self) -> bool:
        async with self._lock_all():
            return await self._drop_all()

    async def _drop(self, collection: Collection) -> bool:
        with self._doubting(collection):
            dropped = await super().drop(collection)
            if await self._mirror.call(self._mirror.store.drop, collection):
                self._doubts.settle_scope(collection)
            else:
                self._doubts.add_scope(collection)
        return dropped

    async def _drop_all(self) -> bool:
        with self._doubting(EVERYTHING):
            dropped = await super().drop_all()
            if await self._mirror.call(self._mirror.store.drop_all):
                self._doubts.settle_scope(EVERYTHING)
            else:
                self._doubts.add_scope(EVERYTHING)
        return dropped

    async def sweep(self) -> None:
        await super().sweep()
        await self._mirror.call(self._mirror.store.sweep)

    @contextmanager
    def _doubting(self, scope: Scope) -> Iterator[None]:
        """Doubt a collection, or all, if deleting it has an unknown outcome."""
        try:
            yield
        except CircuitOpen:
            raise  # the inner store was not called
        except BaseException:
            self._doubts.add_scope(scope)
            raise

    def _lock(
        self, collection: Collection, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[object]:
        if self._drops:
            return self._lock_after_drop(collection, keys)
        return self._locks.hold_keys(collection, keys)

    @asynccontextmanager
    async def _lock_after_drop(
        self, collection: Collection, keys: Sequence[str]
    ) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            async with self._drops.hold(_DROP):
                await held.enter_async_context(self._locks.hold_keys(collection, keys))
            yield

    @asynccontextmanager
    async def _lock_all(self) -> AsyncIterator[None]:
        """Wait for all changes in progress; later ones wait for the end of the block."""
        async with self._drops.hold(_DROP):
            # Each change in progress holds the lock of a key, or waits for one, until it ends.
            names: list[QualifiedKey] = sorted(
                self._locks.names(), key=lambda name: (name[0] or "", name[1])
            )
            async with self._locks.hold_all(names):
                yield

    async def _write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        try:
            written = await self._guard.call(self._inner.write, collection, keys, entries, expected)
            await self._copy(collection, keys, entries, written)
        except BaseException as error:
            await self._doubt(collection, keys, entries, error)
            raise
        return written

    async def _remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        nothing = [None] * len(keys)
        try:
            removed = await self._guard.call(self._inner.remove, collection, keys, expected)
            # The other store may have an entry that the inner one does not have.
            succeeded = removed if expected is not None else [True] * len(keys)
            await self._copy(collection, keys, nothing, succeeded)
        except BaseException as error:
            await self._doubt(collection, keys, nothing, error)
            raise
        return removed

    async def _touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        try:
            touched = await self._guard.call(self._inner.touch, collection, keys, expires)
            if not await self._mirror.touch(collection, keys, expires, touched):
                self._doubts.add(_qualified(collection, keys))
        except BaseException as error:
            await self._doubt(collection, keys, None, error)
            raise
        return touched

    async def _doubt(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None] | None,
        error: BaseException,
    ) -> None:
        """Doubt the keys of a change that failed or was cancelled, except those known.

        Known are the keys that were changed, which are copied if their entries are known, and
        keys that were not sent or that were refused.
        """
        known = isinstance(error, KvwrapError) and error.succeeded
        is_refused = isinstance(error, KvwrapError) and not isinstance(error, StoreUnavailable)
        if (is_refused and len(keys) == 1) or (isinstance(error, CircuitOpen) and not known):
            return
        self._doubts.add(_qualified(collection, keys))
        if entries is not None and isinstance(error, KvwrapError) and error.succeeded:
            await self._copy(collection, keys, entries, succeeded_flags(keys, error))

    async def _copy(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        succeeded: Sequence[bool],
    ) -> None:
        """Copy the entries that were written, and `None` for removed ones."""
        copied = await self._mirror.copy(collection, keys, entries, succeeded)
        if copied and not self._doubts:
            return
        changed = [(collection, key) for key, done in zip(keys, succeeded, strict=True) if done]
        if copied:
            self._doubts.settle(changed)
        else:
            self._doubts.add(changed)


def _qualified(collection: Collection, keys: Iterable[str]) -> list[QualifiedKey]:
    return [(collection, key) for key in keys]
