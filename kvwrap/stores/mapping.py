"""Entries in any mutable mapping whose keys are strings: a dict, a shelve, a disk cache."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, Final

from kvwrap.core import codec
from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign, has_expired, is_entry
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, CorruptEntry, KvwrapError, StoreUnavailable
from kvwrap.stores.shared.flat_names import check_default_collection, format_name, parse_name

_MISSING: Any = object()
_BYTES: Final = (bytes, bytearray, memoryview)
"""The types of entries: a mapping may return others than the `bytes` that were put into it."""
_OWN: Final = (dict, OrderedDict)
"""The types that hold nothing outside of this process."""
_CACHETOOLS: Final = "cachetools"
_METHODS = ("__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__", "get")


class MappingStore(Store):
    """Keeps entries, as bytes, in a mutable mapping with strings as keys.

    A key of the default collection is the same key in the mapping. A key of another collection
    is `@collection:key` there, and a key of the default collection that begins with `@` is
    `@:key`. A JSON value that other code has put under a key of its own is read as the value of
    that key. The mapping stays the caller's: it is never closed.

    The mapping's methods are called on the event loop's thread, so a mapping that waits for a
    disk blocks the loop; `kvwrap.adapt` makes another store of such a one. Conditional writes are
    atomic among the tasks of one event loop. They are not atomic if other threads write to the
    mapping too. They are supported only for mappings that are known to be in memory: a dict, a
    `UserDict`, a cache of cachetools, and what derives from these.

    Args:
        mapping: The mapping that holds the entries.
        raw: True if bytes in the mapping are another program's. They are read in the format of
            the serializer. A value without an expiry that no layer has changed is written in
            that format.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does: JSON, or with `raw` bytes
            unchanged.

    Raises:
        StoreUnavailable: From any method, if the mapping raised an error; that is the cause.
    """

    capabilities = OPERATIONS

    def __init__(
        self,
        mapping: MutableMapping[str, Any],
        *,
        raw: bool = False,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        check_default_collection(default_collection, raw=bool(raw))
        super().__init__(
            clock=clock,
            serializer=serializer or (BytesSerializer() if raw else JSON),
            default_collection=default_collection,
        )
        if not _is_mapping(mapping):
            raise ConfigurationError(
                f"`mapping` must be a mutable mapping such as a dict; got {type(mapping).__name__}"
            )
        self._mapping = mapping
        self._raw = bool(raw)
        if not _is_in_memory(mapping):
            self.capabilities -= {Capability.COMPARE_AND_PUT}
        if type(mapping) not in _OWN:
            self.traits = self.traits | {"adapted"}  # type: ignore[misc]  # of this instance
        if self._raw:
            self.traits = self.traits | {"raw"}  # type: ignore[misc]  # of this instance

    def __repr__(self) -> str:
        # Not the mapping itself, since it contains values.
        raw = ", raw=True" if self._raw else ""
        return f"{type(self).__name__}({type(self._mapping).__name__}{raw})"

    # -- what is in the mapping --------------------------------------------------------

    def _get(self, collection: Collection, key: str) -> Entry | None:
        value = self._mapping.get(format_name(collection, key), _MISSING)
        return None if value is _MISSING else self._live(self._decode_value(value, collection, key))

    def _decode_value(self, value: Any, collection: Collection, key: str) -> Entry:
        now = self.clock.time()
        if isinstance(value, _BYTES):
            data = bytes(value)
            if self._raw and not is_entry(data):
                return foreign(data, collection, key, now, None)
            return Entry.from_bytes(data, collection, key, self.name, has_raw=True)
        try:
            return foreign(JSON.dumps(value), collection, key, now, None, codec.JSON)
        except KvwrapError:
            raise CorruptEntry(
                "the mapping must hold entries of kvwrap or JSON values; it holds a "
                f"{type(value).__name__} under this key",
                store=self.name,
                collection=collection,
                key=key,
            ) from None

    def _put(self, collection: Collection, key: str, entry: Entry) -> None:
        is_bare = self._raw and codec.is_bare(entry.codec) and not is_entry(entry.body)
        without_header = is_bare and entry.expires_at is None
        data = entry.body if without_header else entry.to_bytes(collection, key)
        self._mapping[format_name(collection, key)] = data

    def _delete(self, collection: Collection, key: str) -> bool:
        """Delete a key from the mapping. Returns True if its entry was live."""
        name = format_name(collection, key)
        value = self._mapping.get(name, _MISSING)
        return value is not _MISSING and self._discard(name) and not self._has_expired(value)

    def _discard(self, name: str) -> bool:
        """Delete a name. Returns False if the mapping, which others use too, has lost it."""
        try:
            del self._mapping[name]
        except KeyError:
            return False
        return True

    def _has_expired(self, value: Any) -> bool:
        return isinstance(value, _BYTES) and has_expired(bytes(value), self.clock.time())

    def _matches(self, collection: Collection, key: str, expected: Expected) -> bool:
        """Return True if the key has the version that a conditional write expects."""
        if expected is None:
            return True
        entry = self._get(collection, key)
        if expected is ABSENT or entry is None:
            return entry is None and expected is ABSENT
        return entry.version == expected

    def _names(self) -> list[tuple[str, Collection, str]]:
        """Return the names that belong to a key, each with its collection and key."""
        names = []
        for name in list(self._mapping):
            parsed = parse_name(name)
            if parsed is not None:
                names.append((name, *parsed))
        return names

    def _live_names(self) -> Iterator[tuple[str, Collection, str]]:
        for name, collection, key in self._names():
            value = self._mapping.get(name, _MISSING)
            if value is not _MISSING and not self._has_expired(value):
                yield name, collection, key

    # -- the primitives; none of them awaits ----------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        with self._translate_errors(collection):
            return [self._get(collection, key) for key in keys]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        written: list[bool] = []
        with self._translate_errors(collection, keys, written):
            for index, (key, entry) in enumerate(zip(keys, entries, strict=True)):
                matches = expected is None or self._matches(collection, key, expected[index])
                if matches:
                    self._put(collection, key, entry)
                # A call whose answer was lost is repeated: then its entry is stored already.
                written.append(matches or self._matches(collection, key, entry.version))
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        removed: list[bool] = []
        with self._translate_errors(collection, keys, removed):
            for index, key in enumerate(keys):
                matches = expected is None or self._matches(collection, key, expected[index])
                removed.append(matches and self._delete(collection, key))
        return removed

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            with self._translate_errors(collection):
                keys = [key for _, owner, key in self._live_names() if owner == collection]
            cursor = Snapshot(sorted(key for key in keys if key in key_range))
        return Snapshot.page(cursor)

    async def list_collections(self) -> list[Collection]:
        with self._translate_errors():
            collections = {collection for _, collection, _ in self._live_names()}
        return sorted(collections, key=lambda name: name or "")

    async def count_unreadable(self) -> int:
        with self._translate_errors():
            return len(self._mapping) - len(self._names())

    async def drop(self, collection: Collection) -> bool:
        with self._translate_errors(collection):
            keys = [key for _, owner, key in self._names() if owner == collection]
            return sum(self._delete(collection, key) for key in keys) > 0

    async def drop_all(self) -> bool:
        with self._translate_errors():
            return sum(self._delete(collection, key) for _, collection, key in self._names()) > 0

    async def sweep(self) -> None:
        with self._translate_errors():
            for name, _, _ in self._names():
                if self._has_expired(self._mapping.get(name)):
                    self._discard(name)

    def _translate_errors(
        self,
        collection: Collection = None,
        keys: Sequence[str] = (),
        results: Sequence[bool] = (),
    ) -> _ErrorTranslator:
        return _ErrorTranslator(self.name, collection, keys, results)


class _ErrorTranslator:
    """Translates errors that a mapping raises into `StoreUnavailable`.

    Args:
        store: Name of the store.
        collection: Collection of the operation.
        keys: Keys of the operation, if it is a batch that may stop halfway.
        results: Results so far, which the operation appends to, one for each key.
    """

    def __init__(
        self, store: str, collection: Collection, keys: Sequence[str], results: Sequence[bool]
    ) -> None:
        self._context = (store, collection, keys, results)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, KvwrapError):
            store, collection, keys, results = self._context
            raise StoreUnavailable(
                f"the mapping raised {type(error).__name__}, which is the cause of this error",
                store=store,
                collection=collection,
                key=keys[len(results)] if len(results) < len(keys) else None,
                succeeded=keys[: len(results)] if keys else None,
            ) from error


def _is_mapping(obj: object) -> bool:
    return isinstance(obj, MutableMapping) or (
        not isinstance(obj, type) and all(hasattr(type(obj), name) for name in _METHODS)
    )


def _is_in_memory(obj: object) -> bool:
    """Return True if no process but this one has the mapping, and no call of it waits."""
    modules = {cls.__module__.partition(".")[0] for cls in type(obj).__mro__}
    return isinstance(obj, dict | UserDict) or _CACHETOOLS in modules


def adapted(obj: Any, **options: Any) -> Store | None:
    """Return a store over this object if it is a mutable mapping in memory, else None."""
    return MappingStore(obj, **options) if _is_mapping(obj) and _is_in_memory(obj) else None
