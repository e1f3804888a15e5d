"""The reads of the far store in flight, and the fills of the near store with their results."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from kvwrap.core.concurrency import CANCEL_AGAIN, is_abandoned, uncancel, unfinished
from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import Collection, Primitives, QualifiedKey
from kvwrap.core.shared_value import share
from kvwrap.core.store import Store
from kvwrap.core.turns import SLICE, slices, turn
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.read_through.advisor import Advisor
from kvwrap.layers.read_through.cooldown import Cooldown
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.fills import Fills
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.invalidations import PendingInvalidations
from kvwrap.layers.read_through.singleflight import SingleFlight


class Watch(Protocol):
    """Knows whether what is read can be kept coherent."""

    def begin(self, collection: Collection, keys: Sequence[str]) -> bool:
        """Note keys that are about to be read. Returns True if what is read may be kept."""

    def is_heard(self) -> bool:
        """Return True if every change was told that happened longer ago than the bound."""

    @property
    def bound(self) -> float:
        """In seconds."""


class Flights:
    """The reads of the far store that are in flight. Each fills the near store in its end.

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
        watch: What hears of changes by others, if anything does.
        counts: What has been done. The layer that reads the copies adds its part.
        advisor: What estimates the hit rates of other sizes. That layer tells it of its reads.
    """

    def __init__(
        self, near: Store, far: Primitives, freshness: Freshness, counts: TierCounts, name: str
    ) -> None:
        self.pending = PendingInvalidations()
        self.cooldown = Cooldown(far.clock)
        self.watch: Watch | None = None
        self.counts = counts
        self.advisor = Advisor(near, freshness, counts, far.clock)
        self._near = near
        self._far = far
        self._clock = far.clock
        self._time = far.clock.time
        self._monotonic = far.clock.monotonic
        self._freshness = freshness
        self._name = name
        self._fills_at_once = near.look_up is not None
        self._tasks: dict[asyncio.Task[None], SingleFlight] = {}
        self._abandoned: set[asyncio.Task[None]] = set()
        self._reset(None)

    def _reset(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Whatever an earlier loop left unfinished when it was stopped is no longer waited for.
        self._loop = loop
        self._in_flight: dict[QualifiedKey, SingleFlight] = {}
        self._reads: set[SingleFlight] = set()
        self._fills = Fills(
            self._near, self._clock, self._freshness, self.counts, self.pending, self.advisor
        )
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

    def in_flight(self, collection: Collection, key: str) -> SingleFlight | None:
        """Return the read in flight that a caller may join for this key."""
        self._enter_loop()
        flight = self._in_flight.get((collection, key))
        return flight if flight is None or self._may_join(flight) else None

    def _may_join(self, flight: SingleFlight) -> bool:
        """Return True unless the flight may return something older than the bound."""
        watch = self.watch
        if watch is None or flight.began > self._monotonic() - watch.bound:
            return True
        return watch.is_heard()

    def flight(self, collection: Collection, *, is_refresh: bool = False) -> SingleFlight:
        """Return a new flight without keys. Its result is at least as new as this call."""
        self._enter_loop()
        return SingleFlight(collection, [], self._time(), self._monotonic(), is_refresh)

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
        cancelling = self._begin(flight)
        try:
            self._claim(flight, keys[:SLICE], others)
            for start in range(SLICE, len(keys), SLICE):
                await turn()
                self._claim(flight, keys[start : start + SLICE], others)
            return await self._read(flight) if flight.keys else {}
        except asyncio.CancelledError:
            self._raise_if_closed(flight, cancelling)
            raise
        finally:
            self._end(flight)

    async def read_one(self, collection: Collection, key: str) -> Entry | None:
        """Read one key and fill the near store with it, as `read` does.

        The key must not be in flight: `in_flight` was called in the same step.

        Returns the entry, unless it has expired meanwhile.
        """
        flight = SingleFlight(collection, [key], self._time(), self._monotonic())
        self._in_flight[collection, key] = flight
        cancelling = self._begin(flight)
        try:
            if self.watch is not None:
                flight.keeps = self.watch.begin(collection, flight.keys)
            self.counts.far_reads += 1
            self.counts.far_keys += 1
            try:
                found = await self._far.read(collection, flight.keys)
            except Exception as error:
                self._failed(flight, error)
                raise
            if self._freshness.copy_may_exist:
                self.cooldown.end(((collection, key),))
            (entry,) = self._shared(found) if self._freshness.decoded else found
            entries = {key: entry}
            flight.resolve(entries)
            if not self._fills.fill_one(flight, key, entry, self._in_flight):
                await self._fill_and_wait(flight, entries)
        except asyncio.CancelledError:
            self._raise_if_closed(flight, cancelling)
            raise
        else:
            return entry if entry is None or entry.expires_at is None else live(entry, self._time())
        finally:
            self._end(flight)

    def _begin(self, flight: SingleFlight) -> int:
        """Make the current task lead a flight. Returns how often the task is being cancelled."""
        self._reads.add(flight)
        leader = flight.leader = asyncio.current_task(self._loop)
        return 0 if leader is None else leader.cancelling()

    def _raise_if_closed(self, flight: SingleFlight, cancelling: int) -> None:
        """Raise an error instead of the leader's cancellation if it was `close` that cancelled it.

        Args:
            flight: The flight.
            cancelling: How often its leader was being cancelled when it began.
        """
        leader = flight.leader
        if not flight.cancelled or leader is None:
            return
        if uncancel(leader, flight.cancelled) <= cancelling:
            flight.fail(self._closed())
            raise self._closed() from None

    def _end(self, flight: SingleFlight) -> None:
        self._reads.discard(flight)
        if not flight.is_done:
            flight.abandon()
        if not flight.is_filling:
            self._land(flight, flight.keys)

    def _claim(
        self,
        flight: SingleFlight,
        keys: Sequence[str],
        others: dict[SingleFlight, list[str]],
    ) -> None:
        collection, in_flight = flight.collection, self._in_flight
        own: list[str] = []
        for key in keys:
            other = in_flight.setdefault((collection, key), flight)
            if other is not flight and not self._may_join(other):
                in_flight[collection, key] = other = flight
            if other is flight:
                own.append(key)
            else:
                others.setdefault(other, []).append(key)
        flight.keys += own
        if self.watch is not None and not self.watch.begin(collection, own):
            flight.keeps = False

    async def _read(self, flight: SingleFlight) -> dict[str, Entry | None]:
        keys = flight.keys
        self.counts.far_reads += 1
        self.counts.far_keys += len(keys)
        try:
            found = await self._far.read(flight.collection, keys)
        except Exception as error:
            self._failed(flight, error)
            raise
        if self._freshness.copy_may_exist:
            self.cooldown.end((flight.collection, key) for key in keys)
        entries: dict[str, Entry | None] = {}
        for part in slices(len(keys)):
            if part.start:
                await turn()
            entries.update(zip(keys[part], self._shared(found[part]), strict=True))
        flight.resolve(entries)
        await self._fill_and_wait(flight, entries)
        return entries

    def _failed(self, flight: SingleFlight, error: Exception) -> None:
        """Note that the far store did not answer. The error is for all that joined."""
        if isinstance(error, StoreUnavailable) and self._freshness.copy_may_exist:
            self.cooldown.start((flight.collection, key) for key in flight.keys)
        flight.fail(error)

    def _shared(self, entries: Sequence[Entry | None]) -> Sequence[Entry | None]:
        """Return the entries as callers get them: with shared values, if that was chosen."""
        if not self._freshness.decoded:
            return entries
        checked = self._enter_loop().get_debug()
        return [None if entry is None else share(entry, checked=checked) for entry in entries]

    async def _fill_and_wait(self, flight: SingleFlight, entries: dict[str, Entry | None]) -> None:
        """Fill the near store, and wait for that if it takes no longer than this turn."""
        flight.is_filling = True
        if self._fills_at_once:
            await self._fill(flight, entries)
        else:
            # The near store may keep its caller waiting. What does not wait ends in this turn.
            self._start(self._fill(flight, entries), flight)
            await turn()

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
        for task, flight in self._tasks.items():
            if not flight.is_done and flight.leader is None:
                task.cancel()  # before its first step
        waits = [flight.result() for flight in unfinished]
        ended = asyncio.gather(*waits, *self._tasks, return_exceptions=True)
        while not ended.done():
            for flight in unfinished:
                if flight.leader is not None and not flight.is_done:
                    flight.cancelled += flight.leader.cancel()
            await asyncio.wait([ended], timeout=CANCEL_AGAIN)
        while self._fills:
            await asyncio.wait(set(self._fills.values()))
