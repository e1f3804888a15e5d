"""Caching of the results of functions of many items, each result by itself."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, cast

from kvwrap.core.cached import Caching, decorated, is_async
from kvwrap.errors import ConfigurationError

Function = Callable[..., Awaitable[Mapping[Any, Any]]]
"""A function of a list of items, and of other arguments, that returns results by item."""

PlainFunction = Callable[..., Mapping[Any, Any]]
"""The same as a plain function."""


class CachedBatch(Protocol):
    """A function of many items whose results are cached; created by `store.cached_many(...)`."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(
        self, items: Iterable[Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, dict[Any, Any]]:
        """Return the results by item: the cached ones, and those of the function for the others."""

    def key(self, item: Any, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of the result of one item."""

    def invalidate(self, item: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, bool]:
        """Delete the result of one item. Returns True if there was one."""


class SyncCachedBatch(Protocol):
    """A plain function of many items whose results are cached, as those of `CachedBatch` are."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return the results by item: the cached ones, and those of the function for the others."""

    def key(self, item: Any, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of the result of one item."""

    def invalidate(self, item: Any, /, *args: Any, **kwargs: Any) -> bool:
        """Delete the result of one item. Returns True if there was one."""


class _Batch:
    """The items of one call, by the keys of their results.

    Args:
        function: The function.
        items: The items by key.
    """

    def __init__(self, function: Any, items: dict[str, Any]) -> None:
        self.items = items
        self._function = function

    def items_of(self, keys: Iterable[str]) -> list[Any]:
        """Return the items with these keys."""
        return [self.items[key] for key in keys]

    def by_key(self, keys: Iterable[str], results: Any) -> dict[str, Any]:
        """Return what the function returned, by key."""
        if not isinstance(results, Mapping):
            name = getattr(self._function, "__qualname__", type(self._function).__name__)
            raise ConfigurationError(
                f"{name} must return a mapping from items to results; got {type(results).__name__}"
            )
        return {key: results[self.items[key]] for key in keys if self.items[key] in results}

    def by_item(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """Return values by item."""
        return {item: values[key] for key, item in self.items.items() if key in values}


def cached_many(
    caching: Caching,
    get_or_compute: Callable[..., Coroutine[Any, Any, dict[str, Any]]],
    delete: Callable[..., Coroutine[Any, Any, bool]],
) -> Callable[[Function], CachedBatch]:
    """Return a decorator for async functions of many items; see `Store.cached_many`.

    Args:
        caching: How results are cached.
        get_or_compute: Returns the values of keys, or calls a function for those missing.
        delete: Deletes a key of a collection.
    """
    collection, options = caching.collection, caching.options

    def decorate(function: Function) -> CachedBatch:
        plain = getattr(function, "__func__", function)
        if not is_async(plain):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise ConfigurationError(
                f"a cached function must be async; got {name}: declare it with `async def`"
            )
        key_of = caching.key_of(plain)
        return cast("CachedBatch", decorated(function, functools.partial(make, key_of)))

    def make(key_of: Callable[..., str], function: Any, bound: tuple[Any, ...]) -> Any:
        @functools.wraps(function)
        async def call(items: Iterable[Any], /, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            batch = _Batch(
                function, {key_of(*bound, each, *args, **kwargs): each for each in items}
            )

            async def factory(keys: list[str]) -> dict[str, Any]:
                results = await function(*bound, batch.items_of(keys), *args, **kwargs)
                return batch.by_key(keys, results)

            values = await get_or_compute(batch.items, collection, factory, options)
            return batch.by_item(values)

        async def invalidate(*args: Any, **kwargs: Any) -> bool:
            return await delete(key_of(*bound, *args, **kwargs), collection=collection)

        wrapper: Any = call
        wrapper.key = functools.partial(key_of, *bound) if bound else key_of
        wrapper.invalidate = invalidate
        wrapper.cached_function = function
        return wrapper

    return decorate


def cached_many_plain(
    caching: Caching,
    get_or_compute: Callable[..., dict[str, Any]],
    delete: Callable[..., bool],
) -> Callable[[PlainFunction], SyncCachedBatch]:
    """Return a decorator for plain functions of many items; see `SyncStore.cached_many`.

    The arguments are those of `cached_many`, with functions that block.
    """
    collection, options = caching.collection, caching.options

    def decorate(function: PlainFunction) -> SyncCachedBatch:
        plain = getattr(function, "__func__", function)
        if not callable(plain) or is_async(plain):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise ConfigurationError(
                f"a cached function of a blocking view must be a plain function; got {name}: cache "
                "an async function with the cached_many() of the store itself"
            )
        key_of = caching.key_of(plain)
        return cast("SyncCachedBatch", decorated(function, functools.partial(make, key_of)))

    def make(key_of: Callable[..., str], function: Any, bound: tuple[Any, ...]) -> Any:
        @functools.wraps(function)
        def call(items: Iterable[Any], /, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            batch = _Batch(
                function, {key_of(*bound, each, *args, **kwargs): each for each in items}
            )

            def factory(keys: list[str]) -> dict[str, Any]:
                results = function(*bound, batch.items_of(keys), *args, **kwargs)
                return batch.by_key(keys, results)

            return batch.by_item(get_or_compute(batch.items, collection, factory, options))

        def invalidate(*args: Any, **kwargs: Any) -> bool:
            return delete(key_of(*bound, *args, **kwargs), collection=collection)

        wrapper: Any = call
        wrapper.key = functools.partial(key_of, *bound) if bound else key_of
        wrapper.invalidate = invalidate
        wrapper.cached_function = function
        return wrapper

    return decorate
