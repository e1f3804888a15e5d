"""Typed views of a store: values are checked instances of one model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar, overload

from kvwrap.core.computed import Across, ComputedMethods, OnFailure
from kvwrap.core.models import KINDS_OF_MODELS, Mismatch, converter
from kvwrap.core.options import checked_options
from kvwrap.core.ttl import TTL, TTLs
from kvwrap.core.validation import checked_collection, checked_key, checked_keys, checked_values
from kvwrap.errors import ConfigurationError, InvalidValue, KeyNotFound

T = TypeVar("T")
D = TypeVar("D")

OnInvalid = Literal["raise", "ignore"]


class TypedVersioned(NamedTuple, Generic[T]):
    """An instance, and the version that `compare_and_put` needs to replace it."""

    value: T
    version: int


class TypedStore(Generic[T]):
    """A view of a store whose values are of one model; created by `store.typed(Model)`.

    It has the store's methods for values and keys; for others use `store`. Every instance put
    is converted to JSON, and checked to load again before anything is written. `InvalidValue`
    names the field for which it would not, or in which a stored value is not of the model. No
    message quotes a value.

    Attributes:
        store: The store of this view.
        model: The model of the values.
        collection: The collection of the methods when none is passed.
    """

    def __init__(
        self,
        store: ComputedMethods,
        model: type[T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> None:
        if on_invalid not in ("raise", "ignore"):
            raise ConfigurationError(
                f"`on_invalid` must be 'raise' or 'ignore'; got {on_invalid!r}"
            )
        self.store = store
        self.model = model
        self.collection = checked_collection(collection)
        self._ignores = on_invalid == "ignore"
        try:
            self._converter = converter(model)
        except TypeError:
            raise ConfigurationError(f"`model` must be {KINDS_OF_MODELS}; got {model!r}") from None

    def _in(self, collection: str | None) -> str | None:
        return self.collection if collection is None else collection

    def _dump(self, value: T, key: str, collection: str | None) -> object:
        """Return the JSON value of an instance; raises `InvalidValue` if it would not load."""
        try:
            return self._converter.dump(value)
        except Mismatch as mismatch:
            raise self._invalid("the value", mismatch, key, collection) from None

    def _loaded(self, value: object, key: str, collection: str | None) -> T:
        """Return the instance of a stored value; raises `InvalidValue` if there is no valid one."""
        try:
            instance: T = self._converter.load(value)
        except Mismatch as mismatch:
            raise self._invalid("the stored value", mismatch, key, collection) from None
        return instance

    @overload
    def _load(self, value: object, key: str, collection: str | None) -> T | None: ...

    @overload
    def _load(self, value: object, key: str, collection: str | None, missing: D) -> T | D: ...

    def _load(
        self, value: object, key: str, collection: str | None, missing: object = None
    ) -> object:
        try:
            return self._loaded(value, key, collection)
        except InvalidValue:
            if self._ignores:
                return missing
            raise

    def _invalid(
        self, subject: str, mismatch: Mismatch, key: str, collection: str | None
    ) -> InvalidValue:
        return InvalidValue(
            f"{subject} must be a valid {self._converter.name}: {mismatch}",
            store=self.store.name,
            collection=self._in(collection),
            key=key,
        )

    # -- reading -----------------------------------------------------------------------

    async def get(self, key: str, *, collection: str | None = None) -> T | None:
        """Return the instance, or `None` if there is no value."""
        stored = await self.store.get_versioned(key, collection=self._in(collection))
        return None if stored is None else self._load(stored.value, key, collection)

    async def get_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[T | None]:
        """Return the instances in the order of the keys, in one round trip."""
        return [value for value, _ in await self.ttl_many(keys, collection=collection)]

    async def ttl(
        self, key: str, *, collection: str | None = None
    ) -> tuple[T | None, float | None]:
        """Return the instance and its remaining seconds; `(instance, None)` has no expiry."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[T | None, float | None]]:
        """Return what `ttl` returns, for many keys at once."""
        keys = checked_keys(keys)
        pairs = await self.store.ttl_many(keys, collection=self._in(collection))
        results: list[tuple[T | None, float | None]] = []
        for key, (value, seconds) in zip(keys, pairs, strict=True):
            instance = None if value is None else self._load(value, key, collection)
            results.append((instance, None if instance is None else seconds))
        return results

    async def require(self, key: str, *, collection: str | None = None) -> T:
        """Return the instance; raises `KeyNotFound` if there is no value."""
        name = self._in(collection)
        value = await self.store.require(key, collection=name)
        instance = self._load(value, key, collection)
        if instance is None and value is not None:
            raise KeyNotFound(
                f"the key has no valid {self._converter.name}",
                store=self.store.name,
                collection=name,
                key=key,
            )
        return instance  # type: ignore[return-value]  # None only if the model allows None

    async def exists(self, key: str, *, collection: str | None = None) -> bool:
        """Return True if the key has a value, valid or not."""
        return await self.store.exists(key, collection=self._in(collection))

    async def get_versioned(
        self, key: str, *, collection: str | None = None
    ) -> TypedVersioned[T] | None:
        """Return the instance with its version, or `None` if there is no value."""
        stored = await self.store.get_versioned(key, collection=self._in(collection))
        instance = None if stored is None else self._load(stored.value, key, collection)
        if stored is None or instance is None:
            return None
        return TypedVersioned(instance, stored.version)

    # -- writing -----------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: T,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Store the instance under the key, for `ttl` seconds or without expiry."""
        json = self._dump(value, key, collection)
        await self.store.put(key, json, collection=self._in(collection), ttl=ttl, tags=tags)

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[T],
        *,
        collection: str | None = None,
        ttl: TTLs = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Do what `put` does, for many keys at once.

        All instances are checked before any is written. `ttl` may be a sequence with a ttl for
        each key.
        """
        keys = checked_keys(keys)
        values = checked_values(values, len(keys))
        json = [self._dump(value, key, collection) for key, value in zip(keys, values)]
        name = self._in(collection)
        await self.store.put_many(keys, json, collection=name, ttl=ttl, tags=tags)

    async def put_if_absent(
        self, key: str, value: T, *, collection: str | None = None, ttl: TTL | None = None
    ) -> bool:
        """Put the instance if the key has no value, atomically. Returns True if it was put."""
        json = self._dump(value, key, collection)
        name = self._in(collection)
        return await self.store.put_if_absent(key, json, collection=name, ttl=ttl)

    async def compare_and_put(
        self,
        key: str,
        value: T,
        version: int,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> bool:
        """Replace the value if it still has this version, atomically. Returns True if it had."""
        json = self._dump(value, key, collection)
        name = self._in(collection)
        return await self.store.compare_and_put(key, json, version, collection=name, ttl=ttl)

    async def compare_and_delete(
        self, key: str, version: int, *, collection: str | None = None
    ) -> bool:
        """Delete the entry if it still has this version, atomically. Returns True if it had."""
        return await self.store.compare_and_delete(key, version, collection=self._in(collection))

    async def get_or_put(
        self,
        key: str,
        factory: Callable[[], Awaitable[T] | T],
        *,
        collection: str | None = None,
        ttl: TTL | Callable[[T], TTL | None] | None = None,
        keep: Callable[[T], bool] | None = None,
        on_error: OnFailure = "raise",
        on_invalid: OnFailure | None = None,
        stale_ttl: TTL | None = None,
        soft_timeout: float | None = None,
        tags: Sequence[str] | Callable[[T], Sequence[str]] | None = None,
        across: Across | None = None,
    ) -> T:
        """Return the instance, or put the factory's result for `ttl` seconds and return that.

        The arguments are those of `Store.get_or_put`. `ttl`, `keep` and `tags` get the instance. If
        omitted, `on_invalid` is "compute" for a view that ignores invalid values, so that they
        are replaced.
        """
        if on_invalid is None:
            on_invalid = "compute" if self._ignores else "raise"
        options = checked_options(
            ttl, keep, on_error, on_invalid, stale_ttl, soft_timeout, tags, across
        )
        self.store._allow(options)
        instance: T = await self.store._get_or_compute(
            checked_key(key),
            self.store._collection_of(self._in(collection)),
            factory,
            options.converted(self._dump, self._loaded),
        )
        return instance

    async def pop(self, key: str, *, collection: str | None = None) -> T | None:
        """Delete the entry and return its instance, or `None` if there is no value."""
        value = await self.store.pop(key, collection=self._in(collection))
        return None if value is None else self._load(value, key, collection)

    async def expire(self, key: str, ttl: TTL | None, *, collection: str | None = None) -> bool:
        """Set a new ttl, from now; `None` means no expiry. Returns True if an entry existed."""
        return await self.store.expire(key, ttl, collection=self._in(collection))

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Delete the entry. Returns True if it existed."""
        return await self.store.delete(key, collection=self._in(collection))

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Delete many entries at once. Returns the number that existed."""
        return await self.store.delete_many(keys, collection=self._in(collection))

    # -- enumeration -------------------------------------------------------------------

    async def keys(
        self, collection: str | None = None, *, limit: int | None = None, prefix: str = ""
    ) -> list[str]:
        """Return the keys of the collection that begin with `prefix`, at most `limit`."""
        return await self.store.keys(self._in(collection), limit=limit, prefix=prefix)

    async def count(self, *, collection: str | None = None, prefix: str = "") -> int:
        """Return the number of entries whose keys begin with `prefix`, valid or not."""
        return await self.store.count(collection=self._in(collection), prefix=prefix)

    async def delete_where(self, *, collection: str | None = None, prefix: str = "") -> int:
        """Delete the entries whose keys begin with `prefix`, valid or not. Returns their number.

        Without `prefix`, these are all entries of the collection.
        """
        return await self.store.delete_where(collection=self._in(collection), prefix=prefix)

    def scan(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, from `start` up to but not `end`."""
        name = self._in(collection)
        return self.store.scan(collection=name, prefix=prefix, start=start, end=end)

    async def items(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[tuple[str, T]]:
        """Iterate over keys and instances, with the arguments of `scan`.

        Invalid values are skipped if `on_invalid` is "ignore".
        """
        pairs = self.store.items(
            collection=self._in(collection), prefix=prefix, start=start, end=end
        )
        async for key, value in pairs:
            instance = self._load(value, key, collection, _INVALID)
            if not isinstance(instance, _Invalid):
                yield key, instance

    def __repr__(self) -> str:
        return f"<{self._converter.name} in {self.collection!r} of {self.store!r}>"


class _Invalid:
    """The type of `_INVALID`."""


_INVALID = _Invalid()
