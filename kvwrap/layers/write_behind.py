"""Writes acknowledged by a durable local journal, and sent to the backend later."""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, ClassVar, Self

import msgspec

from kvwrap.errors import StoreUnavailable
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Measured,
    Page,
    Passage,
    Store,
    checked_count,
    checked_seconds,
    first_of_each,
)
from kvwrap.layers.shared.findings import contextual_below
from kvwrap.layers.shared.journal.change import Refused
from kvwrap.layers.shared.journal.checks import checked_path, journal_findings
from kvwrap.layers.shared.journal.figures import JournalFigures
from kvwrap.layers.shared.journal.journal import Journal
from kvwrap.layers.shared.journal.reads import read_with_pending
from kvwrap.layers.shared.journal.sender import Sender

_log = logging.getLogger("kvwrap.write_behind")


class WriteBehindSnapshot(msgspec.Struct, frozen=True):
    """Counts of a `WriteBehind` layer since it was put over its store.

    Attributes:
        pending: Number of changes acknowledged and not sent yet.
        sent: Number of changes sent.
        failures: Number of calls that the backend did not answer; their changes stayed pending.
        refused: Number of changes that the backend refused, set aside in the journal.
        damaged: Number of damaged changes found when the journal was opened, set aside too; a
            damaged file counts as one.
    """

    pending: int
    sent: int
    failures: int
    refused: int
    damaged: int


