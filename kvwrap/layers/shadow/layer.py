"""Traffic mirrored to a second store, and what that store answers differently."""

from __future__ import annotations

import logging
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import msgspec

from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    Layer,
    Store,
    StoreSource,
    checked_count,
    checked_rng,
    checked_seconds,
    checked_share,
    checked_source,
)
from kvwrap.layers.shadow.backlog import Backlog
from kvwrap.layers.shadow.changes import AS_IT_WAS, Change, Changes
from kvwrap.layers.shadow.difference import Difference, difference
from kvwrap.layers.shared.findings import plaintext_second_stores

_log = logging.getLogger("kvwrap.shadow")
_KEPT = 100


class ShadowSnapshot(msgspec.Struct, frozen=True):
    """What a `Shadow` layer has met since it was made.

    Attributes:
        mirrored: Writing calls that the shadow has carried out.
        compared: Entries read from both stores.
        differences: How many of them differed, by kind.
        last: The last hundred that did.
        errors: Calls that the shadow failed at, by the error's name.
        dropped: Calls not mirrored or compared because too many were waiting.
        pending: Calls that wait.
    """

    mirrored: int
    compared: int
    differences: dict[str, int]
    last: tuple[Difference, ...]
    errors: dict[str, int]
    dropped: int
    pending: int


