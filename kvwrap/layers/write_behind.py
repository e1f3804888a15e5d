"""Writes acknowledged by a durable local journal, and sent to the backend later."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from kvwrap.errors import StoreUnavailable
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Page,
    Store,
    checked_count,
    checked_seconds,
    first_of_each,
)
from kvwrap.layers.shared.journal.change import Refused
from kvwrap.layers.shared.journal.checks import checked_path, journal_findings
from kvwrap.layers.shared.journal.journal import Journal, overlay
from kvwrap.layers.shared.journal.sender import Sender


class WriteBehindSnapshot(msgspec.Struct, frozen=True):
    """What a `WriteBehind` layer has done since it was made.

    Attributes:
        pending: Changes acknowledged and not sent yet.
        sent: Changes sent.
        failures: Calls that the backend did not answer; the changes stayed pending.
        refused: Changes that the backend refused, set aside in the journal.
    """

    pending: int
    sent: int
    failures: int
    refused: int


class WriteBehind(Layer):
    """Acknowledges a write when it is in a local journal on the disk, and sends it later.

    Writes go out in the order in which they were accepted, of several to one key only the
    newest. What was acknowledged and not sent when the process ended, however it ended, is
    sent when the journal is opened again. Reads see what is pending. What depends on the
    backend's state (conditional writes, `expire`, enumerations, `destroy`) first waits
    until what is pending has been sent.

    Args:
        journal: The journal's file, for this stack in this process alone.
        max_pending: The most changes pending; a write beyond waits for room.
        max_wait: How long it waits, seconds, before it raises `StoreFull`; 0 is not at all.
        batch: The most changes sent in one call.
        retry_after: Seconds until what the backend did not answer is sent again; doubles
            with every failure, up to 30.
        close_within: How long closing may send what is pending, seconds. The rest stays in
            the journal.

    Raises:
        ConfigurationError: An argument is out of bounds; on opening, when another process
            or stack has the journal open, or the file is something else.
        StoreFull: On writing, when there was no room within `max_wait`.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"journals"})

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
        self._journal = Journal(self._path, owner=self.name)
        self._sender = Sender(
            self._journal,
            self.inner,
            self.clock,
            owner=self.name,
            batch=self._batch,
            pause=self._retry_after,
            longest_pause=max(30.0, self._retry_after),
        )

    async def setup(self) -> None:
        await self._journal.open()
        self._sender.start()

    async def teardown(self) -> None:
        try:
            await self._sender.stop(self._shutdown_timeout)
        finally:
            await self._journal.close()

    # -- for those who watch it --------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many acknowledged changes have not been sent yet."""
        return len(self._journal.pending)

    def snapshot(self) -> WriteBehindSnapshot:
        """Counts, as they are now."""
        sender = self._sender
        return WriteBehindSnapshot(self.pending, sender.sent, sender.failures, sender.refused)

    async def flush(self) -> None:
        """Send now what is pending now; raises `StoreUnavailable` if the backend fails."""
        await self.ready()
        await self._sender.flush()

    async def refused(self) -> list[Refused]:
        """What the backend refused (a value over its limit, say), oldest first."""
        await self.ready()
        return await self._journal.refused()

    async def retry_refused(self) -> int:
        """Send again what was refused, unless its key was written since; how much it was."""
        await self.ready()
        again = await self._journal.retry_refused()
        self._sender.start()
        return again

    async def discard_refused(self) -> int:
        """Give up what was refused; how much it was."""
        await self.ready()
        return await self._journal.discard_refused()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        await self.ready()
        if not self._journal.pending:
            return await self.inner.read(collection, keys)
        return await overlay(self._journal, self.clock, self.inner.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self.ready()
        if expected is not None:
            await self._sender.send_first(collection, keys)
            return await self.inner.write(collection, keys, entries, expected)
        await self._accept(collection, keys, entries)
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self.ready()
        if expected is not None:
            await self._sender.send_first(collection, keys)
            return await self.inner.remove(collection, keys, expected)
        try:
            there = [entry is not None for entry in await self.read(collection, keys)]
        except StoreUnavailable:
            # Nobody can tell now; the removal is accepted all the same.
            pending = self._journal.pending
            now = self.clock.time()
            changes = [pending.get((collection, key)) for key in keys]
            there = [change is None or change.live(now) is not None for change in changes]
        await self._accept(collection, keys, [None] * len(keys))
        return first_of_each(keys, there)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self.ready()
        await self._sender.send_first(collection, keys)
        return await self.inner.touch(collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            await self.flush()
        return await self.inner.list_keys(collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        await self.flush()
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        await self.flush()
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        await self.flush()
        return await self.inner.drop_all()

    async def _accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        await self._sender.accept(
            collection,
            keys,
            entries,
            limit=self._max_pending,
            wait=self._max_wait,
            until="the backend",
        )

    # -- what is said of its place -----------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from journal_findings(self, self._path, below)
        for layer in below:
            if "guards" in layer.traits:
                yield Finding(
                    "guard-inside-write-behind",
                    f"What {layer.name} refuses has been acknowledged by {self.name} already.",
                    f"Put {layer.name} before {self.name}, so that the caller gets the refusal.",
                )

    def notes(self) -> Iterable[str]:
        yield "a write is acknowledged when it is in the journal; others see it when it is sent"
