"""A blocking view of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from kvwrap.core.capability import Capabilities
from kvwrap.core.changes import ALL, All, Change
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part, View
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.core.typed import OnInvalid
from kvwrap.core.watch import Watch
from kvwrap.errors import ConfigurationError
from kvwrap.views.portal import Caller, Portal
from kvwrap.views.sync_computed import SyncComputed
from kvwrap.views.sync_lock import SyncLocks
from kvwrap.views.sync_typed import SyncTypedStore

P = ParamSpec("P")
T = TypeVar("T")
L = TypeVar("L", bound=Part)

_BATCH_SIZE = 100
"""Number of items that an iterator fetches in one call to the loop's thread."""


def _blocking(
    method: Callable[Concatenate[Store, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncStore, P], T]:
    """Return a method that blocks until the store's method has finished."""

    def call(self: SyncStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # By name, since a subclass of Store may override the method.
        coroutine: Coroutine[Any, Any, T] = getattr(self._store, name)(*args, **kwargs)
        return self._run(coroutine)

    name = call.__name__ = method.__name__
    call.__qualname__ = f"SyncStore.{name}"
    call.__doc__ = method.__doc__
    return call


def _iterating(
    method: Callable[Concatenate[Store, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncStore, P], Iterator[T]]:
    """Return a method that iterates over the items of the store's method, batch by batch."""

    def iterate(self: SyncStore, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items: AsyncIterator[T] = getattr(self._store, name)(*args, **kwargs)
        is_complete = False
        try:
            while not is_complete:
                batch, is_complete = self._run(_next_batch(items))
                yield from batch
        finally:
            if not is_complete:
                self._portal.abandon(items)

    name = iterate.__name__ = method.__name__
    iterate.__qualname__ = f"SyncStore.{name}"
    iterate.__doc__ = method.__doc__
    return iterate


async def _next_batch(items: AsyncIterator[T]) -> tuple[list[T], bool]:
    """Return the next items, and True if they are the last ones."""
    batch: list[T] = []
    async for item in items:
        batch.append(item)
        if len(batch) == _BATCH_SIZE:
            return batch, False
    return batch, True


class SyncStore(SyncComputed, SyncLocks):
    """A store with blocking methods, created by `kvwrap.sync(store)`.

    For code without asyncio, and for any number of threads at the same time. The store runs on
    an event loop in a thread of this view, which starts with the first call. In a coroutine,
    await the store itself: calling the view there raises `UnsupportedOperation`, since it would
    block the event loop. A `KeyboardInterrupt` cancels the call that it interrupts.

    Use it with `with`, or call `close`, which closes the store too. After a fork, create another
    view in the child.

    Args:
        store: The store.
        blocks_loops: True to block the event loop of a thread that runs one, instead of refusing.
    """

    def __init__(self, store: Store, *, blocks_loops: bool = False) -> None:
        if store.is_open:
            raise ConfigurationError(
                "a blocking view must have a store of its own that is not open; this one is open "
                "already and belongs to the event loop that opened it: create another store for it",
                store=store.name,
            )
        self._store = store
        self._portal = Portal(blocks_loops=blocks_loops)

    def _run(self, coroutine: Coroutine[Any, Any, T], caller: Caller | None = None) -> T:
        return self._portal.run(coroutine, caller)

    get = _blocking(Store.get)
    get_many = _blocking(Store.get_many)
    _get_existing = _blocking(Store._get_existing)
    ttl = _blocking(Store.ttl)
    ttl_many = _blocking(Store.ttl_many)
    put = _blocking(Store.put)
    put_many = _blocking(Store.put_many)
    delete = _blocking(Store.delete)
    delete_many = _blocking(Store.delete_many)
    keys = _blocking(Store.keys)
    count = _blocking(Store.count)
    delete_where = _blocking(Store.delete_where)
    collections = _blocking(Store.collections)
    destroy_collection = _blocking(Store.destroy_collection)
    destroy = _blocking(Store.destroy)
    cull = _blocking(Store.cull)
    exists = _blocking(Store.exists)
    require = _blocking(Store.require)
    pop = _blocking(Store.pop)
    put_if_absent = _blocking(Store.put_if_absent)
    _put_absent = _blocking(Store._put_absent)
    increment = _blocking(Store.increment)
    get_versioned = _blocking(Store.get_versioned)
    compare_and_put = _blocking(Store.compare_and_put)
    compare_and_delete = _blocking(Store.compare_and_delete)
    expire = _blocking(Store.expire)
    move = _blocking(Store.move)
    check = _blocking(Store.check)
    scrub = _blocking(Store.scrub)
    count_unreadable = _blocking(Store.count_unreadable)
    scan = _iterating(Store.scan)
    items = _iterating(Store.items)

    def watch(self, *, collection: str | All | None = ALL, prefix: str = "") -> Iterator[Change]:
        """Return an iterator that waits for each change from now on; see `Store.watch`.

        Raises:
            UnsupportedOperation: A part of the stack cannot tell changes.
            StoreUnavailable: The backend does not answer. From the iterator: the view was closed.
        """
        changes = self._store.watch(collection=collection, prefix=prefix)
        self._run(changes.open())
        return self._iterate(changes)

    def _iterate(self, changes: Watch) -> Iterator[Change]:
        # The watch ends when nothing refers to it, also if this is never begun.
        while told := self._run(changes.next_changes()):
            yield from told

    def typed(
        self,
        model: type[T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> SyncTypedStore[T]:
        """Return a blocking view whose values are instances of one model; see `Store.typed`."""
        return SyncTypedStore(self, model, collection=collection, on_invalid=on_invalid)

    # -- without waiting -------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of this store in errors and in `explain()`."""
        return self._store.name

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of the whole stack."""
        return self._store.capabilities

    @property
    def layers(self) -> tuple[Part, ...]:
        """The running layers, outermost first. Call their async methods with `run`."""
        return self._store.layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The known mistakes in this stack."""
        return self._store.findings

    def find(self, layer: type[L]) -> L:
        """Return the running part of the outermost layer of this class.

        Call its async methods with `run`.

        Raises:
            ConfigurationError: The stack has no such layer.
        """
        return self._store.find(layer)

    def explain(self, *, svg: bool | View = False) -> str:
        """Return the stack as a tree, its capabilities, and its known mistakes; `svg` as there."""
        return self._store.explain(svg=svg)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the view's event loop and return its result.

        For async methods of layers, as in `store.run(store.find(Compression).train("users"))`.
        """
        return self._run(coroutine)

    # -- opening and closing -------------------------------------------------------------

    def open(self) -> None:
        """Open the store now instead of with the first call."""
        self._run(self._store.open())

    def close(self) -> None:
        """Close the store and end the thread. Calls in progress on other threads are cancelled.

        In a forked child, where nothing of the view exists, it does nothing.
        """
        if self._portal.is_foreign:
            return
        self._portal.check()
        try:
            self._run(self._store.close())
        finally:
            self._portal.close()

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            # `__exit__` is not called then. A store that others of its users hold open stays so.
            if not self._store.users:
                self._portal.close()
            raise
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
    """Create a blocking view of a store, for code without asyncio.

    Args:
        store: A store that is not open, or an object that `kvwrap.adapt` accepts. It belongs to
            the view from now on: do not await its methods elsewhere.

    Raises:
        ConfigurationError: The store is open already.

    >>> import kvwrap
    >>> with kvwrap.sync(kvwrap.MemoryStore()) as store:
    ...     store.put("a", 1)
    ...     store.increment("a")
    2
    """
    return SyncStore(as_store(store))
