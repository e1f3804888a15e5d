"""Hiding of entries whose tags were invalidated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from kvwrap.errors import CorruptEntry
from kvwrap.layers.base import (
    Collection,
    Entry,
    Layer,
    Masking,
    Primitives,
    is_reserved,
    stale_part,
)
from kvwrap.layers.tags.records import WHOLE, Records
from kvwrap.layers.tags.snapshots import (
    UNTAGGED,
    ids_in,
    stored_snapshot,
    tags_in,
    whole_version,
)


def is_exempt(collection: Collection, key: str) -> bool:
    """Return True for the records of other layers, which have no tags."""
    return is_reserved(key) or (collection is not None and is_reserved(collection))


class _Loading(Layer):
    """Loads the records of tags with the entries that have them, so that they can be judged."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        await load_for(self._records, collection, keys, entries)
        return entries


async def load_for(
    records: Records,
    collection: Collection,
    keys: Sequence[str],
    entries: Sequence[Entry | None],
) -> None:
    """Load the records that decide about these entries."""
    identities: dict[bytes, bool] = {}
    for key, entry in zip(keys, entries, strict=True):
        if entry is not None and not is_exempt(collection, key):
            for each, is_named in _needed(entry).items():
                identities[each] = is_named or identities.get(each, False)
    if identities and not records.is_loaded(identities):
        await records.load(identities)
    # Another process may have made them since, with the entry: it would be missing until then.
    missing = [each for each, is_named in identities.items() if is_named and not records.peek(each)]
    if missing:
        await records.load(missing, fresh=True)


def _needed(entry: Entry) -> dict[bytes, bool]:
    """Return what identifies the records that decide about an entry, True for those it names."""
    try:
        snapshot, _ = stored_snapshot(entry)
    except CorruptEntry:  # which reading it raises
        return {}
    return {WHOLE: snapshot != UNTAGGED, **dict.fromkeys(ids_in(snapshot), True)}


class InvalidatedEntries(Masking):
    """Hides entries whose tags have other versions now than when their values were made.

    Args:
        records: The records of the tags.

    Attributes:
        found_invalid: Number of entries that the layer has read and found to be invalid.
    """

    def __init__(self, records: Records) -> None:
        self.found_invalid = 0
        self._records = records

    def bind(self, inner: Primitives) -> Self:
        return super().bind(_Loading(self._records).bind(inner))

    def is_masked(self, entry: Entry, collection: Collection, key: str) -> bool:
        return self._judged(entry, collection, key) is None

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return self._all_judged(collection, keys, await self.inner.read(collection, keys))

    async def judge(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> list[Entry | None]:
        """Return what `read` returns, given the stored entries."""
        await load_for(self._records, collection, keys, entries)
        return self._all_judged(collection, keys, entries)

    def _all_judged(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> list[Entry | None]:
        return [
            None if entry is None else self._judged(entry, collection, key)
            for key, entry in zip(keys, entries, strict=True)
        ]

    def _judged(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        """Return the entry as users may find it: unchanged, stale, or not at all (`None`)."""
        if is_exempt(collection, key):
            return entry
        try:
            snapshot, _ = stored_snapshot(entry)
        except CorruptEntry:  # which reading it raises
            return entry
        peek = self._records.peek
        whole, version = peek(WHOLE), whole_version(snapshot)
        if version == UNTAGGED:
            if whole is not None and not whole.is_first:
                return None
        elif whole is None or whole.version != version:
            return None
        expired_at: float | None = None
        for tag in tags_in(snapshot):
            record = peek(tag.id)
            if record is None or record.version != tag.version:
                return None
            if record.mark != tag.mark:
                at = record.expired_at
                expired_at = at if expired_at is None else min(expired_at, at)
        if expired_at is not None:
            return self._expired(entry, expired_at)
        self._records.pass_snapshot(snapshot)
        return entry

    def _expired(self, entry: Entry, at: float) -> Entry | None:
        """Return an entry as one whose ttl was over at this time; `None` if it is not kept."""
        part, now = stale_part(entry.codec), self.clock.time()
        kept_until = min(at, now) + part
        if entry.expires_at is not None:
            kept_until = min(kept_until, entry.expires_at)
        return entry.with_expiry(kept_until) if part and kept_until > now else None
