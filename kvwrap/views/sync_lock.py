"""Locks of a blocking view."""

from __future__ import annotations

import threading
from types import TracebackType

from kvwrap.core.lock import Lease, LockCall
from kvwrap.core.store import Store
from kvwrap.core.ttl import TTL
from kvwrap.views.portal import Portal


class SyncLock:
    """A lock that is acquired by `with`; see `SyncStore.lock`."""

    def __init__(self, call: LockCall, portal: Portal) -> None:
        self._call = call
        self._portal = portal

    def __enter__(self) -> Lease:
        try:
            return self._portal.run(self._call.acquire(threading.current_thread(), None))
        except KeyboardInterrupt:
            # It may have come between the lock and this thread, which then has it.
            self._portal.run(self._call.release())
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.run(self._call.release() if error is None else self._call.give_up())


class SyncLocks:
    """The method `lock` of a blocking view."""

    _store: Store
    _portal: Portal

    def lock(
        self,
        key: str,
        *,
        ttl: TTL = 10,
        collection: str | None = None,
        wait: float | None = None,
    ) -> SyncLock:
        """Hold the lock of a key in the block of a `with`; one holder in all processes.

        The arguments are those of `Store.lock`. The lease is renewed on the view's thread, also
        while the block is busy. Python cannot cancel a block that runs on a thread: if the lock is
        lost, the block goes on, and `LockLost` is raised at its end. A long block calls
        `lease.check()` before each step that needs the lock.

        Raises:
            LockTimeout: On entering, if others had the lock for `wait` seconds.
            LockLost: At the end of the block, if the lock was lost.
            Deadlock: On entering, if this thread holds the lock.
            UnsupportedOperation: The store has no locks.
        """
        return SyncLock(self._store._lock_call(key, ttl, collection, wait), self._portal)
