"""A typed view of a blocking view."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from kvwrap.core.options import ComputeOptions
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.core.typed import OnInvalid, TypedStore

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Inline:
    """A blocking view with the methods that a `TypedStore` awaits; none of them suspends.

    So instances are converted on the caller's thread.
    """

    def __init__(self, view: Any) -> None:
        self._view = view
        self.name = view.name

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._view, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    async def scan(self, **kwargs: Any) -> AsyncIterator[str]:
        for key in self._view.scan(**kwargs):
            yield key

    async def items(self, **kwargs: Any) -> AsyncIterator[tuple[str, Any]]:
        for pair in self._view.items(**kwargs):
            yield pair

    def _allow(self, options: ComputeOptions) -> None:
        self._view._store._allow(options)

    def _collection_of(self, collection: object) -> Collection:
        name: Collection = self._view._store._collection_of(collection)
        return name


def _at_once(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that does not suspend, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    raise RuntimeError("a method over a blocking view must not wait for an event loop")


def _blocking(
    method: Callable[Concatenate[TypedStore[T], P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncTypedStore[T], P], R]:
    """Return a method that blocks until the typed view's method has finished."""

    def call(self: SyncTypedStore[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _at_once(method(self._typed, *args, **kwargs))

    call.__name__ = method.__name__
    call.__qualname__ = f"SyncTypedStore.{method.__name__}"
    call.__doc__ = method.__doc__
    return call


def _iterating(
    method: Callable[Concatenate[TypedStore[T], P], AsyncIterator[R]],
) -> Callable[Concatenate[SyncTypedStore[T], P], Iterator[R]]:
    """Return a method that iterates over the items of the typed view's method."""

    def iterate(self: SyncTypedStore[T], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items = method(self._typed, *args, **kwargs)
        while True:
            try:
                item = _at_once(cast("Coroutine[Any, Any, R]", anext(items)))
            except StopAsyncIteration:
                return
            yield item

    iterate.__name__ = method.__name__
    iterate.__qualname__ = f"SyncTypedStore.{method.__name__}"
    iterate.__doc__ = method.__doc__
    return iterate


class SyncTypedStore(Generic[T]):
    """A blocking view whose values are of one model; created by `kvwrap.sync(store).typed(Model)`.

    It has the methods of `TypedStore`, with blocking calls. Instances are converted on the
    caller's thread.
    """

    def __init__(
        self,
        view: Any,
        model: type[T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> None:
        self._typed: TypedStore[T] = TypedStore(
            cast("Store", _Inline(view)), model, collection=collection, on_invalid=on_invalid
        )

    get = _blocking(TypedStore[T].get)
    get_many = _blocking(TypedStore[T].get_many)
    ttl = _blocking(TypedStore[T].ttl)
    ttl_many = _blocking(TypedStore[T].ttl_many)
    require = _blocking(TypedStore[T].require)
    exists = _blocking(TypedStore[T].exists)
    get_versioned = _blocking(TypedStore[T].get_versioned)
    put = _blocking(TypedStore[T].put)
    put_many = _blocking(TypedStore[T].put_many)
    put_if_absent = _blocking(TypedStore[T].put_if_absent)
    compare_and_put = _blocking(TypedStore[T].compare_and_put)
    compare_and_delete = _blocking(TypedStore[T].compare_and_delete)
    get_or_put = _blocking(TypedStore[T].get_or_put)
    pop = _blocking(TypedStore[T].pop)
    expire = _blocking(TypedStore[T].expire)
    delete = _blocking(TypedStore[T].delete)
    delete_many = _blocking(TypedStore[T].delete_many)
    keys = _blocking(TypedStore[T].keys)
    count = _blocking(TypedStore[T].count)
    delete_where = _blocking(TypedStore[T].delete_where)
    scan = _iterating(TypedStore[T].scan)
    items = _iterating(TypedStore[T].items)

    def __repr__(self) -> str:
        return f"sync({self._typed!r})"
