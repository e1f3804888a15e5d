"""Base class of layers that map collections to others, optionally with a prefix before keys."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, Final, Self

from msgspec.structs import replace

from kvwrap.core.batch import with_callers_names
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.changes import ALL, Change, Listener, Scope, Subscription
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.paging import pages
from kvwrap.core.primitives import (
    Collection,
    Expected,
    KeyRange,
    Origin,
    Page,
    Primitives,
    QualifiedKey,
)

_Place = tuple[Collection, str]
"""The collection that holds the entries of another, and the prefix of their keys."""


class _Places(dict[Collection, _Place]):
    """The places of collections, which a function finds.

    Looking up a place that is remembered takes half the time of a call in Python.

    Args:
        find: Returns the place of a collection.
        remembers: False to call the function for every look-up.
    """

    _MOST: Final = 1024

    def __init__(self, find: Callable[[Collection], _Place], *, remembers: bool) -> None:
        super().__init__()
        self._find = find
        self._remembers = remembers

    def __missing__(self, collection: Collection) -> _Place:
        place = self._find(collection)
        if self._remembers:
            if len(self) >= self._MOST:
                self.clear()
            self[collection] = place
        return place


class Renaming(Layer):
    """A layer that implements only the mapping of collections: which collection, which prefix.

    The prefixes must be such that no prefixed key of one collection can begin with the
    prefix of another collection that is mapped to the same one.

    Attributes:
        prefixes_keys: Whether `map_collection` can return a prefix.
        is_fixed: Whether `map_collection` depends on nothing but its argument, not on a context
            variable for example. Then the result is remembered, and neighbours of this kind map
            a call in one step.
    """

    traits = frozenset({"renames"})
    prefixes_keys: ClassVar[bool] = True
    is_fixed: ClassVar[bool] = False

    _end: Primitives
    _places: _Places

    def bind(self, inner: Primitives) -> Self:
        part = super().bind(inner)
        part._end, find = inner, part.map_collection
        if (
            isinstance(inner, Renaming)
            and part.is_fixed
            and inner.is_fixed
            and _only_renames(inner)
        ):
            part._end, find = inner._end, part._find_place
        part._places = _Places(find, remembers=part.is_fixed)
        return part

    def _find_place(self, collection: Collection) -> _Place:
        """Return the place of a collection in `_end`."""
        assert isinstance(self.inner, Renaming)
        target, prefix = self.map_collection(collection)
        target, first = self.inner._places[target]
        return target, first + prefix

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        """Return the collection of `inner` that holds the entries, and the prefix of its keys."""
        raise NotImplementedError

    async def list_collections(self) -> list[Collection]:
        """List the collections of `inner`, mapped back to the names outside."""
        raise NotImplementedError

    def original(self, collection: Collection, key: str) -> QualifiedKey | None:
        """Return the names outside of an entry of `inner`; `None` for one of another program.

        Without this method, changes cannot be watched through the layer. Must not raise.
        """
        raise self.unsupported("watch for changes: it does not map names back")

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        if Capability.WATCH not in self.capabilities:
            raise self.unsupported("watch for changes")
        original = self.original
        inside = Scope(bound=scope.bound, reserved=scope.reserved)
        if scope.collection is not ALL:
            target, prefix = self.map_collection(scope.collection)
            inside = replace(inside, collection=target, prefix=prefix + scope.prefix)

        def tell(change: Change) -> None:
            if change.key is not None:
                names = original(change.collection, change.key)
                if names is None or not scope.covers(*names):
                    return
                change = Change(change.kind, *names)
            listener(change)

        return await self.inner.subscribe(inside, tell)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        target, prefix = self.map_collection(collection)
        return self.inner.trace(target, prefix + key)

    @property
    def capabilities(self) -> Capabilities:
        """Those of `inner`. Without whole drops inside, keys are removed one by one."""
        inside = self.inner.capabilities
        capabilities = inside - {Capability.DESTROY, Capability.DESTROY_COLLECTION}
        if type(self).original is Renaming.original:
            capabilities -= {Capability.WATCH}
        if Capability.KEYS in inside or (
            Capability.DESTROY_COLLECTION in inside and not self.prefixes_keys
        ):
            capabilities |= {Capability.DESTROY_COLLECTION}
            if Capability.COLLECTIONS in inside:
                capabilities |= {Capability.DESTROY}
        return capabilities

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        target, prefix = self._places[collection]
        # A single key is the common case. One more call would cost as much as the rest.
        names = (prefix + keys[0],) if prefix and len(keys) == 1 else _prefixed(prefix, keys)
        return self._end.read(target, names)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        target, prefix = self._places[collection]
        if len(keys) == 1:
            names: Sequence[str] = (prefix + keys[0],) if prefix else keys
            return self._end.write(target, names, entries, expected)
        names = _prefixed(prefix, keys)
        return with_callers_names(self._end.write(target, names, entries, expected), keys, names)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        target, prefix = self._places[collection]
        names = _prefixed(prefix, keys)
        call = self._end.remove(target, names, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        target, prefix = self._places[collection]
        names = _prefixed(prefix, keys)
        call = self._end.touch(target, names, expires)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        target, prefix = self.map_collection(collection)
        if not prefix:
            return await self.inner.list_keys(target, key_range, cursor)
        page = await self.inner.list_keys(target, _prefixed_range(prefix, key_range), cursor)
        length = len(prefix)
        return Page([key[length:] for key in page.keys], page.cursor)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        target, prefix = self.map_collection(collection)
        return await self.inner.count_range(target, _prefixed_range(prefix, key_range))

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        target, prefix = self.map_collection(collection)
        return await self.inner.drop_range(target, _prefixed_range(prefix, key_range))

    async def drop(self, collection: Collection) -> bool:
        target, prefix = self.map_collection(collection)
        if not prefix and Capability.DESTROY_COLLECTION in self.inner.capabilities:
            return await self.inner.drop(target)
        return await self._drop_keys(target, prefix)

    async def _drop_keys(self, collection: Collection, prefix: str) -> bool:
        """Remove the keys of a collection of `inner` that are longer than their `prefix`.

        Returns True if one was removed.
        """
        dropped = False
        async for page in pages(self.inner, collection, KeyRange(prefix, masked=True)):
            keys = [key for key in page.keys if len(key) > len(prefix)]
            if keys:
                dropped = any(await self.inner.remove(collection, keys)) or dropped
        return dropped

    async def drop_all(self) -> bool:
        dropped = [await self.drop(collection) for collection in await self.list_collections()]
        return any(dropped)


def _only_renames(layer: Renaming) -> bool:
    """Return True if a layer does what `Renaming` does with the keys of a call, and no more."""
    return all(
        getattr(type(layer), name) is getattr(Renaming, name)
        for name in ("read", "write", "remove", "touch")
    )


def _prefixed(prefix: str, keys: Sequence[str]) -> Sequence[str]:
    return [prefix + key for key in keys] if prefix else keys


def _prefixed_range(prefix: str, key_range: KeyRange) -> KeyRange:
    if not prefix:
        return key_range
    # A key that is only the prefix is not the layer's: without it, the name would be empty.
    shortest = prefix + "\0"
    start, end = key_range.start, key_range.end
    return KeyRange(
        prefix + key_range.prefix,
        shortest if not start else prefix + start,
        None if end is None else prefix + end,
        key_range.masked,
    )


def key_prefix_outside_hashed_keys(layer: Layer, below: Sequence[Layer]) -> Iterator[Finding]:
    """Yield a finding if a layer inside hashes the keys that `layer` puts a prefix before."""
    if any("hashes_keys" in other.traits for other in below):
        yield Finding(
            "key-prefix-outside-hashed-keys",
            f"{layer.name} puts a prefix before keys that an inner layer hashes. No key in the "
            "backend has the prefix, so its keys cannot be enumerated or destroyed.",
            "Put it inside .hash_keys(...), or use .prefix_collection(...).",
        )
