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
    Layer,
    MsgpackSerializer,
    Store,
    checked_names,
    checked_ttl,
    codec,
    new_version,
    take,
)


class DefaultValue(Layer):
    """Reads every missing key as if it had this value. Nothing is written for it.

    For a missing key, `get`, `require` and `ttl` return the default, `exists` returns True,
    and `get_or_put` never calls its factory. Enumerations (`keys`, `scan`, `items`) return
    only what is stored. `delete` and `expire` return False, and `put_if_absent` puts.
    `increment` and `compare_and_put` begin from the default, atomically.

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

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if None not in entries or not self._applies_to(collection):
            return entries
        now = self.clock.time()
        expires_at = None if self._ttl is None else now + self._ttl
        default = Entry(self._body, self._codec, now, expires_at, self._version)
        return [default if entry is None else entry for entry in entries]

    def _applies_to(self, collection: Collection) -> bool:
        return self._collections is None or collection in self._collections

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
        return self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is None or self._version not in expected:
            return await self.inner.remove(collection, keys, expected)
        # `pop` or `move` of a default, which could be read, so True. Nothing is stored for it.
        stored = [index for index, version in enumerate(expected) if version != self._version]
        removed = [True] * len(keys)
        if stored:
            results = await self.inner.remove(
                collection, take(keys, stored), take(expected, stored)
            )
            for index, result in zip(stored, results, strict=True):
                removed[index] = result
        return removed

    # `remove` differs for a default only, and no default is in a range.
    drop_range = Layer.drop_range

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
