"""Sends what a journal holds, oldest first, until nothing is pending."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import is_running, wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.errors import KvwrapError, StoreFull, StoreUnavailable
from kvwrap.layers.shared.journal.change import Change
from kvwrap.layers.shared.journal.journal import Journal

_log = logging.getLogger("kvwrap.journal")


class Target(Protocol):
    """Where changes belong: a store, a layer, or a guard around one."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """As in `Primitives`."""

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """As in `Primitives`."""


class Sender:
    """Works in the background while anything is pending.

    Neighbours in the journal go out in one call if they are of one collection and kind.
    It stops at the first call that the target does not answer, and tries again after a
    pause that doubles. What the target answers with a refusal is set aside, so that one
    entry does not keep all others. A change may be sent twice, never not at all.

    Args:
        journal: What to send.
        target: Where to.
        clock: Where the time comes from.
        batch: The most changes in a call.
        pause: Seconds to wait after a failure, at first.
        longest_pause: And at most.
        before: Awaited before the first call and after each failure; raises to put off.
    """

    def __init__(
        self,
        journal: Journal,
        target: Target,
        clock: Clock,
        *,
        owner: str,
        batch: int,
        pause: float,
        longest_pause: float,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._journal = journal
        self._target = target
        self._clock = clock
        self._owner = owner
        self._batch = batch
        self._pause = pause
        self._longest = longest_pause
        self._before = before
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._flushing: list[tuple[int, asyncio.Future[None]]] = []
        self.sent = 0
        """How many changes have been sent."""
        self.failures = 0
        """How many calls the target did not answer."""
        self.refused = 0
        """How many changes have been set aside."""

    def start(self) -> None:
        """Be at work if anything is pending."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What another loop left behind when it was stopped is not waited for any more.
            self._loop = loop
            self._hurry, self._moved = asyncio.Event(), asyncio.Event()
            self._flushing = []
        if self._journal.pending and not is_running(self._task):
            self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Send now what is pending now.

        Raises:
            StoreUnavailable: The target does not answer; all that was not sent is pending.
        """
        if not self._journal.pending:
            return
        last = next(reversed(self._journal.pending.values())).number
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start()
        self._flushing.append((last, sent))
        self._hurry.set()
        await sent

    async def accept(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        *,
        limit: int,
        wait: float,
        until: str,
    ) -> None:
        """Take these changes into the journal, and go on sending.

        Args:
            limit: The most changes pending.
            wait: Seconds to wait for room.
            until: What ends the waiting, for the error.

        Raises:
            StoreFull: There was no room in time.
        """
        if not await self._room(collection, keys, limit, wait):
            raise StoreFull(
                f"{self._journal.size} writes wait for {until}, and there is room for {limit}: "
                "nothing was accepted",
                store=self._owner,
                collection=collection,
            )
        await self._journal.accept(collection, keys, entries)
        self.start()

    async def send_first(self, collection: Collection, keys: Sequence[str]) -> None:
        """Have what is pending for these keys sent before something that depends on it."""
        pending = self._journal.pending
        if pending and any((collection, key) in pending for key in keys):
            await self.flush()

    async def _room(
        self, collection: Collection, keys: Sequence[str], limit: int, seconds: float
    ) -> bool:
        """Wait until changes of these keys have room; whether it came to that in time.

        A key that has a change pending needs none, and an empty journal has room for any.
        """
        journal = self._journal

        def is_room() -> bool:
            new = sum((collection, key) not in journal.pending for key in keys)
            return not new or not journal.size or journal.size + new <= limit

        async def wait() -> None:
            while not is_room():
                self.start()
                self._moved.clear()
                await self._moved.wait()

        return is_room() or (seconds > 0 and await wait_for(self._clock, seconds, wait()))

    async def stop(self, seconds: float) -> None:
        """Send what is pending, for so many seconds or until a failure; then be at work no more."""
        try:
            # Whatever kept it from being sent has been logged, and it stays in the journal.
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
        begun = False
        try:
            while self._journal.pending:
                try:
                    if self._before is not None and not begun:
                        await self._before()
                    begun = True
                    await self._send_next()
                except Exception as error:
                    begun = False
                    self.failures += 1
                    self._settle(error)
                    if not isinstance(error, KvwrapError):
                        _log.exception("%s: sending failed, and is tried again", self._owner)
                    self._hurry.clear()
                    await wait_for(self._clock, pause, self._hurry.wait())
                    pause = min(2 * pause, self._longest)
                else:
                    pause = self._pause
                    self._settle(None)
        finally:
            # Nobody waits for a sender that has been stopped.
            if loop is self._loop:
                self._settle(StoreUnavailable("sending was stopped", store=self._owner))

    def _settle(self, error: Exception | None) -> None:
        """Tell those who wait in `flush` and `room` what has come of it."""
        pending = self._journal.pending
        oldest = next(iter(pending.values())).number if pending else None
        waiting, self._flushing = self._flushing, []
        for last, sent in waiting:
            if sent.done():
                continue
            if oldest is None or last < oldest:
                sent.set_result(None)
            elif error is not None:
                sent.set_exception(error)
            else:
                self._flushing.append((last, sent))
        self._moved.set()

    async def _send_next(self) -> None:
        changes, removes = self._next()
        try:
            await self._send(changes, removes)
        except StoreUnavailable as error:
            done = set(error.succeeded or ())
            await self._sent([change for change in changes if change.key in done])
            raise
        except KvwrapError as error:
            if len(changes) == 1:
                await self._set_aside(changes[0], error)
                return
        else:
            await self._sent(changes)
            return
        # One of them is refused: find out which.
        for change in changes:
            try:
                await self._send([change], self._removes(change))
            except StoreUnavailable:
                raise
            except KvwrapError as error:
                await self._set_aside(change, error)
            else:
                await self._sent([change])

    def _next(self) -> tuple[list[Change], bool]:
        """The oldest changes that can go out in one call, and whether it removes."""
        found: list[Change] = []
        removes = False
        for change in self._journal.pending.values():
            if not found:
                removes = self._removes(change)
            elif (
                len(found) == self._batch
                or change.collection != found[0].collection
                or self._removes(change) != removes
            ):
                break
            found.append(change)
        return found, removes

    def _removes(self, change: Change) -> bool:
        # What has expired before it was sent is sent as a removal: an older entry under
        # its key must not be seen again.
        entry = change.entry
        return entry is None or (
            entry.expires_at is not None and entry.expires_at <= self._clock.time()
        )

    async def _send(self, changes: Sequence[Change], removes: bool) -> None:
        collection, keys = changes[0].collection, [change.key for change in changes]
        if removes:
            await self._target.remove(collection, keys, None)
        else:
            entries = [change.entry for change in changes if change.entry is not None]
            await self._target.write(collection, keys, entries, None)

    async def _sent(self, changes: Sequence[Change]) -> None:
        await self._journal.forget(changes)
        self.sent += len(changes)

    async def _set_aside(self, change: Change, error: KvwrapError) -> None:
        await self._journal.refuse(change, type(error).__name__)
        self.refused += 1
        _log.error(
            "%s: an accepted change was refused with %s and is set aside: collection %r, key %r",
            self._owner,
            type(error).__name__,
            change.collection,
            change.key,
        )

    def __repr__(self) -> str:
        state: Any = "at work" if self._task is not None and not self._task.done() else "idle"
        return f"<Sender of {self._owner}, {state}>"
