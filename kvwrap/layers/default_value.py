"""Return a default value for missing keys."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from kvwrap.errors import ConfigurationError, SerializationError
from kvwrap.layers.base import (
    ABSENT,
    JSON,
    TTL,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    MsgpackSerializer,
    Page,
    Passage,
    Primitives,
    Store,
    UserView,
    checked_names,
    checked_ttl,
    codec,
    is_reserved,
    is_stale,
    new_version,
    stale_part,
    take,
)


class DefaultValue(Layer):
    """Reads every missing key as if it had this value. Nothing is written for it.

    For a missing key, `get`, `require` and `ttl` return the default, `exists` returns True,
    and `get_or_put` never calls its factory. Enumerations (`keys`, `scan`, `items`) return
    only what is stored. `delete` and `expire` return False, and `put_if_absent` puts.
    `increment` and `compare_and_put` begin from the default, atomically.

    A stale value (`get_or_put(stale_ttl=...)`) is missing here for all methods, `get_or_put`
    included: the default replaces it.

    Args:
        value: The default: a JSON value, or one that only MessagePack supports.
        collections: The collections that it applies to; `None` among them is the default
            collection. By default all collections.
        ttl: The remaining seconds (or a `timedelta`) that `ttl` reports for the default, the
            same at every read; `None` is no expiry. Caches outside use it.

    Raises:
        ConfigurationError: `collections` is not a sequence of names.
        SerializationError: Neither JSON nor MessagePack restores the value unchanged.
    """

    passage = Passage(read="returns the default for a missing key", write="passes unchanged")
    traits = frozenset({"defaults"})
    finding_codes = frozenset(
        {"default-inside-cache", "default-inside-copies", "default-inside-encryption"}
    )

    def __init__(
        self,
        value: Any,
        *,
        collections: Sequence[str | None] | None = None,
        ttl: TTL | None = None,
    ) -> None:
        self._collections = None
        if collections is not None:
            self._collections = frozenset(checked_names(collections, "collections", default=True))
            if not self._collections:
                raise ConfigurationError(
                    "`collections` must have at least one name; got none. Omit it to apply the "
                    "default to all collections"
                )
        # Kept as bytes, so that a caller who changes one default changes no other.
        try:
            self._body, self._codec = JSON.dumps(value), codec.JSON
        except SerializationError:
            self._body, self._codec = MsgpackSerializer().dumps(value), codec.MSGPACK
        self._ttl = None if ttl is None else checked_ttl(ttl)
        self._version = new_version()
        self._keeps_stale = False

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if not self._applies_to(collection):
            return entries
        now = self.clock.time()
        if self._note_stale_parts(entries):
            entries = [
                None if entry is not None and is_stale(entry, now) else entry for entry in entries
            ]
        if None not in entries:
            return entries
        expires_at = None if self._ttl is None else now + self._ttl
        default = Entry(self._body, self._codec, now, expires_at, self._version)
        return [default if entry is None else entry for entry in entries]

    def _applies_to(self, collection: Collection) -> bool:
        if self._collections is None:
            return not is_reserved(collection)
        return collection in self._collections

    def _note_stale_parts(self, entries: Iterable[Entry | None]) -> bool:
        """Return True if one of the entries has a stale part, and remember that there are such."""
        for entry in entries:
            if entry is not None and len(entry.codec) > 1 and stale_part(entry.codec):
                self._keeps_stale = True
                return True
        return False

    def _view(self, collection: Collection) -> Primitives:
        """Return `inner` without stale entries: users read the default in their place.

        Looking for them costs reads. So it is done only once there may be some.
        """
        applies = self._keeps_stale and self._applies_to(collection)
        return UserView(self.inner) if applies else self.inner

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        if expected is not None:
            # A caller that read the default expects its version. Inside, the key is absent. The
            # default itself, with another expiry, is not stored.
            expected = [
                ABSENT if version == self._version != entry.version else version
                for version, entry in zip(expected, entries, strict=True)
            ]
        if self._applies_to(collection):
            self._note_stale_parts(entries)
            if expected is not None and ABSENT in expected:
                # It reads only if it is refused, so it may always look for a stale entry.
                return UserView(self.inner).write(collection, keys, entries, expected)
        return self._view(collection).write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is None or self._version not in expected:
            return await self._view(collection).remove(collection, keys, expected)
        # `pop` or `move` of a default, which could be read, so True. Nothing is stored for it.
        stored = [index for index, version in enumerate(expected) if version != self._version]
        removed = [True] * len(keys)
        if stored:
            results = await self._view(collection).remove(
                collection, take(keys, stored), take(expected, stored)
            )
            for index, result in zip(stored, results, strict=True):
                removed[index] = result
        return removed

    # These differ for stale entries only.

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        return self._view(collection).touch(collection, keys, expires)

    def list_keys(
        self, collection: Collection, key_range: KeyRange, cursor: object
    ) -> Coroutine[Any, Any, Page]:
        return self._view(collection).list_keys(collection, key_range, cursor)

    def count_range(self, collection: Collection, key_range: KeyRange) -> Coroutine[Any, Any, int]:
        return self._view(collection).count_range(collection, key_range)

    def drop_range(self, collection: Collection, key_range: KeyRange) -> Coroutine[Any, Any, int]:
        return self._view(collection).drop_range(collection, key_range)

    def drop(self, collection: Collection) -> Coroutine[Any, Any, bool]:
        return self._view(collection).drop(collection)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        for layer in above:
            if "encrypts" in layer.traits:
                yield Finding(
                    "default-inside-encryption",
                    f"DefaultValue is inside {layer.name}, and the default is not encrypted, so "
                    "every missing key would raise an error.",
                    "Put .default_value() before .encrypt().",
                    fatal=True,
                )
        if any("caches" in layer.traits for layer in above):
            yield Finding(
                "default-inside-cache",
                "DefaultValue is inside a cache. The cache keeps the default as if it had been "
                "put, and serves it after another process has put a value.",
                "Put .default_value() before the cache.",
            )
        if any("spreads" in layer.traits or "mirrors" in layer.traits for layer in above):
            yield Finding(
                "default-inside-copies",
                "DefaultValue is inside a layer that compares or repairs copies. The default "
                "looks like an entry that the other stores lack.",
                "Put .default_value() before that layer.",
            )
