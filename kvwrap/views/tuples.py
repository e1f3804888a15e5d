"""A view of a collection whose keys are tuples of strings."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, overload
from urllib.parse import quote

from kvwrap.config.dump import to_config
from kvwrap.core.capability import Capability
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.primitives import ABSENT
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.core.ttl import TTL
from kvwrap.core.tuple_keys import Key, decode_key, encode_key
from kvwrap.core.validation import checked_collection
from kvwrap.errors import ConfigurationError, InvalidKey, UnsupportedOperation
from kvwrap.views.sync import SyncStore

P = ParamSpec("P")
T = TypeVar("T")

_IDS: Final = "kvwrap.store-ids"
"""The collection of the ids, which listings leave out."""


class TupleStore:
    """A view of one collection of a store by tuples; created by `kvwrap.tuples(store)`.

    A key is a tuple of at least one string. `("a", "b")` and `("a", "c")` both begin with the
    prefix `("a",)`. Keys of the collection that are no tuples are not in the view.

    Attributes:
        store: The store of this view.
        collection: The collection; None is the default collection.
        length: The number of strings in every key; None for any.
    """

    def __init__(
        self, store: Store, collection: str | None = None, *, length: int | None = None
    ) -> None:
        if length is not None and (type(length) is not int or length < 1):
            raise ConfigurationError(f"`length` must be a positive int or None; got {length!r}")
        self.store = store
        self.collection = checked_collection(collection)
        self.length = length

    def _encode(self, key: Sequence[str]) -> str:
        parts = _checked_parts(key)
        if not parts or (self.length or len(parts)) != len(parts):
            raise InvalidKey(
                f"a key must be a tuple of {self.length or 'at least one'} "
                f"string{'s' if (self.length or 1) > 1 else ''}; got {len(parts)}"
            )
        return encode_key(parts)

    def _decode(self, text: str) -> Key | None:
        key = decode_key(text)
        return key if key is None or self.length in (None, len(key)) else None

    # -- single keys -------------------------------------------------------------------------

    async def get(self, key: Sequence[str]) -> Any | None:
        """Return the value, or `None` if the key has no value."""
        return await self.store.get(self._encode(key), collection=self.collection)

    async def require(self, key: Sequence[str]) -> Any:
        """Return the value.

        Raises:
            KeyNotFound: The key has no value.
        """
        return await self.store.require(self._encode(key), collection=self.collection)

    async def put(self, key: Sequence[str], value: Any, *, ttl: TTL | None = None) -> None:
        """Put a value, as `Store.put` does."""
        await self.store.put(self._encode(key), value, collection=self.collection, ttl=ttl)

    async def put_if_absent(
        self, key: Sequence[str], value: Any, *, ttl: TTL | None = None
    ) -> bool:
        """Put a value if the key has none, atomically, as `Store.put_if_absent` does.

        Returns True if it was put.
        """
        return await self.store.put_if_absent(
            self._encode(key), value, collection=self.collection, ttl=ttl
        )

    async def has_key(self, key: Sequence[str]) -> bool:
        """Return True if the key has a value."""
        return await self.store.exists(self._encode(key), collection=self.collection)

    async def remove_key(self, key: Sequence[str]) -> bool:
        """Delete the value. Returns True if it existed."""
        return await self.store.delete(self._encode(key), collection=self.collection)

    async def move(self, source: Sequence[str], target: Sequence[str]) -> bool:
        """Put the value of `source` under `target`, as `Store.move` does.

        Returns True if the source existed.
        """
        return await self.store.move(
            self._encode(source), self._encode(target), collection=self.collection
        )

    # -- many keys ---------------------------------------------------------------------------

    async def scan(self, prefix: Sequence[str] = ()) -> AsyncIterator[Key]:
        """Iterate over the keys that begin with the prefix, as `Store.scan` does."""
        text = encode_key(_checked_parts(prefix))
        async for found in self.store.scan(collection=self.collection, prefix=text):
            if (key := self._decode(found)) is not None:
                yield key

    async def list_keys(self, prefix: Sequence[str] = ()) -> list[Key]:
        """Return the keys that begin with the prefix, in the order of tuples."""
        return sorted([key async for key in self.scan(prefix)])

    # -- the store ---------------------------------------------------------------------------

    def url_for(self, key: Sequence[str]) -> str:
        """Return what identifies an entry, with the location of the store and no credentials.

        It is for people and reports: no function opens it.
        """
        parts = [quote(part, safe="") for part in _checked_parts(key)]
        collection = "" if self.collection is None else quote(self.collection, safe="")
        return f"{self.store.base.location}#{collection}/{'/'.join(parts)}"

    async def store_id(self) -> str:
        """Return the UUID of this collection, which the first call makes and keeps.

        However many processes ask at once, all get the same one. `Store.destroy` deletes it.

        Raises:
            UnsupportedOperation: The store lacks `Capability.COMPARE_AND_PUT`.
        """
        if Capability.COMPARE_AND_PUT not in self.store.capabilities:
            raise UnsupportedOperation(
                "a store id needs a store that can compare versions, so that two processes "
                "cannot make two ids",
                store=self.store.name,
            )
        store, key = self.store, "default" if self.collection is None else f":{self.collection}"
        for attempt in ATTEMPTS:
            await backoff(attempt)
            (entry,) = await store.read(_IDS, (key,))
            if entry is not None:
                return str(store._to_value(entry, _IDS, key))
            made = store._to_entry(str(uuid.uuid4()), None, store.clock.time(), _IDS, key)
            await store.write(_IDS, (key,), (made,), (ABSENT,))
        raise conflict(store.name, _IDS, key)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that `kvwrap.from_config` builds the same stack from.

        Raises:
            ConfigurationError: The stack has parts that a configuration cannot express, as for
                `kvwrap.to_config`.
        """
        return to_config(self.store)

    def __repr__(self) -> str:
        return f"tuples({self.store!r}, collection={self.collection!r})"


