"""The leases of a store: how locks are acquired, waited for and released."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks, is_running, wait_for
from kvwrap.core.lease import (
    FREE,
    LOCK,
    TAKEN,
    Found,
    Holding,
    LockRecord,
    LockRecords,
    Use,
    pause,
    record_key,
)
from kvwrap.core.locks import Hold
from kvwrap.core.primitives import ABSENT, Collection, Expected
from kvwrap.core.randomness import new_version
from kvwrap.core.recent import Recent
from kvwrap.core.suitability import LeaseStore
from kvwrap.errors import Deadlock, KvwrapError, LockLost, LockTimeout, StoreUnavailable

Rest = Callable[[float], Awaitable[object]]
"""Waits between two attempts to get a lease, at most for some seconds. It may raise."""

_REMEMBERED: Final = 1024
"""Number of released locks whose records are remembered, and of others' that were seen."""

_CLOSE_TIMEOUT: Final = 10.0
"""Seconds for which `close` waits for releases in progress."""

_NOTHING: Final = Found(ABSENT, LockRecord(FREE, 0, 0.0))
"""What is expected of a record that is removed on release, without reading it."""

_ELSEWHERE: Final = "another process holds it, or died less than its ttl before the first call here"

_log = logging.getLogger("kvwrap.lock")


class Grant:
    """A lock that is held: the turn in this process, and the lease in the store."""

    __slots__ = ("hold", "holding", "name", "owner")

    def __init__(self, name: str, hold: Hold, holding: Holding, owner: object) -> None:
        self.name = name
        self.hold = hold
        self.holding = holding
        self.owner = owner


