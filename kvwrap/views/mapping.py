"""A view of a collection as a mutable mapping."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from operator import itemgetter
from types import TracebackType
from typing import Any, Protocol, Self

from kvwrap.core.capability import Capability
from kvwrap.core.optimistic import ATTEMPTS, conflict
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_collection
from kvwrap.errors import InvalidKey, KeyNotFound
from kvwrap.views.sync import SyncStore, sync


class StoreMapping(MutableMapping[str, Any]):
    """A collection of a store as a mutable mapping, created by `kvwrap.mapping(store)`.

    Every access calls the store. A missing or expired key raises `KeyNotFound`, a `KeyError`.
    `update` is one batch, `values` and `items` read a page at a time, and `len` counts the keys.
    Values are copies: after changing one, put it again.

    `None` is a value like any other: `mapping.get(key)` cannot distinguish it from a missing key,
    while `key in mapping`, `mapping[key]` and `get_many` can.

    Keys are strings. What is not a string is not in the mapping: reading or deleting it raises
    `KeyNotFound`, and assigning to it raises an `InvalidKey` that is also a `TypeError`.

    Attributes:
        store: The blocking view of the store.
        collection: The collection; None is the default collection.
    """

    def __init__(
        self,
        store: SyncStore,
        collection: str | None = None,
        *,
        ttl: TTL | None = None,
        owned: bool = False,
    ) -> None:
        self.store = store
        self.collection = checked_collection(collection)
        self._ttl = None if ttl is None else checked_ttl(ttl)
        self._owned = owned

    def __getitem__(self, key: str) -> Any:
        try:
            return self.store.require(key, collection=self.collection)
        except InvalidKey as error:
            raise self._missing(key) from error

    def __setitem__(self, key: str, value: Any) -> None:
        _check_types([key])
        self.store.put(key, value, collection=self.collection, ttl=self._ttl)

    def __delitem__(self, key: str) -> None:
        try:
            existed = self.store.delete(key, collection=self.collection)
        except InvalidKey as error:
            raise self._missing(key) from error
        if not existed:
            raise self._missing(key)

    def __contains__(self, key: object) -> bool:
        try:
            return self.store.exists(key, collection=self.collection)  # type: ignore[arg-type]  # checked there
        except InvalidKey:
            return False

    def __iter__(self) -> Iterator[str]:
        return self.store.scan(collection=self.collection)

    def __len__(self) -> int:
        return self.store.count(collection=self.collection)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs of key and value, which are read a page at a time."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the values, which are read a page at a time."""
        return _Values(self)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Read several keys in one batch. Returns those that have a value, `None` included."""
        return self.store._get_existing(list(keys), self.collection)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Put all these values in one batch. Accepts the arguments of `dict.update`."""
        values = dict(other, **more)
        _check_types(values)
        if values:
            self.store.put_many(
                list(values), list(values.values()), collection=self.collection, ttl=self._ttl
            )

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default if the key does not exist.

        Raises:
            KeyNotFound: The key does not exist, and there is no default.
        """
        if len(default) > 1:
            raise TypeError(f"pop takes a key and at most one default; got {len(default)} defaults")
        try:
            value = self.store.pop(key, _MISSING, collection=self.collection)
        except InvalidKey as error:
            if default:
                return default[0]
            raise self._missing(key) from error
        if value is not _MISSING:
            return value
        if default:
            return default[0]
        raise self._missing(key)

    def popitem(self) -> tuple[str, Any]:
        """Remove any entry and return its key and value.

        Raises:
            KeyNotFound: The collection is empty.
        """
        for key in self:
            value = self.store.pop(key, _MISSING, collection=self.collection)
            if value is not _MISSING:
                return key, value
        raise KeyNotFound(
            "popitem requires at least one entry; the collection is empty",
            store=self.store.name,
            collection=self.collection,
        )

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, after putting the default if the key does not exist.

        This is atomic if the store has `Capability.COMPARE_AND_PUT`.
        """
        _check_types([key])
        if Capability.COMPARE_AND_PUT not in self.store.capabilities:
            return self.store.get_or_put(
                key, lambda: default, collection=self.collection, ttl=self._ttl
            )
        for _ in ATTEMPTS:
            if self.store.put_if_absent(key, default, collection=self.collection, ttl=self._ttl):
                return self[key]
            try:
                return self[key]
            except KeyNotFound:
                continue
        raise conflict(self.store.name, self.collection, key)

    def clear(self) -> None:
        """Remove all entries of the collection."""
        if Capability.DESTROY_COLLECTION in self.store.capabilities:
            self.store.destroy_collection(self.collection)
        else:
            self.store.delete_where(collection=self.collection)

    # -- what keyvalue-sqlite's dict has, under its names -----------------------------------

    def set_default(self, key: str, value: Any) -> None:
        """Put the value if the key has none; `setdefault` without the returned value."""
        self.insert_or_ignore({key: value})

    def insert_or_ignore(self, values: Mapping[str, Any]) -> None:
        """Put the values whose keys have none, in one batch; the others stay as they are.

        Each key is decided atomically if the store has `Capability.COMPARE_AND_PUT`.
        """
        _check_types(values)
        if Capability.COMPARE_AND_PUT in self.store.capabilities:
            self.store._put_absent(list(values), list(values.values()), self.collection, self._ttl)
        else:
            existing = self.get_many(values)
            self.update({key: value for key, value in values.items() if key not in existing})

    def atomic_add(self, key: str, number: int) -> int:
        """Add a number to the integer under a key, atomically, and return the sum.

        A missing key counts as 0.

        Raises:
            InvalidValue: The value is not an integer.
            UnsupportedOperation: The store lacks `Capability.COMPARE_AND_PUT`.
        """
        _check_types([key])
        return self.store.increment(key, number, collection=self.collection, ttl=self._ttl)

    def remove(self, key: str, ignore_missing_key: bool = False) -> None:
        """Delete a key.

        Raises:
            KeyNotFound: The key does not exist, and `ignore_missing_key` is False.
        """
        try:
            del self[key]
        except KeyNotFound:
            if not ignore_missing_key:
                raise

    def key_range(self, low: str, high: str) -> list[str]:
        """Return the keys from `low` to `high`, both included, in order."""
        return sorted(self.store.scan(collection=self.collection, **_range(low, high)))

    def get_range(self, low: str, high: str) -> list[tuple[str, Any]]:
        """Return the pairs of key and value from `low` to `high`, both included, in order.

        Keys compare by code points.
        """
        pairs = self.store.items(collection=self.collection, **_range(low, high))
        return sorted(pairs, key=itemgetter(0))

    def dict_range(self, low: str, high: str) -> dict[str, Any]:
        """Return what `get_range` returns, as a dict."""
        return dict(self.get_range(low, high))

    def to_dict(self) -> dict[str, Any]:
        """Return the whole collection as a dict."""
        return dict(self.items())

    # -- errors, opening and closing ---------------------------------------------------------

    def _missing(self, key: object) -> KeyNotFound:
        is_text = isinstance(key, str)
        return KeyNotFound(
            "the key has no value" if is_text else f"{_KEYS_ARE_TEXT}; got {type(key).__name__}",
            store=self.store.name,
            collection=self.collection,
            key=key if isinstance(key, str) else None,
        )

    def close(self) -> None:
        """Close the blocking view if this mapping created it."""
        if self._owned:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"mapping({self.store!r}, collection={self.collection!r})"