def _checked_parts(key: Iterable[object]) -> Key:
    """Return a tuple of strings, which may be empty."""
    if isinstance(key, str | bytes) or not isinstance(key, Iterable):
        raise InvalidKey(f"a key must be a tuple of strings; got {type(key).__name__}")
    parts = []
    for part in key:
        if not isinstance(part, str):
            raise InvalidKey(f"a key must be a tuple of strings; got a {type(part).__name__} in it")
        parts.append(str(part))
    return tuple(parts)


def _blocking(
    method: Callable[Concatenate[TupleStore, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncTupleStore, P], T]:
    """Return a method that blocks until the view's method has finished."""

    def call(self: SyncTupleStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.store.run(method(self._tuples, *args, **kwargs))

    call.__name__ = method.__name__
    call.__qualname__ = f"SyncTupleStore.{method.__name__}"
    call.__doc__ = method.__doc__
    return call


class SyncTupleStore:
    """A `TupleStore` with blocking methods; created by `kvwrap.tuples(kvwrap.sync(store))`."""

    def __init__(
        self, view: SyncStore, collection: str | None = None, *, length: int | None = None
    ) -> None:
        self.store = view
        self._tuples = TupleStore(view._store, collection, length=length)

    get = _blocking(TupleStore.get)
    require = _blocking(TupleStore.require)
    put = _blocking(TupleStore.put)
    put_if_absent = _blocking(TupleStore.put_if_absent)
    has_key = _blocking(TupleStore.has_key)
    remove_key = _blocking(TupleStore.remove_key)
    move = _blocking(TupleStore.move)
    list_keys = _blocking(TupleStore.list_keys)
    store_id = _blocking(TupleStore.store_id)

    def scan(self, prefix: Sequence[str] = ()) -> Iterator[Key]:
        """Iterate over the keys that begin with the prefix, as `SyncStore.scan` does."""
        text = encode_key(_checked_parts(prefix))
        found = self.store.scan(collection=self._tuples.collection, prefix=text)
        return filter(None, map(self._tuples._decode, found))

    def url_for(self, key: Sequence[str]) -> str:
        """Return what identifies an entry, as `TupleStore.url_for` does."""
        return self._tuples.url_for(key)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the stack, as `TupleStore.config`."""
        return self._tuples.config

    def __repr__(self) -> str:
        return f"sync({self._tuples!r})"


@overload
def tuples(
    store: SyncStore, collection: str | None = None, *, length: int | None = None
) -> SyncTupleStore: ...


@overload
def tuples(
    store: Any, collection: str | None = None, *, length: int | None = None
) -> TupleStore: ...


def tuples(
    store: Any, collection: str | None = None, *, length: int | None = None
) -> TupleStore | SyncTupleStore:
    """Create a view of one collection of a store whose keys are tuples of strings.

    Args:
        store: A store, or an object that `kvwrap.adapt` accepts. With a blocking view
            (`kvwrap.sync`), the methods block too.
        collection: The collection; the default collection if left out.
        length: The number of strings in every key; any if left out. Keys of another length are
            refused, and passed by where keys are listed.

    >>> import kvwrap
    >>> with kvwrap.sync(kvwrap.MemoryStore()) as store:
    ...     reports = kvwrap.tuples(store, "reports")
    ...     reports.put(("2026", "march"), 3)
    ...     reports.put(("2026", "april"), 4)
    ...     reports.list_keys(prefix=("2026",))
    [('2026', 'april'), ('2026', 'march')]
    """
    if isinstance(store, SyncStore):
        return SyncTupleStore(store, collection, length=length)
    return TupleStore(as_store(store), collection, length=length)
