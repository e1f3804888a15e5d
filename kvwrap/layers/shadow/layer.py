"""Traffic mirrored to a second store, whose answers are compared."""

from __future__ import annotations

import logging
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import msgspec

from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Measured,
    Passage,
    Store,
    StoreSource,
    checked_count,
    checked_rng,
    checked_seconds,
    checked_share,
    checked_source,
    counter,
    gauge,
    in_slices,
)
from kvwrap.layers.shadow.backlog import Backlog
from kvwrap.layers.shadow.changes import UNCHANGED, Change, Changes
from kvwrap.layers.shadow.difference import Difference, difference_kind
from kvwrap.layers.shared.findings import (
    contextual_below,
    plaintext_second_stores,
    unhashed_second_stores,
)

_log = logging.getLogger("kvwrap.shadow")
_LAST_DIFFERENCES = 100


class ShadowSnapshot(Measured, msgspec.Struct, frozen=True):
    """Counts of a `Shadow` layer since it was put over its store.

    Attributes:
        mirrored: Number of writing calls that the shadow has carried out.
        compared: Number of entries read from both stores.
        differences: Number of entries that differed, by kind.
        last: The last hundred differences, oldest first.
        errors: Number of calls to the shadow that failed, by the error's name.
        dropped: Number of calls not mirrored or compared because the queue was full.
        pending: Number of calls in the queue.
    """

    figures: ClassVar = (
        counter("shadow.mirrored", "{call}", "Writing calls that the shadow has carried out."),
        counter("shadow.compared", "{entry}", "Entries read from both stores."),
        counter("shadow.differences", "{entry}", "Entries that differed, by kind.", "kind"),
        counter("shadow.errors", "{call}", "Failed calls, by error class.", "error"),
        counter("shadow.dropped", "{call}", "Calls dropped since the queue was full."),
        gauge("shadow.pending", "{call}", "Calls in the queue."),
    )
    mirrored: int
    compared: int
    differences: dict[str, int]
    last: tuple[Difference, ...]
    errors: dict[str, int]
    dropped: int
    pending: int


