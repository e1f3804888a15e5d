"""A value for what is missing."""

from __future__ import annotations

import random
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
)


class DefaultValue(Layer):
    """A key without a value reads as if this value were there. Nothing is written for it.

    So `get`, `require` and `ttl` give the default and `exists` says True for every key,
    and `get_or_put` never calls its factory. What is enumerated (`keys`, `scan`, `items`)
    is only what is stored, `delete` and `expire` say False for what is not, and
    `put_if_absent` puts. `increment` and `compare_and_put` begin from the default, atomically.

    Args:
        value: The default: a JSON value, or one that MessagePack holds besides.
        collections: The collections whose keys it is for, `None` among them for the default
            one; all if left out.
        ttl: The seconds left that `ttl` tells for it, counted anew at every read; `None` is
            never. Caches outside go by it.

    Raises:
        ConfigurationError: `collections` is no sequence of names.
        SerializationError: Neither JSON nor MessagePack can bring the value back as it is.
    """

    traits = frozenset({"defaults"})

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
                raise ConfigurationError("a default for no collection at all would never be read")
        # In bytes from the start: what a caller does to one default changes no other.
        try:
            self._body, self._codec = JSON.dumps(value), codec.JSON
        except SerializationError:
            self._body, self._codec = MsgpackSerializer().dumps(value), codec.MSGPACK
        self._ttl = None if ttl is None else checked_ttl(ttl)
        self._version = random.getrandbits(64)

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await self.inner.read(collection, keys)
        if None not in found or not self._applies_to(collection):
            return found
        now = self.clock.time()
        end = None if self._ttl is None else now + self._ttl
        default = Entry(self._body, self._codec, now, end, self._version)
        return [default if entry is None else entry for entry in found]

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
            # Who has read the default expects it; inside, there is nothing.
            expected = [ABSENT if version == self._version else version for version in expected]
        return self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is None or self._version not in expected:
            return await self.inner.remove(collection, keys, expected)
        # `pop` and `move` of a default: it was there to read, and there is nothing to take away.
        real = [place for place, version in enumerate(expected) if version != self._version]
        removed = [True] * len(keys)
        if real:
            answers = await self.inner.remove(
                collection, [keys[place] for place in real], [expected[place] for place in real]
            )
            for place, answer in zip(real, answers, strict=True):
                removed[place] = answer
        return removed

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        for layer in above:
            if "encrypts" in layer.traits:
                yield Finding(
                    "default-inside-encryption",
                    f"DefaultValue stands inside {layer.name}, which refuses the default, since it "
                    "is not encrypted: every missing key would be an error.",
                    "Put .default_value() before .encrypt().",
                    fatal=True,
                )
        if any("caches" in layer.traits for layer in above):
            yield Finding(
                "default-inside-cache",
                "DefaultValue stands inside a cache, which keeps the default as if it had been "
                "put, and goes on serving it when another process puts a value.",
                "Put .default_value() before the cache.",
            )
        if any("spreads" in layer.traits or "mirrors" in layer.traits for layer in above):
            yield Finding(
                "default-inside-copies",
                "DefaultValue stands inside a layer that compares or repairs copies, and the "
                "default would count as an entry that the others lack.",
                "Put .default_value() before it.",
            )
