"""A store of one model: what is put is checked, and what is read is an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar, overload

from kvwrap.core.atomic import AtomicMethods
from kvwrap.core.models import Mismatch, converter
from kvwrap.core.ttl import TTL
from kvwrap.core.validation import checked_collection, checked_keys, checked_values
from kvwrap.errors import ConfigurationError, InvalidValue, KeyNotFound

T = TypeVar("T")
D = TypeVar("D")

OnInvalid = Literal["raise", "ignore"]


class TypedVersioned(NamedTuple, Generic[T]):
    """An instance, and the version under which `compare_and_put` may replace it."""

    value: T
    version: int


class TypedStore(Generic[T]):
    """A view of a store whose values are of one model; made by `store.typed(Model)`.

    Methods are those of the store. Every instance put is turned into JSON and checked to come
    back before anything is written; `InvalidValue` says where it would not, and, reading,
    where what is stored is not of the model. No message quotes a value.

    Attributes:
        store: The store that this is a view of.
        collection: The collection where a method is not given another.
    """

    def __init__(
        self,
        store: AtomicMethods,
        model: type[T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> None:
        if on_invalid not in ("raise", "ignore"):
            raise ConfigurationError(f"on_invalid is 'raise' or 'ignore', not {on_invalid!r}")
        self.store = store
        self.model = model
        self.collection = checked_collection(collection)
        self._ignores = on_invalid == "ignore"
        self._converter = converter(model)

    def _in(self, collection: str | None) -> str | None:
        return self.collection if collection is None else collection

    def _plain(self, value: T, key: str, collection: str | None) -> object:
        try:
            return self._converter.plain(value)
        except Mismatch as mismatch:
            raise self._invalid("the value is not", mismatch, key, collection) from None

    @overload
    def _model(self, value: object, key: str, collection: str | None) -> T | None: ...

    @overload
    def _model(self, value: object, key: str, collection: str | None, missing: D) -> T | D: ...

    def _model(
        self, value: object, key: str, collection: str | None, missing: object = None
    ) -> object:
        try:
            return self._converter.model(value)
        except Mismatch as mismatch:
            if self._ignores:
                return missing
            raise self._invalid("what is stored is not", mismatch, key, collection) from None

    def _invalid(
        self, what: str, mismatch: Mismatch, key: str, collection: str | None
    ) -> InvalidValue:
        name = getattr(self.model, "__name__", str(self.model))
        return InvalidValue(
            f"{what} a valid {name}: {mismatch}",
            store=self.store.name,
            collection=self._in(collection),
            key=key,
        )

    # -- reading -----------------------------------------------------------------------

    async def get(self, key: str, *, collection: str | None = None) -> T | None:
        """The instance, or `None` where there is none."""
        found = await self.store.get_versioned(key, collection=self._in(collection))
        return None if found is None else self._model(found.value, key, collection)

    async def get_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[T | None]:
        """The instances in the order of their keys, in one round trip."""
        return [value for value, _ in await self.ttl_many(keys, collection=collection)]

    async def ttl(
        self, key: str, *, collection: str | None = None
    ) -> tuple[T | None, float | None]:
        """The instance and its seconds left; `(instance, None)` never expires."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[T | None, float | None]]:
        """As `ttl`, for many keys at once."""
        keys = checked_keys(keys)
        pairs = await self.store.ttl_many(keys, collection=self._in(collection))
        found: list[tuple[T | None, float | None]] = []
        for key, (value, left) in zip(keys, pairs, strict=True):
            model = None if value is None else self._model(value, key, collection)
            found.append((model, None if model is None else left))
        return found

    async def require(self, key: str, *, collection: str | None = None) -> T:
        """The instance; raises `KeyNotFound` where there is none."""
        there = self._in(collection)
        value = await self.store.require(key, collection=there)
        model = self._model(value, key, collection)
        if model is None and value is not None:
            raise KeyNotFound(
                "there is no valid value", store=self.store.name, collection=there, key=key
            )
        return model  # type: ignore[return-value]  # None only where the model allows None

    async def exists(self, key: str, *, collection: str | None = None) -> bool:
        """Whether there is a value, valid or not."""
        return await self.store.exists(key, collection=self._in(collection))

    async def get_versioned(
        self, key: str, *, collection: str | None = None
    ) -> TypedVersioned[T] | None:
        """The instance with its version, or `None` where there is none."""
        found = await self.store.get_versioned(key, collection=self._in(collection))
        model = None if found is None else self._model(found.value, key, collection)
        return None if found is None or model is None else TypedVersioned(model, found.version)

    # -- writing -----------------------------------------------------------------------

    async def put(
        self, key: str, value: T, *, collection: str | None = None, ttl: TTL | None = None
    ) -> None:
        """Keep the instance under the key, for `ttl` seconds or for good."""
        plain = self._plain(value, key, collection)
        await self.store.put(key, plain, collection=self._in(collection), ttl=ttl)

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[T],
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> None:
        """As `put`, for many keys at once; every instance is checked before any is written."""
        keys = checked_keys(keys)
        values = checked_values(values, len(keys))
        plain = [self._plain(value, key, collection) for key, value in zip(keys, values)]
        await self.store.put_many(keys, plain, collection=self._in(collection), ttl=ttl)

    async def put_if_absent(
        self, key: str, value: T, *, collection: str | None = None, ttl: TTL | None = None
    ) -> bool:
        """Put the instance where there is no value, atomically; whether it was put."""
        plain = self._plain(value, key, collection)
        there = self._in(collection)
        return await self.store.put_if_absent(key, plain, collection=there, ttl=ttl)

    async def compare_and_put(
        self,
        key: str,
        value: T,
        version: int,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> bool:
        """Replace the value that had this version, atomically; whether it was still there."""
        plain = self._plain(value, key, collection)
        there = self._in(collection)
        return await self.store.compare_and_put(key, plain, version, collection=there, ttl=ttl)

    async def get_or_put(
        self,
        key: str,
        factory: Callable[[], Awaitable[T] | T],
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> T:
        """The instance, or the factory's, put for `ttl` seconds; one factory call at a time.

        With `on_invalid="ignore"`, a stored value that is not of the model is replaced.
        """
        there = self._in(collection)

        async def plain() -> object:
            made = factory()
            return self._plain(await made if isinstance(made, Awaitable) else made, key, collection)

        value = await self.store.get_or_put(key, plain, collection=there, ttl=ttl)
        model = self._model(value, key, collection)
        if model is None and value is not None:
            await self.store.delete(key, collection=there)
            value = await self.store.get_or_put(key, plain, collection=there, ttl=ttl)
            model = self._model(value, key, collection)
        return model  # type: ignore[return-value]  # None only where the model allows None

    async def pop(self, key: str, *, collection: str | None = None) -> T | None:
        """Take the instance away and give it back, or `None` where there is none."""
        value = await self.store.pop(key, collection=self._in(collection))
        return None if value is None else self._model(value, key, collection)

    async def expire(self, key: str, ttl: TTL | None, *, collection: str | None = None) -> bool:
        """Give the entry a new ttl, counted from now, `None` for never; whether there was one."""
        return await self.store.expire(key, ttl, collection=self._in(collection))

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Take the entry away; whether there was one."""
        return await self.store.delete(key, collection=self._in(collection))

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """As `delete`, for many keys at once; how many there were."""
        return await self.store.delete_many(keys, collection=self._in(collection))

    # -- enumerating -------------------------------------------------------------------

    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """The keys of the collection, at most `limit`."""
        return await self.store.keys(self._in(collection), limit=limit)

    def scan(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[str]:
        """The keys that begin with `prefix`, from `start` up to but not `end`."""
        there = self._in(collection)
        return self.store.scan(collection=there, prefix=prefix, start=start, end=end)

    async def items(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[tuple[str, T]]:
        """As `scan`, with the instances; invalid ones are left out if they are ignored."""
        pairs = self.store.items(
            collection=self._in(collection), prefix=prefix, start=start, end=end
        )
        async for key, value in pairs:
            model = self._model(value, key, collection, _INVALID)
            if not isinstance(model, _Invalid):
                yield key, model

    def __repr__(self) -> str:
        name = getattr(self.model, "__name__", self.model)
        return f"<{name} in {self.collection!r} of {self.store!r}>"


class _Invalid:
    """The type of `_INVALID`."""


_INVALID = _Invalid()
