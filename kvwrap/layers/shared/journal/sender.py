"""Sends the changes of a journal, oldest first, until none is pending."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.core.worker import Worker
from kvwrap.errors import (
    CircuitOpen,
    KvwrapError,
    RateLimited,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
)
from kvwrap.layers.shared.journal.batches import Batches
from kvwrap.layers.shared.journal.change import Change
from kvwrap.layers.shared.journal.exclusion import Exclusion
from kvwrap.layers.shared.journal.flushes import Flushes
from kvwrap.layers.shared.journal.inlet import Inlet
from kvwrap.layers.shared.journal.journal import Journal
from kvwrap.layers.shared.journal.room import Request, Room
from kvwrap.layers.shared.journal.suspect import Suspect
from kvwrap.layers.shared.journal.target import Target, send


class Sender:
    """Sends pending changes in a background task that runs while there are any.

    Consecutive changes go out in one call if they are of one collection and kind (write or
    removal). Sending stops at the first call that the target does not answer, and starts
    again after a pause, which doubles with every failure. A batch that fails although the
    target answers, or that takes too long, is halved, and batches grow again with every
    success. A change may be sent twice, but is never lost.

    A change that the target refuses is set aside, so that it does not hold up the others. So is
    a `Suspect`, which failed by itself several times in a row while the target answered, once the
    target has taken a witness. Without one, the others are sent before it.

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
        self._pause = pause
        self._max_pause = max_pause
        self._await_target = await_target
        self._batches = Batches(clock, batch_size)
        self._suspect = Suspect(self._batches)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = Worker(self._run, lambda: bool(journal.pending or journal.has_sent))
        self._flushes, self._room, self._exclusion = Flushes(), Room(journal), Exclusion()

    @property
    def idle(self) -> bool:
        """True while the sending task does not run."""
        return self._worker.idle

    def start(self) -> None:
        """Start the sending task if there is something to send and it does not run."""
        self._follow_loop()
        self._worker.start()

    def _follow_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Another loop was stopped in the middle: its waiters will never be resumed.
            self._loop = loop
            self._retry_now = asyncio.Event()
            self._flushes, self._room = Flushes(), Room(self._journal)
            self._exclusion = Exclusion()
            self._inlet = Inlet(loop)

    async def flush(self, qualified_keys: Sequence[QualifiedKey] | None = None) -> None:
        """Send the changes that are pending now, without waiting for the end of a pause.

        Args:
            qualified_keys: The keys to wait for; `None` waits for all.

        Raises:
            StoreUnavailable: The target does not answer; changes that were not sent stay
                pending.
        """
        if qualified_keys is None:
            await self._journal.wait_for_abandoned(None, None)
        if self._journal.pending:
            self.start()
            self._retry_now.set()
            await self._flushes.wait(self._journal, qualified_keys)

    async def settle(self, collection: Collection, keys: Sequence[str]) -> None:
        """Send the changes of these keys that are pending, and delete them from the file.

        Afterwards nothing older can be sent over what the caller does to these keys, even if
        the process ends.

        Raises:
            StoreUnavailable: The target does not answer, or the disk refuses.
        """
        journal = self._journal
        await journal.wait_for_abandoned(collection, keys)
        if journal.is_in_file(collection, keys):
            qualified_keys = [(collection, key) for key in keys]
            if any(qualified_key in journal.pending for qualified_key in qualified_keys):
                await self.flush(qualified_keys)
            await journal.clean()

    async def settle_all(self) -> None:
        """Send all changes that are pending now, and delete them from the file.

        Raises:
            StoreUnavailable: The target does not answer, or the disk refuses.
        """
        await self.flush()
        await self._journal.clean()

    @asynccontextmanager
    async def settled(
        self, collection: Collection, keys: Sequence[str] | None
    ) -> AsyncIterator[None]:
        """Settle these keys, and run the block, which changes them at the target, without sending.

        Changes that are accepted meanwhile are sent either before the block or after it.

        Args:
            collection: The collection of the keys.
            keys: The keys; `None` stands for all, of every collection.

        Raises:
            StoreUnavailable: The target does not answer, or the disk refuses.
        """
        self._follow_loop()
        if keys is None:
            await self.flush()
        else:
            await self.settle(collection, keys)
        async with self._exclusion.operation(collection, keys):
            if keys is None or self._journal.is_in_file(collection, keys):
                await self._journal.clean()
            yield

    async def accept(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        *,
        max_pending: int,
        max_wait: float,
        retry_when: str,
    ) -> list[bool]:
        """Accept these changes into the journal, and start to send them. Returns True for each.

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
        self._follow_loop()
        entered = self._inlet.enter()
        if entered is not None:
            await entered
        request = Request(collection, keys, max_pending)
        has_room = self._journal.size + len(keys) <= max_pending or self._room.has_room(request)
        if not has_room and max_wait > 0:
            has_room = await wait_for(self._clock, max_wait, self._room.wait(request, self.start))
        if not has_room:
            raise StoreFull(
                f"the journal is full: {self._journal.size} changes are pending, and at most "
                f"{max_pending} may be (`max_pending`); nothing was accepted, retry {retry_when}",
                store=self._owner,
                collection=collection,
            )
        try:
            await self._journal.accept(collection, keys, entries)
        except BaseException:
            self._room.wake()  # others may use the room
            raise
        self.start()
        return [True] * len(keys)

    async def stop(self, seconds: float) -> None:
        """Send pending changes for this time or until a failure, then end the sending task."""
        try:
            # The error was counted or logged; the changes stay in the journal.
            with suppress(Exception):
                await wait_for(self._clock, seconds, self.flush())
        finally:
            await self._worker.cancel()

    async def _run(self) -> None:
        loop = self._loop
        pause = self._pause
        is_ready = False
        try:
            while self._journal.pending or self._journal.has_sent:
                try:
                    if self._await_target and self._journal.pending and not is_ready:
                        await self._await_target()
                    is_ready = True
                    await self._send_next()
                except Exception as error:
                    is_ready = False
                    self.failures += 1
                    self._notify(error)
                    if not isinstance(error, KvwrapError):
                        self._log.exception(
                            "%s: sending failed; it is retried after a pause", self._owner
                        )
                    self._retry_now.clear()
                    await wait_for(self._clock, pause, self._retry_now.wait())
                    pause = min(2 * pause, self._max_pause)
                else:
                    pause = self._pause
                    self._notify(None)
        finally:
            # In another loop, nobody waits for this task any more.
            if loop is self._loop:
                self._notify(
                    StoreUnavailable(
                        "sending was stopped; the changes stay in the journal", store=self._owner
                    )
                )

    def _notify(self, error: Exception | None) -> None:
        """Resolve the waiters of `flush` that this outcome concerns; wake those for room."""
        self._flushes.notify(self._journal, error)
        self._room.wake()

    async def _send_next(self) -> None:
        if not self._journal.pending:
            await self._journal.clean()
            return
        in_order = self._suspect.in_order(self._journal.pending)
        changes, are_removals = self._batches.next(in_order)
        try:
            await self._deliver(changes, are_removals=are_removals)
        except KvwrapError as error:
            if isinstance(error, StoreUnavailable):
                await self._judge_failure(changes, error)
                raise
            if len(changes) == 1:
                await self._set_aside(changes[0], error)
            else:
                await self._send_one_by_one(changes)
        except Exception as error:
            await self._judge_failure(changes, error)
            raise
        else:
            self._suspect.update(self._journal.pending)
            self._batches.grow()

    async def _deliver(self, changes: Sequence[Change], *, are_removals: bool) -> None:
        """Send changes and forget them, while no operation changes their keys at the target."""
        async with self._exclusion.sending(changes):
            try:
                await send(self._target, changes, are_removals=are_removals)
            except StoreUnavailable as error:
                succeeded = set(error.succeeded or ())
                await self._mark_sent([change for change in changes if change.key in succeeded])
                raise
            await self._mark_sent(changes)

    async def _send_one_by_one(self, changes: Sequence[Change]) -> None:
        """Send each change by itself, to find out which one the target refuses."""
        for change in changes:
            try:
                is_removal = self._batches.is_removal(change)
                await self._deliver([change], are_removals=is_removal)
            except StoreUnavailable:
                raise
            except KvwrapError as error:
                await self._set_aside(change, error)

    async def _judge_failure(self, changes: Sequence[Change], error: Exception) -> None:
        """After a failed call: halve the next batch, or set aside a change that always fails."""
        if isinstance(error, CircuitOpen | RateLimited | StoreFull):
            return  # says nothing about these changes
        if len(changes) > 1:
            if isinstance(error, StoreTimeout) or await self._answers():
                self._batches.shrink(len(changes))
            return
        if not await self._answers():
            self._suspect.clear()
            return
        self._suspect.add_failure(changes[0])
        witness = self._suspect.witness(self._journal.pending)
        if witness is not None:
            with suppress(KvwrapError):
                is_removal = self._batches.is_removal(witness)
                await self._deliver([witness], are_removals=is_removal)
                await self._set_aside(changes[0], error)
        elif self._suspect.is_new:
            self._log.warning(
                "%s: a change always fails with %s although the backend answers; it stays pending, "
                "since nothing else shows whether the backend takes changes: collection %r, key %r",
                self._owner,
                type(error).__name__,
                changes[0].collection,
                changes[0].key,
            )

    async def _answers(self) -> bool:
        try:
            await self._target.ping()
        except KvwrapError:
            return False
        return True

    async def _mark_sent(self, changes: Sequence[Change]) -> None:
        self.sent += len(changes)
        could_delete = not self._journal.has_sent
        try:
            await self._journal.forget(changes)
        except StoreUnavailable as error:
            # They will not be sent again by this process, which deletes them when it can.
            if could_delete:
                self._log.warning(
                    "%s: changes were sent, but the journal cannot delete them: %s",
                    self._owner,
                    error.message,
                )

    async def _set_aside(self, change: Change, error: Exception) -> None:
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
