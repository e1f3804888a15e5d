"""Sends the changes of a journal, oldest first, until none is pending."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import is_running, wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.errors import KvwrapError, StoreFull, StoreUnavailable
from kvwrap.layers.shared.journal.change import Change
from kvwrap.layers.shared.journal.journal import Journal


class Target(Protocol):
    """Receives the changes: a store, a layer, or a guard around one."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write entries, as `Primitives.write` does."""

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Remove keys, as `Primitives.remove` does."""


class Sender:
    """Sends pending changes in a background task that runs while there are any.

    Consecutive changes go out in one call if they are of one collection and kind (write or
    removal). Sending stops at the first call that the target does not answer, and starts
    again after a pause, which doubles with every failure. A change that the target refuses
    is set aside, so that it does not hold up the others. A change may be sent twice, but is
    never lost.

    Args:
        journal: The changes to send.
        target: The receiver of the changes.
        clock: The source of the time.
        log: The logger of the layer.
        owner: The name of the layer, for errors and the log.
        batch_size: The most changes in one call.
        pause: Seconds to wait after the first failure.
        max_pause: The longest pause, seconds.
        await_target: Awaited before the first call and after each failure. If it raises,
            sending is postponed as after a failed call.

    Attributes:
        sent: Number of changes sent.
        failures: Number of calls that the target did not answer.
        refused: Number of changes set aside.
    """

    def __init__(
        self,
        journal: Journal,
        target: Target,
        clock: Clock,
        *,
        log: logging.Logger,
        owner: str,
        batch_size: int,
        pause: float,
        max_pause: float,
        await_target: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.sent = 0
        self.failures = 0
        self.refused = 0
        self._journal = journal
        self._target = target
        self._clock = clock
        self._log = log
        self._owner = owner
        self._batch_size = batch_size
        self._pause = pause
        self._max_pause = max_pause
        self._await_target = await_target
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._flush_waiters: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def idle(self) -> bool:
        """True while the sending task does not run."""
        task = self._task
        return task is None or task.done() or task.get_loop().is_closed()

    def start(self) -> None:
        """Start the sending task if changes are pending and it does not run."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Another loop was stopped in the middle: its waiters will never be resumed.
            self._loop = loop
            self._retry_now, self._progress = asyncio.Event(), asyncio.Event()
            self._flush_waiters = []
        if self._journal.pending and not is_running(self._task):
            self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Send the changes that are pending now, without waiting for the end of a pause.

        Raises:
            StoreUnavailable: The target does not answer; changes that were not sent stay
                pending.
        """
        if not self._journal.pending:
            return
        last = next(reversed(self._journal.pending.values())).number
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start()
        self._flush_waiters.append((last, sent))
        self._retry_now.set()
        await sent

    async def flush_if_pending(self, collection: Collection, keys: Sequence[str]) -> None:
        """Flush if a change of one of these keys is pending."""
        pending = self._journal.pending
        if pending and any((collection, key) in pending for key in keys):
            await self.flush()

    async def accept(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        *,
        max_pending: int,
        max_wait: float,
        retry_when: str,
    ) -> None:
        """Accept these changes into the journal, and start to send them.

        Args:
            collection: The collection of the keys.
            keys: The keys to change.
            entries: The entry to write per key; `None` removes the key.
            max_pending: The most changes pending.
            max_wait: Seconds to wait for room.
            retry_when: When there will be room again, for the error.

        Raises:
            StoreFull: There was no room within `max_wait`; nothing was accepted.
        """
        if not await self._wait_for_room(collection, keys, max_pending, max_wait):
            raise StoreFull(
                f"the journal is full: {self._journal.size} changes are pending, and at most "
                f"{max_pending} may be (`max_pending`); nothing was accepted, retry {retry_when}",
                store=self._owner,
                collection=collection,
            )
        await self._journal.accept(collection, keys, entries)
        self.start()

    async def _wait_for_room(
        self, collection: Collection, keys: Sequence[str], max_pending: int, seconds: float
    ) -> bool:
        """Wait until the journal has room for changes of these keys. Returns False after this time.

        A key with a pending change needs no room, and an empty journal has room for any batch.
        """
        journal = self._journal

        def has_room() -> bool:
            new = sum((collection, key) not in journal.pending for key in keys)
            return not new or not journal.size or journal.size + new <= max_pending

        async def wait() -> None:
            while not has_room():
                self.start()
                self._progress.clear()
                await self._progress.wait()

        return has_room() or (seconds > 0 and await wait_for(self._clock, seconds, wait()))

    async def stop(self, seconds: float) -> None:
        """Send pending changes for this time or until a failure, then end the sending task."""
        try:
            # The error was counted or logged; the changes stay in the journal.
            with suppress(Exception):
                await wait_for(self._clock, seconds, self.flush())
        finally:
            task, self._task = self._task, None
            if task is not None and is_running(task):
                task.cancel()
                await asyncio.wait((task,))

    async def _run(self) -> None:
        loop = self._loop
        pause = self._pause
        is_ready = False
        try:
            while self._journal.pending:
                try:
                    if self._await_target is not None and not is_ready:
                        await self._await_target()
                    is_ready = True
                    await self._send_next()
                except Exception as error:
                    is_ready = False
                    self.failures += 1
                    self._notify_waiters(error)
                    if not isinstance(error, KvwrapError):
                        self._log.exception(
                            "%s: sending failed; it is retried after a pause", self._owner
                        )
                    self._retry_now.clear()
                    await wait_for(self._clock, pause, self._retry_now.wait())
                    pause = min(2 * pause, self._max_pause)
                else:
                    pause = self._pause
                    self._notify_waiters(None)
        finally:
            # In another loop, nobody waits for this task any more.
            if loop is self._loop:
                self._notify_waiters(
                    StoreUnavailable(
                        "sending was stopped; the changes stay in the journal", store=self._owner
                    )
                )

    def _notify_waiters(self, error: Exception | None) -> None:
        """Resolve the waiters of `flush` that this outcome concerns; wake those for room."""
        pending = self._journal.pending
        oldest = next(iter(pending.values())).number if pending else None
        waiters, self._flush_waiters = self._flush_waiters, []
        for last, sent in waiters:
            if sent.done():
                continue
            if oldest is None or last < oldest:
                sent.set_result(None)
            elif error is not None:
                sent.set_exception(error)
            else:
                self._flush_waiters.append((last, sent))
        self._progress.set()

    async def _send_next(self) -> None:
        changes, are_removals = self._next_batch()
        try:
            await self._send(changes, are_removals)
        except StoreUnavailable as error:
            succeeded = set(error.succeeded or ())
            await self._mark_sent([change for change in changes if change.key in succeeded])
            raise
        except KvwrapError as error:
            if len(changes) == 1:
                await self._set_aside(changes[0], error)
                return
        else:
            await self._mark_sent(changes)
            return
        # The target refused one of them: send each alone to find out which.
        for change in changes:
            try:
                await self._send([change], self._is_removal(change))
            except StoreUnavailable:
                raise
            except KvwrapError as error:
                await self._set_aside(change, error)
            else:
                await self._mark_sent([change])

    def _next_batch(self) -> tuple[list[Change], bool]:
        """Return the oldest changes that fit into one call, and whether they are removals."""
        batch: list[Change] = []
        are_removals = False
        for change in self._journal.pending.values():
            if not batch:
                are_removals = self._is_removal(change)
            elif (
                len(batch) == self._batch_size
                or change.collection != batch[0].collection
                or self._is_removal(change) != are_removals
            ):
                break
            batch.append(change)
        return batch, are_removals

    def _is_removal(self, change: Change) -> bool:
        # An entry that expired before it was sent is sent as a removal: an older entry under
        # its key must not become visible again.
        entry = change.entry
        return entry is None or (
            entry.expires_at is not None and entry.expires_at <= self._clock.time()
        )

    async def _send(self, changes: Sequence[Change], are_removals: bool) -> None:
        collection, keys = changes[0].collection, [change.key for change in changes]
        if are_removals:
            await self._target.remove(collection, keys, None)
        else:
            entries = [change.entry for change in changes if change.entry is not None]
            await self._target.write(collection, keys, entries, None)

    async def _mark_sent(self, changes: Sequence[Change]) -> None:
        await self._journal.forget(changes)
        self.sent += len(changes)

    async def _set_aside(self, change: Change, error: KvwrapError) -> None:
        await self._journal.refuse(change, type(error).__name__)
        self.refused += 1
        self._log.error(
            "%s: the backend refused an accepted change with %s; it is set aside in the journal: "
            "collection %r, key %r",
            self._owner,
            type(error).__name__,
            change.collection,
            change.key,
        )

    def __repr__(self) -> str:
        return f"<Sender of {self._owner}, {'idle' if self.idle else 'running'}>"
