"""Rewriting of keys in one collection, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.errors import CorruptEntry, DecryptionError, KvwrapError, ValueTooLarge
from kvwrap.rewriting.recorder import Recorder, is_current
from kvwrap.rewriting.report import Report

_ATTEMPTS = 20
"""Lost races after which an entry is left unchanged, and reported."""

_ENTRY_ERRORS = (DecryptionError, CorruptEntry, ValueTooLarge)
"""Errors that concern one entry, and do not prevent the rewriting of others."""


class StaleEntry(NamedTuple):
    """An entry to be rewritten.

    Attributes:
        key: Its key.
        entry: The entry as read.
        codec: The codec that it has at rest.
    """

    key: str
    entry: Entry
    codec: bytes


class Rewriter:
    """Rewrites keys of one collection, a batch at a time.

    Args:
        part: The part to read from and write to.
        collection: The collection, by its name at that part.
        recorder: Records the entries that pass the transforms inside that part.
        report: Counts the results.
        complete_codec: Adds the missing codec to an entry that another program wrote.
        dry_run: Whether to write nothing.
        exclusive: Whether to write without comparing versions.
    """

    def __init__(
        self,
        part: Primitives,
        collection: Collection,
        recorder: Recorder,
        report: Report,
        complete_codec: Callable[[Entry], Entry],
        *,
        dry_run: bool,
        exclusive: bool,
    ) -> None:
        self._part = part
        self._collection = collection
        self._recorder = recorder
        self._report = report
        self._complete_codec = complete_codec
        self._dry_run = dry_run
        self._exclusive = exclusive

    async def rewrite(self, keys: Sequence[str]) -> None:
        """Check these keys, and rewrite the entries that are not in their current form."""
        report = self._report
        report.seen += len(keys)
        pending = keys
        for _ in range(_ATTEMPTS):
            self._recorder.clear()
            stale: list[StaleEntry] = []
            for key, entry in await self._read(pending):
                observations = self._recorder.take(entry)
                codec = observations[-1].stored.codec if observations else entry.codec
                if await is_current(observations):
                    report.current += 1
                    report.count_form(codec)
                elif self._dry_run:
                    report.rewritten += 1
                    report.count_form(codec)
                else:
                    stale.append(StaleEntry(key, entry, codec))
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

    async def _read(self, keys: Sequence[str]) -> list[tuple[str, Entry]]:
        """Read these keys. Returns those that have an entry and could be read."""
        try:
            entries = await self._part.read(self._collection, keys)
        except _ENTRY_ERRORS as error:
            if len(keys) == 1:
                self._report.count_failure(self._collection, keys[0], _reason(error))
                return []
            return [item for key in keys for item in await self._read([key])]
        self._report.gone += entries.count(None)
        return [(key, entry) for key, entry in zip(keys, entries) if entry is not None]

    async def _write(self, stale: Sequence[StaleEntry]) -> list[str]:
        """Write these entries. Returns the keys that changed since they were read."""
        ready: list[StaleEntry] = []
        for item in stale:
            try:
                ready.append(item._replace(entry=self._complete_codec(item.entry)))
            except CorruptEntry as error:
                self._fail(item, error)
        if not ready:
            return []
        try:
            written = await self._part.write(
                self._collection,
                [item.key for item in ready],
                [item.entry for item in ready],
                None if self._exclusive else [item.entry.version for item in ready],
            )
        except _ENTRY_ERRORS as error:
            if len(ready) == 1:
                self._fail(ready[0], error)
                return []
            return [key for item in ready for key in await self._write([item])]
        lost = []
        for item, put in zip(ready, written):
            if put:
                self._report.rewritten += 1
                self._report.count_form(self._recorder.written_codec(item.entry))
            else:
                lost.append(item.key)
        return lost

    def _fail(self, item: StaleEntry, error: KvwrapError) -> None:
        self._report.count_failure(self._collection, item.key, _reason(error))
        self._report.count_form(item.codec)


def _reason(error: KvwrapError) -> str:
    return f"{type(error).__name__}: {error.message}"
