"""Some keys of one collection, rewritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.errors import CorruptEntry, DecryptionError, KvwrapError, ValueTooLarge
from kvwrap.rewriting.recorder import Recorder, is_current
from kvwrap.rewriting.report import Report

_ATTEMPTS = 20
"""Lost races after which an entry is left as it is, and reported."""

_OF_ONE_ENTRY = (DecryptionError, CorruptEntry, ValueTooLarge)
"""Errors that concern one entry, and do not keep others from being rewritten."""

Found = list[tuple[str, Entry]]

Stale = tuple[str, Entry, bytes]
"""A key, its entry as read, and the codec under which it lies at rest."""


class Rewriter:
    """Rewrites keys of one collection, a batch at a time.

    Args:
        part: What to read from and write to, under these names.
        collection: The collection there.
        watcher: Sees what passes the transforms inside.
        report: Where it is counted.
        whole: Gives an entry that another program wrote the codec that it lacks.
        dry_run: Whether to look only.
        exclusive: Whether to write without comparing versions.
    """

    def __init__(
        self,
        part: Primitives,
        collection: Collection,
        watcher: Recorder,
        report: Report,
        whole: Callable[[Entry], Entry],
        *,
        dry_run: bool,
        exclusive: bool,
    ) -> None:
        self._part = part
        self._collection = collection
        self._watcher = watcher
        self._report = report
        self._whole = whole
        self._dry_run = dry_run
        self._exclusive = exclusive

    async def batch(self, keys: Sequence[str]) -> None:
        """Look at these keys, and rewrite what is not as it would be written now."""
        report = self._report
        report.seen += len(keys)
        pending = keys
        for _ in range(_ATTEMPTS):
            self._watcher.forget()
            found = await self._read(pending)
            stale: list[Stale] = []
            for key, entry in found:
                sights = self._watcher.take(entry)
                form = sights[-1].stored.codec if sights else entry.codec
                if await is_current(sights):
                    report.current += 1
                    report.lies(form)
                elif self._dry_run:
                    report.rewritten += 1
                    report.lies(form)
                else:
                    stale.append((key, entry, form))
            pending = await self._write(stale) if stale else []
            if not pending:
                return
        for key in pending:
            report.fail(self._collection, key, f"changed under {_ATTEMPTS} attempts to rewrite it")

    async def _read(self, keys: Sequence[str]) -> Found:
        try:
            entries = await self._part.read(self._collection, keys)
        except _OF_ONE_ENTRY as error:
            if len(keys) == 1:
                self._report.fail(self._collection, keys[0], _reason(error))
                return []
            return [found for key in keys for found in await self._read([key])]
        self._report.gone += entries.count(None)
        return [(key, entry) for key, entry in zip(keys, entries) if entry is not None]

    async def _write(self, stale: Sequence[Stale]) -> list[str]:
        """Write these, and give back the keys of those that somebody else was quicker with."""
        ready: list[Stale] = []
        for key, entry, form in stale:
            try:
                ready.append((key, self._whole(entry), form))
            except CorruptEntry as error:
                self._fail(key, form, error)
        if not ready:
            return []
        try:
            written = await self._part.write(
                self._collection,
                [key for key, _, _ in ready],
                [entry for _, entry, _ in ready],
                None if self._exclusive else [entry.version for _, entry, _ in ready],
            )
        except _OF_ONE_ENTRY as error:
            if len(ready) == 1:
                self._fail(ready[0][0], ready[0][2], error)
                return []
            return [key for one in ready for key in await self._write([one])]
        lost = []
        for (key, entry, _), put in zip(ready, written):
            if put:
                self._report.rewritten += 1
                self._report.lies(self._watcher.form_written(entry))
            else:
                lost.append(key)
        return lost

    def _fail(self, key: str, form: bytes, error: KvwrapError) -> None:
        self._report.fail(self._collection, key, _reason(error))
        self._report.lies(form)


def _reason(error: KvwrapError) -> str:
    return f"{type(error).__name__}: {error.message}"
