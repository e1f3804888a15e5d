"""The second half of the store interface: what is more than one get or put."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from kvwrap.core.basic import BasicMethods
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict, touch_by_writing
from kvwrap.core.primitives import ABSENT, Collection
from kvwrap.core.ttl import TTL, expiry
from kvwrap.core.validation import checked_collection, checked_key
from kvwrap.errors import InvalidValue, KeyNotFound


class Versioned(NamedTuple):
    """A value, and the version under which `compare_and_put` may replace it."""

    value: Any
    version: int


class AtomicMethods(BasicMethods):
    """Methods that rest on conditional writes, and small ones beside them.

    Those called atomic need `Capability.COMPARE_AND_PUT` and raise `UnsupportedOperation`
    without it. They read, compute, and write if nothing came between, again and again
    until it holds; tasks of one process take turns, so that only processes contend.
    """

    capabilities: Capabilities = frozenset()
    """What this store can do beyond get, put and delete; what is not in it is unsupported."""
    _locks: KeyedLocks

    async def exists(self, key: str, *, collection: str | None = None) -> bool:
        """Whether there is a value, be it `None`."""
        collection = checked_collection(collection)
        return await self._one(collection, checked_key(key)) is not None

    async def require(self, key: str, *, collection: str | None = None) -> Any:
        """The value; raises `KeyNotFound` where there is none."""
        collection, key = checked_collection(collection), checked_key(key)
        entry = await self._one(collection, key)
        if entry is None:
            raise KeyNotFound("there is no value", store=self.name, collection=collection, key=key)
        return self._value(entry, collection, key)

    async def pop(self, key: str, default: Any = None, *, collection: str | None = None) -> Any:
        """Take the value away and give it back, or `default` where there is none.

        With `Capability.COMPARE_AND_PUT` one of several callers gets a value, and a value
        put meanwhile is not lost; without it, both are a matter of luck.
        """
        collection, key = checked_collection(collection), checked_key(key)
        for attempt in ATTEMPTS:
            await backoff(attempt)
            entry = await self._one(collection, key)
            if entry is None:
                return default
            value = self._value(entry, collection, key)  # before what cannot be read is gone
            expected = [entry.version] if self._compares else None
            if (await self.remove(collection, (key,), expected))[0]:
                return value
            if expected is None:
                return default
        raise conflict(self.name, collection, key)

    async def put_if_absent(
        self, key: str, value: Any, *, collection: str | None = None, ttl: TTL | None = None
    ) -> bool:
        """Put the value where there is none, atomically; whether it was put."""
        collection, key = checked_collection(collection), checked_key(key)
        now = self.clock.time()
        entry = self._entry(value, expiry(now, ttl), now, collection, key)
        return (await self.write(collection, (key,), (entry,), (ABSENT,)))[0]

    async def get_versioned(self, key: str, *, collection: str | None = None) -> Versioned | None:
        """The value with its version, or `None` where there is none."""
        collection, key = checked_collection(collection), checked_key(key)
        entry = await self._one(collection, key)
        if entry is None:
            return None
        return Versioned(self._value(entry, collection, key), entry.version)

    async def compare_and_put(
        self,
        key: str,
        value: Any,
        version: int,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> bool:
        """Replace the value that had this version, atomically; whether it was still there.

        Args:
            version: From `get_versioned`, of the same key.
        """
        if type(version) is not int:
            raise InvalidValue(f"a version is what get_versioned gave, not {version!r}")
        collection, key = checked_collection(collection), checked_key(key)
        now = self.clock.time()
        entry = self._entry(value, expiry(now, ttl), now, collection, key)
        return (await self.write(collection, (key,), (entry,), (version,)))[0]

    async def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        collection: str | None = None,
        initial: int = 0,
        ttl: TTL | None = None,
    ) -> int:
        """Add `delta` to the integer under the key, atomically, and give back the sum.

        Where there is none, `initial` is added to, and the entry made lives for `ttl`;
        one that is there keeps its own end.

        Raises:
            InvalidValue: The value there is not an integer.
        """
        collection, key = checked_collection(collection), checked_key(key)
        if type(delta) is not int or type(initial) is not int:
            raise InvalidValue("delta and initial are integers", collection=collection, key=key)
        checked_end = expiry(self.clock.time(), ttl)
        async with self._locks.hold((collection, key)):
            for attempt in ATTEMPTS:
                await backoff(attempt)
                found = await self._one(collection, key)
                now = self.clock.time()
                if found is None:
                    total = initial + delta
                    entry = self._entry(total, checked_end, now, collection, key)
                else:
                    count = self._value(found, collection, key)
                    if type(count) is not int:
                        raise InvalidValue(
                            f"only integers are incremented, not {type(count).__name__}",
                            store=self.name,
                            collection=collection,
                            key=key,
                        )
                    total = count + delta
                    entry = self._entry(total, found.expires_at, now, collection, key)
                expected = ABSENT if found is None else found.version
                if (await self.write(collection, (key,), (entry,), (expected,)))[0]:
                    return total
        raise conflict(self.name, collection, key)

    async def expire(self, key: str, ttl: TTL | None, *, collection: str | None = None) -> bool:
        """Give the entry a new ttl, counted from now, `None` for never; whether there was one."""
        collection, key = checked_collection(collection), checked_key(key)
        return (await self.touch(collection, (key,), (expiry(self.clock.time(), ttl),)))[0]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """The primitive, by reading and writing, for stores that have nothing better.

        Where the store cannot compare versions, a write that comes between is lost.
        """
        return await touch_by_writing(self, collection, keys, expires, _renewed, owner=self.name)

    async def move(
        self,
        source: str,
        target: str,
        *,
        collection: str | None = None,
        target_collection: str | None = None,
    ) -> bool:
        """Put the value of `source` under `target`, with its ttl, and take `source` away.

        What was under `target` is replaced. The target is written first, so an
        interruption leaves both, never neither. `target_collection` is `collection` if
        left out. Returns whether there was a source.
        """
        collection = checked_collection(collection)
        there = (
            checked_collection(target_collection) if target_collection is not None else collection
        )
        source, target = checked_key(source), checked_key(target)
        if (source, collection) == (target, there):
            return await self._one(collection, source) is not None
        for attempt in ATTEMPTS:
            await backoff(attempt)
            found = await self._one(collection, source)
            if found is None:
                return False
            value = self._value(found, collection, source)
            entry = self._entry(value, found.expires_at, self.clock.time(), there, target)
            await self.write(there, (target,), (entry,))
            expected = [found.version] if self._compares else None
            if (await self.remove(collection, (source,), expected))[0] or expected is None:
                return True
        raise conflict(self.name, collection, source)

    async def get_or_put(
        self,
        key: str,
        factory: Callable[[], Awaitable[Any] | Any],
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
    ) -> Any:
        """The value, or the factory's, put for `ttl` seconds; one factory call at a time.

        The factory may be async. If it raises, nothing is put, the caller gets the error,
        and the next one waiting calls it again.
        """
        collection, key = checked_collection(collection), checked_key(key)
        expiry(0.0, ttl)
        entry = await self._one(collection, key)
        if entry is None:
            async with self._locks.hold((collection, key)):
                entry = await self._one(collection, key)
                if entry is None:
                    made = factory()
                    value = await made if isinstance(made, Awaitable) else made
                    now = self.clock.time()
                    entry = self._entry(value, expiry(now, ttl), now, collection, key)
                    await self.write(collection, (key,), (entry,))
        return self._value(entry, collection, key)

    @property
    def _compares(self) -> bool:
        return Capability.COMPARE_AND_PUT in self.capabilities


def _renewed(entry: Entry, expires_at: float | None) -> Entry:
    return entry.with_expiry(expires_at, random.getrandbits(64))
