"""Entries in any mutable mapping whose keys are strings: a dict, a shelf, a disk cache."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from kvwrap.core import codec
from kvwrap.core.capability import OPERATIONS
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign, has_expired, is_entry
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, CorruptEntry, KvwrapError, StoreUnavailable
from kvwrap.stores.shared.escaping import escaped, unescaped

_MISSING: Any = object()
_METHODS = ("__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__", "get")


class MappingStore(Store):
    """Keeps entries, as bytes, in a mutable mapping with strings for keys.

    A key of the default collection is that key in the mapping, one of another collection is
    `@collection:key`, and a key of the default collection that begins with `@` is `@:key`.
    Whatever JSON can hold and others have put under a key of their own is read as the value
    of that key. The mapping stays the caller's: it is never closed.

    Its methods are called on the event loop's thread, so one that waits for a disk makes
    everything wait. Conditional writes are atomic among the tasks of one event loop; where
    other threads or processes write to the mapping too, they are not.

    Args:
        mapping: Where entries go.
        raw: Whether bytes in the mapping are another program's: such are given to the
            serializer, and what no layer has changed and never expires is written so.
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise: JSON, or
            with `raw` bytes as they are.

    Raises:
        StoreUnavailable: From any method, with what the mapping raised as its cause.
    """

    capabilities = OPERATIONS

    def __init__(
        self,
        mapping: MutableMapping[str, Any],
        *,
        raw: bool = False,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer or (BytesSerializer() if raw else JSON))
        if not _is_mapping(mapping):
            raise ConfigurationError(
                f"this store takes a mutable mapping, not {type(mapping).__name__}"
            )
        self._mapping = mapping
        self._raw = bool(raw)

    def __repr__(self) -> str:
        # Not the mapping itself, which is full of values.
        raw = ", raw=True" if self._raw else ""
        return f"{type(self).__name__}({type(self._mapping).__name__}{raw})"

    # -- what is in the mapping --------------------------------------------------------

    def _get(self, collection: Collection, key: str) -> Entry | None:
        held = self._mapping.get(_name(collection, key), _MISSING)
        return None if held is _MISSING else self._live(self._entry_of(held, collection, key))

    def _entry_of(self, held: Any, collection: Collection, key: str) -> Entry:
        now = self.clock.time()
        if isinstance(held, bytes | bytearray | memoryview):
            data = bytes(held)
            if self._raw and not is_entry(data):
                return foreign(data, now, None)
            return Entry.from_bytes(data, collection, key, self.name)
        try:
            return foreign(JSON.dumps(held), now, None, codec.JSON)
        except KvwrapError:
            raise CorruptEntry(
                f"the mapping holds a {type(held).__name__}, which is neither an entry nor JSON",
                store=self.name,
                collection=collection,
                key=key,
            ) from None

    def _put(self, collection: Collection, key: str, entry: Entry) -> None:
        bare = self._raw and codec.is_bare(entry.codec) and not is_entry(entry.body)
        keep = bare and entry.expires_at is None
        data = entry.body if keep else entry.to_bytes(collection, key)
        self._mapping[_name(collection, key)] = data

    def _take(self, collection: Collection, key: str) -> bool:
        """Delete what is there; whether it was live."""
        name = _name(collection, key)
        held = self._mapping.get(name, _MISSING)
        if held is _MISSING:
            return False
        del self._mapping[name]
        return not self._has_expired(held)

    def _has_expired(self, held: Any) -> bool:
        return isinstance(held, bytes) and has_expired(held, self.clock.time())

    def _is(self, collection: Collection, key: str, expected: Expected) -> bool:
        if expected is None:
            return True
        entry = self._get(collection, key)
        if expected is ABSENT or entry is None:
            return entry is None and expected is ABSENT
        return entry.version == expected

    def _names(self) -> list[tuple[str, Collection, str]]:
        """Every name that stands for a key, with its collection and key."""
        found = []
        for name in list(self._mapping):
            place = _place(name)
            if place is not None:
                found.append((name, *place))
        return found

    def _live_names(self) -> Iterator[tuple[str, Collection, str]]:
        for name, collection, key in self._names():
            held = self._mapping.get(name, _MISSING)
            if held is not _MISSING and not self._has_expired(held):
                yield name, collection, key

    # -- the primitives, none of which waits anywhere -----------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        with self._guarded(collection):
            return [self._get(collection, key) for key in keys]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        written: list[bool] = []
        with self._guarded(collection, keys, written):
            for index, (key, entry) in enumerate(zip(keys, entries, strict=True)):
                wanted = expected is None or self._is(collection, key, expected[index])
                if wanted:
                    self._put(collection, key, entry)
                written.append(wanted)
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        removed: list[bool] = []
        with self._guarded(collection, keys, removed):
            for index, key in enumerate(keys):
                wanted = expected is None or self._is(collection, key, expected[index])
                removed.append(wanted and self._take(collection, key))
        return removed

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            with self._guarded(collection):
                live = [key for _, place, key in self._live_names() if place == collection]
            cursor = Snapshot(sorted(key for key in live if key in key_range))
        return Snapshot.page(cursor)

    async def list_collections(self) -> list[Collection]:
        with self._guarded():
            found = {collection for _, collection, _ in self._live_names()}
        return sorted(found, key=lambda name: name or "")

    async def drop(self, collection: Collection) -> bool:
        with self._guarded(collection):
            keys = [key for _, place, key in self._names() if place == collection]
            return sum(self._take(collection, key) for key in keys) > 0

    async def drop_all(self) -> bool:
        with self._guarded():
            return sum(self._take(place, key) for _, place, key in self._names()) > 0

    async def sweep(self) -> None:
        with self._guarded():
            for name, _, _ in self._names():
                if self._has_expired(self._mapping.get(name)):
                    del self._mapping[name]

    def _guarded(
        self, collection: Collection = None, keys: Sequence[str] = (), done: Sequence[bool] = ()
    ) -> _Guard:
        return _Guard(self.name, collection, keys, done)


class _Guard:
    """Turns what a mapping raises into errors of kvwrap."""

    def __init__(
        self, store: str, collection: Collection, keys: Sequence[str], done: Sequence[bool]
    ) -> None:
        self._place = (store, collection, keys, done)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, KvwrapError):
            store, collection, keys, done = self._place
            raise StoreUnavailable(
                f"the mapping failed ({type(error).__name__})",
                store=store,
                collection=collection,
                key=keys[len(done)] if len(done) < len(keys) else None,
                succeeded=keys[: len(done)] if keys else None,
            ) from error


def _name(collection: Collection, key: str) -> str:
    if collection is None:
        return f"@:{key}" if key.startswith("@") else key
    return f"@{escaped(collection)}:{key}"


def _place(name: object) -> tuple[Collection, str] | None:
    """What `_name` was given; `None` for a name that it does not give."""
    if not isinstance(name, str) or not name:
        return None
    if not name.startswith("@"):
        return None, name
    quoted, colon, key = name[1:].partition(":")
    place = unescaped(quoted) or None, key
    return place if colon and key and _name(*place) == name else None


def _is_mapping(obj: object) -> bool:
    return isinstance(obj, MutableMapping) or (
        not isinstance(obj, type) and all(hasattr(type(obj), name) for name in _METHODS)
    )


def adapted(obj: Any, **options: Any) -> Store | None:
    """A store that keeps entries in this object, if it is a mutable mapping."""
    return MappingStore(obj, **options) if _is_mapping(obj) else None
