"""A second store that answers while the inner one is unavailable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal, Self

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Capabilities,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Listener,
    Measured,
    Origin,
    Page,
    Scope,
    Store,
    StoreSource,
    Subscription,
    checked_count,
    checked_seconds,
    checked_source,
)
from kvwrap.layers.fallback.copies import CopyWrites
from kvwrap.layers.fallback.journaled import JournalWrites
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.fallback.outage import OutageJournal
from kvwrap.layers.fallback.policies import RefuseWrites
from kvwrap.layers.fallback.snapshot import FallbackSnapshot
from kvwrap.layers.shared.findings import (
    contextual_below,
    plaintext_second_stores,
    unhashed_second_stores,
)
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.journal.checks import checked_path, journal_findings


class Fallback(Layer):
    """Reads from another store when the inner one raises `StoreUnavailable`.

    After `failures` such errors in a row, the inner store is not called for `open_for` seconds,
    so that an outage does not cost a timeout per call. Then one call tries it again. An error
    about an entry (`CorruptEntry`, for example) is raised and never hidden by a fallback.

    The argument `writes` decides about writes:

    - `"refuse"`: they go to the inner store alone, and raise in an outage.
    - `"both"`: a write that the inner store has carried out is copied to the other store, which
      stays up to date that way. In an outage writes raise. The inner store alone acknowledges
      a write: a copy that fails is counted and logged.
    - `"journal"`: as `"both"`, and in an outage a journal on the local disk acknowledges puts
      and deletes. Reads see them. When the inner store is available again, they are replayed
      in order, of several changes of one key only the newest. Until all have been sent,
      further writes queue behind them. Operations that depend on the inner store's state
      (conditional writes, `expire`, `destroy`) raise in an outage.

    Args:
        other: The other store.
        writes: The mode of writes, see above.
        journal: The journal's file, with `writes="journal"`; for one stack in one process.
        failures: The number of failures in a row after which the inner store is not called.
        open_for: Seconds for which it is not called.
        recovery_delay: Seconds that the inner store must be available again before the journal
            is replayed.
        max_pending: The most changes in the journal; further writes raise `StoreFull`.

    Raises:
        ConfigurationError: An argument is out of bounds, or only one of `journal` and
            `writes="journal"` is given.
    """

    passage = RefuseWrites.passage
    traits: ClassVar[frozenset[str]] = frozenset({"falls_back"})
    finding_codes = frozenset(
        {
            "cache-inside-fallback",
            "context-lost",
            "lock-over-fallback",
            "plain-keys-in-journal",
            "plain-keys-in-second-store",
            "plaintext-journal",
            "plaintext-second-store",
            "retry-outside-fallback",
            "two-journals",
        }
    )

    def __init__(
        self,
        other: StoreSource,
        *,
        writes: Literal["refuse", "both", "journal"] = "refuse",
        journal: str | os.PathLike[str] | None = None,
        failures: int = 3,
        open_for: float = 10.0,
        recovery_delay: float = 1.0,
        max_pending: int = 100_000,
    ) -> None:
        if writes not in ("refuse", "both", "journal"):
            raise ConfigurationError(
                f"`writes` must be 'refuse', 'both' or 'journal'; got {writes!r}"
            )
        if writes == "journal" and journal is None:
            raise ConfigurationError(
                "writes='journal' needs a file; add journal='outage.journal' (any path)"
            )
        if writes != "journal" and journal is not None:
            raise ConfigurationError(
                f"`journal` is used only with writes='journal'; got writes={writes!r}: change "
                "`writes`, or leave `journal` out"
            )
        self._source = checked_source(other, "other")
        self._writes = writes
        self._path = None if journal is None else checked_path(journal)
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")
        self._recovery_delay = checked_seconds(recovery_delay, "recovery_delay", zero=True)
        self._max_pending = checked_count(max_pending, "max_pending")
        if writes != "refuse":
            self.passage = (CopyWrites if writes == "both" else JournalWrites).passage
        if self._path is not None:
            self.traits = self.traits | {"journals"}  # type: ignore[misc]  # of this instance

    def on_bind(self) -> None:
        self._policy = self._new_policy(self.second("fallback", self._source))

    def _new_policy(self, other: Store) -> RefuseWrites:
        new_guard = partial(
            Guard, self.clock, failures=self._failures, open_for=self._open_for, owner=self.name
        )
        guard = new_guard(role="inner store")
        if self._writes == "refuse":
            return RefuseWrites(self.inner, guard, other, owner=self.name)
        # The other store has a breaker too, so that its outage costs no timeout per write.
        mirror = Mirror(other, new_guard(role="fallback"), owner=self.name)
        if self._path is None:
            return CopyWrites(self.inner, guard, mirror, owner=self.name)
        outage = OutageJournal(
            self._path,
            guard,
            self.inner,
            other,
            self.clock,
            owner=self.name,
            pause=self._open_for,
            recovery_delay=self._recovery_delay,
            max_pending=self._max_pending,
        )
        return JournalWrites(self.inner, guard, mirror, outage, self.ready, owner=self.name)

    def beside(self) -> Self:
        if self._path is None:
            return self
        # What waits in the journal is the application's to send.
        return type(self)(
            self._source, writes="both", failures=self._failures, open_for=self._open_for
        )

    async def setup(self) -> None:
        await super().setup()
        try:
            await self._policy.open()
        except BaseException:
            await super().teardown()
            raise

    async def teardown(self) -> None:
        try:
            await self._policy.close()
        finally:
            await super().teardown()

    # -- observing and controlling -----------------------------------------------------

    @property
    def idle(self) -> bool:
        """True while no write is in progress, and no accepted change is being sent."""
        return self._policy.idle

    def snapshot(self) -> FallbackSnapshot:
        """Return the current counts."""
        return self._policy.snapshot()

    def measured(self) -> Iterable[Measured]:
        return self._policy.measured()

    async def flush(self) -> None:
        """Send the changes accepted in an outage now.

        Raises:
            StoreUnavailable: The inner store does not answer; the changes stay pending.
        """
        await self._policy.flush()

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of the inner store; both stores must support `destroy` if both get it."""
        return self._policy.capabilities

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._policy.read(collection, keys)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self._policy.list_keys(collection, key_range, cursor)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._policy.count_range(collection, key_range)

    async def list_collections(self) -> list[Collection]:
        return await self._policy.list_collections()

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._policy.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._policy.remove(collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._policy.touch(collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        return await self._policy.drop(collection)

    async def drop_all(self) -> bool:
        return await self._policy.drop_all()

    async def sweep(self) -> None:
        await self._policy.sweep()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return await self._policy.subscribe(scope, listener, self.clock)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        return self._policy.trace(collection, key)

    # -- findings and notes ------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        yield from contextual_below(self, below)
        yield from unhashed_second_stores(self, below)
        if self._path is not None:
            yield from journal_findings(self, self._path, below)
        for layer in above:
            if layer.traits & {"retries", "breaks"}:
                yield Finding(
                    "retry-outside-fallback",
                    f"{layer.name} outside {self.name} sees no failure that the fallback handles; "
                    "it repeats or counts only what both stores refused.",
                    f"Put {layer.name} after {self.name}.",
                )
        for layer in below:
            if "caches" in layer.traits:
                yield Finding(
                    "cache-inside-fallback",
                    f"Hits of {layer.name} count as answers of the backend, so {self.name} "
                    "notices an outage late.",
                    f"Put {layer.name} before {self.name}.",
                )

    def notes(self) -> Iterable[str]:
        yield (
            f"in an outage, and for up to {self._open_for:g} s after it, reads come from the "
            "fallback, which "
            + (
                "something else must keep up to date"
                if self._writes == "refuse"
                else "has what this process wrote and nothing of other processes"
            )
        )
        if self._path is not None:
            yield (
                "a write in an outage is acknowledged when it is in the journal; other processes "
                "see it when it is sent"
            )
