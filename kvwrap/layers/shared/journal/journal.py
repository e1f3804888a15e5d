"""The journal as layers use it: pending changes in memory, and the same changes on the disk."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.core.threads import SingleThread
from kvwrap.core.turns import Turns, slices, turn
from kvwrap.core.worker import Worker
from kvwrap.errors import StoreUnavailable, ValueTooLarge
from kvwrap.layers.shared.journal.change import Change, Refused
from kvwrap.layers.shared.journal.file import JournalFile
from kvwrap.layers.shared.journal.groups import Group, cancel, resolve

T = TypeVar("T")

LARGEST_VALUE: Final = 990_000_000
"""Bytes of a value; SQLite's rows have at most 1,000,000,000."""


class Journal:
    """Accepts changes durably, keeps the newest per key, and holds them until they are sent.

    Changes that are accepted at the same time share one commit. Memory follows the disk:
    every change in `pending` has been committed. Only the process that opened the journal may
    use it, not a child that it forks.

    Args:
        path: The file.
        clock: The source of the time.
        log: The logger of the layer.
        owner: The name of the layer, for errors and the log.

    Attributes:
        damaged: Number of damaged changes found on opening; a damaged file counts as one.
    """

    def __init__(
        self, path: str | os.PathLike[str], clock: Clock, *, log: logging.Logger, owner: str
    ) -> None:
        self.damaged = 0
        self._path = os.fspath(path)
        self._clock = clock
        self._log = log
        self._owner = owner
        self._process = os.getpid()
        self._file: JournalFile | None = None
        self._thread: SingleThread | None = None
        self._last_number = 0
        self._sent: dict[QualifiedKey, int] = {}
        self._uncommitted: list[Group] = []
        self._uncommitted_size = 0
        self._in_commit: list[Group] = []
        self._abandoned: set[QualifiedKey] = set()
        self._commit_ended: asyncio.Event | None = None
        self._committer = Worker(self._commit, lambda: bool(self._uncommitted))
        self.pending: dict[QualifiedKey, Change] = {}
        """Changes accepted and not sent yet, in the order of acceptance."""
        self.replaced: dict[QualifiedKey, int] = {}
        """The number of the oldest unsent change of each pending key that has had several."""

    @property
    def size(self) -> int:
        """Number of changes that are pending or being committed."""
        return len(self.pending) + self._uncommitted_size

    @property
    def idle(self) -> bool:
        """True while nothing is being committed."""
        return self._committer.idle

    async def open(self) -> None:
        """Open the file and load its pending changes.

        Raises:
            ConfigurationError: Another process or stack has the file open, or it is not a
                journal.
        """
        thread = SingleThread("kvwrap-journal")

        opening = asyncio.get_running_loop().run_in_executor(
            thread, JournalFile, self._path, self._owner
        )
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            thread.shutdown(wait=False)
            raise
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._file, self._thread, self._process = file, thread, os.getpid()
        self._last_number, self._sent, self.replaced = file.last_number, {}, {}
        self.pending = {change.qualified_key: change for change in file.changes}
        self.damaged = file.damaged
        file.changes = []
        if file.damaged:
            self._log.error(
                "%s: the journal %r was damaged (%d times); what could be read is used. Damaged "
                "changes are among the refused ones, and a damaged file is kept as %r",
                self._owner,
                self._path,
                file.damaged,
                f"{self._path}.damaged",
            )

    @property
    def is_inherited(self) -> bool:
        """True in a child that was forked from the process which opened the journal."""
        return self._file is not None and self._process != os.getpid()

    def check_process(self) -> None:
        """Raise `StoreUnavailable` in a forked child."""
        if self.is_inherited:
            raise StoreUnavailable(
                f"the journal belongs to the process that opened it ({self._process}), not to a "
                "child forked from it; build the stack in the child, with a journal of its own",
                store=self._owner,
            )

    async def close(self) -> None:
        """Commit the changes that are being accepted, then close the file.

        In a forked child the file stays the parent's: nothing is committed or closed.
        """
        if self.is_inherited:
            self._file = self._thread = None
            return
        await self._committer.drain()
        file, self._file = self._file, None
        thread, self._thread = self._thread, None
        if file is not None and thread is not None:
            closing = asyncio.get_running_loop().run_in_executor(thread, file.close)
            thread.shutdown(wait=False)
            await asyncio.shield(closing)

    async def accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        """Accept these changes, all or none; they are on the disk when this returns.

        If the call is cancelled before its commit begins, nothing is accepted. If it is
        cancelled later, the changes may be accepted; `wait_for_abandoned` waits until they are.

        Raises:
            ValueTooLarge: An entry does not fit into a row of SQLite.
            StoreFull: The disk has no room.
        """
        self.check_process()
        turns = Turns()
        for key, entry in zip(keys, entries, strict=True):
            if entry is not None and len(entry.body) > LARGEST_VALUE:
                raise ValueTooLarge(
                    f"a value must have at most {LARGEST_VALUE} bytes for the journal; got "
                    f"{len(entry.body)} bytes. Nothing was accepted",
                    store=self._owner,
                    collection=collection,
                    key=key,
                )
            if turns.are_due():
                await turn()
        loop = asyncio.get_running_loop()
        if not self._committer.is_running:
            # What another loop left uncommitted when it was stopped was never acknowledged.
            self._uncommitted, self._uncommitted_size, self._abandoned = [], 0, set()
        group = Group(collection, keys, entries, loop.create_future())
        self._uncommitted.append(group)
        self._uncommitted_size += len(keys)
        self._committer.start()
        try:
            await group.committed
        except asyncio.CancelledError:
            if any(group is other for other in self._in_commit):
                self._abandoned.update((collection, key) for key in keys)
                if self._commit_ended is None or self._commit_ended.is_set():
                    self._commit_ended = asyncio.Event()
            raise

    @property
    def has_abandoned(self) -> bool:
        """True while changes are being committed whose caller was cancelled."""
        return bool(self._abandoned)

    async def wait_for_abandoned(self, collection: Collection, keys: Sequence[str] | None) -> None:
        """Wait while changes are being committed whose caller was cancelled.

        A caller that saw the state before them would see it change without another write.

        Args:
            collection: The collection of the keys.
            keys: The keys to wait for; `None` waits for all, of every collection.
        """
        abandoned = self._abandoned
        while self._commit_ended is not None and self._committer.is_running and abandoned:
            if keys is not None and not any((collection, key) in abandoned for key in keys):
                return
            await self._commit_ended.wait()

    async def _commit(self) -> None:
        while self._uncommitted:
            groups, self._uncommitted = self._uncommitted, []
            self._uncommitted_size = 0
            # A caller that was cancelled in the meantime does not want its changes any more.
            groups = [group for group in groups if not group.committed.done()]
            try:
                await self._commit_together(groups)
            except Exception as error:  # raised in those who wait
                if len(groups) == 1:
                    await resolve(groups, error)
                else:  # one may not fit where the others do
                    await self._commit_one_by_one(groups)
            except BaseException:
                cancel(groups)
                raise

    async def _commit_one_by_one(self, groups: list[Group]) -> None:
        for index, group in enumerate(groups):
            if group.committed.done():
                continue
            try:
                await self._commit_together([group])
            except Exception as error:  # raised in the one who waits
                await resolve([group], error)
            except BaseException:
                cancel(groups[index:])
                raise

    async def _commit_together(self, groups: list[Group]) -> None:
        self._in_commit = groups
        try:
            changes = await self._number(groups)
            await self._in_thread(lambda file: file.accept(changes))
            await self._add_pending(changes)
        finally:
            self._in_commit = []
            self._abandoned.clear()
            if self._commit_ended is not None:
                self._commit_ended.set()
        await resolve(groups, None)

    async def _number(self, groups: Sequence[Group]) -> list[Change]:
        """Return the changes with their sequence numbers, in the order of acceptance."""
        changes: list[Change] = []
        turns, now = Turns(), self._clock.time()
        for collection, keys, entries, _ in groups:
            for key, entry in zip(keys, entries, strict=True):
                self._last_number += 1
                changes.append(Change(self._last_number, collection, key, entry, now))
                if turns.are_due():
                    await turn()
        return changes

    async def _add_pending(self, changes: Sequence[Change]) -> None:
        added = 0
        try:
            for part in slices(len(changes)):
                if part.start:
                    await turn()
                self._add(changes[part])
                added = part.stop
        finally:
            # Cancelled: they are in the file, and must be known before anything else happens.
            self._add(changes[added:])

    def _add(self, changes: Sequence[Change]) -> None:
        for change in changes:
            qualified_key = change.qualified_key
            self._sent.pop(qualified_key, None)
            replaced = self.pending.pop(qualified_key, None)
            if replaced is not None:
                self.replaced.setdefault(qualified_key, replaced.number)
            self.pending[qualified_key] = change

    async def forget(self, changes: Sequence[Change]) -> None:
        """Delete changes that were sent; a change accepted later for the same key stays.

        Raises:
            StoreUnavailable: The disk refuses, because it is full for example. The changes are
                no longer pending, and `clean` deletes them.
        """
        if not changes:
            return
        numbers = [*self._sent.values(), *[change.number for change in changes]]
        try:
            await self._in_thread(lambda file: file.forget(numbers))
        except StoreUnavailable:
            for change in changes:
                if self._remove_pending(change):
                    self._sent[change.qualified_key] = change.number
            raise
        for change in changes:
            self._remove_pending(change)
        self._settle(numbers)

    async def clean(self) -> None:
        """Delete the changes that were sent when the disk refused to delete them.

        Raises:
            StoreUnavailable: The disk still refuses.
        """
        numbers = list(self._sent.values())
        if numbers:
            await self._in_thread(lambda file: file.forget(numbers))
            self._settle(numbers)

    def _settle(self, numbers: Sequence[int]) -> None:
        if self._sent:
            deleted = set(numbers)
            self._sent = {key: n for key, n in self._sent.items() if n not in deleted}

    @property
    def has_sent(self) -> bool:
        """True while changes that were sent are still in the file.

        Should the process end now, the next one would send them again.
        """
        return bool(self._sent)

    def is_in_file(self, collection: Collection, keys: Sequence[str]) -> bool:
        """Return True if the file has a change of one of these keys, sent or not."""
        pending, sent = self.pending, self._sent
        return bool(pending or sent) and any(
            (collection, key) in pending or (collection, key) in sent for key in keys
        )

    async def refuse(self, change: Change, reason: str) -> None:
        """Set aside a change that the backend refused; it stays in the file."""
        await self._in_thread(lambda file: file.refuse(change.number, reason))
        self._remove_pending(change)

    def _remove_pending(self, change: Change) -> bool:
        """Remove a change that nothing has replaced. Returns False if another one has."""
        is_newest = self.pending.get(change.qualified_key) is change
        if is_newest:
            del self.pending[change.qualified_key]
            self.replaced.pop(change.qualified_key, None)
        elif change.qualified_key in self.replaced:
            # What replaced it meanwhile may itself have been replaced since.
            self.replaced[change.qualified_key] = change.number + 1
        return is_newest

    async def refused(self) -> list[Refused]:
        """Return the refused changes, oldest first."""
        return await self._in_thread(lambda file: file.refused())

    async def discard_refused(self) -> int:
        """Delete the refused changes. Returns their number."""
        return await self._in_thread(lambda file: file.discard_refused())

    async def retry_refused(self) -> int:
        """Make the refused changes pending again. Returns their number.

        A change that was accepted later for the same key has replaced the refused one.
        """
        changes = await self._in_thread(lambda file: file.retry_refused())
        pending = self.pending
        for change in changes:
            pending.setdefault(change.qualified_key, change)
        self.pending = dict(sorted(pending.items(), key=lambda item: item[1].number))
        return len(changes)

    async def _in_thread(self, call: Callable[[JournalFile], T]) -> T:
        self.check_process()
        file, thread = self._file, self._thread
        if file is None or thread is None:
            raise StoreUnavailable(
                "the journal is closed; open the store before using it", store=self._owner
            )
        return await asyncio.get_running_loop().run_in_executor(thread, call, file)


def _close_opened(opening: asyncio.Future[JournalFile]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
