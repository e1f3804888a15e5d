"""Caching of the results of functions in a store."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from kvwrap.core.computed import Across, ComputedMethods, OnFailure, TTLOf
from kvwrap.core.function_keys import FunctionKey
from kvwrap.core.options import ComputeOptions, checked_options, checked_plain
from kvwrap.core.primitives import Collection
from kvwrap.core.tagging import TagsOf
from kvwrap.core.ttl import TTL
from kvwrap.core.typed import TypedStore
from kvwrap.core.validation import checked_key
from kvwrap.errors import ConfigurationError

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


class CachedFunction(Protocol[P, R_co]):
    """A function whose results are cached in a store; created by `store.cached(...)`.

    A cached method has these methods as well, without `self`: `user.posts.invalidate(3)`.
    """

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the cached result for these arguments, or the function's, which is then cached."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the result for these arguments."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Delete the result for these arguments. Returns True if there was one."""

    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], T], instance: None, owner: type[S]
    ) -> CachedFunction[Concatenate[S, Q], T]: ...

    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], T], instance: S, owner: type[S]
    ) -> CachedFunction[Q, T]: ...


class SyncCachedFunction(Protocol[P, R_co]):
    """A plain function whose results are cached; created by `kvwrap.sync(store).cached(...)`."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached result for these arguments, or the function's, which is then cached."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the result for these arguments."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Delete the result for these arguments. Returns True if there was one."""

    @overload
    def __get__(
        self: SyncCachedFunction[Concatenate[S, Q], T], instance: None, owner: type[S]
    ) -> SyncCachedFunction[Concatenate[S, Q], T]: ...

    @overload
    def __get__(
        self: SyncCachedFunction[Concatenate[S, Q], T], instance: S, owner: type[S]
    ) -> SyncCachedFunction[Q, T]: ...


class Caching:
    """How the results of a function are cached; the arguments of `Store.cached`, checked.

    Attributes:
        collection: The collection of the results.
        options: How results are computed and stored.
    """

    def __init__(
        self,
        store: ComputedMethods,
        *,
        ttl: TTLOf | None,
        collection: str | None,
        key: Callable[..., str] | None,
        model: type[Any] | None,
        keep: Callable[[Any], bool] | None,
        on_error: OnFailure,
        on_invalid: OnFailure,
        stale_ttl: TTL | None,
        soft_timeout: float | None,
        tags: TagsOf | None,
        across: Across | None,
    ) -> None:
        self.collection = store._collection_of(collection)
        options = checked_options(
            ttl, keep, on_error, on_invalid, stale_ttl, soft_timeout, tags, across
        )
        if model is not None:
            view = TypedStore(store, model)
            options = options.converted(_unless_none(view._dump), _unless_none(view._loaded))
        store._allow(options)
        self.options: ComputeOptions = options
        self._key = checked_plain(key, "key")

    def key_of(self, function: Callable[..., Any]) -> Callable[..., str]:
        """Return a function from the arguments of a function to keys."""
        make_key = FunctionKey(function) if self._key is None else self._key

        def key_of(*args: Any, **kwargs: Any) -> str:
            return checked_key(make_key(*args, **kwargs))

        return key_of


def _unless_none(convert: Callable[[Any, str, Collection], Any]) -> Callable[..., Any]:
    """Return a conversion that leaves None as it is: it is a result of any function."""

    def convert_unless_none(value: Any, key: str, collection: Collection) -> Any:
        return None if value is None else convert(value, key, collection)

    return convert_unless_none


Wrap = Callable[[tuple[Any, ...]], Any]
"""Makes the cached function with these first arguments bound."""


