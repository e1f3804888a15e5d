"""The computations of values in progress in a store, and what changes their keys meanwhile.

A value that is computed from old data must not be stored after a change of its key that was
acknowledged meanwhile. So each change through the store object first marks the computations of
its keys as overtaken. The result of an overtaken computation is returned to its own caller only.
A change that meets the write of a result waits for the end of that write, and comes after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, live
from kvwrap.core.figures import Measured, counter
from kvwrap.core.outcomes import Failed, Missing, Product
from kvwrap.core.primitives import Collection, Expected, KeyRange, Primitives, QualifiedKey

LOG_INTERVAL = 60.0
"""Seconds for which a warning of one kind is not logged again."""

_log = logging.getLogger("kvwrap.computed")


class ComputationCounts(Measured, msgspec.Struct):
    """What `get_or_put` and cached functions of a store have done so far.

    Attributes:
        computed: Calls of factories that returned a value.
        failed: Calls of factories that raised an exception.
        stored: Results that were put into the store.
        not_kept: Results that `keep` refused.
        overtaken: Results that were not stored because their key was changed meanwhile, through
            this store object or by another process.
        stale_served: Answers with a value that had expired, because the factory failed or was slow.
        invalid: Stored values that could not be read, and were computed again.
        store_failures: Failures and refusals of the store, after which a result was not cached.
    """

    figures: ClassVar = (
        counter(
            "computed.values",
            "{value}",
            "Calls of factories that returned a value.",
            path="computed",
        ),
        counter("computed.failed", "{value}", "Calls of factories that raised an exception."),
        counter("computed.stored", "{value}", "Results that were put into the store."),
        counter("computed.not_kept", "{value}", "Results that `keep` refused."),
        counter("computed.overtaken", "{value}", "Results not stored: their key was changed."),
        counter("computed.stale", "{value}", "Answers with an expired value.", path="stale_served"),
        counter("computed.invalid", "{value}", "Stored values that could not be read."),
        counter("computed.store_failures", "{call}", "Failures and refusals of the store."),
    )
    computed: int = 0
    failed: int = 0
    stored: int = 0
    not_kept: int = 0
    overtaken: int = 0
    stale_served: int = 0
    invalid: int = 0
    store_failures: int = 0


class Computation:
    """One call of a factory, and the write of its result.

    Attributes:
        is_overtaken: True if the key was changed since the call began.
    """

    __slots__ = ("_loop", "_written", "is_overtaken")

    def __init__(self) -> None:
        self.is_overtaken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._written: asyncio.Future[None] | None = None

    def begin_write(self) -> None:
        """Let changes of the key wait until `end_write`."""
        self._loop = asyncio.get_running_loop()

    def end_write(self) -> None:
        """Let changes of the key go on."""
        self._loop = None
        if self._written is not None:
            self._written.set_result(None)

    def overtake(self) -> asyncio.Future[None] | None:
        """Mark it. Returns what to wait for if the result is being written in this loop."""
        self.is_overtaken = True
        if self._loop is None or self._loop is not asyncio.get_running_loop():
            return None
        if self._written is None:
            self._written = self._loop.create_future()
        return self._written


class Computations(dict[QualifiedKey, Computation]):
    """The computations in progress, by collection and key.

    Attributes:
        ended: Number of computations that have ended.
        counts: What the computations have done.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.ended = 0
        self.counts = ComputationCounts()
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def begin(self, name: QualifiedKey) -> Computation:
        """Return a new computation. An earlier one of this key is one of a stopped loop."""
        computation = self[name] = Computation()
        return computation

    def end(self, name: QualifiedKey, computation: Computation) -> None:
        """End a computation that `begin` returned."""
        self.ended += 1
        if self.get(name) is computation:
            del self[name]

    def judge(
        self, computation: Computation, product: Product | Failed, missing: Missing, owner: str
    ) -> Product | Failed:
        """Count a call of a factory. Returns the product, or the failure with the stale entry.

        Raises the factory's exception if there is no such entry, or the key was changed.

        Args:
            computation: The call.
            product: What became of it.
            missing: The reason for the call.
            owner: The name of the store, for the log.
        """
        if isinstance(product, Product):
            self.counts.computed += 1
            return product
        self.counts.failed += 1
        stale = live(missing.stale, self._clock.time())
        if stale is None or computation.is_overtaken:
            raise product.error
        self.warn(
            "factory",
            "%s: a factory failed, and callers with `stale_ttl` get the value from before: %s",
            owner,
            type(product.error).__name__,
        )
        return Failed(product.error, stale)

    async def overtake(self, collection: Collection, keys: Iterable[str]) -> None:
        """Mark the computations of these keys, and wait for their writes in progress."""
        await self._overtake([(collection, key) for key in keys])

    async def overtake_range(self, collection: Collection, key_range: KeyRange) -> None:
        """Mark the computations of a range of keys, and wait for their writes in progress."""
        await self._overtake(
            [name for name in self if name[0] == collection and name[1] in key_range]
        )

    async def overtake_all(self, collection: Collection) -> None:
        """Mark the computations of a collection, and wait for their writes in progress."""
        await self._overtake([name for name in self if name[0] == collection])

    async def overtake_everything(self) -> None:
        """Mark all computations, and wait for their writes in progress."""
        await self._overtake(list(self))

    async def _overtake(self, names: Sequence[QualifiedKey]) -> None:
        while True:
            computations = [self[name] for name in names if name in self]
            writes = [write for each in computations if (write := each.overtake()) is not None]
            if not writes:
                return
            await asyncio.wait(writes)

    def warn(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning, but one of each kind at most once in `LOG_INTERVAL`."""
        now = self._clock.monotonic()
        if now >= self._logged_at.get(kind, now):
            self._logged_at[kind] = now + LOG_INTERVAL
            _log.warning(message, *arguments)


class Overtaking:
    """The changing primitives of a part; each first overtakes the computations of its keys.

    Args:
        part: The part.
        computations: The computations.
    """

    def __init__(self, part: Primitives, computations: Computations) -> None:
        self._part = part
        self._computations = computations

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._computations.overtake(collection, keys)
        return await self._part.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._computations.overtake(collection, keys)
        return await self._part.remove(collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self._computations.overtake(collection, keys)
        return await self._part.touch(collection, keys, expires)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self._computations.overtake_range(collection, key_range)
        return await self._part.drop_range(collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        await self._computations.overtake_all(collection)
        return await self._part.drop(collection)

    async def drop_all(self) -> bool:
        await self._computations.overtake_everything()
        return await self._part.drop_all()
