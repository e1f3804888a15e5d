"""A store as a mapping."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, MutableMapping, ValuesView
from types import TracebackType
from typing import Any, Protocol, Self

from kvwrap.core.capability import Capability
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_collection
from kvwrap.errors import InvalidKey, KeyNotFound
from kvwrap.views.sync import SyncStore, sync


class StoreMapping(MutableMapping[str, Any]):
    """One collection of a store as a mutable mapping; made by `kvwrap.mapping(store)`.

    Every access goes to the store, and what is missing or expired raises `KeyNotFound`, a
    `KeyError`. `update` is one batch; `values` and `items` read a page at a time; `len` counts
    by going through the keys. Values are copies: change one, and it must be put again.

    `None` is a value like others: `mapping.get(key)` cannot tell it from missing, while
    `key in mapping` and `mapping[key]` can.

    Attributes:
        store: The blocking view that this is over.
        collection: The collection.
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
        return self.store.require(key, collection=self.collection)

    def __setitem__(self, key: str, value: Any) -> None:
        self.store.put(key, value, collection=self.collection, ttl=self._ttl)

    def __delitem__(self, key: str) -> None:
        if not self.store.delete(key, collection=self.collection):
            raise self._missing(key)

    def __contains__(self, key: object) -> bool:
        try:
            return self.store.exists(key, collection=self.collection)  # type: ignore[arg-type]  # judged there
        except InvalidKey:
            return False

    def __iter__(self) -> Iterator[str]:
        return self.store.scan(collection=self.collection)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def items(self) -> ItemsView[str, Any]:
        """Pairs of key and value, read a page at a time."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values, read a page at a time."""
        return _Values(self)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of the keys that there are, with their values, in one batch."""
        keys = list(keys)
        found = self.store.get_many(keys, collection=self.collection)
        return {key: value for key, value in zip(keys, found) if value is not None}

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Put all of these in one batch; takes what `dict.update` takes."""
        values = dict(other, **more)
        if values:
            self.store.put_many(
                list(values), list(values.values()), collection=self.collection, ttl=self._ttl
            )

    def pop(self, key: str, *default: Any) -> Any:
        """Take the value away and give it back, or the default, or raise `KeyNotFound`."""
        if len(default) > 1:
            raise TypeError(f"pop takes at most 2 arguments, not {1 + len(default)}")
        found = self.store.pop(key, _MISSING, collection=self.collection)
        if found is not _MISSING:
            return found
        if default:
            return default[0]
        raise self._missing(key)

    def popitem(self) -> tuple[str, Any]:
        """Take some entry away and give it back; raises `KeyError` if there is none."""
        for key in self:
            found = self.store.pop(key, _MISSING, collection=self.collection)
            if found is not _MISSING:
                return key, found
        raise KeyNotFound("there is no entry", store=self.store.name, collection=self.collection)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value, or the default, which is put where there was none.

        Atomic where the store has `Capability.COMPARE_AND_PUT`.
        """
        if Capability.COMPARE_AND_PUT not in self.store.capabilities:
            return self.store.get_or_put(
                key, lambda: default, collection=self.collection, ttl=self._ttl
            )
        while True:
            if self.store.put_if_absent(key, default, collection=self.collection, ttl=self._ttl):
                return self[key]
            try:
                return self[key]
            except KeyNotFound:
                continue

    def clear(self) -> None:
        """Take every entry of the collection away."""
        if Capability.DESTROY_COLLECTION in self.store.capabilities:
            self.store.destroy_collection(self.collection)
        else:
            self.store.delete_many(list(self), collection=self.collection)

    def _missing(self, key: str) -> KeyNotFound:
        return KeyNotFound(
            "there is no value", store=self.store.name, collection=self.collection, key=key
        )

    def close(self) -> None:
        """Close the blocking view, if this mapping made it."""
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


class _OfStore(Protocol):
    _mapping: StoreMapping


class _Items(ItemsView[str, Any]):
    def __iter__(self: _OfStore) -> Iterator[tuple[str, Any]]:
        return self._mapping.store.items(collection=self._mapping.collection)


class _Values(ValuesView[Any]):
    def __iter__(self: _OfStore) -> Iterator[Any]:
        pairs = self._mapping.store.items(collection=self._mapping.collection)
        return (value for _, value in pairs)


def mapping(store: Any, collection: str | None = None, *, ttl: TTL | None = None) -> StoreMapping:
    """One collection of a store as a `MutableMapping`.

    Args:
        store: A blocking view, which stays the caller's; or a store, or anything that
            `kvwrap.adapt` takes, which gets a view that the mapping's `close` closes.
        collection: The collection; the default one if left out.
        ttl: The lifetime of everything put through the mapping.

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