class Shadow(Layer):
    """Mirrors writes to a second store, and compares the results of reads.

    Callers get the inner store's results and never wait for the shadow. Calls to the shadow
    wait in a queue, which one task works off in order. If the queue is full, the newest call is
    dropped and counted. The outcome of a write is uncertain if it failed, or if another write
    to the same key was in progress; the shadow then receives what the inner store has at that
    time. A difference is checked a second time before it is reported, and an entry that still
    changes is not compared.

    Args:
        other: The second store, the shadow.
        sample: The share of reads that are compared, from 0 to 1. Writes are all mirrored.
        on_difference: Called with every `Difference`; without it, differences are logged. An
            error that it raises is logged.
        max_pending: The most calls in the queue.
        shutdown_timeout: Seconds that closing may work off the queue.
        rng: The source of randomness for the sample.

    Raises:
        ConfigurationError: An argument is out of bounds.
    """

    passage = Passage(
        read="is answered by the inner store; the shadow is compared",
        write="goes to the inner store, then to the shadow",
    )
    traits: ClassVar[frozenset[str]] = frozenset({"mirrors"})
    finding_codes = frozenset(
        {
            "cache-inside-shadow",
            "context-lost",
            "plain-keys-in-second-store",
            "plaintext-second-store",
        }
    )

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
            raise ConfigurationError(
                "`on_difference` must be a function that takes a Difference; got "
                f"{type(on_difference).__name__}"
            )
        self._source = checked_source(other, "other")
        self._sample = checked_share(sample, "sample")
        self._on_difference = on_difference
        self._max_pending = checked_count(max_pending, "max_pending")
        self._shutdown_timeout = checked_seconds(shutdown_timeout, "shutdown_timeout", zero=True)
        self._random = checked_rng(rng).random

    def on_bind(self) -> None:
        self._shadow = self.second("shadow", self._source)
        self._backlog = Backlog(self._max_pending, owner=self.name)
        self._changes = Changes()
        self._mirrored = self._compared = 0
        self._differences: Counter[str] = Counter()
        self._last: deque[Difference] = deque(maxlen=_LAST_DIFFERENCES)

    async def setup(self) -> None:
        try:
            await super().setup()
        except KvwrapError as error:
            # The shadow never fails the stack, not even here; its store opens when it can.
            self._backlog.record_failure(error)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Used without being opened: `teardown` is not called, and the queue may have calls.
            await self._backlog.stop(self.clock, self._shutdown_timeout)
        await super().close()

    async def teardown(self) -> None:
        await self._backlog.stop(self.clock, self._shutdown_timeout)
        with suppress(KvwrapError):
            await super().teardown()

    # -- observing and controlling -----------------------------------------------------

    @property
    def idle(self) -> bool:
        """True while no change is in progress, and no call to the shadow is queued or running."""
        return self._backlog.idle and not self._changes

    def snapshot(self) -> ShadowSnapshot:
        """Return the current counts."""
        return ShadowSnapshot(
            self._mirrored,
            self._compared,
            dict(self._differences),
            tuple(self._last),
            dict(self._backlog.errors),
            self._backlog.dropped,
            len(self._backlog),
        )

    def measured(self) -> Iterable[Measured]:
        return (self.snapshot(),)

    async def drain(self) -> None:
        """Wait until the queue is empty and its last call has ended."""
        await self._backlog.drain()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if self._sample and (self._sample == 1 or self._random() < self._sample):
            self._backlog.add(lambda: self._compare(collection, keys, entries))
        return entries

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._track(collection, keys) as change:
            written = await self.inner.write(collection, keys, entries, expected)
            outcomes = [
                entry if succeeded else UNCHANGED
                for entry, succeeded in zip(entries, written, strict=True)
            ]
            await in_slices(change.record, keys, outcomes)
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._track(collection, keys) as change:
            removed = await self.inner.remove(collection, keys, expected)
            outcomes = [
                None if succeeded or expected is None else UNCHANGED for succeeded in removed
            ]
            await in_slices(change.record, keys, outcomes)
        return removed

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        # Only the inner store knows the entries afterwards.
        async with self._track(collection, keys):
            return await self.inner.touch(collection, keys, expires)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        dropped = await self.inner.drop_range(collection, key_range)
        self._enqueue(lambda: self._shadow.drop_range(collection, key_range))
        return dropped

    async def drop(self, collection: Collection) -> bool:
        dropped = await self.inner.drop(collection)
        self._enqueue(lambda: self._shadow.drop(collection))
        return dropped

    async def drop_all(self) -> bool:
        dropped = await self.inner.drop_all()
        self._enqueue(self._shadow.drop_all)
        return dropped

    # -- the queue ---------------------------------------------------------------------

    @asynccontextmanager
    async def _track(self, collection: Collection, keys: Sequence[str]) -> AsyncIterator[Change]:
        """Queue the mirroring of these keys when the block ends, also with an error."""
        change = Change(collection, keys)
        try:
            await self._changes.begin(change)
            yield change
        finally:
            # Queued first: what begins when this change has ended is queued after it.
            if not change.changed_nothing:
                self._backlog.add(lambda: self._mirror_change(change), change.qualified_keys)
            await self._changes.end(change)

    async def _mirror_change(self, change: Change) -> None:
        written: dict[str, Entry] = {}
        removed: list[str] = []
        uncertain: list[str] = []

        def sort(key: str, outcome: object) -> None:
            if isinstance(outcome, Entry):
                written[key] = outcome
            elif outcome is None:
                removed.append(key)
            elif outcome is not UNCHANGED:
                uncertain.append(key)

        await in_slices(lambda key: sort(key, change.outcomes.get(key, ...)), change.keys)
        if uncertain:
            names = uncertain.copy()
            await in_slices(sort, names, await self.inner.read(change.collection, names))
        if written:
            await self._shadow.write(change.collection, list(written), list(written.values()), None)
        if removed:
            await self._shadow.remove(change.collection, removed, None)
        self._mirrored += 1

    def _enqueue(self, call: Callable[[], Awaitable[Any]]) -> None:
        async def mirror() -> None:
            await call()
            self._mirrored += 1

        self._backlog.add(mirror)

    # -- comparing ---------------------------------------------------------------------

    async def _compare(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> None:
        shadowed = await self._shadow.read(collection, keys)
        self._compared += len(keys)
        # An entry that expired while the call waited is rightly gone from the shadow.
        now = self.clock.time()
        kinds = await in_slices(
            lambda entry, shadow: difference_kind(entry, shadow, now), entries, shadowed
        )
        suspects = [
            key
            for key, kind in zip(keys, kinds, strict=True)
            if kind and not self._is_changing(collection, key)
        ]
        if not suspects:
            return
        # Once more, since either may have changed between the two reads.
        entries = await self.inner.read(collection, suspects)
        shadowed = await self._shadow.read(collection, suspects)
        now = self.clock.time()
        for key, entry, shadow in zip(suspects, entries, shadowed, strict=True):
            kind = difference_kind(entry, shadow, now)
            if kind and not self._is_changing(collection, key):
                self._report(Difference(kind, collection, key))

    def _is_changing(self, collection: Collection, key: str) -> bool:
        qualified_key = (collection, key)
        return qualified_key in self._backlog.waiting or qualified_key in self._changes

    def _report(self, difference: Difference) -> None:
        self._differences[difference.kind] += 1
        self._last.append(difference)
        if self._on_difference is None:
            _log.warning(
                "%s: the shadow differs: %s, collection %r, key %r",
                self.name,
                difference.kind,
                difference.collection,
                difference.key,
            )
            return
        try:
            self._on_difference(difference)
        except Exception:
            _log.exception("%s: on_difference failed", self.name)

    # -- findings ----------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from contextual_below(self, below)
        yield from unhashed_second_stores(self, below)
        for layer in below:
            if "caches" in layer.traits:
                yield Finding(
                    "cache-inside-shadow",
                    f"{self.name} compares the entries that {layer.name} holds, not those of the "
                    "backend.",
                    f"Put {layer.name} before {self.name}.",
                )
