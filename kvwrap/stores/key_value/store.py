"""Entries in any store that has the methods of py-key-value's `AsyncKeyValue` protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kvwrap import errors
from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign, has_expired
from kvwrap.core.paging import PAGE_SIZE, Snapshot
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.stores.key_value.envelope import is_wrapped, unwrap, wrap
from kvwrap.stores.key_value.protocol import LONGEST, METHODS, failure, has_methods, page_limit


class KeyValueStore(Store):
    """Keeps entries in a store of the py-key-value family, which takes JSON objects.

    A value that is a JSON object, and that no layer has changed, is put as what it is, with
    its ttl, and can be read by other users of that store; so can theirs be read here.
    Everything else is put as `{"kvwrap": "<base64 of the entry>"}`. The wrapped store stays
    the caller's: it is never closed.

    It cannot compare and put. What else can be done depends on which of `keys`,
    `collections`, `destroy`, `destroy_collection` and `cull` it has. Some of its kind give
    no more than 10,000 keys; a collection that reaches this cannot be enumerated here,
    rather than in part. How exact an expiry is, is the wrapped store's affair: some round
    to whole seconds.

    Args:
        wrapped: The store.
        native: Whether JSON objects are put as what they are. False has every entry keep
            its exact expiry, by the clock of this store.
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise.

    Raises:
        StoreUnavailable: From any method, with what the wrapped store raised as its cause;
            where that has a counterpart (`ValueTooLarge`, `ReadOnlyViolation`, …), that one.
    """

    def __init__(
        self,
        wrapped: Any,
        *,
        native: bool = True,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer)
        if not has_methods(wrapped):
            raise errors.ConfigurationError(
                f"a {type(wrapped).__name__} lacks methods of the AsyncKeyValue protocol: "
                + ", ".join(METHODS)
            )
        self._wrapped = wrapped
        self._native = bool(native)
        self._cap = page_limit(wrapped)
        found = set()
        if hasattr(wrapped, "keys"):
            found |= {Capability.KEYS, Capability.RANGE, Capability.DESTROY_COLLECTION}
            if hasattr(wrapped, "collections"):
                found |= {Capability.COLLECTIONS, Capability.DESTROY}
        if hasattr(wrapped, "destroy"):
            found |= {Capability.DESTROY}
        if hasattr(wrapped, "destroy_collection"):
            found |= {Capability.DESTROY_COLLECTION}
        if hasattr(wrapped, "cull"):
            found |= {Capability.CULL}
        self.capabilities = frozenset(found)

    def __repr__(self) -> str:
        native = "" if self._native else ", native=False"
        return f"{type(self).__name__}({type(self._wrapped).__name__}{native})"

    # -- entries and what the wrapped store holds ---------------------------------------

    def _value_of(self, entry: Entry, collection: Collection, key: str) -> dict[str, Any]:
        if self._native and entry.codec == codec.JSON and entry.body[:1] == b"{":
            value: dict[str, Any] = JSON.loads(entry.body)
            if not is_wrapped(value):
                return value
        return wrap(entry.to_bytes(collection, key))

    def _entry_of(
        self, value: Any, left: float | None, now: float, collection: Collection, key: str
    ) -> Entry:
        if is_wrapped(value):
            return Entry.from_bytes(unwrap(value), collection, key, self.name)
        try:
            body = JSON.dumps(value)
        except errors.KvwrapError:
            raise errors.CorruptEntry(
                "the wrapped store holds a value that is not JSON",
                store=self.name,
                collection=collection,
                key=key,
            ) from None
        return foreign(body, now, None if left is None else now + left, codec.JSON)

    async def _held(
        self, collection: Collection, keys: Sequence[str]
    ) -> list[tuple[Any, float | None]]:
        if not keys:
            return []
        async with self._guarded(collection):
            if len(keys) == 1:
                return [await self._wrapped.ttl(keys[0], collection=collection)]
            return list(await self._wrapped.ttl_many(list(keys), collection=collection))

    async def _are_live(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        """Whether there is something under each key, be it readable or not."""
        now = self.clock.time()
        return [
            value is not None and not (is_wrapped(value) and has_expired(unwrap(value), now))
            for value, _ in await self._held(collection, keys)
        ]

    @asynccontextmanager
    async def _guarded(
        self, collection: Collection = None, done: Sequence[str] | None = None
    ) -> AsyncIterator[None]:
        try:
            yield
        except errors.KvwrapError:
            raise
        except Exception as error:
            raise failure(error, store=self.name, collection=collection, succeeded=done) from error

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        now = self.clock.time()
        return [
            None if value is None else self._live(self._entry_of(value, left, now, collection, key))
            for key, (value, left) in zip(keys, await self._held(collection, keys), strict=True)
        ]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._refuse_conditions(expected)
        now = self.clock.time()
        # One call has one ttl for all; of a key that occurs twice, the later entry stays.
        calls: dict[float | None, dict[str, dict[str, Any]]] = {}
        for key, entry in dict(zip(keys, entries, strict=True)).items():
            end = entry.expires_at
            value = self._value_of(entry, collection, key)
            calls.setdefault(end, {})[key] = value
        done: list[str] = []
        for end, values in calls.items():
            left = None if end is None else min(end - now, LONGEST)
            async with self._guarded(collection, done or None):
                if left is not None and left <= 0:
                    await self._wrapped.delete_many(list(values), collection=collection)
                elif len(values) == 1:
                    ((key, value),) = values.items()
                    await self._wrapped.put(key, value, collection=collection, ttl=left)
                else:
                    await self._wrapped.put_many(
                        list(values), list(values.values()), collection=collection, ttl=left
                    )
            done += values
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._refuse_conditions(expected)
        # A batch of deletions gives only their number, which what has expired is part of.
        live = dict(zip(keys, await self._are_live(collection, keys), strict=True))
        async with self._guarded(collection):
            if len(keys) == 1:
                await self._wrapped.delete(keys[0], collection=collection)
            elif keys:
                await self._wrapped.delete_many(list(live), collection=collection)
        return [live.pop(key, False) for key in keys]

    def _refuse_conditions(self, expected: Sequence[Expected] | None) -> None:
        if expected is not None and any(version is not None for version in expected):
            raise self._unsupported("compare and put")

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            keys = await self._keys(collection)
            if self._cap is not None and len(keys) >= self._cap:
                raise self._unsupported(f"enumerate more than {self._cap} keys of a collection")
            cursor = Snapshot(sorted(key for key in set(keys) if key in key_range))
        page = Snapshot.page(cursor)
        live = await self._are_live(collection, page.keys)
        return Page([key for key, is_live in zip(page.keys, live) if is_live], page.cursor)

    async def _keys(self, collection: Collection) -> list[str]:
        if not hasattr(self._wrapped, "keys"):
            raise self._unsupported("enumerate keys")
        async with self._guarded(collection):
            return list(await self._wrapped.keys(collection))

    async def list_collections(self) -> list[Collection]:
        if Capability.COLLECTIONS not in self.capabilities:
            raise self._unsupported("enumerate collections")
        async with self._guarded():
            names = list(await self._wrapped.collections())
        if self._cap is not None and len(names) >= self._cap:
            raise self._unsupported(f"enumerate more than {self._cap} collections")
        default = getattr(self._wrapped, "default_collection", None)
        places = {None if name == default else name for name in names}
        # The names may be those of empty collections.
        found = [place for place in places if await self._holds_any(place)]
        return sorted(found, key=lambda name: name or "")

    async def _holds_any(self, collection: Collection) -> bool:
        keys = await self._keys(collection)
        for start in range(0, len(keys), PAGE_SIZE):
            if any(await self._are_live(collection, keys[start : start + PAGE_SIZE])):
                return True
        return False

    async def drop(self, collection: Collection) -> bool:
        if Capability.KEYS not in self.capabilities:
            if Capability.DESTROY_COLLECTION not in self.capabilities or collection is None:
                raise self._unsupported("destroy a collection")
            async with self._guarded(collection):
                return bool(await self._wrapped.destroy_collection(collection))
        # Key by key, since some stores cannot be written to after `destroy_collection`,
        # and again until none is left, since some give only so many keys at a time.
        dropped = False
        before: set[str] = set()
        while keys := await self._keys(collection):
            if before.issuperset(keys):
                break
            before = set(keys)
            for start in range(0, len(keys), PAGE_SIZE):
                removed = await self.remove(collection, keys[start : start + PAGE_SIZE])
                dropped = any(removed) or dropped
        return dropped

    async def drop_all(self) -> bool:
        if Capability.COLLECTIONS in self.capabilities:
            async with self._guarded():
                names = list(await self._wrapped.collections())
            default = getattr(self._wrapped, "default_collection", None)
            places = {None, *(None if name == default else name for name in names)}
            return any([await self.drop(place) for place in places])
        if Capability.DESTROY not in self.capabilities:
            raise self._unsupported("destroy everything it holds")
        async with self._guarded():
            return bool(await self._wrapped.destroy())

    async def sweep(self) -> None:
        if Capability.CULL in self.capabilities:
            async with self._guarded():
                await self._wrapped.cull()

    async def ping(self) -> None:
        async with self._guarded():
            await self._wrapped.get("kvwrap-ping")


def adapted(obj: Any, **options: Any) -> Store | None:
    """A store that keeps entries in this object, if it has the protocol's methods."""
    return KeyValueStore(obj, **options) if has_methods(obj) else None
