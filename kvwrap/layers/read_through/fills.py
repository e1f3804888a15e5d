"""Fills: what a read of the far store returned is put into the near store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import QualifiedKey
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError
from kvwrap.layers.read_through.advisor import Advisor
from kvwrap.layers.read_through.copies import Copy, encode
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.invalidations import PendingInvalidations
from kvwrap.layers.read_through.singleflight import SingleFlight


class Fills(dict[QualifiedKey, asyncio.Future[None]]):
    """The fills in progress: per key, what a change of the key waits for.

    Args:
        near: The near store.
        clock: The stack's clock. The near store may have another one.
        freshness: How long copies are used.
        counts: The counts to add to.
        pending: The invalidations that the near store has not confirmed.
        advisor: Told what is put there.
    """

    def __init__(
        self,
        near: Store,
        clock: Clock,
        freshness: Freshness,
        counts: TierCounts,
        pending: PendingInvalidations,
        advisor: Advisor,
    ) -> None:
        super().__init__()
        self._near = near
        self._keeps_objects = near.look_up is not None
        self._clock = clock
        self._freshness = freshness
        self._counts = counts
        self._pending = pending
        self._advisor = advisor

    async def wait_for(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        """Wait for the fills of these keys that have begun."""
        fills = self._of(qualified_keys)
        if fills:
            await asyncio.wait(fills)

    def _of(self, qualified_keys: Iterable[QualifiedKey]) -> set[asyncio.Future[None]]:
        return {self[qualified] for qualified in qualified_keys if qualified in self}

    def fill_one(
        self,
        flight: SingleFlight,
        key: str,
        entry: Entry | None,
        in_flight: Mapping[QualifiedKey, SingleFlight],
    ) -> bool:
        """Do at once what `fill` does for one key, if that is only to put its copy.

        Returns False if the near store does not answer at once, or there is more to do.
        """
        write_one = self._near.write_one
        if write_one is None or self or self._pending:
            return False
        if not flight.keeps:
            return True
        if in_flight.get((flight.collection, key)) is not flight:
            self._counts.refused_fills += 1
            return True
        now = self._clock.time()
        copy = self._freshness.make_copy(
            entry, flight.started_at, flight.is_refresh, now, self._offset(now)
        )
        if copy is None:
            return not self._freshness.copy_may_exist
        try:
            write_one(flight.collection, key, copy)
            self._counts.fills += 1
            self._advisor.fill(flight.collection, (key,), (copy,), flight.is_refresh)
        except KvwrapError:
            self._counts.near_failures += 1
        return True

    async def fill(
        self,
        flight: SingleFlight,
        keys: Sequence[str],
        entries: Mapping[str, Entry | None],
        in_flight: Mapping[QualifiedKey, SingleFlight],
    ) -> None:
        """Put the copies of these keys into the near store, after the earlier fills of them.

        Args:
            flight: The read that returned the entries.
            keys: Some of its keys.
            entries: What it returned, by key.
            in_flight: The reads in flight. A read that is not one of them fills nothing.
        """
        if not flight.keeps:
            return
        qualified_keys = [(flight.collection, key) for key in keys]
        while self and (fills := self._of(qualified_keys)):
            await asyncio.wait(fills)
        own = [qualified for qualified in qualified_keys if in_flight.get(qualified) is flight]
        if len(own) < len(keys):
            self._counts.refused_fills += len(keys) - len(own)
        filled, copies, outdated = self._plan(flight, own, entries)
        if not filled and not outdated:
            return
        invalidations = self._pending.current(own) if self._pending else {}
        done = asyncio.get_running_loop().create_future()
        for qualified in own:
            self[qualified] = done
        try:
            if filled:
                kept = copies if self._keeps_objects else [encode(copy) for copy in copies]
                await self._near.write(flight.collection, filled, kept)
                self._advisor.fill(flight.collection, filled, kept, flight.is_refresh)
            if outdated:
                await self._near.remove(flight.collection, outdated)
            self._counts.fills += len(filled)
            if invalidations:
                self._pending.confirm(invalidations)
        except KvwrapError:
            self._counts.near_failures += 1
        finally:
            for qualified in own:
                if self.get(qualified) is done:
                    del self[qualified]
            if not done.done():
                done.set_result(None)

    def _plan(
        self,
        flight: SingleFlight,
        qualified_keys: Sequence[QualifiedKey],
        entries: Mapping[str, Entry | None],
    ) -> tuple[list[str], list[Copy], list[str]]:
        """Return the keys to put into the near store, their copies, and the keys to remove."""
        keys: list[str] = []
        copies: list[Copy] = []
        outdated: list[str] = []
        freshness = self._freshness
        now = self._clock.time()
        offset = self._offset(now)
        for qualified in qualified_keys:
            key = qualified[1]
            copy = freshness.make_copy(
                entries[key], flight.started_at, flight.is_refresh, now, offset
            )
            if copy is not None:
                keys.append(key)
                copies.append(copy)
            elif freshness.copy_may_exist or qualified in self._pending:
                outdated.append(key)
        return keys, copies, outdated

    def _offset(self, now: float) -> float:
        """Return how many seconds the near store's clock is ahead of the stack's."""
        near_clock = self._near.clock
        return 0.0 if near_clock is self._clock else near_clock.time() - now
