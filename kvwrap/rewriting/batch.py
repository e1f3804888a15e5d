"""Rewriting of keys in one collection, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kvwrap.core.entry import Entry, ForeignVersion, live
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry, KvwrapError
from kvwrap.rewriting.chain import ENTRY_ERRORS, Place, Reading
from kvwrap.rewriting.report import Report
from kvwrap.rewriting.scope import Scope

_ATTEMPTS = 20
"""Lost races after which an entry is left unchanged, and reported."""


class StaleEntry(NamedTuple):
    """An entry to be rewritten.

    Attributes:
        key: Its key.
        stored: The entry as stored.
        plain: The entry as the stack's users see it.
    """

    key: str
    stored: Entry
    plain: Entry


class Rewriter:
    """Rewrites keys of one collection, a batch at a time.

    Args:
        scope: Where to read and write.
        collection: The collection, by its name in that scope.
        report: Counts the results.
        complete_codec: Adds the missing codec to an entry that another program wrote.
        dry_run: Whether to write nothing.
        exclusive: Whether to write without comparing versions.
    """

    def __init__(
        self,
        scope: Scope,
        collection: Collection,
        report: Report,
        complete_codec: Callable[[Entry], Entry],
        *,
        dry_run: bool,
        exclusive: bool,
    ) -> None:
        self._chain = scope.chain
        self._clock = scope.part.clock
        self._collection = collection
        self._report = report
        self._counts = report.counts_of(collection)
        self._complete_codec = complete_codec
        self._dry_run = dry_run
        self._exclusive = exclusive

    async def rewrite(self, keys: Sequence[str]) -> None:
        """Check these keys, and rewrite the entries that are not in their current form."""
        report = self._report
        report.seen += len(keys)
        self._counts.seen += len(keys)
        pending = keys
        for _ in range(_ATTEMPTS):
            stale = [
                item for reading in await self._read(pending) if (item := self._judge(reading))
            ]
            pending = await self._write(stale) if stale else []
            if not pending:
                return
        for key in pending:
            report.count_failure(
                self._collection,
                key,
                f"the entry changed during {_ATTEMPTS} attempts to rewrite it: run the rewrite "
                "again",
            )

    def _judge(self, reading: Reading) -> StaleEntry | None:
        """Count an entry that was read. Returns it if it has to be written."""
        report, stored = self._report, reading.stored
        if stored is None:
            report.gone += 1
        elif reading.error is not None:
            self._fail(reading.key, stored, reading.error)
        elif (plain := live(reading.plain, self._clock.time())) is None:
            report.gone += 1
        elif reading.is_current:
            report.current += 1
            report.count_form(stored.codec)
        elif self._dry_run:
            self._count_rewritten(stored, stored.codec)
        else:
            return StaleEntry(reading.key, stored, plain)
        return None

    async def _read(self, keys: Sequence[str]) -> list[Reading]:
        """Read these keys, one by one if one of them prevents the reading of all."""
        try:
            return await self._chain.read(Place(self._collection, keys))
        except ENTRY_ERRORS as error:
            if len(keys) == 1:
                self._report.count_failure(self._collection, keys[0], _reason(error))
                return []
            return [reading for key in keys for reading in await self._read([key])]

    async def _write(self, stale: Sequence[StaleEntry]) -> list[str]:
        """Write these entries. Returns the keys that changed since they were read."""
        complete: list[StaleEntry] = []
        for item in stale:
            try:
                plain = self._complete_codec(item.plain).with_lasting_version()
            except CorruptEntry as error:
                self._fail(item.key, item.stored, error)
            else:
                complete.append(item._replace(plain=plain))
        place = Place(self._collection, [item.key for item in complete])
        encoded = await self._chain.encode(place, [item.plain for item in complete])
        ready: list[tuple[StaleEntry, Entry]] = []
        for item, result in zip(complete, encoded, strict=True):
            if isinstance(result, Entry):
                ready.append((item, result))
            else:
                self._fail(item.key, item.stored, result)
        return await self._write_encoded(ready) if ready else []

    async def _write_encoded(self, ready: Sequence[tuple[StaleEntry, Entry]]) -> list[str]:
        place = Place(self._collection, [item.key for item, _ in ready])
        versions = None if self._exclusive else [item.stored.version for item, _ in ready]
        try:
            written = await self._chain.write(place, [entry for _, entry in ready], versions)
        except ENTRY_ERRORS as error:
            if len(ready) == 1:
                item = ready[0][0]
                self._fail(item.key, item.stored, error)
                return []
            return [key for pair in ready for key in await self._write_encoded([pair])]
        lost = []
        for (item, entry), put in zip(ready, written, strict=True):
            if put:
                self._count_rewritten(item.stored, entry.codec)
            else:
                lost.append(item.key)
        return lost

    def _count_rewritten(self, stored: Entry, codec: bytes) -> None:
        self._report.rewritten += 1
        self._counts.rewritten += 1
        if type(stored.version) is ForeignVersion:
            self._report.foreign += 1
        self._report.count_form(codec)

    def _fail(self, key: str, stored: Entry, error: KvwrapError) -> None:
        self._report.count_failure(self._collection, key, _reason(error))
        self._report.count_form(stored.codec)


def _reason(error: KvwrapError) -> str:
    return f"{type(error).__name__}: {error.message}"
