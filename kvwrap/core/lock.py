"""Locks that processes share: the fifth part of the store interface."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from kvwrap.core.atomic import AtomicMethods
from kvwrap.core.clock import Clock
from kvwrap.core.lease import LOCK, Use
from kvwrap.core.leases import Grant, Leases
from kvwrap.core.lock_counts import LockCounts
from kvwrap.core.part import Part
from kvwrap.core.primitives import Collection
from kvwrap.core.suitability import Suitability
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_key, checked_seconds
from kvwrap.errors import Deadlock, LockLost, LockTimeout


class Lease:
    """A lock while it is held; what `async with store.lock(...)` gives its block.

    Attributes:
        fencing: A number that is larger for every later holder of the lock. A resource that
            refuses a smaller number than it has seen is safe from holders that were paused.
    """

    __slots__ = ("_grant", "fencing")

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self.fencing = grant.holding.record.fencing

    @property
    def is_held(self) -> bool:
        """True while no other process can have the lock, as far as this process can know."""
        return self._grant.holding.is_sure

    def check(self) -> None:
        """Raise `LockLost` unless `is_held`, for blocks that nothing cancels."""
        if not self.is_held:
            holding = self._grant.holding
            raise holding.lost or holding.describe("it was not renewed in time, or was given back")

    def __repr__(self) -> str:
        return f"<{'held' if self.is_held else 'ended'} lease {self.fencing}>"


class LockCall:
    """A call of `lock`: the arguments, checked, and the lease once there is one.

    Raises:
        UnsupportedOperation: The store has no locks.
    """

    _grant: Grant | None = None

    def __init__(
        self,
        leases: Leases,
        suitability: Suitability,
        key: str,
        collection: Collection,
        ttl: float,
        wait: float | None,
        clock: Clock,
        counts: LockCounts,
    ) -> None:
        suitability.check_lock(ttl)
        self._suitability = suitability
        self._leases = leases
        self._clock = clock
        self._counts = counts
        self._key = key
        self._collection = collection
        self._ttl = ttl
        self._wait = wait
        self._is_entered = False

    async def acquire(self, owner: object, task: asyncio.Task[object] | None) -> Lease:
        """Wait for the lock.

        Args:
            owner: The task or thread whose block it is.
            task: The task to cancel when the lease is lost.
        """
        if self._is_entered:
            raise Deadlock(
                "the object that `lock` returned can be used for one block at a time: call `lock` "
                "for each block",
                collection=self._collection,
                key=self._key,
            )
        self._is_entered = True
        counts, begun = self._counts, self._clock.monotonic()
        counts.waiting += 1
        try:
            if not self._suitability.is_durable:
                await self._suitability.check_durable()
            self._grant = await self._leases.acquire(
                self._collection, self._key, self._ttl, self._wait, owner, task
            )
        except BaseException as error:
            self._is_entered = False
            counts.timeouts += isinstance(error, LockTimeout)
            raise
        finally:
            counts.waiting -= 1
        counts.acquired += 1
        counts.held += 1
        counts.wait_seconds += self._clock.monotonic() - begun
        return Lease(self._grant)

    async def release(self) -> None:
        """Give the lock back, if there is one; raises `LockLost` if it was lost."""
        grant, self._grant = self._grant, None
        self._is_entered = False
        if grant is not None:
            self._counts.held -= 1
            try:
                await self._leases.release(grant)
            finally:
                self._counts.lost += grant.holding.lost is not None

    async def give_up(self) -> None:
        """Give the lock back, if there is one, after the block has raised an error of its own."""
        with suppress(LockLost):
            await self.release()

    @property
    def has_cancelled(self) -> bool:
        """True if the lease was lost, and the task of the block cancelled."""
        return self._grant is not None and self._grant.holding.has_cancelled

    def __del__(self) -> None:
        if self._grant is not None:
            self._counts.held -= 1
            self._leases.abandon(self._grant)


class Lock:
    """A lock that is acquired by `async with`; see `Store.lock`."""

    def __init__(self, call: LockCall) -> None:
        self._call = call
        self._task: asyncio.Task[object] | None = None
        self._cancelled_before = 0

    async def __aenter__(self) -> Lease:
        task = asyncio.current_task()
        assert task is not None
        lease = await self._call.acquire(task, task)
        self._task, self._cancelled_before = task, task.cancelling()
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        is_own = False  # True if nothing but the loss of the lease has cancelled the block
        if task is not None and task is self._task and self._call.has_cancelled:
            is_own = task.uncancel() <= self._cancelled_before
        self._task = None
        try:
            await self._call.release()
        except LockLost as loss:
            if error is None or (is_own and isinstance(error, asyncio.CancelledError)):
                raise loss from loss.__cause__


class LockMethods(AtomicMethods):
    """`lock`, and what other methods need of locks."""

    _known_leases: dict[Use, Leases]
    _known_suitability: Suitability | None = None
    _lock_counts: LockCounts

    @property
    def parts(self) -> tuple[Part, ...]:
        """The layers and, as the last, the backend."""
        raise NotImplementedError

    def _leases(self, use: Use) -> Leases:
        leases = self._known_leases.get(use)
        if leases is None:
            leases = self._known_leases[use] = Leases(self, use)  # type: ignore[arg-type]
        return leases

    @property
    def _suitability(self) -> Suitability:
        if self._known_suitability is None:  # every Store is a LeaseStore
            self._known_suitability = Suitability(self)  # type: ignore[arg-type]
        return self._known_suitability

    def lock(
        self,
        key: str,
        *,
        ttl: TTL = 10,
        collection: str | None = None,
        wait: float | None = None,
    ) -> Lock:
        """Hold the lock of a key in the block of an `async with`; one holder in all processes.

        The lease is in the store, and renewed while the block runs. A holder that dies, or does
        not reach the store, loses it: another process acquires the lock when the lease has not
        been renewed for `ttl` seconds. A block whose lease is lost is cancelled, and raises
        `LockLost`. A process that is paused for longer than `ttl` goes on for a moment before it
        notices. Where that matters, pass `lease.fencing` with each change, and refuse smaller
        numbers there.

        Tasks of one process and store object get the lock in order of arrival; among processes
        there is no order. The lock has no effect on the entry of the key.

        Args:
            key: The name of the lock.
            ttl: Seconds, or a timedelta, for which a lease is valid that is not renewed. It is
                renewed three times as often.
            collection: A namespace for the name.
            wait: Seconds to wait for the lock, 0 to try once; `None` for no limit.

        Raises:
            LockTimeout: On entering, if others had the lock for `wait` seconds.
            LockLost: At the end of the block, if the lock was lost.
            Deadlock: On entering, if this task holds the lock.
            UnsupportedOperation: The store cannot compare versions, is not shared by processes,
                or may drop entries to save space.

        >>> async def settle(store, invoice):
        ...     async with store.lock(f"invoice-{invoice}", wait=5) as lease:
        ...         await store.put("settled", [invoice, lease.fencing])
        """
        return Lock(self._lock_call(key, ttl, collection, wait))

    @property
    def locks(self) -> LockCounts:
        """What `lock` of this store object has done so far."""
        return replace(self._lock_counts)

    def _lock_call(
        self, key: str, ttl: TTL, collection: str | None, wait: float | None
    ) -> LockCall:
        return LockCall(
            self._leases(LOCK),
            self._suitability,
            checked_key(key),
            self._collection_of(collection),
            checked_ttl(ttl),
            None if wait is None else checked_seconds(wait, "wait", zero=True),
            self.clock,
            self._lock_counts,
        )
