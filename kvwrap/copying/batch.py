"""Copying of keys in one collection, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kvwrap.copying.report import CopyReport
from kvwrap.core.capability import Capability
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.errors import (
    CorruptEntry,
    DecryptionError,
    InvalidKey,
    InvalidValue,
    KvwrapError,
    SerializationError,
    ValueTooLarge,
)

OF_ONE_ENTRY = (
    CorruptEntry,
    DecryptionError,
    InvalidKey,
    InvalidValue,
    SerializationError,
    ValueTooLarge,
)
"""Errors that concern one entry, and do not prevent the copying of others."""


class Item(NamedTuple):
    """A value to be written, with its remaining time to live in seconds."""

    key: str
    value: Any
    ttl: float | None


def _columns(items: Sequence[Item]) -> tuple[list[str], list[Any]]:
    """Return the keys and the values."""
    return [item.key for item in items], [item.value for item in items]


def _ttls(items: Sequence[Item]) -> list[float | None]:
    return [item.ttl for item in items]


def count_refusal(report: CopyReport, collection: Collection, key: str, error: KvwrapError) -> None:
    """Count an entry that an error prevents."""
    report.count_failure(collection, key, f"{type(error).__name__}: {error.message}")


class Arrivals:
    """Writes entries to one collection of the target, and compares what it returns for them.

    Args:
        target: The store to write.
        collection: The collection.
        report: Counts the results.
        replace: Whether to replace what the target has.
    """

    def __init__(
        self, target: Store, collection: Collection, report: CopyReport, *, replace: bool
    ) -> None:
        self._target = target
        self._collection = collection
        self._report = report
        self._counts = report.counts_of(collection)
        self._replace = replace
        self._compares = Capability.COMPARE_AND_PUT in target.capabilities

    async def put(self, items: Sequence[Item]) -> None:
        """Write the items, and count the results."""
        try:
            written = await self._write(items)
            found = await self._target._get_existing([item.key for item in items], self._collection)
        except OF_ONE_ENTRY as error:
            if len(items) == 1:
                count_refusal(self._report, self._collection, items[0].key, error)
                return
            for item in items:
                await self.put([item])
            return
        for item, is_written in zip(items, written, strict=True):
            self._count(item, is_written, found)

    async def _write(self, items: Sequence[Item]) -> list[bool]:
        """Write the items. Returns for each whether it was written."""
        target, collection = self._target, self._collection
        if self._compares and not self._replace:
            return await target._put_absent(*_columns(items), collection, _ttls(items))
        existing: dict[str, Any] = {}
        if not self._replace:
            existing = await target._get_existing(_columns(items)[0], collection)
        if missing := [item for item in items if item.key not in existing]:
            await target.put_many(*_columns(missing), collection=collection, ttl=_ttls(missing))
        return [item.key not in existing for item in items]

    def _count(self, item: Item, is_written: bool, found: dict[str, Any]) -> None:
        report = self._report
        if item.key not in found:
            reason = "the target has no value after the copy"
        elif self._is_equal(item.value, found[item.key]):
            if is_written:
                report.copied += 1
                self._counts.copied += 1
            else:
                report.same += 1
            return
        elif is_written:
            reason = "the target returns another value after the copy"
        else:
            report.kept += 1
            return
        report.count_failure(self._collection, item.key, reason)

    def _is_equal(self, value: Any, found: Any) -> bool:
        """Return True for values that the target stores as the same bytes."""
        return self._target._dumps(value) == self._target._dumps(found)


class Departures:
    """Reads the entries of one collection of the source, a batch of keys at a time.

    Args:
        source: The store to read.
        collection: The collection.
        report: Counts the results.
    """

    def __init__(self, source: Store, collection: Collection, report: CopyReport) -> None:
        self._source = source
        self._collection = collection
        self._report = report
        self._counts = report.counts_of(collection)

    async def read(self, keys: Sequence[str]) -> list[list[Item]]:
        """Return the entries of these keys, and count the keys and what cannot be read.

        They are in one list, or in several if an entry prevents the reading of all together.
        """
        self._report.seen += len(keys)
        self._counts.seen += len(keys)
        return await self._read(keys)

    async def _read(self, keys: Sequence[str]) -> list[list[Item]]:
        source = self._source
        try:
            entries = await source._read_many(self._collection, keys)
            values = await source._to_values(entries, self._collection, keys)
        except OF_ONE_ENTRY as error:
            if len(keys) == 1:
                count_refusal(self._report, self._collection, keys[0], error)
                return []
            return [items for key in keys for items in await self._read([key])]
        now = source.clock.time()
        items = []
        for key, value, entry in zip(keys, values, entries, strict=True):
            ttl = None if entry is None or entry.expires_at is None else entry.expires_at - now
            if entry is None or (ttl is not None and ttl <= 0):
                self._report.gone += 1
            else:
                items.append(Item(key, value, ttl))
        return [items] if items else []
