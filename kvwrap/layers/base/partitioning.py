"""Base class of layers that keep each entry in one of several stores."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.core.batch import add_succeeded, take
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.changes import ALL, Change, Listener, Scope, Subscription
from kvwrap.core.concurrency import gather, gather_outcomes
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected, KeyRange, Origin, Page, Primitives
from kvwrap.core.ranges import count_by_listing, drop_by_removing
from kvwrap.core.store import Store
from kvwrap.core.turns import in_slices
from kvwrap.layers.shared.findings import layer_under_one_store, plaintext_second_stores
from kvwrap.layers.shared.merging import FetchPage, MergeCursor
from kvwrap.layers.shared.watching import subscribe_all

T = TypeVar("T")

SubBatch = tuple[Primitives, Sequence[int]]
"""A store, and the indexes of its keys in a batch."""


class Partitioning(Layer):
    """A layer that implements only `stores`, and `store_for`: the store that a key belongs to.

    A batch is split into one batch per store, and these run concurrently. A write that fails
    in one store and not in another raises the error with `succeeded`, the keys that were
    written.
    """

    finding_codes = frozenset({"layer-under-one-store", "plaintext-second-store"})

    @property
    def stores(self) -> Sequence[Primitives]:
        """All stores, with `inner` among them if it is one of them."""
        raise NotImplementedError

    def store_for(self, collection: Collection, key: str) -> Primitives:
        """Return the store that this key belongs to."""
        raise NotImplementedError

    def store_for_collection(self, collection: Collection) -> Primitives | None:
        """Return the store that every key of the collection belongs to; `None` if they differ."""
        return None

    def reads_from(self, store: Primitives, collection: Collection, key: str) -> bool:
        """Return True if a read of this key asks this store. Other keys in it are not listed."""
        return self.store_for(collection, key) is store

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that every store has, and `CULL` if one store has it."""
        every = [store.capabilities for store in self.stores]
        common = frozenset.intersection(*every)
        return common | (frozenset.union(*every) & {Capability.CULL})

    async def partition(self, collection: Collection, keys: Sequence[str]) -> list[SubBatch]:
        """Split a batch by store. Other tasks get turns in between."""
        only = self.store_for_collection(collection)
        if only is not None:
            return [(only, range(len(keys)))]
        if len(keys) == 1:
            return [(self.store_for(collection, keys[0]), (0,))]
        by_store: dict[int, tuple[Primitives, list[int]]] = {}

        def assign(index: int, key: str) -> None:
            store = self.store_for(collection, key)
            by_store.setdefault(id(store), (store, []))[1].append(index)

        await in_slices(assign, range(len(keys)), keys)
        return list(by_store.values())

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, Any]:
            return store.read(collection, take(keys, indexes))

        return await self.scatter_gather(keys, await self.partition(collection, keys), call)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._check_expected(collection, expected)

        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, Any]:
            versions = None if expected is None else take(expected, indexes)
            return store.write(collection, take(keys, indexes), take(entries, indexes), versions)

        return await self.scatter_gather(
            keys, await self.partition(collection, keys), call, changes=True
        )

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._check_expected(collection, expected)

        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, Any]:
            versions = None if expected is None else take(expected, indexes)
            return store.remove(collection, take(keys, indexes), versions)

        return await self.scatter_gather(
            keys, await self.partition(collection, keys), call, changes=True
        )

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        def call(store: Primitives, indexes: Sequence[int]) -> Coroutine[Any, Any, Any]:
            return store.touch(collection, take(keys, indexes), take(expires, indexes))

        return await self.scatter_gather(
            keys, await self.partition(collection, keys), call, changes=True
        )

    def _check_expected(self, collection: Collection, expected: Sequence[Expected] | None) -> None:
        """Refuse a conditional operation if some keys of the collection do not support it."""
        if (
            expected is not None
            and self.store_for_collection(collection) is None
            and Capability.COMPARE_AND_PUT not in self.capabilities
        ):
            raise self.unsupported("compare versions, because not all of its stores can")

    async def scatter_gather(
        self,
        keys: Sequence[str],
        sub_batches: Sequence[SubBatch],
        call: Callable[[Primitives, Sequence[int]], Coroutine[Any, Any, list[T]]],
        *,
        changes: bool = False,
    ) -> list[T]:
        """Run a call for each sub-batch concurrently; return the results in the order of the keys.

        All calls have ended when an error is raised.

        Args:
            keys: The keys of the whole batch.
            sub_batches: The result of `partition`.
            call: Runs the operation on one store, for the keys at these indexes.
            changes: Whether the operation changes entries. If so, its error has `succeeded`.
        """
        if len(sub_batches) == 1:
            return await call(*sub_batches[0])
        results: dict[int, T] = {}
        errors: list[Exception] = []
        outcomes = await gather_outcomes([call(*sub_batch) for sub_batch in sub_batches])
        for (_, indexes), outcome in zip(sub_batches, outcomes, strict=True):
            if isinstance(outcome, Exception):
                errors.append(outcome)
            else:
                await in_slices(results.__setitem__, indexes, outcome)
        if not errors:
            return await in_slices(results.__getitem__, range(len(keys)))
        if changes:
            succeeded = {keys[index] for index in results}
            for error in errors:
                succeeded.update(getattr(error, "succeeded", None) or ())
            for error in errors:
                add_succeeded(error, keys, succeeded)
        raise errors[0]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        only = self.store_for_collection(collection)
        if only is not None:
            return await only.list_keys(collection, key_range, cursor)
        if cursor is None:
            cursor = MergeCursor(
                [self._fetch_page(store, collection, key_range) for store in self.stores],
                ordered=all(Capability.RANGE in store.capabilities for store in self.stores),
            )
        assert isinstance(cursor, MergeCursor)
        return await cursor.page()

    def _fetch_page(
        self, store: Primitives, collection: Collection, key_range: KeyRange
    ) -> FetchPage:
        async def fetch(cursor: object) -> Page:
            page = await store.list_keys(collection, key_range, cursor)
            keys = [key for key in page.keys if self.reads_from(store, collection, key)]
            return Page(keys, page.cursor)

        return fetch

    async def list_collections(self) -> list[Collection]:
        listed: set[Collection] = set()
        by_store = await gather([store.list_collections() for store in self.stores])
        for store, names in zip(self.stores, by_store, strict=True):
            for name in names:
                only = self.store_for_collection(name)
                if only is None or only is store:
                    listed.add(name)
        return sorted(listed, key=lambda name: name or "")

    # Without the keys of other stores, a store cannot tell which of its keys are listed here.

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        only = self.store_for_collection(collection)
        if only is not None:
            return await only.count_range(collection, key_range)
        return await count_by_listing(self, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        only = self.store_for_collection(collection)
        if only is not None:
            return await only.drop_range(collection, key_range)
        return await drop_by_removing(self, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        only = self.store_for_collection(collection)
        if only is not None:
            return await only.drop(collection)
        return any(await gather([store.drop(collection) for store in self.stores]))

    async def drop_all(self) -> bool:
        return any(await gather([store.drop_all() for store in self.stores]))

    async def sweep(self) -> None:
        stores = [store for store in self.stores if Capability.CULL in store.capabilities]
        await gather([store.sweep() for store in stores])

    async def ping(self) -> None:
        await gather([store.ping() for store in self.stores])

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        only = None if scope.collection is ALL else self.store_for_collection(scope.collection)
        if only is not None:
            return await only.subscribe(scope, listener)

        def listener_of(store: Primitives) -> Listener:
            def tell(change: Change) -> None:
                if change.key is None or self._reads_from(store, change.collection, change.key):
                    listener(change)

            return tell

        return await subscribe_all(
            [(store, listener_of(store)) for store in self.stores], scope, self.clock
        )

    def _reads_from(self, store: Primitives, collection: Collection, key: str) -> bool:
        try:
            return self.reads_from(store, collection, key)
        except Exception:  # of a function of the user, for a name that it does not expect
            return True

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        origins: list[Origin] = []
        for store in self.stores:
            if self.reads_from(store, collection, key):
                origins += store.trace(collection, key)
        return tuple(origins)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from layer_under_one_store(self, below)
