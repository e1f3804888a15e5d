"""A near store in front of a far one, kept coherent with what this process writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from kvwrap.core.capability import Capability
from kvwrap.core.concurrency import is_abandoned, unfinished
from kvwrap.core.entry import Entry
from kvwrap.core.part import leaves_process
from kvwrap.core.primitives import Collection, KeyRange, Primitives, QualifiedKey
from kvwrap.core.shared_value import share
from kvwrap.core.store import Store
from kvwrap.core.turns import SLICE, slices, turn
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.read_through.cooldown import Cooldown
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.fills import Fills
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.invalidations import (
    EVERYTHING,
    PendingInvalidation,
    PendingInvalidations,
    Target,
)
from kvwrap.layers.read_through.singleflight import SingleFlight


class Tier:
    """The reads of the far store in flight, and everything that changes the near store.

    **Why no read returns anything older than an acknowledged write of this process:**

    1. Only a fill puts a copy into the near store. Each fill belongs to one read of the far
       store, and puts there what that read returned.
    2. A change is over when the far store has carried it out or has failed to, or when its
       caller is cancelled. At that point two things happen in one step, before anything else
       can run: (a) the key's read is removed from the reads in flight, and (b) the invalidation
       of its copy becomes pending. A read that is no longer in flight fills nothing, and no
       caller can join it. So from this step on, every fill that starts and every caller that
       joins uses a read that was started after the change. A caller that had joined an earlier
       read may get an older value, but it began before the change was acknowledged.
    3. A fill that was handed to the near store before this step is waited for. Only then is the
       copy removed, so the removal comes last. Only after that is the change acknowledged.
    4. A copy whose invalidation is pending is never served. It becomes usable only when the near
       store has confirmed a removal or a fill that began after (b), and no later change has
       made the invalidation pending again. Where the removal fails or is cancelled, reads
       therefore go on to the far store. Apart from that, an invalidation ends only when all
       copies that it is about must have expired.
    5. Fills of one key wait for each other, so the later one remains.

    Args:
        near: The near store.
        far: The far store.
        freshness: How long copies are used.
        counts: The counts to add to.
        name: Name of the layer in errors.

    Attributes:
        pending: The invalidations that the near store has not confirmed. Their copies must not
            be read.
        cooldown: The keys that the far store has just failed to read.
        counts: What has been done. The layer that reads the copies adds its part.
    """

    def __init__(
        self, near: Store, far: Primitives, freshness: Freshness, counts: TierCounts, name: str
    ) -> None:
        self.pending = PendingInvalidations()
        self.cooldown = Cooldown(far.clock)
        self.counts = counts
        self._near = near
        self._far = far
        self._clock = far.clock
        self._freshness = freshness
        self._name = name
        # Copies that others write to the near store, or wrote before, may live longer.
        self._drops_ranges = Capability.KEYS in near.capabilities
        self._longest_life = math.inf if leaves_process(near) else freshness.longest_life
        self._fills_at_once = near.look_up is not None
        self._tasks: dict[asyncio.Task[None], SingleFlight] = {}
        self._abandoned: set[asyncio.Task[None]] = set()
        self._reset(None)

    def _reset(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Whatever an earlier loop left unfinished when it was stopped is no longer waited for.
        self._loop = loop
        self._in_flight: dict[QualifiedKey, SingleFlight] = {}
        self._reads: set[SingleFlight] = set()
        self._fills = Fills(self._near, self._clock, self._freshness, self.counts, self.pending)
        self._abandoned = unfinished(self._abandoned.union(self._tasks))
        self._tasks = {}

    def _enter_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop. Reads in flight and fills belong to it alone."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset(loop)
        return loop

    @property
    def idle(self) -> bool:
        """True while no read of the far store and no fill of the near store is in progress."""
        return is_abandoned(self._loop) or not (
            self._in_flight or self._reads or self._fills or self._tasks
        )

    # -- reads of the far store --------------------------------------------------------

    def in_flight(self, collection: Collection, key: str) -> SingleFlight | None:
        """Return the read in flight that a caller may join for this key."""
        self._enter_loop()
        return self._in_flight.get((collection, key))

    def flight(self, collection: Collection, *, is_refresh: bool = False) -> SingleFlight:
        """Return a new flight without keys. Its result is at least as new as this call."""
        self._enter_loop()
        return SingleFlight(collection, self._clock.time(), is_refresh)

    async def read(
        self,
        flight: SingleFlight,
        keys: Sequence[str],
        others: dict[SingleFlight, list[str]],
    ) -> dict[str, Entry | None]:
        """Read keys from the far store, and fill the near store with them.

        If the caller is cancelled, the flight is abandoned.

        Args:
            flight: A new flight. Gets those of the keys that no other flight is reading.
            keys: The keys to read.
            others: Gets the remaining keys, by the flight that the caller has to join for them.

        Returns the entries by key; raises the error of the far store.
        """
        leader = flight.leader = asyncio.current_task()
        cancelling = 0 if leader is None else leader.cancelling()
        self._reads.add(flight)
        try:
            self._claim(flight, keys[:SLICE], others)
            for start in range(SLICE, len(keys), SLICE):
                await turn()
                self._claim(flight, keys[start : start + SLICE], others)
            return await self._read(flight) if flight.keys else {}
        except asyncio.CancelledError:
            if not flight.is_closed or leader is None or leader.uncancel() > cancelling:
                raise
            flight.fail(self._closed())
            raise self._closed() from None
        finally:
            self._reads.discard(flight)
            if not flight.is_done:
                flight.abandon()
            if not flight.has_entries:
                self._land(flight, flight.keys)

    def _claim(
        self,
        flight: SingleFlight,
        keys: Sequence[str],
        others: dict[SingleFlight, list[str]],
    ) -> None:
        collection, in_flight = flight.collection, self._in_flight
        for key in keys:
            other = in_flight.setdefault((collection, key), flight)
            if other is flight:
                flight.keys.append(key)
            else:
                others.setdefault(other, []).append(key)

    async def _read(self, flight: SingleFlight) -> dict[str, Entry | None]:
        collection, keys = flight.collection, flight.keys
        self.counts.far_reads += 1
        self.counts.far_keys += len(keys)
        try:
            found = await self._far.read(collection, keys)
        except Exception as error:  # any error is for all that joined
            if isinstance(error, StoreUnavailable) and self._freshness.copy_may_exist:
                self.cooldown.start((collection, key) for key in keys)
            flight.fail(error)
            raise
        if self.cooldown:
            self.cooldown.end((collection, key) for key in keys)
        entries: dict[str, Entry | None] = {}
        for part in slices(len(keys)):
            if part.start:
                await turn()
            entries.update(zip(keys[part], self._shared(found[part]), strict=True))
        flight.resolve(entries)
        if self._fills_at_once:
            await self._fill(flight, entries)
        else:
            # The near store may keep its caller waiting. What does not wait ends in this turn.
            self._start(self._fill(flight, entries), flight)
            await turn()
        return entries

    def _shared(self, entries: Sequence[Entry | None]) -> Sequence[Entry | None]:
        """Return the entries as callers get them: with shared values, if that was chosen."""
        if not self._freshness.decoded:
            return entries
        checked = self._enter_loop().get_debug()
        return [None if entry is None else share(entry, checked=checked) for entry in entries]

    def _land(self, flight: SingleFlight, keys: Iterable[str]) -> None:
        """Remove these keys of a flight from those in flight."""
        collection, in_flight = flight.collection, self._in_flight
        for key in keys:
            if in_flight.get((collection, key)) is flight:
                del in_flight[collection, key]

    def refresh(self, collection: Collection, keys: Sequence[str]) -> SingleFlight:
        """Start to read keys, none of which is in flight, from the far store. Nobody waits."""
        flight = self.flight(collection, is_refresh=True)
        self._claim(flight, keys, {})
        self._start(self._refresh(flight), flight)
        return flight

    async def _refresh(self, flight: SingleFlight) -> None:
        with suppress(Exception):  # callers that joined get the error
            await self.read(flight, (), {})

    def _start(self, work: Coroutine[Any, Any, None], flight: SingleFlight) -> None:
        task = self._enter_loop().create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        # Not in the task: one that is cancelled before its first step never enters it.
        flight = self._tasks.pop(task, None)
        if flight is None:
            return  # the task of an earlier loop
        self._land(flight, flight.keys)
        if not flight.is_done:
            flight.fail(self._closed())

    def _closed(self) -> StoreUnavailable:
        return StoreUnavailable(
            "the store was closed while it read this from the far store; open it again to read",
            store=self._name,
        )

    async def close(self) -> None:
        """Cancel the reads in flight and wait for the fills.

        Callers that wait for such a read get `StoreUnavailable`.
        """
        self._enter_loop()
        unfinished = [flight for flight in self._reads if not flight.is_done]
        for flight in unfinished:
            if flight.leader is not None:
                flight.is_closed = flight.leader.cancel()
        for task, flight in self._tasks.items():
            if not flight.is_done and flight.leader is None:
                task.cancel()  # before its first step
        waits = [flight.result() for flight in unfinished]
        await asyncio.gather(*waits, *self._tasks, return_exceptions=True)
        while self._fills:
            await asyncio.wait(set(self._fills.values()))

    # -- filling -----------------------------------------------------------------------

    async def _fill(self, flight: SingleFlight, entries: dict[str, Entry | None]) -> None:
        fill, keys, in_flight = self._fills.fill, flight.keys, self._in_flight
        rest = 0
        try:
            while len(keys) - rest > SLICE:
                part = keys[rest : rest + SLICE]
                await fill(flight, part, entries, in_flight)
                self._land(flight, part)
                rest += SLICE
                await turn()
            await fill(flight, keys[rest:] if rest else keys, entries, in_flight)
        finally:
            self._land(flight, keys[rest:] if rest else keys)

    # -- changes of the far store ------------------------------------------------------
    #
    # Each of these does what must happen in one step for a key before it awaits anything for it.

    async def invalidate(self, collection: Collection, keys: Iterable[str]) -> None:
        """Remove the copies of these keys. Await it after every change that may have happened."""
        self._enter_loop()
        unique = list(dict.fromkeys(keys))
        marked = 0
        try:
            for part in slices(len(unique)):
                if part.start:
                    await turn()
                targets: list[QualifiedKey] = [(collection, key) for key in unique[part]]
                invalidations = self._mark(targets)
                marked = part.stop
                if EVERYTHING in self.pending:
                    marked = len(unique)
                    await self.invalidate_everything()
                    return
                await self._remove(collection, unique[part], targets, invalidations)
        finally:
            # Cancelled: the copies of the remaining keys are not served either.
            if marked < len(unique):
                self._mark([(collection, key) for key in unique[marked:]])

    def _mark(self, targets: Sequence[QualifiedKey]) -> dict[Target, PendingInvalidation]:
        for qualified in targets:
            self._in_flight.pop(qualified, None)
        if self.cooldown:
            self.cooldown.end(targets)
        return self._add_pending(targets)

    async def _remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        targets: Sequence[QualifiedKey],
        invalidations: dict[Target, PendingInvalidation],
    ) -> None:
        try:
            if self._fills:
                await self._fills.wait_for(targets)
            await self._near.remove(collection, keys)
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    async def invalidate_collection(self, collection: Collection) -> None:
        """Remove the copies of all keys of a collection, as `invalidate` does."""
        self._enter_loop()
        for qualified in [qualified for qualified in self._in_flight if qualified[0] == collection]:
            del self._in_flight[qualified]
        self.cooldown.clear()
        self._add_pending([(collection,)])
        invalidations = self.pending.current(
            [target for target in self.pending if target and target[0] == collection]
        )
        try:
            await self._fills.wait_for(
                qualified for qualified in self._fills if qualified[0] == collection
            )
            await self._near.drop(collection)
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    async def invalidate_range(self, collection: Collection, key_range: KeyRange) -> None:
        """Remove the copies of the keys in a range, as `invalidate` does.

        Until the near store has confirmed that, no copy of the collection is read.
        """
        self._enter_loop()
        targets: tuple[Target, ...] = ((collection,), EVERYTHING)
        if any(target in self.pending for target in targets) or not self._drops_ranges:
            # One that covers more is pending already; the removal of a range would not settle it.
            await self.invalidate_collection(collection)
            return
        for qualified in self._in_range(self._in_flight, collection, key_range):
            del self._in_flight[qualified]
        self.cooldown.clear()
        invalidations = self._add_pending([(collection,)])
        try:
            await self._fills.wait_for(self._in_range(self._fills, collection, key_range))
            await self._near.drop_range(collection, key_range)
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    @staticmethod
    def _in_range(
        qualified_keys: Iterable[QualifiedKey], collection: Collection, key_range: KeyRange
    ) -> list[QualifiedKey]:
        return [each for each in qualified_keys if each[0] == collection and each[1] in key_range]

    async def invalidate_everything(self) -> None:
        """Remove the copies of all keys of all collections, as `invalidate` does."""
        self._enter_loop()
        self._in_flight.clear()
        self.cooldown.clear()
        self._add_pending([EVERYTHING])
        invalidations = dict(self.pending)
        try:
            await self._fills.wait_for(self._fills)
            await self._near.drop_all()
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    def _add_pending(self, targets: Iterable[Target]) -> dict[Target, PendingInvalidation]:
        now = self._clock.time()
        return self.pending.add(targets, now + self._longest_life, now)
