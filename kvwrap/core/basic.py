"""The first half of the store interface: get, put, delete and enumerate, single and batched."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from kvwrap.core.clock import Clock, checked_clock
from kvwrap.core.entry import Entry
from kvwrap.core.part import Part
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer, ValueCodec, checked_serializer
from kvwrap.core.ttl import TTL, expiry
from kvwrap.core.validation import (
    checked_bound,
    checked_collection,
    checked_key,
    checked_keys,
    checked_limit,
    checked_values,
)
from kvwrap.errors import KvwrapError, UnsupportedOperation

ValueHook = Callable[[Any, str, Collection], Any]
"""What a layer does to a value, given its key and collection, before or after it is bytes."""

_new_version = random.getrandbits
_EVERY_KEY = KeyRange()


class BasicMethods(Part):
    """Methods that need `read`, `write`, `remove` and, to enumerate, the listing primitives."""

    _on_put: tuple[ValueHook, ...] = ()
    _on_get: tuple[ValueHook, ...] = ()

    def __init__(self, *, clock: Clock | None = None, serializer: Serializer = JSON) -> None:
        self.clock: Clock = checked_clock(clock)
        self._values = ValueCodec(checked_serializer(serializer))
        self._dumps = self._values.serializer.dumps

    @property
    def serializer(self) -> Serializer:
        """What turns this store's values into bytes, unless a layer over it says otherwise."""
        return self._values.serializer

    # -- the primitives, for stores to implement -----------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        raise self._unsupported("read")

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        raise self._unsupported("write")

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        raise self._unsupported("delete")

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        raise self._unsupported("enumerate keys")

    async def list_collections(self) -> list[Collection]:
        raise self._unsupported("enumerate collections")

    async def drop(self, collection: Collection) -> bool:
        raise self._unsupported("destroy a collection")

    async def drop_all(self) -> bool:
        raise self._unsupported("destroy everything it holds")

    async def sweep(self) -> None:
        """Nothing to do, unless the store says otherwise."""

    async def ping(self) -> None:
        """Set up, unless the store knows a better way to reach its backend."""
        await self.ready()

    def _unsupported(self, what: str) -> UnsupportedOperation:
        return UnsupportedOperation(f"{self.name} cannot {what}", store=self.name)

    # -- values and entries ------------------------------------------------------------

    def _entry(
        self, value: Any, expires: float | None, now: float, collection: Collection, key: str
    ) -> Entry:
        for hook in self._on_put:
            value = hook(value, key, collection)
        try:
            body = self._dumps(value)
        except Exception as error:
            refusal = self._values.refusal(value, error)
            raise _placed(refusal, self.name, collection, key) from None
        return Entry(body, self._values.tag, now, expires, _new_version(64))

    def _value(self, entry: Entry, collection: Collection, key: str) -> Any:
        try:
            value = self._values.loads(entry.body, entry.codec)
        except KvwrapError as error:
            raise _placed(error, self.name, collection, key) from None
        for hook in self._on_get:
            value = hook(value, key, collection)
        return value

    async def _one(self, collection: Collection, key: str) -> Entry | None:
        return (await self.read(collection, (key,)))[0]

    # -- the eight methods of the AsyncKeyValue protocol -------------------------------

    async def get(self, key: str, *, collection: str | None = None) -> Any | None:
        """The value, or `None` where there is none."""
        if type(key) is not str or not key or not key.isascii():
            key = checked_key(key)
        if collection is not None:
            collection = checked_collection(collection)
        entry = (await self.read(collection, (key,)))[0]
        return None if entry is None else self._value(entry, collection, key)

    async def get_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[Any | None]:
        """The values in the order of their keys, in one round trip where the backend can."""
        keys, collection = checked_keys(keys), checked_collection(collection)
        return [
            None if entry is None else self._value(entry, collection, key)
            for key, entry in zip(keys, await self._many(collection, keys), strict=True)
        ]

    async def ttl(
        self, key: str, *, collection: str | None = None
    ) -> tuple[Any | None, float | None]:
        """The value and its seconds left; `(value, None)` never expires."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[Any | None, float | None]]:
        """As `ttl`, for many keys at once."""
        keys, collection = checked_keys(keys), checked_collection(collection)
        entries = await self._many(collection, keys)
        now = self.clock.time()
        return [
            (None, None)
            if entry is None
            else (
                self._value(entry, collection, key),
                None if entry.expires_at is None else max(0.0, entry.expires_at - now),
            )
            for key, entry in zip(keys, entries, strict=True)
        ]

    async def put(
        self, key: str, value: Any, *, collection: str | None = None, ttl: TTL | None = None
    ) -> None:
        """Keep the value under the key, for `ttl` seconds or for good.

        Raises:
            InvalidTTL: `ttl` is not a finite number above 0, a timedelta or `None`.
            SerializationError: The value would not come back as it is.
            ValueTooLarge: The value is over a limit. In all three cases nothing is written.
        """
        if type(key) is not str or not key or not key.isascii():
            key = checked_key(key)
        if collection is not None:
            collection = checked_collection(collection)
        now = self.clock.time()
        expires = None if ttl is None else expiry(now, ttl)
        await self.write(collection, (key,), (self._entry(value, expires, now, collection, key),))

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Any],
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> None:
        """As `put`, for many keys at once; every value is serialized before any is written.

        Raises:
            InvalidBatch: `keys` and `values` are not sequences of one length.
        """
        keys, collection = checked_keys(keys), checked_collection(collection)
        values = checked_values(values, len(keys))
        now = self.clock.time()
        expires = expiry(now, ttl)
        entries = [
            self._entry(value, expires, now, collection, key)
            for key, value in zip(keys, values, strict=True)
        ]
        if keys:
            await self.write(collection, keys, entries)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Take the entry away; whether there was one."""
        return (await self.remove(checked_collection(collection), (checked_key(key),)))[0]

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """As `delete`, for many keys at once; how many there were."""
        keys, collection = checked_keys(keys), checked_collection(collection)
        return sum(await self.remove(collection, keys)) if keys else 0

    async def _many(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self.read(collection, keys) if keys else []

    # -- enumeration -------------------------------------------------------------------

    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """The keys of a collection, at most `limit`; in order where `Capability.RANGE` is."""
        collection, limit = checked_collection(collection), checked_limit(limit)
        found: list[str] = []
        cursor: object = None
        while limit is None or len(found) < limit:
            page: Page = await self.list_keys(collection, _EVERY_KEY, cursor)
            found += page.keys
            cursor = page.cursor
            if cursor is None:
                break
        return found[:limit]

    async def collections(self, *, limit: int | None = None) -> list[str]:
        """The collections that hold entries, at most `limit`; the default one has no name."""
        limit = checked_limit(limit)
        return [name for name in await self.list_collections() if name is not None][:limit]

    async def scan(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[str]:
        """The keys that begin with `prefix`, from `start` up to but not `end`.

        Keys compare by code points. Keys put or deleted meanwhile may or may not be in it;
        no key comes twice.
        """
        collection, key_range = checked_collection(collection), _key_range(prefix, start, end)
        # No generator in this one: left unfinished, it would be closed by a task of its own.
        cursor: object = None
        while True:
            page: Page = await self.list_keys(collection, key_range, cursor)
            for key in page.keys:
                yield key
            cursor = page.cursor
            if cursor is None:
                return

    async def items(
        self,
        *,
        collection: str | None = None,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """As `scan`, with the values, read a page of keys at a time."""
        collection, key_range = checked_collection(collection), _key_range(prefix, start, end)
        cursor: object = None
        while True:
            page: Page = await self.list_keys(collection, key_range, cursor)
            entries = await self._many(collection, page.keys)
            for key, entry in zip(page.keys, entries, strict=True):
                if entry is not None:
                    yield key, self._value(entry, collection, key)
            cursor = page.cursor
            if cursor is None:
                return

    # -- whole collections -------------------------------------------------------------

    async def destroy_collection(self, collection: str | None) -> bool:
        """Drop every entry of a collection; whether there was one."""
        return await self.drop(checked_collection(collection))

    async def destroy(self) -> bool:
        """Drop every entry of this store, and nothing else; whether there was one."""
        return await self.drop_all()

    async def cull(self) -> None:
        """Free what expired entries take up, where the backend does not by itself."""
        await self.sweep()

    async def check(self) -> None:
        """Reach the backend, or raise `StoreUnavailable`."""
        await self.ping()


def _key_range(prefix: str, start: str | None, end: str | None) -> KeyRange:
    return KeyRange(
        checked_bound(prefix, "prefix"),
        None if start is None else checked_bound(start, "start"),
        None if end is None else checked_bound(end, "end"),
    )


def _placed(error: KvwrapError, store: str, collection: Collection, key: str) -> KvwrapError:
    """The error, with the names that whoever raised it did not know."""
    error.store = error.store or store
    error.collection = collection
    error.key = key
    return error