class WriteBehind(Layer):
    """Acknowledges a write when it is in a local journal on the disk, and sends it later.

    Changes are sent in the order in which they were accepted, of several to one key only the
    newest. Changes that had not been sent when the process ended, however it ended, are sent
    when the journal is opened again. Reads see pending changes. Operations that depend on the
    backend's state (conditional writes, `expire`, enumerations, `destroy`) first wait until
    the pending changes have been sent.

    Args:
        journal: The journal's file, for one stack in one process.
        max_pending: The most changes pending; a further write waits for room.
        max_wait: Seconds that a write waits for room before it raises `StoreFull`; 0 does not
            wait.
        batch: The most changes sent in one call.
        retry_after: Seconds to wait after a call that the backend did not answer. Doubles with
            every failure, up to 30 or to `retry_after` if that is longer.
        shutdown_timeout: Seconds that closing may send pending changes. The others stay in
            the journal.

    Raises:
        ConfigurationError: An argument is out of bounds. On opening: another process or stack
            has the journal open, or the file is not a journal.
        StoreFull: On writing: there was no room within `max_wait`.
    """

    passage = Passage(
        read="asks the journal first, then the backend",
        write="ends once it is in the journal, and is sent later",
    )
    traits: ClassVar[frozenset[str]] = frozenset({"journals"})
    finding_codes = frozenset(
        {
            "context-lost",
            "guard-inside-write-behind",
            "plain-keys-in-journal",
            "plaintext-journal",
            "two-journals",
        }
    )

    def __init__(
        self,
        journal: str | os.PathLike[str],
        *,
        max_pending: int = 10_000,
        max_wait: float = 5.0,
        batch: int = 500,
        retry_after: float = 1.0,
        shutdown_timeout: float = 5.0,
    ) -> None:
        self._path = checked_path(journal)
        self._max_pending = checked_count(max_pending, "max_pending")
        self._max_wait = checked_seconds(max_wait, "max_wait", zero=True)
        self._batch = checked_count(batch, "batch")
        self._retry_after = checked_seconds(retry_after, "retry_after")
        self._shutdown_timeout = checked_seconds(shutdown_timeout, "shutdown_timeout", zero=True)

    def on_bind(self) -> None:
        self._journal = Journal(self._path, self.clock, log=_log, owner=self.name)
        self._sender = Sender(
            self._journal,
            self.inner,
            self.clock,
            log=_log,
            owner=self.name,
            batch_size=self._batch,
            pause=self._retry_after,
            max_pause=max(30.0, self._retry_after),
        )
        self._figures = JournalFigures(self._journal, self._sender, self.clock)

    def beside(self) -> Self | None:
        return None  # what waits in the journal is the application's to send

    async def setup(self) -> None:
        await self._journal.open()
        self._sender.start()

    async def ready(self) -> None:
        if not self.is_open:
            await super().ready()
        self._journal.check_process()

    async def teardown(self) -> None:
        try:
            if not self._journal.is_inherited:
                await self._sender.stop(self._shutdown_timeout)
        finally:
            await self._journal.close()

    # -- observing and controlling -----------------------------------------------------

    @property
    def pending(self) -> int:
        """Number of acknowledged changes that have not been sent yet."""
        return len(self._journal.pending)

    @property
    def idle(self) -> bool:
        """True while nothing is being committed to the journal or sent from it."""
        return self._sender.idle and self._journal.idle

    def snapshot(self) -> WriteBehindSnapshot:
        """Return the current counts."""
        sender = self._sender
        return WriteBehindSnapshot(
            self.pending, sender.sent, sender.failures, sender.refused, self._journal.damaged
        )

    def measured(self) -> Iterable[Measured]:
        return (self._figures,)

    async def flush(self) -> None:
        """Send the changes that are pending now.

        Raises:
            StoreUnavailable: The backend does not answer; the changes stay pending.
        """
        await self.ready()
        await self._sender.flush()

    async def refused(self) -> list[Refused]:
        """Return the changes that the backend refused, oldest first (a value over its limit)."""
        await self.ready()
        return await self._journal.refused()

    async def retry_refused(self) -> int:
        """Send the refused changes again, except those whose key was written since.

        Returns their number.
        """
        await self.ready()
        count = await self._journal.retry_refused()
        self._sender.start()
        return count

    async def discard_refused(self) -> int:
        """Delete the refused changes. Returns their number."""
        await self.ready()
        return await self._journal.discard_refused()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        await self.ready()
        return await read_with_pending(self._journal, self.clock, self.inner.read, collection, keys)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if self.is_open and expected is None:
            return self._accept(collection, keys, entries)  # a coroutine less
        return self._write(collection, keys, entries, expected)

    async def _write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        await self.ready()
        if expected is None:
            return await self._accept(collection, keys, entries)
        async with self._sender.settled(collection, keys):
            return await self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self.ready()
        if expected is not None:
            async with self._sender.settled(collection, keys):
                return await self.inner.remove(collection, keys, expected)
        try:
            existed = [entry is not None for entry in await self.read(collection, keys)]
        except StoreUnavailable:
            # The state of keys without a pending change is unknown; the removal is accepted.
            pending = self._journal.pending
            now = self.clock.time()
            changes = [pending.get((collection, key)) for key in keys]
            existed = [change is None or change.live(now) is not None for change in changes]
        await self._accept(collection, keys, [None] * len(keys))
        return first_of_each(keys, existed)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self.ready()
        async with self._sender.settled(collection, keys):
            return await self.inner.touch(collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            await self.flush()
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        await self.flush()
        return await self.inner.list_collections()

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self.flush()
        return await self.inner.count_range(collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self.ready()
        async with self._sender.settled(None, None):
            return await self.inner.drop_range(collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        await self.ready()
        async with self._sender.settled(None, None):
            return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        await self.ready()
        async with self._sender.settled(None, None):
            return await self.inner.drop_all()

    def _accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._sender.accept(
            collection,
            keys,
            entries,
            max_pending=self._max_pending,
            max_wait=self._max_wait,
            retry_when="when the backend answers",
        )

    # -- findings and notes ------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from journal_findings(self, self._path, below)
        yield from contextual_below(self, below)
        for layer in below:
            if "guards" in layer.traits:
                yield Finding(
                    "guard-inside-write-behind",
                    f"{self.name} has already acknowledged a write that {layer.name} refuses.",
                    f"Put {layer.name} before {self.name}, so that the caller gets the refusal.",
                )

    def notes(self) -> Iterable[str]:
        yield (
            "a write is acknowledged when it is in the journal; other processes see it when it is "
            "sent"
        )
