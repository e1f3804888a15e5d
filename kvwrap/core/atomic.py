"""The third part of the store interface: conditional writes, and methods built on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import ForeignVersion
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import ABSENT, Collection
from kvwrap.core.stale import UserView, like
from kvwrap.core.ttl import TTL, TTLs, expiries, expiry
from kvwrap.core.validation import checked_key, checked_keys
from kvwrap.core.whole import WholeMethods
from kvwrap.errors import Deadlock, InvalidValue, KeyNotFound


class Versioned(NamedTuple):
    """A value, and the version that `compare_and_put` needs to replace it."""

    value: Any
    version: int


class AtomicMethods(WholeMethods):
    """Methods that need conditional writes, and related ones.

    Atomic methods need `Capability.COMPARE_AND_PUT`, and raise `UnsupportedOperation`
    without it. They read, compute, and write if the entry has not changed, and retry until
    that succeeds. Tasks of one process take turns, so only processes contend.
    """

    capabilities: Capabilities = frozenset()
    """The abilities of this store beyond get, put and delete; all others are unsupported."""
    _locks: KeyedLocks
    _is_contextual = False  # True if what a key means may differ from caller to caller

    async def exists(self, key: str, *, collection: str | None = None) -> bool:
        """Return True if the key has a value, including `None`."""
        collection = self._collection_of(collection)
        with peeking():
            return await self._read_one(collection, checked_key(key)) is not None

    async def require(self, key: str, *, collection: str | None = None) -> Any:
        """Return the value; raises `KeyNotFound` if there is no value."""
        collection, key = self._collection_of(collection), checked_key(key)
        entry = await self._read_one(collection, key)
        if entry is None:
            raise KeyNotFound(
                "the key has no value", store=self.name, collection=collection, key=key
            )
        return self._to_value(entry, collection, key)

    async def pop(self, key: str, default: Any = None, *, collection: str | None = None) -> Any:
        """Delete the entry and return its value, or `default` if there is no value.

        With `Capability.COMPARE_AND_PUT`, exactly one of several callers gets a value, and a
        value put meanwhile is not lost. Without it, neither is guaranteed.
        """
        collection, key = self._collection_of(collection), checked_key(key)
        for attempt in ATTEMPTS:
            await backoff(attempt)
            if self._computing:
                await self._computing.overtake(collection, (key,))
            entry = await self._read_one(collection, key)
            if entry is None:
                return default
            value = self._to_value(entry, collection, key)  # an unreadable entry is not deleted
            expected = [entry.version] if self._compares else None
            if (await self.remove(collection, (key,), expected))[0]:
                return value
            if expected is None:
                return default
        raise conflict(self.name, collection, key)

    async def put_if_absent(
        self, key: str, value: Any, *, collection: str | None = None, ttl: TTL | None = None
    ) -> bool:
        """Put the value if the key has none, atomically. Returns True if it was put."""
        collection, key = self._collection_of(collection), checked_key(key)
        now = self.clock.time()
        entry = self._to_entry(value, expiry(now, ttl), now, collection, key)
        # What refuses the write may be stale. Only then this reads, so it may always look.
        part = self._overtaking(UserView(self))
        return (await part.write(collection, (key,), (entry,), (ABSENT,)))[0]

    async def _put_absent(
        self, keys: Sequence[str], values: Sequence[Any], collection: str | None, ttl: TTLs
    ) -> list[bool]:
        """Do `put_if_absent` for several keys in one batch."""
        keys, collection = checked_keys(keys), self._collection_of(collection)
        now = self.clock.time()
        entries = await self._to_entries(keys, values, expiries(now, ttl, keys), now, collection)
        part = self._overtaking(UserView(self))
        return await part.write(collection, keys, entries, [ABSENT] * len(keys)) if keys else []

    async def get_versioned(self, key: str, *, collection: str | None = None) -> Versioned | None:
        """Return the value with its version, or `None` if there is no value."""
        collection, key = self._collection_of(collection), checked_key(key)
        entry = await self._read_one(collection, key)
        if entry is None:
            return None
        return Versioned(self._to_value(entry, collection, key), entry.version)

    async def compare_and_put(
        self,
        key: str,
        value: Any,
        version: int,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> bool:
        """Replace the value if it still has this version, atomically. Returns True if it had.

        Args:
            version: From `get_versioned`, of the same key.
        """
        _check_version(version)
        collection, key = self._collection_of(collection), checked_key(key)
        now = self.clock.time()
        entry = self._to_entry(value, expiry(now, ttl), now, collection, key)
        return (await self._changes.write(collection, (key,), (entry,), (version,)))[0]

    async def compare_and_delete(
        self, key: str, version: int, *, collection: str | None = None
    ) -> bool:
        """Delete the entry if it still has this version, atomically. Returns True if it had.

        Args:
            key: The key.
            version: From `get_versioned`, of the same key.
            collection: Its collection.
        """
        _check_version(version)
        collection, key = self._collection_of(collection), checked_key(key)
        return (await self._changes.remove(collection, (key,), (version,)))[0]

    async def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        collection: str | None = None,
        initial: int = 0,
        ttl: TTL | None = None,
    ) -> int:
        """Add `delta` to the integer under the key, atomically. Returns the sum.

        If there is no value, the sum is `initial` plus `delta`, and the new entry has the
        given `ttl`. An existing entry keeps its expiry time.

        Raises:
            InvalidValue: The stored value is not an integer.
        """
        collection, key = self._collection_of(collection), checked_key(key)
        for name, number in (("delta", delta), ("initial", initial)):
            if type(number) is not int:
                raise InvalidValue(
                    f"`{name}` must be an int; got {type(number).__name__}",
                    store=self.name,
                    collection=collection,
                    key=key,
                )
        expires_at = expiry(self.clock.time(), ttl)
        deadlock = partial(self._deadlock, collection, key)
        async with self._locks.hold((collection, key), deadlock=deadlock):
            for attempt in ATTEMPTS:
                await backoff(attempt)
                current = await self._read_one(collection, key)
                now = self.clock.time()
                if current is None:
                    total = initial + delta
                    entry = self._to_entry(total, expires_at, now, collection, key)
                else:
                    count = self._to_value(current, collection, key)
                    if type(count) is not int:
                        raise InvalidValue(
                            "increment needs a stored value of type int; this one is of type "
                            f"{type(count).__name__}",
                            store=self.name,
                            collection=collection,
                            key=key,
                        )
                    total = count + delta
                    entry = self._to_entry(total, current.expires_at, now, collection, key)
                    entry = like(entry, current)
                # What is read is not stale, and a write on condition of its version needs no
                # further look.
                part = self._view if current is None else self
                expected = ABSENT if current is None else current.version
                if (await part.write(collection, (key,), (entry,), (expected,)))[0]:
                    return total
        raise conflict(self.name, collection, key)

    async def expire(self, key: str, ttl: TTL | None, *, collection: str | None = None) -> bool:
        """Set a new ttl, from now; `None` means no expiry. Returns True if an entry existed."""
        collection, key = self._collection_of(collection), checked_key(key)
        expires_at = expiry(self.clock.time(), ttl)
        return (await self._changes.touch(collection, (key,), (expires_at,)))[0]

    async def move(
        self,
        source: str,
        target: str,
        *,
        collection: str | None = None,
        target_collection: str | None = None,
    ) -> bool:
        """Put the value of `source` under `target`, with its ttl, and delete `source`.

        A value under `target` is replaced. The target is written first, so an interruption
        leaves both, never neither. If omitted, `target_collection` is `collection`. Returns
        True if the source existed.
        """
        collection = self._collection_of(collection)
        if target_collection is None:
            target_collection = collection
        else:
            target_collection = self._collection_of(target_collection)
        source, target = checked_key(source), checked_key(target)
        if (source, collection) == (target, target_collection):
            return await self._read_one(collection, source) is not None
        for attempt in ATTEMPTS:
            await backoff(attempt)
            if self._computing:
                await self._computing.overtake(collection, (source,))
                await self._computing.overtake(target_collection, (target,))
            current = await self._read_one(collection, source)
            if current is None:
                return False
            value = self._to_value(current, collection, source)
            now = self.clock.time()
            entry = self._to_entry(value, current.expires_at, now, target_collection, target)
            entry = like(entry, current)
            await self.write(target_collection, (target,), (entry,))
            expected = [current.version] if self._compares else None
            if (await self.remove(collection, (source,), expected))[0] or expected is None:
                return True
        raise conflict(self.name, collection, source)

    def _deadlock(self, collection: Collection, key: str) -> Deadlock:
        return Deadlock(
            "a cached function, or the factory of get_or_put, must not need the value that it "
            "computes; this one does, itself or through another one",
            store=self.name,
            collection=collection,
            key=key,
        )

    @property
    def _compares(self) -> bool:
        return Capability.COMPARE_AND_PUT in self.capabilities


def _check_version(version: object) -> None:
    """Raise `InvalidValue` for what no `get_versioned` returned as a version."""
    if type(version) not in (int, ForeignVersion):
        raise InvalidValue(
            "`version` must be an int, the `version` of what get_versioned returned; "
            f"got {type(version).__name__}"
        )
