"""The journal as layers use it: pending changes in memory, and the same changes on the disk."""

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

Read = Callable[[Collection, Sequence[str]], Awaitable[list[Entry | None]]]
"""The primitive `read` of a store or layer."""


class Journal:
    """Accepts changes durably, keeps the newest per key, and holds them until they are sent.

    Changes that are accepted at the same time share one commit. Memory follows the disk:
    every change in `pending` has been committed.

    Args:
        path: The file.
        owner: The name of the layer, for errors.
    """

    def __init__(self, path: str | os.PathLike[str], *, owner: str) -> None:
        self._path = os.fspath(path)
        self._owner = owner
        self._file: JournalFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._last_number = 0
        self._uncommitted: list[tuple[list[Change], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self.pending: dict[QualifiedKey, Change] = {}
        """Changes accepted and not sent yet, in the order of acceptance."""

    @property
    def size(self) -> int:
        """Number of changes that are pending or being committed."""
        return len(self.pending) + sum(len(changes) for changes, _ in self._uncommitted)

    @property
    def idle(self) -> bool:
        """True while nothing is being committed."""
        task = self._committing
        return task is None or task.done() or task.get_loop().is_closed()

    async def open(self) -> None:
        """Open the file and load its pending changes.

        Raises:
            ConfigurationError: Another process or stack has the file open, or it is not a
                journal.
        """
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
            self._file, changes, self._last_number = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            thread.shutdown(wait=False)
            raise
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread
        self.pending = {change.qualified_key: change for change in changes}

    async def close(self) -> None:
        """Commit the changes that are being accepted, then close the file."""
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
        """Accept these changes, all or none; they are on the disk when this returns.

        If the call is cancelled before its commit begins, nothing is accepted. If it is
        cancelled later, the changes may have been accepted.
        """
        changes = []
        for key, entry in zip(keys, entries, strict=True):
            self._last_number += 1
            changes.append(Change(self._last_number, collection, key, entry))
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._uncommitted.append((changes, committed))
        if not is_running(self._committing):
            self._committing = asyncio.create_task(self._commit())
        await committed

    async def _commit(self) -> None:
        while self._uncommitted:
            group, self._uncommitted = self._uncommitted, []
            # A caller that was cancelled in the meantime does not want its changes any more.
            group = [(changes, committed) for changes, committed in group if not committed.done()]
            changes = [change for accepted, _ in group for change in accepted]
            try:
                await self._in_thread(lambda file, changes=changes: file.accept(changes))  # type: ignore[misc]  # a default binds it
            except BaseException as error:
                for _, committed in group:
                    if not committed.done():
                        if isinstance(error, Exception):
                            committed.set_exception(error)
                        else:
                            committed.cancel()
                if not isinstance(error, Exception):
                    raise
                continue
            for change in changes:
                self.pending.pop(change.qualified_key, None)
                self.pending[change.qualified_key] = change
            for _, committed in group:
                if not committed.done():
                    committed.set_result(None)

    async def forget(self, changes: Sequence[Change]) -> None:
        """Delete changes that were sent; a change accepted later for the same key stays."""
        if changes:
            await self._in_thread(lambda file: file.forget([change.number for change in changes]))
            for change in changes:
                self._remove_pending(change)

    async def refuse(self, change: Change, reason: str) -> None:
        """Set aside a change that the backend refused; it stays in the file."""
        await self._in_thread(lambda file: file.refuse(change.number, reason))
        self._remove_pending(change)

    def _remove_pending(self, change: Change) -> None:
        if self.pending.get(change.qualified_key) is change:
            del self.pending[change.qualified_key]

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
        file, thread = self._file, self._thread
        if file is None or thread is None:
            raise StoreUnavailable(
                "the journal is closed; open the store before using it", store=self._owner
            )
        return await asyncio.get_running_loop().run_in_executor(thread, call, file)


def _close_opened(opening: asyncio.Future[tuple[JournalFile, list[Change], int]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


async def read_with_pending(
    journal: Journal, clock: Clock, read: Read, collection: Collection, keys: Sequence[str]
) -> list[Entry | None]:
    """Read these keys: from the pending changes, and through `read` the keys without one."""
    pending = journal.pending
    changes = [pending.get((collection, key)) for key in keys]
    unchanged = [key for key, change in zip(keys, changes, strict=True) if change is None]
    stored = iter(await read(collection, unchanged) if unchanged else ())
    now = clock.time()
    return [next(stored) if change is None else change.live(now) for change in changes]
