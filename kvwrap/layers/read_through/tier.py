"""A near store in front of a far one, kept coherent with what this process writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.concurrency import is_abandoned
from kvwrap.core.entry import Entry
from kvwrap.core.part import leaves_process
from kvwrap.core.primitives import Collection, KeyRange, Primitives, QualifiedKey
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.read_through.cooldown import Cooldown
from kvwrap.layers.read_through.counts import TierCounts
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
        self._reset(None)

    def _reset(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Whatever an earlier loop left unfinished when it was stopped is no longer waited for.
        self._loop = loop
        self._in_flight: dict[QualifiedKey, SingleFlight] = {}
        self._fills: dict[QualifiedKey, asyncio.Future[None]] = {}
        self._tasks: dict[asyncio.Task[None], SingleFlight] = {}

    def _enter_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop. Reads in flight and fills belong to it alone."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset(loop)
        return loop

    @property
    def idle(self) -> bool:
        """True while no read of the far store and no fill of the near store is in progress."""
        return is_abandoned(self._loop) or not (self._in_flight or self._fills or self._tasks)

    # -- reads of the far store --------------------------------------------------------

    def in_flight(self, collection: Collection, key: str) -> SingleFlight | None:
        """Return the read in flight that a caller may join for this key."""
        self._enter_loop()
        return self._in_flight.get((collection, key))

    def start(
        self, collection: Collection, keys: Sequence[str], *, is_refresh: bool = False
    ) -> SingleFlight:
        """Start a read of these keys. None of them may have a read in flight.

        Args:
            collection: Where the keys are.
            keys: What to read.
            is_refresh: True if no caller waits for the read.
        """
        loop = self._enter_loop()
        flight = SingleFlight(collection, keys, self._clock.time(), is_refresh)
        for key in keys:
            self._in_flight[collection, key] = flight
        self.counts.far_reads += 1
        self.counts.far_keys += len(keys)
        task = loop.create_task(self._read(flight))
        self._tasks[task] = flight
        task.add_done_callback(self._finish)
        return flight

    async def _read(self, flight: SingleFlight) -> None:
        qualified_keys = [(flight.collection, key) for key in flight.keys]
        try:
            entries = await self._far.read(flight.collection, flight.keys)
        except Exception as error:  # any error is for the callers that wait
            if isinstance(error, StoreUnavailable) and self._freshness.copy_may_exist:
                self.cooldown.start(qualified_keys)
            flight.fail(error)
            return
        self.cooldown.end(qualified_keys)
        await self._fill(flight, flight.resolve(entries))

    def _finish(self, task: asyncio.Task[None]) -> None:
        # Not in `_read`: a task that is cancelled before its first step never enters it.
        flight = self._tasks.pop(task, None)
        if flight is None:
            return  # the task of an earlier loop
        for key in flight.keys:
            if self._in_flight.get((flight.collection, key)) is flight:
                del self._in_flight[flight.collection, key]
        if not flight.is_done:
            flight.fail(
                StoreUnavailable(
                    "the store was closed while it read this from the far store; open it again "
                    "to read",
                    store=self._name,
                )
            )

    async def close(self) -> None:
        """Cancel the reads in flight and wait for the fills.

        Callers that wait for such a read get `StoreUnavailable`.
        """
        self._enter_loop()
        tasks = dict(self._tasks)
        for task, flight in tasks.items():
            if not flight.is_done:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- filling -----------------------------------------------------------------------

    async def _fill(self, flight: SingleFlight, entries: dict[str, Entry | None]) -> None:
        collection = flight.collection
        qualified_keys: list[QualifiedKey] = [(collection, key) for key in flight.keys]
        while fills := {
            self._fills[qualified] for qualified in qualified_keys if qualified in self._fills
        }:
            await asyncio.wait(fills)
        own = [
            qualified for qualified in qualified_keys if self._in_flight.get(qualified) is flight
        ]
        self.counts.refused_fills += len(qualified_keys) - len(own)
        keys, copies, outdated = self._plan_fill(flight, own, entries)
        if not keys and not outdated:
            return
        invalidations = self.pending.current(own)
        fill_done = asyncio.get_running_loop().create_future()
        self._fills.update(dict.fromkeys(own, fill_done))
        try:
            if keys:
                await self._near.write(collection, keys, copies)
            if outdated:
                await self._near.remove(collection, outdated)
            self.counts.fills += len(keys)
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1
        finally:
            for qualified in own:
                if self._fills.get(qualified) is fill_done:
                    del self._fills[qualified]
            if not fill_done.done():
                fill_done.set_result(None)

    def _plan_fill(
        self,
        flight: SingleFlight,
        qualified_keys: Sequence[QualifiedKey],
        entries: dict[str, Entry | None],
    ) -> tuple[list[str], list[Entry], list[str]]:
        """Return the keys to put into the near store, their copies, and the keys to remove."""
        freshness = self._freshness
        keys: list[str] = []
        copies: list[Entry] = []
        outdated: list[str] = []
        now = self._clock.time()
        # The near store may have another clock.
        clock_offset = self._near.clock.time() - now
        for qualified in qualified_keys:
            key = qualified[1]
            copy = freshness.make_copy(entries[key], flight.started_at, flight.is_refresh)
            usable_until = 0.0 if copy is None else freshness.usable_until(copy)
            if copy is not None and usable_until > now:
                never = usable_until == math.inf
                keys.append(key)
                copies.append(copy.encode(None if never else usable_until + clock_offset))
            elif freshness.copy_may_exist or qualified in self.pending:
                outdated.append(key)
        return keys, copies, outdated

    # -- changes of the far store ------------------------------------------------------
    #
    # Each of these does what must happen in one step before its first await.

    async def invalidate(self, collection: Collection, keys: Iterable[str]) -> None:
        """Remove the copies of these keys. Await it after every change that may have happened."""
        self._enter_loop()
        qualified_keys: list[QualifiedKey] = [(collection, key) for key in dict.fromkeys(keys)]
        for qualified in qualified_keys:
            self._in_flight.pop(qualified, None)
        self.cooldown.end(qualified_keys)
        invalidations = self._add_pending(qualified_keys)
        if EVERYTHING in self.pending:
            await self.invalidate_everything()
            return
        try:
            await self._wait_for_fills(qualified_keys)
            await self._near.remove(collection, [key for _, key in qualified_keys])
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
            await self._wait_for_fills(
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
            await self._wait_for_fills(self._in_range(self._fills, collection, key_range))
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
            await self._wait_for_fills(self._fills)
            await self._near.drop_all()
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    def _add_pending(self, targets: Iterable[Target]) -> dict[Target, PendingInvalidation]:
        now = self._clock.time()
        return self.pending.add(targets, now + self._longest_life, now)

    async def _wait_for_fills(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        fills = {self._fills[qualified] for qualified in qualified_keys if qualified in self._fills}
        if fills:
            await asyncio.wait(fills)
