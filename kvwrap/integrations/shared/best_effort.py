"""A layer for caches that must not take down what they cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kvwrap.errors import CircuitOpen, KvwrapError
from kvwrap.layers.base import Collection, Entry, Expected, Layer

_log = logging.getLogger("kvwrap.integrations")


class BestEffort(Layer):
    """Makes a read that fails a miss, and drops a write or a removal that fails.

    This includes entries that are corrupt or do not decrypt. What fails is logged as a warning
    (logger `kvwrap.integrations`), except while a circuit breaker inside is open. Conditional
    writes and removals, listings and everything else still raise: their results decide something.
    """

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        try:
            return await self.inner.read(collection, keys)
        except KvwrapError as error:
            tell_failure("read, which is a miss", error)
            return [None] * len(keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        try:
            return await self.inner.write(collection, keys, entries, expected)
        except KvwrapError as error:
            if expected is not None:
                raise
            tell_failure("write, which is dropped", error)
            return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        try:
            return await self.inner.remove(collection, keys, expected)
        except KvwrapError as error:
            if expected is not None:
                raise
            tell_failure("removal, which is dropped", error)
            return [False] * len(keys)


def tell_failure(what: str, error: KvwrapError) -> None:
    """Log that a cache goes on without its store, unless a circuit breaker has told so.

    Args:
        what: The operation, and what it is instead, such as "read, which is a miss".
        error: The error of the store.
    """
    if not isinstance(error, CircuitOpen):
        _log.warning("a cache failed a %s: %s: %s", what, type(error).__name__, error)