class Leases:
    """The leases of a store object for one use.

    Tasks of this process take turns, in order of arrival, so that one of them at a time asks the
    store. What its record said when this process released a lock is remembered: if it still says
    so, the next lease is one write. If it did not the last time, it is read first.

    Args:
        store: The store, with all layers.
        use: What the leases are used for.
    """

    def __init__(self, store: LeaseStore, use: Use = LOCK) -> None:
        self._use = use
        self._store = store
        self._clock: Clock = store.clock
        is_cached = any("caches" in layer.traits for layer in store.parts[:-1])
        self._records = LockRecords(store, is_cached=is_cached, use=use)
        self._turns = KeyedLocks()
        self._remembered: Recent[str, tuple[Found, bool]] = Recent(_REMEMBERED)
        self._seen: Recent[str, tuple[Expected, float]] = Recent(_REMEMBERED)
        self._grants: dict[str, Grant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def idle(self) -> bool:
        """True while no lock is held, waited for or being released."""
        return not self._turns and not any(map(is_running, self._tasks))

    # -- acquiring ---------------------------------------------------------------------

    async def acquire(
        self,
        collection: Collection,
        key: str,
        ttl: float,
        wait: float | None,
        owner: object,
        task: asyncio.Task[Any] | None,
        rest: Rest | None = None,
    ) -> Grant:
        """Wait until the lock is this caller's.

        Args:
            collection: The collection of the key.
            key: The key.
            ttl: Seconds after which another process may take the lock if it is not renewed.
            wait: Maximum number of seconds to wait; None for no limit.
            owner: The task or thread.
            task: The task to cancel if the lease is lost; None for none.
            rest: What to do between two attempts; what it raises ends the waiting. By default,
                that is to sleep.

        Raises:
            LockTimeout: Others had the lock all the time.
            Deadlock: The owner holds the lock already.
            StoreUnavailable: The store was closed meanwhile, or its backend does not answer.
        """
        clock = self._clock
        until = None if wait is None else clock.monotonic() + wait
        name = record_key(self._use.name, collection, key)
        previous = self._grants.get(name)
        if previous is not None and previous.owner is owner and name in self._turns:
            raise Deadlock(
                "a block must not acquire a lock that it holds itself, for which it would wait "
                "without end",
                store=self._store.name,
                collection=collection,
                key=key,
            )
        hold = self._turns.hold(name, tells_deadlocks=False)
        try:
            if not hold.take():
                await self._take_turn(hold, until, collection, key)
            self._check_open()
            holding = await self._ask(name, collection, key, ttl, until, rest or clock.sleep)
        except BaseException:
            hold.release()
            raise
        grant = self._grants[name] = Grant(name, hold, holding, owner)
        holding.keep(task)
        return grant

    async def _take_turn(
        self, hold: Hold, until: float | None, collection: Collection, key: str
    ) -> None:
        if until is None:
            await hold.acquire(())
        elif not await wait_for(self._clock, until - self._clock.monotonic(), hold.acquire(())):
            raise self._timeout("another task of this process holds it", collection, key)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store was closed", store=self._store.name)

    async def _ask(
        self,
        name: str,
        collection: Collection,
        key: str,
        ttl: float,
        until: float | None,
        rest: Rest,
    ) -> Holding:
        """Write a lease into the record as soon as nobody has one there that is still kept up."""
        clock = self._clock
        holder = new_version() or 1
        attempt = 0
        remembered, is_likely = self._remembered.pop(name, (None, True))
        found = remembered if self._use.released else _NOTHING
        is_fresh = found is not None and is_likely
        while True:
            if not is_fresh:
                found = await self._records.read(name)
                is_fresh = True
            now = clock.monotonic()
            left = 0.0
            record = None if found is None else found.record
            if found is not None and (record is None or record.holder not in (FREE, holder)):
                since = self._seen_since(name, found.version, now)
                left = since + (ttl if record is None else record.ttl) - now
            if left <= 0:
                fencing = int(clock.time() * 1000) if record is None else record.fencing + 1
                lease = LockRecord(holder, fencing, ttl)
                begun = clock.monotonic()
                try:
                    written = await self._records.replace(name, found, lease)
                except BaseException:
                    # Unknown whether it was written. The error is the caller's all the same.
                    self._begin(self._clean_up(name, holder))
                    raise
                if written is not None:
                    self._seen.pop(name, None)
                    holding = self._holding(name, written, lease, begun, collection, key)
                    holding.follows_own = remembered is None or remembered == found
                    return holding
                is_fresh = False
                attempt += 1
                if attempt == 1:
                    continue
            if until is not None and now >= until:
                raise self._timeout(_ELSEWHERE, collection, key)
            is_fresh = False
            seconds = pause(attempt, ttl / 10)
            if left > 0:
                seconds = min(seconds, left)
            if until is not None:
                seconds = min(seconds, until - now)
            await rest(seconds)
            attempt += 1

    def _seen_since(self, name: str, version: Expected, now: float) -> float:
        """Return since when a record has stood still, as far as any call here has seen.

        Args:
            name: The record.
            version: Its version as it was just read.
            now: A time after the read, so that it has stood still for longer than is measured.
        """
        seen, since = self._seen.get(name, (None, now))
        if seen != version:
            since = now
        self._seen.keep(name, (version, since))
        return since

    def _holding(
        self,
        name: str,
        found: Found,
        lease: LockRecord,
        begun: float,
        collection: Collection,
        key: str,
    ) -> Holding:
        def lost(reason: str) -> LockLost:
            return LockLost(
                f"the lock was lost before its block ended: {reason}",
                store=self._store.name,
                collection=collection,
                key=key,
            )

        return Holding(self._records, name, found, lease, begun, self._clock, lost)

    async def acquire_free(
        self, collection: Collection, keys: Sequence[str], ttl: float
    ) -> dict[str, Grant]:
        """Acquire at once, without waiting, the leases of those keys that have no record.

        Args:
            collection: The collection of the keys.
            keys: The keys.
            ttl: As for `acquire`.
        """
        self._check_open()
        holder = new_version() or 1
        lease = LockRecord(holder, 1, ttl)
        holds: dict[str, tuple[str, Hold]] = {}
        for key in keys:
            name = record_key(self._use.name, collection, key)
            if name not in self._turns:
                hold = self._turns.hold(name, tells_deadlocks=False)
                hold.take()
                holds[name] = key, hold
        begun = self._clock.monotonic()
        try:
            written = await self._records.create(list(holds), lease)
        except BaseException:
            for name, (_, hold) in holds.items():
                self._begin(self._clean_up(name, holder))
                hold.release()
            raise
        grants = {}
        for name, (key, hold) in holds.items():
            if name in written:
                holding = self._holding(name, written[name], lease, begun, collection, key)
                grants[key] = self._grants[name] = Grant(name, hold, holding, holding)
                holding.keep(None)
            else:
                hold.release()
        return grants

    def _timeout(self, reason: str, collection: Collection, key: str) -> LockTimeout:
        return LockTimeout(
            f"the lock was not to be had within the time that was given: {reason}",
            store=self._store.name,
            collection=collection,
            key=key,
        )

    # -- releasing ---------------------------------------------------------------------

    async def release(self, grant: Grant) -> None:
        """Give a lock back. Returns also if the store fails: the lease then ends by its ttl.

        Raises:
            LockLost: It was lost before.
        """
        holding = grant.holding
        holding.stop()
        if holding.lost is not None and not holding.is_inherited:
            # The caller must hear of it now, also while the store does not answer.
            self._drop(grant)
            raise holding.lost
        try:
            if holding.is_inherited:
                return
            found = await holding.release()
        except KvwrapError as error:
            _log.warning(
                "%s: a lock could not be released and ends by its ttl of %g s: %s",
                self._store.name, holding.record.ttl, error,
            )  # fmt: skip
        except BaseException:
            self._begin(self._clean_up(grant.name, holding.record.holder))
            raise
        else:
            if found is not None:
                if self._use.released:
                    self._remembered.keep(grant.name, (found, holding.follows_own))
            elif holding.lost is None:
                holding.lost = holding.describe(TAKEN)
        finally:
            self._forget(grant)
        if holding.lost is not None:
            raise holding.lost

    async def release_all(self, grants: Sequence[Grant]) -> None:
        """Give leases back whose records are removed then, lost ones as well.

        Returns also if the store fails: they end by their ttl.
        """
        held = {grant.name: grant.holding for grant in grants if not grant.holding.is_inherited}
        for grant in grants:
            grant.holding.stop()
        freed: set[str] = set()
        try:
            if held:
                found = {name: holding.found for name, holding in held.items()}
                freed = await self._records.remove(found)
        except KvwrapError as error:
            _log.warning("%s: leases could not be released: %s", self._store.name, error)
        finally:
            for grant in grants:
                self._forget(grant)
                if grant.name in held and grant.name not in freed:
                    self._begin(self._clean_up(grant.name, grant.holding.record.holder))

    def abandon(self, grant: Grant) -> None:
        """Give a lock back that its owner has dropped; called by finalizers, on any thread."""
        holding = grant.holding
        if not holding.is_inherited:
            with suppress(RuntimeError):  # the loop is closed
                holding.loop.call_soon_threadsafe(self._drop, grant)

    def _drop(self, grant: Grant) -> None:
        grant.holding.stop()
        self._forget(grant)
        if not self._closed:  # `close` has released it, and would not wait for this
            self._begin(self._clean_up(grant.name, grant.holding.record.holder))

    def _forget(self, grant: Grant) -> None:
        if self._grants.get(grant.name) is grant:
            del self._grants[grant.name]
        grant.hold.release()

    def _begin(self, work: Any) -> None:
        """Begin to release a lock in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clean_up(self, name: str, holder: int) -> None:
        """Release a lock that this holder may have."""
        try:
            found = await self._records.read(name)
            if found is None or found.record is None or found.record.holder != holder:
                return
            await self._records.free(name, found, found.record)
        except Exception as error:  # whatever it is, the lease ends by its ttl
            _log.warning(
                "%s: a lock could not be released: %s", self._store.name, type(error).__name__
            )

    async def close(self) -> None:
        """End the leases of this loop, and wait for the releases in progress.

        Nobody acquires a lock here afterwards, not those who wait for their turn either.
        """
        self._closed = True
        for grant in list(self._grants.values()):
            if grant.holding.loop is asyncio.get_running_loop():
                grant.holding.lose("the store was closed")
                self._begin(self._clean_up(grant.name, grant.holding.record.holder))
        tasks = [task for task in self._tasks if is_running(task)]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT)
