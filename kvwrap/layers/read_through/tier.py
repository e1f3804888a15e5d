"""A near store in front of a far one, kept coherent with what this process writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives, QualifiedKey
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.read_through.cooldown import Cooldown
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.invalidations import (
    EVERYTHING,
    Name,
    PendingInvalidation,
    PendingInvalidations,
)
from kvwrap.layers.read_through.singleflight import SingleFlight


class Tier:
    """The flights to the far store, and everything that changes the near one.

    **Why no read is older than an acknowledged write of this process.** A copy gets into the
    near store by a fill alone, and a fill belongs to a flight: one read of the far store.
    When the far store has carried out a change, or failed to, or its caller is cancelled,
    then in one step, before anything else can run, (1) the key's flight is taken off the
    table and (2) its copy is put in doubt. A flight that is off the table fills nothing, and
    nobody joins it any more: what is filled or found from then on was asked for after the
    change. A fill that had been handed to the near store before is waited for, and only then
    is the copy removed, so the removal comes last. Only after that is the change
    acknowledged. A copy in doubt is not read, and is believed again only once the near store
    has confirmed a removal or a fill that began after (2), and no later change has put it in
    doubt anew: where the removal fails or is cancelled, reads go on to the far store. Fills
    of one key wait for each other, so that the later one stays.

    Attributes:
        doubts: Which copies a reader must not look at.
        counts: What has been done; the reader adds its part.
        rests: Keys that the far store has just failed to renew.
    """

    def __init__(
        self, near: Store, far: Primitives, lifetimes: Freshness, counts: TierCounts, name: str
    ) -> None:
        self.doubts = PendingInvalidations()
        self.counts = counts
        self.rests = Cooldown(far.clock)
        self._near = near
        self._far = far
        self._clock = far.clock
        self._lifetimes = lifetimes
        self._name = name
        # What else writes to the near store, or wrote before, may have had longer lifetimes.
        foreign = near.capabilities & {Capability.SHARED, Capability.PERSISTENT}
        self._longest = math.inf if foreign else lifetimes.longest
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # What another loop left behind when it was stopped is not waited for any more.
        self._loop = loop
        self._flights: dict[QualifiedKey, SingleFlight] = {}
        self._fills: dict[QualifiedKey, asyncio.Future[None]] = {}
        self._tasks: dict[asyncio.Task[None], SingleFlight] = {}

    def _here(self) -> asyncio.AbstractEventLoop:
        """The running loop, in which alone there are flights and fills."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        return loop

    # -- flights -----------------------------------------------------------------------

    def flight(self, collection: Collection, key: str) -> SingleFlight | None:
        """The flight that may be joined for this key."""
        self._here()
        return self._flights.get((collection, key))

    def start(
        self, collection: Collection, keys: Sequence[str], *, ahead: bool = False
    ) -> SingleFlight:
        """Begin a flight for these keys, none of which has one.

        Args:
            collection: Where the keys are.
            keys: What to read.
            ahead: Whether nobody waits for it.
        """
        loop = self._here()
        flight = SingleFlight(collection, keys, self._clock.time(), ahead)
        for key in keys:
            self._flights[collection, key] = flight
        self.counts.far_reads += 1
        self.counts.far_keys += len(keys)
        task = loop.create_task(self._fly(flight))
        self._tasks[task] = flight
        task.add_done_callback(self._ended)
        return flight

    async def _fly(self, flight: SingleFlight) -> None:
        qualified_keys = [(flight.collection, key) for key in flight.keys]
        try:
            entries = await self._far.read(flight.collection, flight.keys)
        except Exception as error:  # whatever it is, it is for those who wait
            if isinstance(error, StoreUnavailable) and self._lifetimes.outlive:
                self.rests.begin(qualified_keys)
            flight.fail(error)
            return
        self.rests.end(qualified_keys)
        await self._fill(flight, flight.resolve(entries))

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Here and not in `_fly`, which a task cancelled before its first step never enters.
        flight = self._tasks.pop(task, None)
        if flight is None:
            return  # of another loop
        for key in flight.keys:
            if self._flights.get((flight.collection, key)) is flight:
                del self._flights[flight.collection, key]
        if not flight.has_ended:
            flight.fail(StoreUnavailable("the store was closed while it read", store=self._name))

    async def close(self) -> None:
        """End the flights that are under way, with an error for those who wait, and the fills."""
        self._here()
        tasks = dict(self._tasks)
        for task, flight in tasks.items():
            if not flight.has_ended:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- filling -----------------------------------------------------------------------

    async def _fill(self, flight: SingleFlight, found: dict[str, Entry | None]) -> None:
        collection = flight.collection
        qualified_keys: list[QualifiedKey] = [(collection, key) for key in flight.keys]
        while fills := {
            self._fills[qualified] for qualified in qualified_keys if qualified in self._fills
        }:
            await asyncio.wait(fills)
        own = [qualified for qualified in qualified_keys if self._flights.get(qualified) is flight]
        self.counts.refused_fills += len(qualified_keys) - len(own)
        keys, copies, gone = self._sorted(flight, own, found)
        if not keys and not gone:
            return
        doubts = self.doubts.pending(own)
        filled = asyncio.get_running_loop().create_future()
        self._fills.update(dict.fromkeys(own, filled))
        try:
            if keys:
                await self._near.write(collection, keys, copies)
            if gone:
                await self._near.remove(collection, gone)
            self.counts.fills += len(keys)
            self.doubts.settle(doubts)
        except KvwrapError:
            self.counts.near_failures += 1
        finally:
            for qualified in own:
                if self._fills.get(qualified) is filled:
                    del self._fills[qualified]
            if not filled.done():
                filled.set_result(None)

    def _sorted(
        self,
        flight: SingleFlight,
        qualified_keys: Sequence[QualifiedKey],
        found: dict[str, Entry | None],
    ) -> tuple[list[str], list[Entry], list[str]]:
        """Which keys to put into the near store, as what, and which to remove from it."""
        lifetimes = self._lifetimes
        keys: list[str] = []
        copies: list[Entry] = []
        gone: list[str] = []
        now = self._clock.time()
        # The near store may go by another clock.
        shift = self._near.clock.time() - now
        for qualified in qualified_keys:
            copy = lifetimes.copy(found[qualified[1]], flight.began, flight.ahead)
            last = 0.0 if copy is None else lifetimes.last_use(copy)
            if copy is not None and last > now:
                keys.append(qualified[1])
                copies.append(copy.encode(None if last == math.inf else last + shift))
            elif lifetimes.outlive or qualified in self.doubts:
                gone.append(qualified[1])
        return keys, copies, gone

    # -- changes of the far store ------------------------------------------------------
    #
    # Each of these does what must happen in one step before its first await.

    async def changed(self, collection: Collection, keys: Iterable[str]) -> None:
        """To be awaited after every change of these keys that has or may have happened."""
        self._here()
        qualified_keys: list[QualifiedKey] = [(collection, key) for key in dict.fromkeys(keys)]
        for qualified in qualified_keys:
            self._flights.pop(qualified, None)
        self.rests.end(qualified_keys)
        doubts = self._doubt(qualified_keys)
        if EVERYTHING in self.doubts:
            await self.all_changed()
            return
        try:
            await self._earlier_fills(qualified_keys)
            await self._near.remove(collection, [key for _, key in qualified_keys])
            self.doubts.settle(doubts)
        except KvwrapError:
            self.counts.near_failures += 1

    async def collection_changed(self, collection: Collection) -> None:
        """As `changed`, for all keys of a collection."""
        self._here()
        for qualified in [qualified for qualified in self._flights if qualified[0] == collection]:
            del self._flights[qualified]
        self.rests.clear()
        self._doubt([(collection,)])
        doubts = self.doubts.pending(
            [name for name in self.doubts if name and name[0] == collection]
        )
        try:
            await self._earlier_fills(
                qualified for qualified in self._fills if qualified[0] == collection
            )
            await self._near.drop(collection)
            self.doubts.settle(doubts)
        except KvwrapError:
            self.counts.near_failures += 1

    async def all_changed(self) -> None:
        """As `changed`, for all keys of all collections."""
        self._here()
        self._flights.clear()
        self.rests.clear()
        self._doubt([EVERYTHING])
        doubts = dict(self.doubts)
        try:
            await self._earlier_fills(self._fills)
            await self._near.drop_all()
            self.doubts.settle(doubts)
        except KvwrapError:
            self.counts.near_failures += 1

    def _doubt(self, names: Iterable[Name]) -> dict[Name, PendingInvalidation]:
        now = self._clock.time()
        return self.doubts.add(names, now + self._longest, now)

    async def _earlier_fills(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        fills = {self._fills[qualified] for qualified in qualified_keys if qualified in self._fills}
        if fills:
            await asyncio.wait(fills)
