"""The journal as layers use it: what is pending in memory, and the same on the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import is_running
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.shared.journal.change import Change, Refused
from kvwrap.layers.shared.journal.file import JournalFile

T = TypeVar("T")


class Journal:
    """Accepts changes durably, newest per key, and keeps them until they are forgotten.

    Changes that are accepted at the same time share one commit. Memory follows the disk:
    what `pending` shows has been committed.

    Args:
        path: The file.
        owner: Who speaks in errors.
    """

    def __init__(self, path: str | os.PathLike[str], *, owner: str) -> None:
        self._path = os.fspath(path)
        self._owner = owner
        self._file: JournalFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._number = 0
        self._waiting: list[tuple[list[Change], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self.pending: dict[QualifiedKey, Change] = {}
        """What has been accepted and not forgotten, in the order of acceptance."""

    @property
    def size(self) -> int:
        """How many changes are pending or about to be."""
        return len(self.pending) + sum(len(changes) for changes, _ in self._waiting)

    async def open(self) -> None:
        """Take the file and load what is pending; raises `ConfigurationError` if it is taken."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="kvwrap-journal")

        def load() -> tuple[JournalFile, list[Change], int]:
            file = JournalFile(self._path, self._owner)
            try:
                return file, file.load(), file.last_number()
            except BaseException:
                file.close()
                raise

        opening = asyncio.get_running_loop().run_in_executor(thread, load)
        try:
            self._file, changes, self._number = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            thread.shutdown(wait=False)
            raise
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread
        self.pending = {change.qualified: change for change in changes}

    async def close(self) -> None:
        """Commit what is being accepted, and let go of the file."""
        if self._committing is not None and is_running(self._committing):
            await asyncio.wait([self._committing])
        file, self._file = self._file, None
        thread, self._thread = self._thread, None
        if file is not None and thread is not None:
            closing = asyncio.get_running_loop().run_in_executor(thread, file.close)
            thread.shutdown(wait=False)
            await asyncio.shield(closing)

    async def accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        """Keep these changes, all or none; they are on the disk when this returns.

        Cancelled while it waits for its turn, it accepts nothing; later, it may have.
        """
        changes = []
        for key, entry in zip(keys, entries, strict=True):
            self._number += 1
            changes.append(Change(self._number, collection, key, entry))
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((changes, accepted))
        if not is_running(self._committing):
            self._committing = asyncio.create_task(self._commit())
        await accepted

    async def _commit(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            # Whoever was cancelled meanwhile no longer wants it.
            group = [(changes, accepted) for changes, accepted in group if not accepted.done()]
            changes = [change for each, _ in group for change in each]
            try:
                await self._do(lambda file, changes=changes: file.accept(changes))  # type: ignore[misc]  # a default binds it
            except BaseException as error:
                for _, accepted in group:
                    if not accepted.done():
                        if isinstance(error, Exception):
                            accepted.set_exception(error)
                        else:
                            accepted.cancel()
                if not isinstance(error, Exception):
                    raise
                continue
            for change in changes:
                self.pending.pop(change.qualified, None)
                self.pending[change.qualified] = change
            for _, accepted in group:
                if not accepted.done():
                    accepted.set_result(None)

    async def forget(self, changes: Sequence[Change]) -> None:
        """Strike out what has been sent; what was accepted later for its key stays."""
        if changes:
            await self._do(lambda file: file.forget([change.number for change in changes]))
            for change in changes:
                self._strike(change)

    async def refuse(self, change: Change, reason: str) -> None:
        """Set aside what the backend does not take; it stays in the file."""
        await self._do(lambda file: file.refuse(change.number, reason))
        self._strike(change)

    def _strike(self, change: Change) -> None:
        if self.pending.get(change.qualified) is change:
            del self.pending[change.qualified]

    async def refused(self) -> list[Refused]:
        """What has been set aside, oldest first."""
        return await self._do(lambda file: file.refused())

    async def discard_refused(self) -> int:
        """Give up what has been set aside; how much it was."""
        return await self._do(lambda file: file.discard_refused())

    async def retry_refused(self) -> int:
        """Make pending again what was set aside; how much it was.

        What was accepted later for a key has replaced what was set aside before.
        """
        again = await self._do(lambda file: file.retry_refused())
        known = self.pending
        for change in again:
            known.setdefault(change.qualified, change)
        self.pending = dict(sorted(known.items(), key=lambda item: item[1].number))
        return len(again)

    async def _do(self, work: Callable[[JournalFile], T]) -> T:
        file, thread = self._file, self._thread
        if file is None or thread is None:
            raise StoreUnavailable("the journal is closed", store=self._owner)
        return await asyncio.get_running_loop().run_in_executor(thread, work, file)


def _close_unwanted(opening: asyncio.Future[tuple[JournalFile, list[Change], int]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


async def overlay(
    journal: Journal,
    clock: Clock,
    read: Callable[[Collection, Sequence[str]], Awaitable[list[Entry | None]]],
    collection: Collection,
    keys: Sequence[str],
) -> list[Entry | None]:
    """What a read must give: what is pending, and `read`'s answer for the other keys."""
    pending = journal.pending
    changes = [pending.get((collection, key)) for key in keys]
    rest = [key for key, change in zip(keys, changes, strict=True) if change is None]
    stored = iter(await read(collection, rest) if rest else ())
    now = clock.time()
    return [next(stored) if change is None else change.live(now) for change in changes]
