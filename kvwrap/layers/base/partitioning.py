"""The kind of layer that keeps each entry in one of several stores."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.core.batch import add_succeeded, take
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import gather, gather_outcomes
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page, Primitives
from kvwrap.core.store import Store
from kvwrap.layers.shared.findings import layer_under_one_store, plaintext_second_stores
from kvwrap.layers.shared.merging import FetchPage, MergeCursor

T = TypeVar("T")

SubBatch = tuple[Primitives, Sequence[int]]
"""A store, and the places in a batch of the keys that it has."""


class Partitioning(Layer):
    """A layer that states only which stores there are, and which of them a key belongs to.

    A batch is cut into one batch per store, and these go out together. A write that fails
    in one store and not in another raises the error with `done`, the keys carried out.
    """

    @property
    def stores(self) -> Sequence[Primitives]:
        """All stores, `inner` among them if it is one."""
        raise NotImplementedError

    def store_for(self, collection: Collection, key: str) -> Primitives:
        """The store that this key belongs to."""
        raise NotImplementedError

    def store_for_collection(self, collection: Collection) -> Primitives | None:
        """The store that every key of the collection belongs to, if that is so."""
        return None

    def reads_from(self, store: Primitives, collection: Collection, key: str) -> bool:
        """Whether this key, found in this store, is one that a read would find there."""
        return self.store_for(collection, key) is store

    @property
    def capabilities(self) -> Capabilities:
        """What every store can do; culling is worth it where one can."""
        each = [store.capabilities for store in self.stores]
        found = frozenset.intersection(*each)
        return found | (frozenset.union(*each) & {Capability.CULL})

    def partition(self, collection: Collection, keys: Sequence[str]) -> list[SubBatch]:
        """The batch, cut."""
        whole = self.store_for_collection(collection)
        if whole is not None:
            return [(whole, range(len(keys)))]
        if len(keys) == 1:
            return [(self.store_for(collection, keys[0]), (0,))]
        found: dict[int, tuple[Primitives, list[int]]] = {}
        for place, key in enumerate(keys):
            store = self.store_for(collection, key)
            found.setdefault(id(store), (store, []))[1].append(place)
        return list(found.values())

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        def call(store: Primitives, places: Sequence[int]) -> Coroutine[Any, Any, Any]:
            return store.read(collection, take(keys, places))

        return await self.scatter_gather(keys, self.partition(collection, keys), call)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._check(collection, expected)

        def call(store: Primitives, places: Sequence[int]) -> Coroutine[Any, Any, Any]:
            wanted = None if expected is None else take(expected, places)
            return store.write(collection, take(keys, places), take(entries, places), wanted)

        return await self.scatter_gather(keys, self.partition(collection, keys), call, changes=True)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._check(collection, expected)

        def call(store: Primitives, places: Sequence[int]) -> Coroutine[Any, Any, Any]:
            wanted = None if expected is None else take(expected, places)
            return store.remove(collection, take(keys, places), wanted)

        return await self.scatter_gather(keys, self.partition(collection, keys), call, changes=True)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        def call(store: Primitives, places: Sequence[int]) -> Coroutine[Any, Any, Any]:
            return store.touch(collection, take(keys, places), take(expires, places))

        return await self.scatter_gather(keys, self.partition(collection, keys), call, changes=True)

    def _check(self, collection: Collection, expected: Sequence[Expected] | None) -> None:
        """Refuse for every key of a collection what cannot be done for some."""
        if (
            expected is not None
            and self.store_for_collection(collection) is None
            and Capability.COMPARE_AND_PUT not in self.capabilities
        ):
            raise self.unsupported("compare versions, since not all of its stores can")

    async def scatter_gather(
        self,
        keys: Sequence[str],
        parts: Sequence[SubBatch],
        call: Callable[[Primitives, Sequence[int]], Coroutine[Any, Any, list[T]]],
        *,
        changes: bool = False,
    ) -> list[T]:
        """Do each part of a batch, and put the answers in the order of the keys."""
        if len(parts) == 1:
            return await call(*parts[0])
        answers: dict[int, T] = {}
        errors: list[tuple[Exception, Sequence[int]]] = []
        for (_, places), outcome in zip(
            parts, await gather_outcomes([call(*part) for part in parts]), strict=True
        ):
            if isinstance(outcome, Exception):
                errors.append((outcome, places))
            else:
                answers.update(zip(places, outcome, strict=True))
        if not errors:
            return [answers[place] for place in range(len(keys))]
        if changes:
            done = {keys[place] for place in answers}
            for error, _ in errors:
                done.update(getattr(error, "succeeded", None) or ())
            for error, _ in errors:
                add_succeeded(error, keys, done)
        raise errors[0][0]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        whole = self.store_for_collection(collection)
        if whole is not None:
            return await whole.list_keys(collection, key_range, cursor)
        if cursor is None:
            cursor = MergeCursor(
                [self._pages(store, collection, key_range) for store in self.stores],
                ordered=all(Capability.RANGE in store.capabilities for store in self.stores),
            )
        assert isinstance(cursor, MergeCursor)
        return await cursor.page()

    def _pages(self, store: Primitives, collection: Collection, key_range: KeyRange) -> FetchPage:
        async def pages(cursor: object) -> Page:
            page = await store.list_keys(collection, key_range, cursor)
            keys = [key for key in page.keys if self.reads_from(store, collection, key)]
            return Page(keys, page.cursor)

        return pages

    async def list_collections(self) -> list[Collection]:
        found: dict[Collection, None] = {}
        each = await gather([store.list_collections() for store in self.stores])
        for store, names in zip(self.stores, each, strict=True):
            for name in names:
                whole = self.store_for_collection(name)
                if whole is None or whole is store:
                    found[name] = None
        return sorted(found, key=lambda name: name or "")

    async def drop(self, collection: Collection) -> bool:
        whole = self.store_for_collection(collection)
        if whole is not None:
            return await whole.drop(collection)
        return any(await gather([store.drop(collection) for store in self.stores]))

    async def drop_all(self) -> bool:
        return any(await gather([store.drop_all() for store in self.stores]))

    async def sweep(self) -> None:
        able = [store for store in self.stores if Capability.CULL in store.capabilities]
        await gather([store.sweep() for store in able])

    async def ping(self) -> None:
        await gather([store.ping() for store in self.stores])

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from layer_under_one_store(self, below)
