"""Changes accepted while the inner store is unavailable."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, Primitives, QualifiedKey
from kvwrap.errors import KvwrapError, RateLimited, StoreFull, StoreUnavailable
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.journal.batches import Batches
from kvwrap.layers.shared.journal.figures import JournalFigures
from kvwrap.layers.shared.journal.journal import Journal
from kvwrap.layers.shared.journal.reads import Read, read_with_pending
from kvwrap.layers.shared.journal.sender import Sender
from kvwrap.layers.shared.journal.target import send

_log = logging.getLogger("kvwrap.fallback")
_BATCH_SIZE = 500


class OutageJournal:
    """A journal for outages, and the sender that replays it when they are over.

    Args:
        path: The journal's file.
        guard: The circuit breaker around `inner`.
        inner: The store that the changes are for.
        other: The store that has copies of the changes; it receives them again on opening.
        clock: The source of the time.
        owner: The name of the layer, for errors and the log.
        pause: Seconds between attempts to reach `inner`.
        recovery_delay: Seconds to wait between the first answer of `inner` and the replay.
        max_pending: The most changes pending.

    Attributes:
        journal: The journal.
        sender: The task that replays it.
        figures: What both count.
    """

    def __init__(
        self,
        path: str,
        guard: Guard,
        inner: Primitives,
        other: Primitives,
        clock: Clock,
        *,
        owner: str,
        pause: float,
        recovery_delay: float,
        max_pending: int,
    ) -> None:
        self.journal = Journal(path, clock, log=_log, owner=owner)
        self.sender = Sender(
            self.journal,
            _GuardedTarget(guard, inner),
            clock,
            log=_log,
            owner=owner,
            batch_size=_BATCH_SIZE,
            pause=pause,
            max_pause=pause,
            await_target=self._wait_for_recovery,
        )
        self.figures = JournalFigures(self.journal, self.sender, clock)
        self._guard = guard
        self._inner = inner
        self._other = other
        self._clock = clock
        self._owner = owner
        self._recovery_delay = recovery_delay
        self._max_pending = max_pending

    @property
    def idle(self) -> bool:
        """True while nothing is being committed or sent."""
        return self.sender.idle and self.journal.idle

    async def open(self) -> Iterable[QualifiedKey]:
        """Load the changes that an earlier process accepted, and start to send them.

        Returns the keys of which the other store received no copy, because it failed.
        """
        await self.journal.open()
        pending = dict(self.journal.pending)
        batches = Batches(self._clock, _BATCH_SIZE)
        while pending:
            changes, are_removals = batches.next(pending.values())
            try:
                await send(self._other, changes, are_removals=are_removals)
            except KvwrapError as error:
                _log.warning("%s: the fallback is not up to date: %s", self._owner, error)
                break
            for change in changes:
                del pending[change.qualified_key]
        self.sender.start()
        return pending

    async def close(self) -> None:
        """Stop sending and close the journal; pending changes stay in it."""
        try:
            if not self.journal.is_inherited:
                await self.sender.stop(0)
        finally:
            await self.journal.close()

    async def _wait_for_recovery(self) -> None:
        await self._guard.call(self._inner.ping)
        if self._recovery_delay:
            await self._clock.sleep(self._recovery_delay)

    async def accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        """Accept these changes; they are on the disk when this returns.

        Raises:
            StoreFull: The journal has no room for them.
        """
        await self.sender.accept(
            collection,
            keys,
            entries,
            max_pending=self._max_pending,
            max_wait=0,
            retry_when="after the outage",
        )

    async def must_queue(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[object] | None
    ) -> bool:
        """Return True if a write must queue behind changes in the journal.

        A conditional write never queues: this first sends the pending changes of its keys.

        Raises:
            StoreUnavailable: They cannot be sent, or not be deleted from the journal.
        """
        if expected is None:
            await self.journal.wait_for_abandoned(collection, keys)
            return self.journal.size > 0 or self.journal.is_in_file(collection, keys)
        await self.sender.settle(collection, keys)
        return False

    @staticmethod
    def can_accept(expected: Sequence[object] | None, error: StoreUnavailable) -> bool:
        """Return True if the journal may accept a write that failed with this error."""
        return expected is None and not isinstance(error, RateLimited | StoreFull)

    async def read(
        self, read: Read, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        """Read these keys: from the pending changes, and through `read` the keys without one."""
        return await read_with_pending(self.journal, self._clock, read, collection, keys)


class _GuardedTarget:
    """The inner store as the sender sees it: behind its circuit breaker."""

    def __init__(self, guard: Guard, inner: Primitives) -> None:
        self._guard = guard
        self._inner = inner

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._guard.call(self._inner.write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._guard.call(self._inner.remove, collection, keys, expected)

    async def ping(self) -> None:
        await self._guard.call(self._inner.ping)
