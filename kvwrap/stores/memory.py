"""Entries in the memory of this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Self

from kvwrap.core.capability import OPERATIONS
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page, QualifiedKey
from kvwrap.core.ranges import matching
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.shared import urls


class MemoryStore(Store):
    """Keeps entries in memory, optionally with limits.

    Values are kept as bytes, so changing an object that was put or got does not change the
    store. When a limit is reached, expired entries are removed first, then the least recently
    used ones. For one event loop; `kvwrap.sync` serves threads.

    Args:
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size in bytes of the values, as they are after the layers above;
            None for no limit. Names, and the overhead of Python's objects, are not counted.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        ValueTooLarge: On writing, for an entry that alone is larger than `max_bytes`.
    """

    capabilities = OPERATIONS

    def __init__(
        self,
        *,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer)
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit is not None:
                checked_count(limit, name)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._is_limited = max_entries is not None or max_bytes is not None
        # With limits, both names refer to one dictionary, least recently used entries first.
        self._by_recency: OrderedDict[QualifiedKey, Entry] = OrderedDict()
        self._entries: dict[QualifiedKey, Entry] = self._by_recency if self._is_limited else {}
        self._keys: dict[Collection, dict[str, None]] = {}
        self._bytes = 0
        # A heap. The number prevents the comparison of qualified keys: None and str do not compare.
        self._expiries: list[tuple[float, int, QualifiedKey]] = []
        self._counter = count()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `memory://`. Options: `max_entries`, `max_bytes`.

        Raises:
            ConfigurationError: The URL has a host or a path, or an option is unknown or invalid.
        """
        parts = urls.split_url(url, "memory")
        if parts.netloc or parts.path:
            raise ConfigurationError(
                "the URL of a MemoryStore must have no host and no path, as in "
                "memory://?max_entries=1000"
            )
        known = {"max_entries": urls.INTEGER, "max_bytes": urls.INTEGER}
        return cls(**urls.parse_options(parts.query, known))

    def __len__(self) -> int:
        """Return the number of entries, including expired ones that were not removed yet."""
        return len(self._entries)

    def __bool__(self) -> bool:
        """Return True, so that `near or default` does not skip a store because it is empty."""
        return True

    @property
    def size(self) -> int:
        """Total size of the values in bytes; 0 without `max_bytes`."""
        return self._bytes

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "look_up" not in vars(cls) and {"read", "write", "remove"} & vars(cls).keys():
            cls.look_up = None  # type: ignore[assignment]  # theirs may wait

    def look_up(self, collection: Collection, key: str) -> Entry | None:
        """Return the unexpired entry of a key, as `read` does, without waiting."""
        qualified = (collection, key)
        entry = self._entries.get(qualified)
        if entry is not None:
            if entry.expires_at is not None and entry.expires_at <= self.clock.time():
                return None
            if self._is_limited:
                self._by_recency.move_to_end(qualified)
        return entry

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = self._entries
        found: list[Entry | None] = []
        for key in keys:
            qualified = (collection, key)
            entry = entries.get(qualified)
            if entry is not None:
                if entry.expires_at is not None and entry.expires_at <= self.clock.time():
                    entry = None
                elif self._is_limited:
                    self._by_recency.move_to_end(qualified)
            found.append(entry)
        return found

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._max_bytes is not None:
            self._check_sizes(collection, keys, entries, self._max_bytes)
        expiries = self._expiries
        if expiries and (
            expiries[0][0] <= self.clock.time() or len(expiries) > 2 * len(self._entries) + 64
        ):
            self._remove_expired()
        if expected is None:
            for key, entry in zip(keys, entries):
                self._put((collection, key), entry)
            return [True] * len(keys)
        written = []
        for key, entry, version in zip(keys, entries, expected, strict=True):
            qualified = (collection, key)
            if matches := self._matches(qualified, version):
                self._put(qualified, entry)
            # A call whose answer was lost is repeated: then its entry is stored already.
            written.append(matches or self._holds(qualified, entry))
        return written

    def _put(self, qualified: QualifiedKey, entry: Entry) -> None:
        previous = self._entries.get(qualified)
        self._entries[qualified] = entry
        if previous is None:
            collection, key = qualified
            self._keys.setdefault(collection, {})[key] = None
        expires_at = entry.expires_at
        if expires_at is not None and (previous is None or previous.expires_at != expires_at):
            heappush(self._expiries, (expires_at, next(self._counter), qualified))
        if self._is_limited:
            self._evict(qualified, entry, previous)

    def _evict(self, qualified: QualifiedKey, entry: Entry, previous: Entry | None) -> None:
        """Remove the least recently used entries, but not this one, until the limits hold."""
        entries = self._by_recency
        entries.move_to_end(qualified)
        if self._max_bytes is not None:
            self._bytes += _size(entry) - (0 if previous is None else _size(previous))
            while self._bytes > self._max_bytes:
                self._pop(next(iter(entries)))
        if self._max_entries is not None and len(entries) > self._max_entries:
            self._pop(next(iter(entries)))

    def _pop(self, qualified: QualifiedKey) -> Entry | None:
        """Remove an entry and return it, or None if the key has none."""
        entry = self._entries.pop(qualified, None)
        if entry is not None:
            collection, key = qualified
            keys = self._keys[collection]
            del keys[key]
            if not keys:
                del self._keys[collection]
            if self._max_bytes is not None:
                self._bytes -= _size(entry)
        return entry

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        removed = []
        for index, key in enumerate(keys):
            qualified = (collection, key)
            matches = expected is None or self._matches(qualified, expected[index])
            removed.append(matches and self._live(self._pop(qualified)) is not None)
        return removed

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            keys = (key for key in self._keys_of(collection) if key in key_range)
            cursor = Snapshot(sorted(key for key in keys if self._is_live((collection, key))))
        return Snapshot.page(cursor)

    async def list_collections(self) -> list[Collection]:
        self._remove_expired()
        return sorted(self._keys, key=lambda name: name or "")

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        keys = matching(self._keys_of(collection), key_range)
        return sum(self._is_live((collection, key)) for key in keys)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        keys = matching(self._keys_of(collection), key_range)
        return sum(await self.remove(collection, keys))

    async def drop(self, collection: Collection) -> bool:
        return any(await self.remove(collection, self._keys_of(collection)))

    async def drop_all(self) -> bool:
        self._remove_expired()
        had_entries = len(self._entries) > 0
        self._entries.clear()
        self._keys.clear()
        self._expiries.clear()
        self._bytes = 0
        return had_entries

    async def sweep(self) -> None:
        self._remove_expired()

    def _keys_of(self, collection: Collection) -> list[str]:
        return list(self._keys.get(collection, ()))

    def _matches(self, qualified: QualifiedKey, expected: Expected) -> bool:
        """Return True if the key has the version that a conditional write expects."""
        if expected is None:
            return True
        entry = self._live(self._entries.get(qualified))
        if expected is ABSENT:
            return entry is None
        return entry is not None and entry.version == expected

    def _holds(self, qualified: QualifiedKey, entry: Entry) -> bool:
        held = self._entries.get(qualified)
        return held is not None and held.version == entry.version

    def _is_live(self, qualified: QualifiedKey) -> bool:
        return self._live(self._entries.get(qualified)) is not None

    def _check_sizes(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry], limit: int
    ) -> None:
        for key, entry in zip(keys, entries, strict=True):
            if _size(entry) > limit:
                raise ValueTooLarge(
                    f"a value must not be larger than max_bytes={limit}; got {_size(entry)} bytes. "
                    "Nothing was written",
                    store=self.name,
                    collection=collection,
                    key=key,
                )

    def _remove_expired(self) -> None:
        now = self.clock.time()
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            expires_at, _, qualified = heappop(expiries)
            entry = self._entries.get(qualified)
            if entry is not None and entry.expires_at == expires_at:
                self._pop(qualified)
        # An entry that is overwritten or removed leaves its expiry in the heap. The heap is
        # rebuilt before such expiries outnumber the entries.
        if len(expiries) > 2 * len(self._entries) + 64:
            self._expiries = [
                (entry.expires_at, next(self._counter), qualified)
                for qualified, entry in self._entries.items()
                if entry.expires_at is not None
            ]
            heapify(self._expiries)


def _size(entry: Entry) -> int:
    return len(entry.body) + len(entry.codec)
