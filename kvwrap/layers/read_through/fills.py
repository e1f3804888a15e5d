"""Fills: what a read of the far store returned is put into the near store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import QualifiedKey
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError
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
    """

    def __init__(
        self,
        near: Store,
        clock: Clock,
        freshness: Freshness,
        counts: TierCounts,
        pending: PendingInvalidations,
    ) -> None:
        super().__init__()
        self._near = near
        self._clock = clock
        self._freshness = freshness
        self._counts = counts
        self._pending = pending

    async def wait_for(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        """Wait for the fills of these keys that have begun."""
        fills = self._of(qualified_keys)
        if fills:
            await asyncio.wait(fills)

    def _of(self, qualified_keys: Iterable[QualifiedKey]) -> set[asyncio.Future[None]]:
        return {self[qualified] for qualified in qualified_keys if qualified in self}

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
                await self._near.write(flight.collection, filled, copies)
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
    ) -> tuple[list[str], list[Entry], list[str]]:
        """Return the keys to put into the near store, their copies, and the keys to remove."""
        freshness = self._freshness
        keys: list[str] = []
        copies: list[Entry] = []
        outdated: list[str] = []
        now = self._clock.time()
        clock_offset = self._near.clock.time() - now
        for qualified in qualified_keys:
            key = qualified[1]
            copy = freshness.make_copy(entries[key], flight.started_at, flight.is_refresh)
            usable_until = 0.0 if copy is None else freshness.usable_until(copy)
            if copy is not None and usable_until > now:
                never = usable_until == math.inf
                keys.append(key)
                copies.append(copy.encode(None if never else usable_until + clock_offset))
            elif freshness.copy_may_exist or qualified in self._pending:
                outdated.append(key)
        return keys, copies, outdated