class CachedMethod:
    """What a cached function is in the body of a class: it binds its first argument.

    Args:
        wrap: Makes the cached function.
        binds: `classmethod` or `staticmethod`; `None` binds the instance.
    """

    def __init__(self, wrap: Wrap, binds: type[Any] | None) -> None:
        self._wrap = wrap
        self._binds = binds
        self._unbound = wrap(())
        functools.update_wrapper(self, self._unbound)
        self.key = self._unbound.key
        self.invalidate = self._unbound.invalidate

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if self._binds is classmethod:
            return self._wrap((type(instance) if owner is None else owner,))
        if instance is None or self._binds is staticmethod:
            return self._unbound
        return self._wrap((instance,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._unbound(*args, **kwargs)


def decorated(function: Any, make: Callable[[Any, tuple[Any, ...]], Any]) -> Any:
    """Return what a decorator puts in the place of a function, which may be a method.

    Args:
        function: The function; also a `staticmethod` or `classmethod`.
        make: Makes the cached function from the plain one and bound first arguments.
    """
    binds = type(function) if isinstance(function, staticmethod | classmethod) else None
    plain = function.__func__ if binds is not None else function
    wrap = functools.partial(make, plain)
    if binds is None and not _is_in_class(plain):
        return wrap(())
    return CachedMethod(wrap, binds)


def _is_in_class(function: Any) -> bool:
    """Return True if a function was defined in the body of a class."""
    parent, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    return bool(parent) and not parent.endswith("<locals>")


def cached(
    store: ComputedMethods, caching: Caching
) -> Callable[[Callable[P, Awaitable[T]]], CachedFunction[P, T]]:
    """Return a decorator for async functions; see `Store.cached`."""
    collection, options = caching.collection, caching.options

    def decorate(function: Callable[P, Awaitable[T]]) -> CachedFunction[P, T]:
        plain = getattr(function, "__func__", function)
        if not is_async(plain):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise ConfigurationError(
                f"a cached function must be async; got {name}: declare it with `async def`, or "
                "cache it with kvwrap.sync(store).cached()"
            )
        key_of = caching.key_of(plain)
        return cast("CachedFunction[P, T]", decorated(function, functools.partial(make, key_of)))

    def make(key_of: Callable[..., str], function: Any, bound: tuple[Any, ...]) -> Any:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            key = key_of(*bound, *args, **kwargs)
            factory = functools.partial(function, *bound, *args, **kwargs)
            return await store._get_or_compute(key, collection, factory, options)

        async def invalidate(*args: Any, **kwargs: Any) -> bool:
            return await store.delete(key_of(*bound, *args, **kwargs), collection=collection)

        wrapper: Any = call
        wrapper.key = functools.partial(key_of, *bound) if bound else key_of
        wrapper.invalidate = invalidate
        wrapper.cached_function = function
        return wrapper

    return decorate


def cached_plain(
    caching: Caching,
    get_or_compute: Callable[[str, Collection, Callable[[], Any], ComputeOptions], Any],
    delete: Callable[..., bool],
) -> Callable[[Callable[P, T]], SyncCachedFunction[P, T]]:
    """Return a decorator for plain functions; see `SyncStore.cached`.

    Args:
        caching: How results are cached.
        get_or_compute: Returns a value, or calls a function for it, and blocks meanwhile.
        delete: Deletes a key of a collection, and blocks meanwhile.
    """
    collection, options = caching.collection, caching.options

    def decorate(function: Callable[P, T]) -> SyncCachedFunction[P, T]:
        plain = getattr(function, "__func__", function)
        if not callable(plain) or is_async(plain):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise ConfigurationError(
                f"a cached function of a blocking view must be a plain function; got {name}: cache "
                "an async function with the cached() of the store itself"
            )
        key_of = caching.key_of(plain)
        return cast(
            "SyncCachedFunction[P, T]", decorated(function, functools.partial(make, key_of))
        )

    def make(key_of: Callable[..., str], function: Any, bound: tuple[Any, ...]) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            key = key_of(*bound, *args, **kwargs)
            factory = functools.partial(function, *bound, *args, **kwargs)
            return get_or_compute(key, collection, factory, options)

        def invalidate(*args: Any, **kwargs: Any) -> bool:
            return delete(key_of(*bound, *args, **kwargs), collection=collection)

        wrapper: Any = call
        wrapper.key = functools.partial(key_of, *bound) if bound else key_of
        wrapper.invalidate = invalidate
        wrapper.cached_function = function
        return wrapper

    return decorate


def without_parentheses(argument: object) -> TypeError:
    """Return the error for an argument of `cached` by position."""
    if callable(argument) or isinstance(argument, staticmethod | classmethod):
        return TypeError("`cached` needs parentheses: write @store.cached()")
    return TypeError("`cached` takes keyword arguments: write @store.cached(ttl=60)")


def is_async(function: Any) -> bool:
    """Return True for an async function, also a wrapped one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        inspect.unwrap(function)
    )
