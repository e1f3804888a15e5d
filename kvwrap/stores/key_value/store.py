"""Entries in a store that has the methods of py-key-value's `AsyncKeyValue` protocol."""

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
from kvwrap.stores.key_value.protocol import (
    MAX_TTL,
    METHODS,
    check_version,
    checked_names,
    checked_pairs,
    has_methods,
    page_limit,
    translate_error,
)
from kvwrap.stores.shared.envelope import is_wrapped, unwrap, wrap


class KeyValueStore(Store):
    """Keeps entries in a store of the py-key-value family, which holds JSON objects.

    A value that is a JSON object, and that no layer has changed, is put unchanged, with its
    ttl. Other users of that store can read it, and their JSON objects can be read here. Every
    other value is put as `{"kvwrap": "<base64 of the entry>"}`. The wrapped store stays the
    caller's: it is never closed.

    Compare-and-put is not supported. The other capabilities depend on which of `keys`,
    `collections`, `destroy`, `destroy_collection` and `cull` the wrapped store has. Some stores
    of the family return at most 10,000 keys. A collection that reaches this limit cannot be
    enumerated here, so that no listing is silently incomplete. The precision of an expiry is
    the wrapped store's: some round to whole seconds.

    Args:
        wrapped: The store.
        native: False to put JSON objects as entries too. Every entry then keeps its exact
            expiry, by the clock of this store.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreUnavailable: From any method, if the wrapped store raised an error; that is the
            cause. An error with a counterpart (`ValueTooLarge`, `ReadOnlyViolation`, …) raises
            that instead.
    """

    def __init__(
        self,
        wrapped: Any,
        *,
        native: bool = True,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if not has_methods(wrapped):
            raise errors.ConfigurationError(
                "`wrapped` must have the methods of the AsyncKeyValue protocol "
                f"({', '.join(METHODS)}); got {type(wrapped).__name__}"
            )
        self._wrapped = wrapped
        self._native = bool(native)
        if not type(wrapped).__module__.startswith("key_value.aio.stores.memory"):
            # It may keep the entries anywhere.
            self.traits = self.traits | {"adapted"}  # type: ignore[misc]  # of this instance
        self._page_limit = page_limit(wrapped)
        capabilities = set()
        if hasattr(wrapped, "keys"):
            capabilities |= {Capability.KEYS, Capability.RANGE, Capability.DESTROY_COLLECTION}
            if hasattr(wrapped, "collections"):
                capabilities |= {Capability.COLLECTIONS, Capability.DESTROY}
        if hasattr(wrapped, "destroy"):
            capabilities |= {Capability.DESTROY}
        if hasattr(wrapped, "destroy_collection"):
            capabilities |= {Capability.DESTROY_COLLECTION}
        if hasattr(wrapped, "cull"):
            capabilities |= {Capability.CULL}
        self.capabilities = frozenset(capabilities)

    def __repr__(self) -> str:
        native = "" if self._native else ", native=False"
        return f"{type(self).__name__}({type(self._wrapped).__name__}{native})"

    # -- entries, and the values of the wrapped store ---------------------------------------

    def _encode_entry(self, entry: Entry, collection: Collection, key: str) -> dict[str, Any]:
        if self._native and entry.codec == codec.JSON and entry.body[:1] == b"{":
            value: dict[str, Any] = JSON.loads(entry.body)
            if not is_wrapped(value):
                return value
        return wrap(entry.to_bytes(collection, key))

    def _decode_value(
        self, value: Any, ttl: float | None, now: float, collection: Collection, key: str
    ) -> Entry:
        if is_wrapped(value):
            return Entry.from_bytes(unwrap(value), collection, key, self.name)
        try:
            body = JSON.dumps(value)
        except errors.KvwrapError:
            raise errors.CorruptEntry(
                "the wrapped store must hold JSON objects; it holds a "
                f"{type(value).__name__} that is not JSON under this key",
                store=self.name,
                collection=collection,
                key=key,
            ) from None
        expires_at = None if ttl is None else now + ttl
        return foreign(body, collection, key, now, expires_at, codec.JSON)

    async def _read_values(
        self, collection: Collection, keys: Sequence[str]
    ) -> list[tuple[Any, float | None]]:
        """Read values with their ttl in seconds; both are None for a missing key."""
        if not keys:
            return []
        async with self._translate_errors(collection):
            if len(keys) == 1:
                answer = [await self._wrapped.ttl(keys[0], collection=collection)]
            else:
                answer = await self._wrapped.ttl_many(list(keys), collection=collection)
        return checked_pairs(
            answer, len(keys), self._wrapped, store=self.name, collection=collection
        )

    async def _are_live(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether it has a live value, readable or not."""
        now = self.clock.time()
        return [
            value is not None and not (is_wrapped(value) and has_expired(unwrap(value), now))
            for value, _ in await self._read_values(collection, keys)
        ]

    @asynccontextmanager
    async def _translate_errors(
        self, collection: Collection = None, succeeded: Sequence[str] | None = None
    ) -> AsyncIterator[None]:
        try:
            yield
        except errors.KvwrapError:
            raise
        except Exception as error:
            raise translate_error(
                error, self._wrapped, store=self.name, collection=collection, succeeded=succeeded
            ) from error

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        now = self.clock.time()
        values = await self._read_values(collection, keys)
        return [
            None
            if value is None
            else self._live(self._decode_value(value, ttl, now, collection, key))
            for key, (value, ttl) in zip(keys, values, strict=True)
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
        # A call has one ttl for all its keys. If a key occurs twice, the later entry is written.
        calls: dict[float | None, dict[str, dict[str, Any]]] = {}
        for key, entry in dict(zip(keys, entries, strict=True)).items():
            value = self._encode_entry(entry, collection, key)
            calls.setdefault(entry.expires_at, {})[key] = value
        succeeded: list[str] = []
        for expires_at, values in calls.items():
            ttl = None if expires_at is None else min(expires_at - now, MAX_TTL)
            async with self._translate_errors(collection, succeeded or None):
                if ttl is not None and ttl <= 0:
                    await self._wrapped.delete_many(list(values), collection=collection)
                elif len(values) == 1:
                    ((key, value),) = values.items()
                    await self._wrapped.put(key, value, collection=collection, ttl=ttl)
                else:
                    await self._wrapped.put_many(
                        list(values), list(values.values()), collection=collection, ttl=ttl
                    )
            succeeded += values
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._refuse_conditions(expected)
        # A batch of deletions returns only their number, which includes expired entries.
        live = dict(zip(keys, await self._are_live(collection, keys), strict=True))
        async with self._translate_errors(collection):
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
            keys = await self._list_all(collection)
            if self._page_limit is not None and len(keys) >= self._page_limit:
                raise self._unsupported(
                    f"enumerate more than {self._page_limit} keys of a collection"
                )
            cursor = Snapshot(sorted(key for key in set(keys) if key in key_range))
        page = Snapshot.page(cursor)
        live = await self._are_live(collection, page.keys)
        return Page([key for key, is_live in zip(page.keys, live) if is_live], page.cursor)

    async def _list_all(self, collection: Collection) -> list[str]:
        """List the keys of the wrapped store, including those of expired entries."""
        if not hasattr(self._wrapped, "keys"):
            raise self._unsupported("enumerate keys")
        async with self._translate_errors(collection):
            answer = await self._wrapped.keys(collection)
        return checked_names(answer, "keys", self._wrapped, store=self.name, collection=collection)

    async def list_collections(self) -> list[Collection]:
        if Capability.COLLECTIONS not in self.capabilities:
            raise self._unsupported("enumerate collections")
        names = await self._list_names()
        if self._page_limit is not None and len(names) >= self._page_limit:
            raise self._unsupported(f"enumerate more than {self._page_limit} collections")
        # Some of the names may be those of empty collections.
        collections = [name for name in self._without_default(names) if await self._holds_any(name)]
        return sorted(collections, key=lambda name: name or "")

    async def _list_names(self) -> list[str]:
        async with self._translate_errors():
            answer = await self._wrapped.collections()
        return checked_names(answer, "collections", self._wrapped, store=self.name)

    def _without_default(self, names: Sequence[str]) -> set[Collection]:
        """Return the names with None in place of the wrapped store's default collection."""
        default = getattr(self._wrapped, "default_collection", None)
        return {None if name == default else name for name in names}

    async def _holds_any(self, collection: Collection) -> bool:
        keys = await self._list_all(collection)
        for start in range(0, len(keys), PAGE_SIZE):
            if any(await self._are_live(collection, keys[start : start + PAGE_SIZE])):
                return True
        return False

    async def drop(self, collection: Collection) -> bool:
        if Capability.KEYS not in self.capabilities:
            if Capability.DESTROY_COLLECTION not in self.capabilities or collection is None:
                raise self._unsupported("destroy a collection")
            async with self._translate_errors(collection):
                return bool(await self._wrapped.destroy_collection(collection))
        # Key by key, since some stores cannot be written to after `destroy_collection`. Repeated
        # until no key remains, since some stores return a limited number of keys at a time.
        had_entries = False
        previous: set[str] = set()
        while keys := await self._list_all(collection):
            if previous.issuperset(keys):
                break
            previous = set(keys)
            for start in range(0, len(keys), PAGE_SIZE):
                removed = await self.remove(collection, keys[start : start + PAGE_SIZE])
                had_entries = any(removed) or had_entries
        return had_entries

    async def drop_all(self) -> bool:
        if Capability.COLLECTIONS in self.capabilities:
            collections = {None, *self._without_default(await self._list_names())}
            return any([await self.drop(collection) for collection in collections])
        if Capability.DESTROY not in self.capabilities:
            raise self._unsupported("destroy everything it holds")
        async with self._translate_errors():
            return bool(await self._wrapped.destroy())

    async def sweep(self) -> None:
        if Capability.CULL in self.capabilities:
            async with self._translate_errors():
                await self._wrapped.cull()

    async def ping(self) -> None:
        async with self._translate_errors():
            await self._wrapped.get("kvwrap-ping")


def adapted(obj: Any, **options: Any) -> Store | None:
    """Return a store over this object if it has the protocol's methods, else None."""
    check_version(obj)
    return KeyValueStore(obj, **options) if has_methods(obj) else None
