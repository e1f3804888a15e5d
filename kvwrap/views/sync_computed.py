"""The computed values of a blocking view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

from kvwrap.core.cached import Caching, SyncCachedFunction, cached_plain, without_parentheses
from kvwrap.core.cached_many import PlainFunction, SyncCachedBatch, cached_many_plain
from kvwrap.core.computations import ComputationCounts
from kvwrap.core.computed import Across, OnFailure, TTLOf
from kvwrap.core.computed_many import FactoryOfMany
from kvwrap.core.entry import Entry
from kvwrap.core.options import ComputeOptions, checked_options, not_a_factory
from kvwrap.core.outcomes import Failed, Product
from kvwrap.core.store import Store
from kvwrap.core.tagging import TagsOf
from kvwrap.core.threads import run_in_thread
from kvwrap.core.ttl import TTL
from kvwrap.core.validation import checked_key, checked_keys
from kvwrap.errors import KvwrapError
from kvwrap.views.portal import Caller, Portal

P = ParamSpec("P")
T = TypeVar("T")


class SyncComputed:
    """`get_or_put` and cached functions of a blocking view."""

    _store: Store
    _portal: Portal

    def _run(self, coroutine: Coroutine[Any, Any, T], caller: Caller | None = None) -> T:
        return self._portal.run(coroutine, caller)

    def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Delete the entry. Returns True if it existed."""
        raise NotImplementedError

    def get_or_put(
        self,
        key: str,
        factory: Callable[[], Any],
        *,
        collection: str | None = None,
        ttl: TTLOf | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "raise",
        on_invalid: OnFailure = "raise",
        stale_ttl: TTL | None = None,
        soft_timeout: float | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Any:
        """Return the value, or put the factory's result for `ttl` seconds and return it.

        The arguments are those of `Store.get_or_put`. One call of a factory runs at a time for a
        key, also with several threads. A plain function runs on the thread of its caller, and may
        block and use the view. Values are serialized and loaded there too. Where a stale value
        exists and there is a `soft_timeout`, it runs in a thread of its own. An async function
        runs on the view's event loop.

        Raises:
            Deadlock: The factory needs the value that it computes, itself or through another
                factory, so neither would end.
        """
        if not callable(factory):
            raise not_a_factory(factory)
        options = checked_options(
            ttl, keep, on_error, on_invalid, stale_ttl, soft_timeout, tags, across
        )
        self._store._allow(options)
        name = self._store._collection_of(collection)
        return self._get_or_compute(checked_key(key), name, factory, options)

    def _get_or_compute(
        self,
        key: str,
        collection: str | None,
        factory: Callable[[], Any],
        options: ComputeOptions,
    ) -> Any:
        store, ended = self._store, self._store._computing.ended
        found = self._run(store._find(collection, key, options, loads=False))
        if isinstance(found, Entry):
            try:
                return store._load(found, collection, key, options)
            except KvwrapError as error:
                found = store._missing_after(error, found, ended, options)
        caller = Caller()
        is_background = found.stale is not None and options.soft_timeout is not None
        call = run_in_thread if is_background else caller.call

        def make(value: Any) -> Product:
            return store._product(value, collection, key, options)

        def produce_here() -> Product | Failed | Awaitable[Any]:
            try:
                value = factory()
            except Exception as error:  # whatever it is, callers get it, or a stale value
                return Failed(error)
            return value if isinstance(value, Awaitable) else make(value)

        async def produce() -> Product | Failed:
            product = await call(produce_here)
            if not isinstance(product, Awaitable):
                return product
            try:
                value = await product
            except Exception as error:  # likewise
                return Failed(error)
            return await call(partial(make, value))

        compute = store._outcome(collection, key, produce, options, found)
        return store._value_of(self._run(compute, caller), collection, key, options)

    def cached(
        self,
        function: None = None,
        /,
        *,
        ttl: TTLOf | None = None,
        collection: str | None = None,
        key: Callable[..., str] | None = None,
        model: type[Any] | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "compute",
        on_invalid: OnFailure = "compute",
        stale_ttl: TTL | None = None,
        soft_timeout: float | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Callable[[Callable[P, T]], SyncCachedFunction[P, T]]:
        """Return a decorator that caches the results of a plain function in this store.

        The arguments are those of `Store.cached`. The function runs on the thread of its caller,
        as in `get_or_put`.

        Raises:
            ConfigurationError: The decorated object is an async function, its closure holds
                something that cannot be part of a key and there is no `key`, or an argument is
                invalid.
            TypeError: The parentheses are missing.
        """
        if function is not None:
            raise without_parentheses(function)
        caching = Caching(
            self._store,
            ttl=ttl,
            collection=collection,
            key=key,
            model=model,
            keep=keep,
            on_error=on_error,
            on_invalid=on_invalid,
            stale_ttl=stale_ttl,
            soft_timeout=soft_timeout,
            tags=tags,
            across=across,
        )
        return cached_plain(caching, self._get_or_compute, self.delete)

    def get_or_put_many(
        self,
        keys: Sequence[str],
        factory: FactoryOfMany,
        *,
        collection: str | None = None,
        ttl: TTLOf | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "raise",
        on_invalid: OnFailure = "raise",
        stale_ttl: TTL | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> list[Any]:
        """Return the values in the order of the keys; those that are missing are computed.

        The arguments are those of `Store.get_or_put_many`. A plain factory runs on the thread of
        its caller. Values are serialized and loaded on the view's thread.

        Raises:
            InvalidBatch: `keys` is not a sequence of keys.
            Deadlock: The factory needs one of the values that it computes.
            ConfigurationError: The factory did not return a mapping, or an argument is invalid.
        """
        if not callable(factory):
            raise not_a_factory(factory)
        keys = checked_keys(keys)
        options = checked_options(ttl, keep, on_error, on_invalid, stale_ttl, None, tags, across)
        self._store._allow(options)
        name = self._store._collection_of(collection)
        values = self._get_or_compute_many(keys, name, factory, options)
        return [values.get(key) for key in keys]

    def _get_or_compute_many(
        self,
        keys: Iterable[str],
        collection: str | None,
        factory: FactoryOfMany,
        options: ComputeOptions,
    ) -> dict[str, Any]:
        caller = Caller()

        async def produce(missing: list[str]) -> Mapping[str, Any]:
            result = await caller.call(partial(factory, missing))
            return await result if isinstance(result, Awaitable) else result

        call = self._store._get_or_compute_many(keys, collection, produce, options)
        return self._run(call, caller)

    def cached_many(
        self,
        function: None = None,
        /,
        *,
        ttl: TTLOf | None = None,
        collection: str | None = None,
        key: Callable[..., str] | None = None,
        model: type[Any] | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "compute",
        on_invalid: OnFailure = "compute",
        stale_ttl: TTL | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Callable[[PlainFunction], SyncCachedBatch]:
        """Return a decorator that caches the results of a plain function of many items.

        The arguments are those of `Store.cached_many`. The function runs on the thread of its
        caller.

        Raises:
            ConfigurationError: As for `cached`.
            TypeError: The parentheses are missing.
        """
        if function is not None:
            raise without_parentheses(function)
        caching = Caching(
            self._store,
            ttl=ttl,
            collection=collection,
            key=key,
            model=model,
            keep=keep,
            on_error=on_error,
            on_invalid=on_invalid,
            stale_ttl=stale_ttl,
            soft_timeout=None,
            tags=tags,
            across=across,
        )
        return cached_many_plain(caching, self._get_or_compute_many, self.delete)

    @property
    def computations(self) -> ComputationCounts:
        """What `get_or_put` and cached functions of this store object have done so far."""
        return self._store.computations
