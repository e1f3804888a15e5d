"""Entries in this process's memory."""

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
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.shared import urls


class MemoryStore(Store):
    """Keeps entries in memory, if need be within bounds.

    Values are kept as bytes, so what a caller does to a value that it put or got changes
    nothing here. When a bound is reached, expired entries go first, then those not used
    for the longest time. For one event loop; `kvwrap.sync` serves threads.

    Args:
        max_entries: The most entries kept; `None` for no bound.
        max_bytes: The most bytes of values kept, as they are after the layers above; `None`
            for no bound. Names, and what Python needs besides, are not counted.
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise.

    Raises:
        ValueTooLarge: On writing, for an entry that alone is over `max_bytes`.
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
        for name, bound in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if bound is not None:
                checked_count(bound, name)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bounded = max_entries is not None or max_bytes is not None
        # Where there are bounds, `_uses` is the same, in the order of their last use.
        self._uses: OrderedDict[QualifiedKey, Entry] = OrderedDict()
        self._entries: dict[QualifiedKey, Entry] = self._uses if self._bounded else {}
        self._names: dict[Collection, dict[str, None]] = {}
        self._bytes = 0
        # The number keeps slots, which need not be comparable, from being compared.
        self._expiries: list[tuple[float, int, QualifiedKey]] = []
        self._counter = count()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of `memory://`. Options: `max_entries`, `max_bytes`."""
        parts = urls.split(url, "memory")
        if parts.netloc or parts.path:
            raise ConfigurationError("memory has no host and no path: memory://?max_entries=1000")
        known = {"max_entries": urls.whole, "max_bytes": urls.whole}
        return cls(**urls.options(parts.query, known))

    def __len__(self) -> int:
        """How many entries it holds, those included that have expired and not been freed."""
        return len(self._entries)

    def __bool__(self) -> bool:
        """True: an empty store is a store, and `near or default` must not pass it over."""
        return True

    @property
    def size(self) -> int:
        """How many bytes of values it holds; counted only where there is `max_bytes`."""
        return self._bytes

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = self._entries
        found: list[Entry | None] = []
        for key in keys:
            qualified = (collection, key)
            entry = entries.get(qualified)
            if entry is not None:
                if entry.expires_at is not None and entry.expires_at <= self.clock.time():
                    entry = None
                elif self._bounded:
                    self._uses.move_to_end(qualified)
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
            self._free_expired()
        if expected is None:
            for key, entry in zip(keys, entries):
                self._keep((collection, key), entry)
            return [True] * len(keys)
        written = []
        for index, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            qualified = (collection, key)
            wanted = self._is(qualified, expected[index])
            if wanted:
                self._keep(qualified, entry)
            written.append(wanted)
        return written

    def _keep(self, qualified: QualifiedKey, entry: Entry) -> None:
        known = self._entries.get(qualified)
        self._entries[qualified] = entry
        if known is None:
            collection, key = qualified
            self._names.setdefault(collection, {})[key] = None
        end = entry.expires_at
        if end is not None and (known is None or known.expires_at != end):
            heappush(self._expiries, (end, next(self._counter), qualified))
        if self._bounded:
            self._make_room(qualified, entry, known)

    def _make_room(self, qualified: QualifiedKey, entry: Entry, known: Entry | None) -> None:
        """Let go of the least recently used until the bounds hold, but not of this entry."""
        entries = self._uses
        entries.move_to_end(qualified)
        if self._max_bytes is not None:
            self._bytes += _size(entry) - (0 if known is None else _size(known))
            while self._bytes > self._max_bytes:
                self._forget(next(iter(entries)))
        if self._max_entries is not None and len(entries) > self._max_entries:
            self._forget(next(iter(entries)))

    def _forget(self, qualified: QualifiedKey) -> Entry | None:
        entry = self._entries.pop(qualified, None)
        if entry is not None:
            collection, key = qualified
            names = self._names[collection]
            del names[key]
            if not names:
                del self._names[collection]
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
            there = expected is None or self._is(qualified, expected[index])
            removed.append(there and self._live(self._forget(qualified)) is not None)
        return removed

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            live = (key for key in self._keys_in(collection) if key in key_range)
            cursor = Snapshot(sorted(key for key in live if self._is_live((collection, key))))
        return Snapshot.page(cursor)

    async def list_collections(self) -> list[Collection]:
        self._free_expired()
        return sorted(self._names, key=lambda name: name or "")

    async def drop(self, collection: Collection) -> bool:
        return any(await self.remove(collection, self._keys_in(collection)))

    async def drop_all(self) -> bool:
        self._free_expired()
        held = len(self._entries) > 0
        self._entries.clear()
        self._names.clear()
        self._expiries.clear()
        self._bytes = 0
        return held

    async def sweep(self) -> None:
        self._free_expired()

    def _keys_in(self, collection: Collection) -> list[str]:
        return list(self._names.get(collection, ()))

    def _is(self, qualified: QualifiedKey, expected: Expected) -> bool:
        if expected is None:
            return True
        entry = self._live(self._entries.get(qualified))
        return (
            entry is None if expected is ABSENT else entry is not None and entry.version == expected
        )

    def _is_live(self, qualified: QualifiedKey) -> bool:
        return self._live(self._entries.get(qualified)) is not None

    def _check_sizes(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry], limit: int
    ) -> None:
        for key, entry in zip(keys, entries, strict=True):
            if _size(entry) > limit:
                raise ValueTooLarge(
                    f"{_size(entry)} bytes are over max_bytes={limit}: nothing was written",
                    store=self.name,
                    collection=collection,
                    key=key,
                )

    def _free_expired(self) -> None:
        now = self.clock.time()
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            end, _, qualified = heappop(expiries)
            entry = self._entries.get(qualified)
            if entry is not None and entry.expires_at == end:
                self._forget(qualified)
        # What was overwritten or removed leaves its expiry behind: start over before those
        # outnumber the entries.
        if len(expiries) > 2 * len(self._entries) + 64:
            self._expiries = [
                (entry.expires_at, next(self._counter), qualified)
                for qualified, entry in self._entries.items()
                if entry.expires_at is not None
            ]
            heapify(self._expiries)


def _size(entry: Entry) -> int:
    return len(entry.body) + len(entry.codec)
