"""The kind of layer that puts collections elsewhere, perhaps with a prefix to their keys."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from kvwrap.core.batch import with_callers_names
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.validation import checked_name


class Renaming(Layer):
    """A layer that states only where a collection lies inside: in which, behind which prefix.

    The prefix must be such that no collection's keys, prefixed, begin as another's do.
    """

    traits = frozenset({"renames"})

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        """The collection inside, and the prefix that its keys bear there."""
        raise NotImplementedError

    async def list_collections(self) -> list[Collection]:
        """The collections outside that those inside stand for."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        """As inside; what is dropped whole is dropped key by key where others lie beside it."""
        inside = self.inner.capabilities
        found = inside - {Capability.DESTROY, Capability.DESTROY_COLLECTION}
        if Capability.KEYS in inside or (
            Capability.DESTROY_COLLECTION in inside and not self.prefixes_keys
        ):
            found |= {Capability.DESTROY_COLLECTION}
            if Capability.COLLECTIONS in inside:
                found |= {Capability.DESTROY}
        return found

    prefixes_keys = True

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        there, prefix = self.map_collection(collection)
        # A single key is the common case, and a call more would cost as much as all of this.
        names = (prefix + keys[0],) if prefix and len(keys) == 1 else _named(prefix, keys)
        return self.inner.read(there, names)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        there, prefix = self.map_collection(collection)
        names = (prefix + keys[0],) if prefix and len(keys) == 1 else _named(prefix, keys)
        call = self.inner.write(there, names, entries, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        there, prefix = self.map_collection(collection)
        names = _named(prefix, keys)
        call = self.inner.remove(there, names, expected)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        there, prefix = self.map_collection(collection)
        names = _named(prefix, keys)
        call = self.inner.touch(there, names, expires)
        return call if len(keys) == 1 else with_callers_names(call, keys, names)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        there, prefix = self.map_collection(collection)
        if not prefix:
            return await self.inner.list_keys(there, key_range, cursor)
        inside = KeyRange(
            prefix + key_range.prefix,
            None if key_range.start is None else prefix + key_range.start,
            None if key_range.end is None else prefix + key_range.end,
        )
        page = await self.inner.list_keys(there, inside, cursor)
        # A key that is the bare prefix is not ours: outside it would have no name.
        length = len(prefix)
        return Page([key[length:] for key in page.keys if len(key) > length], page.cursor)

    async def drop(self, collection: Collection) -> bool:
        there, prefix = self.map_collection(collection)
        if not prefix and Capability.DESTROY_COLLECTION in self.inner.capabilities:
            return await self.inner.drop(there)
        return await self._drop_keys(there, prefix)

    async def _drop_keys(self, collection: Collection, prefix: str) -> bool:
        """Remove the keys of the collection that begin with `prefix`."""
        dropped = False
        async for page in pages(self.inner, collection, KeyRange(prefix)):
            keys = [key for key in page.keys if len(key) > len(prefix)]
            if keys:
                dropped = any(await self.inner.remove(collection, keys)) or dropped
        return dropped

    async def drop_all(self) -> bool:
        dropped = [await self.drop(collection) for collection in await self.list_collections()]
        return any(dropped)


def _named(prefix: str, keys: Sequence[str]) -> Sequence[str]:
    """The keys as they are inside."""
    return [prefix + key for key in keys] if prefix else keys


def checked_prefix(prefix: object) -> str:
    """The prefix or separator; raises `ConfigurationError` for what cannot be in a name."""
    return checked_name(prefix, "a prefix or separator")


def key_prefix_outside_hashed_keys(layer: Layer, below: Sequence[Layer]) -> Iterator[Finding]:
    """The finding against a prefix of keys that a layer inside hashes away."""
    if any("hashes_keys" in each.traits for each in below):
        yield Finding(
            "key-prefix-outside-hashed-keys",
            f"{layer.name} puts a prefix before keys that are hashed further in, so nothing in "
            "the backend bears it: what lies behind it can be neither enumerated nor destroyed.",
            "Put it inside .hash_keys(...), or use .prefix_collection(...).",
        )
