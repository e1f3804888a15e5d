"""The store's methods, blocking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from kvwrap.core.capability import Capabilities
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.core.ttl import TTL
from kvwrap.errors import ConfigurationError, StoreUnavailable, UnsupportedOperation
from kvwrap.views.portal import Portal

P = ParamSpec("P")
T = TypeVar("T")
L = TypeVar("L", bound=Part)

_AT_ONCE = 100
"""What an iterator fetches in one trip to the loop's thread."""


def _blocking(
    method: Callable[Concatenate[Store, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncStore, P], T]:
    """The same method, for a thread that waits."""

    def call(self: SyncStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # By name: the store's class may have a method of its own.
        coroutine: Coroutine[Any, Any, T] = getattr(self._store, name)(*args, **kwargs)
        return self._run(coroutine)

    name = call.__name__ = method.__name__
    call.__qualname__ = f"SyncStore.{name}"
    call.__doc__ = method.__doc__
    return call


def _iterating(
    method: Callable[Concatenate[Store, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncStore, P], Iterator[T]]:
    """The same iterator, for a thread that waits; takes `_AT_ONCE` at a time off the loop."""

    def iterate(self: SyncStore, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        found: AsyncGenerator[T, None] = getattr(self._store, name)(*args, **kwargs)
        ended = False
        try:
            while not ended:
                taken, ended = self._run(_taken(found))
                yield from taken
        finally:
            if not ended and self._portal.runs:
                # Not where the collector of garbage ends an iterator on an event loop.
                with suppress(UnsupportedOperation, StoreUnavailable):
                    self._run(_ended(found))

    name = iterate.__name__ = method.__name__
    iterate.__qualname__ = f"SyncStore.{name}"
    iterate.__doc__ = method.__doc__
    return iterate


async def _taken(source: AsyncIterator[T]) -> tuple[list[T], bool]:
    taken: list[T] = []
    async for item in source:
        taken.append(item)
        if len(taken) == _AT_ONCE:
            return taken, False
    return taken, True


async def _ended(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()


class SyncStore:
    """A store whose methods block; made by `kvwrap.sync(store)`.

    For plain code and for threads, any number of them at once: the store lives on an event
    loop in a thread of this view's own, begun with the first call. From a coroutine, await
    the store itself: here that raises `UnsupportedOperation`, since the loop would stand
    still. A `KeyboardInterrupt` cancels the call that it interrupts.

    Use it with `with`, or call `close`, which closes the store too. After a fork, make
    another in the child.
    """

    def __init__(self, store: Store) -> None:
        if store.is_open:
            raise ConfigurationError(
                "this store is open already, and belongs to the event loop that opened it: give "
                "the blocking view a store of its own",
                store=store.name,
            )
        self._store = store
        self._portal = Portal()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._portal.run(coroutine)

    get = _blocking(Store.get)
    get_many = _blocking(Store.get_many)
    ttl = _blocking(Store.ttl)
    ttl_many = _blocking(Store.ttl_many)
    put = _blocking(Store.put)
    put_many = _blocking(Store.put_many)
    delete = _blocking(Store.delete)
    delete_many = _blocking(Store.delete_many)
    keys = _blocking(Store.keys)
    collections = _blocking(Store.collections)
    destroy_collection = _blocking(Store.destroy_collection)
    destroy = _blocking(Store.destroy)
    cull = _blocking(Store.cull)
    exists = _blocking(Store.exists)
    require = _blocking(Store.require)
    pop = _blocking(Store.pop)
    put_if_absent = _blocking(Store.put_if_absent)
    increment = _blocking(Store.increment)
    get_versioned = _blocking(Store.get_versioned)
    compare_and_put = _blocking(Store.compare_and_put)
    expire = _blocking(Store.expire)
    move = _blocking(Store.move)
    check = _blocking(Store.check)
    scan = _iterating(Store.scan)
    items = _iterating(Store.items)

    def get_or_put(
        self,
        key: str,
        factory: Callable[[], Any],
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> Any:
        """The value, or the factory's, put for `ttl` seconds; one factory call at a time.

        The factory is plain and may block: it runs in a thread of its own. An async one runs
        on the view's loop.
        """

        async def made() -> Any:
            value = await asyncio.to_thread(factory)
            return await value if isinstance(value, Awaitable) else value

        return self._run(self._store.get_or_put(key, made, collection=collection, ttl=ttl))

    # -- what does not wait --------------------------------------------------------------

    @property
    def name(self) -> str:
        """How errors and `explain()` call this store."""
        return self._store.name

    @property
    def capabilities(self) -> Capabilities:
        """What this stack can really do."""
        return self._store.capabilities

    @property
    def layers(self) -> tuple[Part, ...]:
        """The running layers, outermost first. Their async methods are for `run`."""
        return self._store.layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What can be said against this stack."""
        return self._store.findings

    def find(self, layer: type[L]) -> L:
        """The running part of the outermost layer of this class; see `run` for its methods."""
        return self._store.find(layer)

    def explain(self) -> str:
        """The stack as a tree, what it can do, and what can be said against it."""
        return self._store.explain()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the view's loop: for async methods of layers.

        `store.run(store.find(Encryption).rewrite())`, say.
        """
        return self._run(coroutine)

    # -- opening and closing -------------------------------------------------------------

    def open(self) -> None:
        """Open the store now rather than with the first call."""
        self._run(self._store.open())

    def close(self) -> None:
        """Close the store and end the thread; calls under way in others are cancelled."""
        try:
            self._run(self._store.close())
        finally:
            self._portal.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"sync({self._store!r})"


def sync(store: Any) -> SyncStore:
    """A view of a store, for code that blocks.

    Args:
        store: A store, or anything that `kvwrap.adapt` takes. From then on it belongs to the
            view: do not await its methods elsewhere.

    Raises:
        ConfigurationError: The store is open already.

    >>> import kvwrap
    >>> with kvwrap.sync(kvwrap.MemoryStore()) as store:
    ...     store.put("a", 1)
    ...     store.increment("a")
    2
    """
    return SyncStore(as_store(store))