_MISSING = object()
_KEYS_ARE_TEXT = "a key of a mapping must be a string"


class _WrongType(InvalidKey, TypeError):
    """A key is not a string."""


def _check_types(keys: Iterable[object]) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise _WrongType(f"{_KEYS_ARE_TEXT}; got {type(key).__name__}")


def _range(low: str, high: str) -> dict[str, str]:
    """Return the bounds of the keys between these two, which belong to them."""
    _check_types([low, high])
    # The end of a scan is excluded, and nothing sorts between a key and the key with a NUL.
    return {"start": low, "end": high + "\0"}


class _StoreMappingView(Protocol):
    _mapping: StoreMapping


class _Items(ItemsView[str, Any]):
    def __iter__(self: _StoreMappingView) -> Iterator[tuple[str, Any]]:
        return self._mapping.store.items(collection=self._mapping.collection)


class _Values(ValuesView[Any]):
    def __iter__(self: _StoreMappingView) -> Iterator[Any]:
        pairs = self._mapping.store.items(collection=self._mapping.collection)
        return (value for _, value in pairs)


def mapping(store: Any, collection: str | None = None, *, ttl: TTL | None = None) -> StoreMapping:
    """Create a view of one collection of a store as a `MutableMapping`.

    Args:
        store: A blocking view, which is not closed with the mapping. Or a store, or an object
            that `kvwrap.adapt` accepts: the mapping creates a blocking view, which its `close`
            closes.
        collection: The collection; the default collection if left out.
        ttl: Time to live of everything put through the mapping, in seconds or as a timedelta.

    >>> import kvwrap
    >>> with kvwrap.mapping(kvwrap.MemoryStore(), "users") as users:
    ...     users["ada"] = {"age": 36}
    ...     users.update(bob={"age": 7}, eve={"age": 9})
    ...     dict(users)
    {'ada': {'age': 36}, 'bob': {'age': 7}, 'eve': {'age': 9}}
    """
    if isinstance(store, SyncStore):
        return StoreMapping(store, collection, ttl=ttl)
    return StoreMapping(sync(store), collection, ttl=ttl, owned=True)
