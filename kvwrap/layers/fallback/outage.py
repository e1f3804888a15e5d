"""What is accepted while the store that it belongs to is out of reach."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, Primitives
from kvwrap.errors import KvwrapError, RateLimited, StoreFull, StoreUnavailable
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.journal.journal import Journal, overlay
from kvwrap.layers.shared.journal.sender import Sender

_log = logging.getLogger("kvwrap.journal")
_BATCH = 500


class OutageJournal:
    """A journal for outages, and the sender that empties it when they are over.

    Args:
        path: The journal's file.
        guard: What knows whether the target is to be left alone.
        target: Where the changes belong.
        other: A store that has accepted changes too; after a restart it gets them again.
        pause: Seconds between attempts to reach the target.
        barrier: Seconds that it must have been back before anything is sent.
        max_pending: The most changes pending.
    """

    def __init__(
        self,
        path: str,
        guard: Guard,
        target: Primitives,
        other: Primitives,
        clock: Clock,
        *,
        owner: str,
        pause: float,
        recovery_delay: float,
        max_pending: int,
    ) -> None:
        self.journal = Journal(path, owner=owner)
        self.sender = Sender(
            self.journal,
            _Guarded(guard, target),
            clock,
            owner=owner,
            batch=_BATCH,
            pause=pause,
            longest_pause=pause,
            before=self._back,
        )
        self._guard = guard
        self._target = target
        self._other = other
        self._clock = clock
        self._owner = owner
        self._recovery_delay = recovery_delay
        self._max_pending = max_pending

    async def open(self) -> None:
        """Load what was accepted before the last end, and go on sending it."""
        await self.journal.open()
        for change in self.journal.pending.values():
            try:
                if change.entry is None:
                    await self._other.remove(change.collection, (change.key,), None)
                else:
                    await self._other.write(change.collection, (change.key,), (change.entry,), None)
            except KvwrapError as error:
                _log.warning("%s: the fallback is not up to date: %s", self._owner, error)
                break
        self.sender.start()

    async def close(self) -> None:
        """Let go of the journal; what is pending stays in it."""
        try:
            await self.sender.stop(0)
        finally:
            await self.journal.close()

    async def _back(self) -> None:
        await self._guard.call(self._target.ping)
        if self._recovery_delay:
            await self._clock.sleep(self._recovery_delay)

    async def accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        """Acknowledge these changes, which are then on the disk."""
        await self.sender.accept(
            collection,
            keys,
            entries,
            limit=self._max_pending,
            wait=0,
            until="the end of the outage",
        )

    async def queues(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[object] | None
    ) -> bool:
        """Whether a write has to queue behind those that are pending.

        One that depends on what is there waits until nothing is pending for its keys.
        """
        if expected is None:
            return self.journal.size > 0
        await self.sender.send_first(collection, keys)
        return False

    @staticmethod
    def accepts(expected: Sequence[object] | None, error: StoreUnavailable) -> bool:
        """Whether a write at which the target failed so is one to accept in its place."""
        return expected is None and not isinstance(error, RateLimited | StoreFull)

    async def over(
        self,
        read: Callable[[Collection, Sequence[str]], Awaitable[list[Entry | None]]],
        collection: Collection,
        keys: Sequence[str],
    ) -> list[Entry | None]:
        """What `read` gives, under what is pending."""
        return await overlay(self.journal, self._clock, read, collection, keys)


class _Guarded:
    """The target as the sender sees it."""

    def __init__(self, guard: Guard, target: Primitives) -> None:
        self._guard = guard
        self._target = target

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._guard.call(self._target.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._guard.call(self._target.remove, collection, keys, expected)
