"""A near store in front of a far one, kept coherent with what this process writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.concurrency import is_abandoned, is_running
from kvwrap.core.part import leaves_process
from kvwrap.core.primitives import Collection, KeyRange, Primitives, QualifiedKey
from kvwrap.core.store import Store
from kvwrap.core.turns import slices, turn
from kvwrap.errors import KvwrapError
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.flights import Flights
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.invalidations import (
    EVERYTHING,
    PendingInvalidation,
    Target,
)


class Tier(Flights):
    """Reads of the far store, and everything that changes the near store.

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
    """

    def __init__(
        self, near: Store, far: Primitives, freshness: Freshness, counts: TierCounts, name: str
    ) -> None:
        super().__init__(near, far, freshness, counts, name)
        # Copies that others write to the near store, or wrote before, may live longer.
        self._drops_ranges = Capability.KEYS in near.capabilities
        self._longest_life = math.inf if leaves_process(near) else freshness.longest_life

        self._outdated: dict[Target, PendingInvalidation] = {}
        self._remover: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        remover = self._remover
        is_removing = remover is not None and not remover.done()
        return super().idle and (not is_removing or is_abandoned(self._loop))

    async def close(self) -> None:
        await super().close()
        if is_running(self._remover):
            await asyncio.wait([self._remover])

    # Each method does what must happen in one step for a key before it awaits anything for it.

    async def invalidate(self, collection: Collection, keys: Iterable[str]) -> None:
        """Remove the copies of these keys. Await it after every change that may have happened."""
        self._enter_loop()
        unique = list(dict.fromkeys(keys))
        self.counts.invalidated += len(unique)
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
        self.advisor.remove(targets)
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
        self.counts.invalidated += 1
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
            self.advisor.drop(collection)
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
        self.counts.invalidated += 1
        for qualified in self._in_range(self._in_flight, collection, key_range):
            del self._in_flight[qualified]
        self.cooldown.clear()
        invalidations = self._add_pending([(collection,)])
        try:
            await self._fills.wait_for(self._in_range(self._fills, collection, key_range))
            await self._near.drop_range(collection, key_range)
            self.advisor.drop(collection, key_range)
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
            self.advisor.drop_all()
            self.pending.confirm(invalidations)
        except KvwrapError:
            self.counts.near_failures += 1

    # What others have changed: nobody waits for the removal, but no such copy is served.

    def outdate(self, names: Sequence[QualifiedKey]) -> None:
        """End the reads in flight and the copies of these keys; remove the copies soon."""
        self._enter_loop()
        self.counts.told += len(names)
        remove_one = self._near.remove_one
        if remove_one is not None and not self._fills and not self.pending:
            for name in names:
                self._in_flight.pop(name, None)
                remove_one(*name)
            if self.cooldown:
                self.cooldown.end(names)
            self.advisor.remove(names)
            return
        self._outdated.update(self._mark(names))
        self._start_removing()

    def outdate_everything(self) -> None:
        """End all reads in flight and all copies; remove the copies soon."""
        self.counts.lost += 1
        self.abandon_reads()
        self._outdated.update(self._add_pending([EVERYTHING]))
        self._start_removing()

    def abandon_reads(self) -> None:
        """Keep nothing of the reads in flight."""
        self._enter_loop()
        self._in_flight.clear()
        self.cooldown.clear()

    async def without_copies(
        self, names: Mapping[QualifiedKey, tuple[QualifiedKey, ...]]
    ) -> list[tuple[QualifiedKey, tuple[QualifiedKey, ...]]]:
        """Return those of these items whose keys have no copy, and are not in flight."""
        items = list(names.items())
        found = []
        for part in slices(len(items)):
            await turn()
            for name, keys in items[part]:
                if not any(each in self._in_flight for each in keys) and not any(
                    [await self._has_copy(collection, key) for collection, key in keys]
                ):
                    found.append((name, keys))
        return found

    async def _has_copy(self, collection: Collection, key: str) -> bool:
        if self._near.look_up is not None:
            return self._near.look_up(collection, key) is not None
        try:
            return (await self._near.read(collection, [key]))[0] is not None
        except KvwrapError:
            return True

    def _start_removing(self) -> None:
        if not is_running(self._remover):
            self._remover = self._enter_loop().create_task(self._remove_outdated())

    async def _remove_outdated(self) -> None:
        while self._outdated:
            outdated, self._outdated = self._outdated, {}
            if EVERYTHING in self.pending:
                await self.invalidate_everything()
                continue
            by_collection: dict[Collection, list[QualifiedKey]] = {}
            for target in outdated:
                if len(target) == 2:
                    by_collection.setdefault(target[0], []).append(target)
            for collection, targets in by_collection.items():
                for part in slices(len(targets)):
                    some = targets[part]
                    invalidations: dict[Target, PendingInvalidation] = {
                        target: outdated[target] for target in some
                    }
                    await self._remove(collection, [key for _, key in some], some, invalidations)

    def _add_pending(self, targets: Iterable[Target]) -> dict[Target, PendingInvalidation]:
        now = self._clock.time()
        return self.pending.add(targets, now + self._longest_life, now)
