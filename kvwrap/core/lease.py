"""Leases: the records of locks in a store, and the renewal of one that this process holds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from kvwrap.core import codec
from kvwrap.core.clock import Clock, SystemClock
from kvwrap.core.concurrency import cancel_and_wait
from kvwrap.core.entry import Entry
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import ABSENT, Absent, Collection, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.errors import LockLost

RESERVED: Final = "kvwrap.locks"
"""The collection with the records of locks."""

FREE: Final = 0
"""The holder in the record of a lock that nobody holds."""

RENEWALS: Final = 3
"""Renewals in the ttl of a lease."""

TAKEN: Final = "another one has acquired it, or its record was deleted"
"""Why a lease is lost that the store no longer has."""

_SAFE: Final = 0.9
"""The share of the ttl after which a holder that could not renew its lease gives it up. Others
wait for the whole ttl, so its block has the rest to end."""

_SHORTEST, _LONGEST = 0.01, 1.0
"""Bounds of the seconds between two attempts."""


class Use(msgspec.Struct, frozen=True):
    """What leases are used for.

    Attributes:
        name: What the keys of their records begin with.
        held: Seconds for which a record is kept that is not renewed, long after its lease is over.
        released: Seconds for which it is kept after the release; 0 to remove it then.
    """

    name: str
    held: float
    released: float


LOCK: Final = Use("lock", held=365 * 86400.0, released=86400.0)
"""Locks. A record stays for a day after the release, so that the fencing number grows."""

COMPUTATION: Final = Use("compute", held=86400.0, released=0.0)
"""Computations, of which there may be one for each key of a cache."""


class LockRecord(msgspec.Struct, frozen=True, array_like=True):
    """The record of a lock.

    Attributes:
        holder: A random number for each lease; `FREE` if nobody holds the lock.
        fencing: The number of the lease, or of the last one.
        ttl: Seconds for which the record of a held lock must have stood still before another
            process takes the lock.
    """

    holder: int
    fencing: int
    ttl: float


class Found(NamedTuple):
    """A record as it was read or written.

    Attributes:
        version: Its version; `ABSENT` if it was removed.
        record: What it says; `None` if that is unreadable.
    """

    version: int | Absent
    record: LockRecord | None


@lru_cache(maxsize=1024)
def record_key(kind: str, collection: Collection, key: str) -> str:
    """Return the key of the record for the lock of a key.

    It is a hash: names may be long, and none of them is to be seen where keys are hashed.
    """
    name = msgspec.msgpack.encode((kind, collection, key))
    return f"{kind}-{hashlib.sha256(name).hexdigest()[:32]}"


class LockRecords:
    """Reads and writes the records, through all layers of a store.

    Args:
        part: The store.
        is_cached: True if a layer may answer reads from copies.
        use: What the leases are used for.
    """

    def __init__(self, part: Primitives, *, is_cached: bool, use: Use = LOCK) -> None:
        self.use = use
        self._part = part
        self._is_cached = is_cached

    async def read(self, key: str) -> Found | None:
        """Return the record, or `None` if nothing is stored."""
        if self._is_cached:
            # A conditional change makes caches drop their copy, also if it is refused.
            await self._part.remove(RESERVED, (key,), (new_version(),))
        with peeking():
            (entry,) = await self._part.read(RESERVED, (key,))
        if entry is None:
            return None
        record = None
        if entry.codec == codec.MSGPACK:
            with suppress(msgspec.MsgspecError):
                record = msgspec.msgpack.decode(entry.body, type=LockRecord)
        return Found(entry.version, record)

    async def replace(self, key: str, found: Found | None, record: LockRecord) -> Found | None:
        """Write the record if it is still the one that was found.

        Returns the new one, or `None` if the write was refused. Then it may still have been
        carried out, by a layer that repeats calls.
        """
        now, version = self._part.clock.time(), new_version()
        expires_at = now + (self.use.released if record.holder == FREE else self.use.held)
        body = msgspec.msgpack.encode(record)
        entry = Entry(body, codec.MSGPACK, now, expires_at, version)
        condition = ABSENT if found is None else found.version
        (is_written,) = await self._part.write(RESERVED, (key,), (entry,), (condition,))
        return Found(version, record) if is_written else None

    async def free(self, key: str, found: Found, record: LockRecord) -> Found | None:
        """Mark the record that was found as free, or remove it; returns what `replace` does."""
        free = LockRecord(FREE, record.fencing, record.ttl)
        if self.use.released:
            return await self.replace(key, found, free)
        (is_removed,) = await self._part.remove(RESERVED, (key,), (found.version,))
        return Found(ABSENT, free) if is_removed else None

    async def create(self, keys: Sequence[str], record: LockRecord) -> dict[str, Found]:
        """Write the record under those keys that have none. Returns what was written, by key."""
        if not keys:
            return {}
        now, body = self._part.clock.time(), msgspec.msgpack.encode(record)
        expires_at = now + self.use.held
        entries = [
            Entry(body, codec.MSGPACK, now, expires_at, version)
            for version in (new_version() for _ in keys)
        ]
        flags = await self._part.write(RESERVED, keys, entries, [ABSENT] * len(keys))
        return {
            key: Found(entry.version, record)
            for key, entry, is_written in zip(keys, entries, flags, strict=True)
            if is_written
        }

    async def remove(self, found: Mapping[str, Found]) -> set[str]:
        """Remove the records that are still those that were found. Returns their keys."""
        keys = list(found)
        versions = [each.version for each in found.values()]
        flags = await self._part.remove(RESERVED, keys, versions)
        return {key for key, is_removed in zip(keys, flags, strict=True) if is_removed}


def pause(attempt: int, longest: float) -> float:
    """Return random seconds to wait before an attempt, up to a bound that doubles."""
    limit = min(_SHORTEST * float(2 ** min(attempt, 10)), _LONGEST, longest)
    return limit * random.uniform(0.5, 1)


class Holding:
    """A lease that this process holds: its record, and for how long it is sure of it.

    Args:
        records: The records of the store.
        key: The key of the record.
        found: The record as it was written.
        record: What it says.
        begun: `clock.monotonic()` before the record was written.
        clock: The store's clock.
        describe: Returns the error for a reason of the loss.

    Attributes:
        found: The record.
        lost: The error with which the lease ended; None as long as it has not.
        is_over: True when the lease was given back.
        has_cancelled: True if its loss has cancelled the task of the block.
        follows_own: False if another process had the lock since this one had it last.
    """

    def __init__(
        self,
        records: LockRecords,
        key: str,
        found: Found,
        record: LockRecord,
        begun: float,
        clock: Clock,
        describe: Callable[[str], LockLost],
    ) -> None:
        self.key = key
        self.found = found
        self.record = record
        self.lost: LockLost | None = None
        self.is_over = False
        self.has_cancelled = False
        self.follows_own = True
        self.loop = asyncio.get_running_loop()
        self._records = records
        self._clock = clock
        self._begun = begun
        self.describe = describe
        self._pid = os.getpid()
        self._cause: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_inherited(self) -> bool:
        """True in a process that was forked from the holder, which does not hold the lease."""
        return self._pid != os.getpid()

    @property
    def is_sure(self) -> bool:
        """True while no other process can have the lock."""
        return (
            self.lost is None
            and not self.is_over
            and not self.is_inherited
            and self._clock.monotonic() < self._end
        )

    @property
    def _end(self) -> float:
        return self._begun + self.record.ttl * _SAFE

    def keep(self, task: asyncio.Task[Any] | None) -> None:
        """Renew the lease from now on.

        Args:
            task: The task to cancel if the lease is lost; None for none.
        """
        self._task = task
        if isinstance(self._clock, SystemClock):
            # Most blocks end before the first renewal is due, and a task costs more than a timer.
            seconds = self._begun + self.record.ttl / RENEWALS - self._clock.monotonic()
            self._timer = self.loop.call_later(max(0.0, seconds), self._start)
        else:
            self._start()

    def _start(self) -> None:
        self._keeper = self.loop.create_task(self._keep())

    def stop(self) -> None:
        """Stop renewing it."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._keeper is not None:
            if not self._keeper.done():  # asyncio tells nothing of a failed task that is cancelled
                self._keeper.cancel()
            self._keeper = None
        self._task = None

    def lose(self, reason: str, cause: BaseException | None = None) -> None:
        """End the lease: cancel the task of its block, unless that is the running one."""
        if self.lost is not None or self.is_over:
            return
        self.lost = self.describe(reason)
        self.lost.__cause__ = cause
        task = self._task
        if task is not None and not task.done() and task is not asyncio.current_task():
            self.has_cancelled = task.cancel()

    async def _keep(self) -> None:
        clock, step = self._clock, self.record.ttl / RENEWALS
        while not self.is_inherited:
            await clock.sleep(self._begun + step - clock.monotonic())
            if self.is_inherited:
                return
            renewal = self.loop.create_task(self._renew())
            alarm = self.loop.create_task(clock.sleep(self._end - clock.monotonic()))
            try:
                await asyncio.wait((renewal, alarm), return_when=asyncio.FIRST_COMPLETED)
                if not renewal.done():
                    self.lose(
                        f"it could not be renewed within {self.record.ttl * _SAFE:g} s",
                        self._cause,
                    )
                    return
                if not renewal.result():
                    self.lose(TAKEN)
                    return
            finally:
                await cancel_and_wait((renewal, alarm))

    async def _renew(self) -> bool:
        """Write the record again until that succeeds. Returns False if it is not this lease's."""
        attempt = 0
        while True:
            begun = self._clock.monotonic()
            try:
                written = await self._records.replace(self.key, self.found, self.record)
                if written is not None:
                    self.found, self._begun, self._cause = written, begun, None
                    return True
                # The outcome of an earlier attempt may have been unknown, or another process
                # has rewritten the record.
                found = await self._records.read(self.key)
                if found is None or found.record != self.record:
                    return False
                self.found = found
                attempt += 1
                if attempt == 1:
                    continue
            except Exception as error:  # whatever it is, the lease lasts until its end
                self._cause = error
                attempt += 1
            await self._clock.sleep(pause(attempt, self.record.ttl / 10))

    async def release(self) -> Found | None:
        """Free the record. Returns what it is then, or `None` if it is not this lease's."""
        free = LockRecord(FREE, self.record.fencing, self.record.ttl)
        for _ in range(10):
            written = await self._records.free(self.key, self.found, self.record)
            if written is not None:
                return written
            found = await self._records.read(self.key)
            if found is not None and found.record == free:
                return found
            if found is None or found.record != self.record:
                return None
            self.found = found
        return None