class Shadow(Layer):
    """Does in a second store what was done in the inner one, and compares what reads give.

    Callers get the inner store's answer and never wait for the shadow: what is to be done
    there waits in a queue, which one task works off in its order. If the queue is full, the
    newest call is dropped and counted. Where it is not sure what a write has left in the
    inner store, because it failed or another one to the same key was under way, the shadow
    is given what the inner store has then. A difference is looked at again before it is
    reported, and an entry that still changes is not compared.

    Args:
        other: The second store, the shadow.
        sample: The share of reads that are compared, from 0 to 1. Writes are all mirrored.
        on_difference: Called with every `Difference`; they are logged if left out. What it
            raises is logged.
        max_pending: The most calls that wait.
        close_within: How long closing may work off the queue, seconds.
        rng: Where the randomness of the sample comes from.

    Raises:
        ConfigurationError: An argument is out of bounds.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"mirrors"})
    finding_codes = frozenset({"cache-inside-shadow", "plaintext-second-store"})

    def __init__(
        self,
        other: StoreSource,
        *,
        sample: float = 1.0,
        on_difference: Callable[[Difference], object] | None = None,
        max_pending: int = 1000,
        shutdown_timeout: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        if on_difference is not None and not callable(on_difference):
            raise ConfigurationError("on_difference is called with every difference")
        self._source = checked_source(other, "other")
        self._sample = checked_share(sample, "sample")
        self._report = on_difference
        self._max_pending = checked_count(max_pending, "max_pending")
        self._shutdown_timeout = checked_seconds(shutdown_timeout, "shutdown_timeout", zero=True)
        self._random = checked_rng(rng).random

    def on_bind(self) -> None:
        self._shadow = self.second("shadow", self._source)
        self._backlog = Backlog(self._max_pending, owner=self.name)
        self._changes = Changes()
        self._mirrored = self._compared = 0
        self._differences: Counter[str] = Counter()
        self._last: deque[Difference] = deque(maxlen=_KEPT)

    async def setup(self) -> None:
        try:
            await super().setup()
        except KvwrapError as error:
            # The shadow is never in the way, not even here; its store opens when it can.
            self._backlog.failed(error)

    async def teardown(self) -> None:
        await self._backlog.stop(self.clock, self._shutdown_timeout)
        with suppress(KvwrapError):
            await super().teardown()

    # -- for those who watch it --------------------------------------------------------

    def snapshot(self) -> ShadowSnapshot:
        """Counts, as they are now."""
        return ShadowSnapshot(
            self._mirrored,
            self._compared,
            dict(self._differences),
            tuple(self._last),
            dict(self._backlog.errors),
            self._backlog.dropped,
            len(self._backlog),
        )

    async def drain(self) -> None:
        """Wait until nothing waits any more."""
        await self._backlog.drain()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await self.inner.read(collection, keys)
        if self._sample and (self._sample == 1 or self._random() < self._sample):
            self._backlog.add(lambda: self._compare(collection, keys, found))
        return found

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        with self._changing(collection, keys) as change:
            written = await self.inner.write(collection, keys, entries, expected)
            for key, entry, done in zip(keys, entries, written, strict=True):
                change.to(key, entry if done else AS_IT_WAS)
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        with self._changing(collection, keys) as change:
            removed = await self.inner.remove(collection, keys, expected)
            for key, done in zip(keys, removed, strict=True):
                change.to(key, None if done or expected is None else AS_IT_WAS)
        return removed

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        # What it leaves is known to the inner store alone.
        with self._changing(collection, keys):
            return await self.inner.touch(collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        dropped = await self.inner.drop(collection)
        self._mirror(lambda: self._shadow.drop(collection))
        return dropped

    async def drop_all(self) -> bool:
        dropped = await self.inner.drop_all()
        self._mirror(self._shadow.drop_all)
        return dropped

    # -- the queue ---------------------------------------------------------------------

    @contextmanager
    def _changing(self, collection: Collection, keys: Sequence[str]) -> Iterator[Change]:
        """Mirror what becomes of these keys when the block ends, however it ends."""
        change = self._changes.begin(collection, keys)
        try:
            yield change
        finally:
            self._changes.end(change)
            if not change.left_all:
                self._backlog.add(lambda: self._carry_out(change), change.qualified_keys)

    async def _carry_out(self, change: Change) -> None:
        left = dict(change.left)
        unknown = [key for key in change.keys if key not in left]
        if unknown:
            found = await self.inner.read(change.collection, unknown)
            left.update(zip(unknown, found, strict=True))
        entries = {key: entry for key, entry in left.items() if isinstance(entry, Entry)}
        gone = [key for key, entry in left.items() if entry is None]
        if entries:
            names, copies = list(entries), list(entries.values())
            await self._shadow.write(change.collection, names, copies, None)
        if gone:
            await self._shadow.remove(change.collection, gone, None)
        self._mirrored += 1

    def _mirror(self, call: Callable[[], Awaitable[Any]]) -> None:
        async def mirrored() -> None:
            await call()
            self._mirrored += 1

        self._backlog.add(mirrored)

    # -- comparing ---------------------------------------------------------------------

    async def _compare(
        self, collection: Collection, keys: Sequence[str], found: Sequence[Entry | None]
    ) -> None:
        mirrored = await self._shadow.read(collection, keys)
        self._compared += len(keys)
        # What expired while the call waited is not in the shadow any more, and rightly so.
        now = self.clock.time()
        doubtful = [
            key
            for key, one, other in zip(keys, found, mirrored, strict=True)
            if difference(one, other, now) and not self._is_changing(collection, key)
        ]
        if not doubtful:
            return
        # Once more, since either may have changed between the two reads.
        found = await self.inner.read(collection, doubtful)
        mirrored = await self._shadow.read(collection, doubtful)
        now = self.clock.time()
        for key, one, other in zip(doubtful, found, mirrored, strict=True):
            kind = difference(one, other, now)
            if kind and not self._is_changing(collection, key):
                self._tell(Difference(kind, collection, key))

    def _is_changing(self, collection: Collection, key: str) -> bool:
        qualified = (collection, key)
        return qualified in self._backlog.waiting or qualified in self._changes

    def _tell(self, found: Difference) -> None:
        self._differences[found.kind] += 1
        self._last.append(found)
        if self._report is None:
            _log.warning(
                "%s: the shadow differs: %s, collection %r, key %r",
                self.name,
                found.kind,
                found.collection,
                found.key,
            )
            return
        try:
            self._report(found)
        except Exception:
            _log.exception("%s: on_difference failed", self.name)

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        for layer in below:
            if "caches" in layer.traits:
                yield Finding(
                    "cache-inside-shadow",
                    f"{self.name} compares what {layer.name} remembers, and not what the "
                    "backend has.",
                    f"Put {layer.name} before {self.name}.",
                )
