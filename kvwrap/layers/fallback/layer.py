"""Another store while the inner one is out of reach."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import ClassVar, Literal

import msgspec

from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyedLocks,
    KeyRange,
    Layer,
    Page,
    Store,
    StoreSource,
    checked_count,
    checked_seconds,
    checked_source,
    first_of_each,
    succeeded_flags,
)
from kvwrap.layers.fallback.failover import Failover
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.fallback.outage import OutageJournal
from kvwrap.layers.shared.breaker import BreakerState
from kvwrap.layers.shared.findings import plaintext_second_stores
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.journal.checks import checked_path, journal_findings

_DROPPING = {Capability.DESTROY, Capability.DESTROY_COLLECTION}


class FallbackSnapshot(msgspec.Struct, frozen=True):
    """What a `Fallback` layer has done since it was made.

    Attributes:
        state: The circuit breaker's state: `open` or `half_open` in an outage.
        outages: How often the breaker has opened.
        served: Keys read, and pages and lists of names, that the other store answered.
        missed: Copies that the other store did not take (`writes="both"` and `"journal"`).
        pending: Changes accepted in an outage and not sent to the inner store yet.
        replayed: Changes accepted in an outage and sent since.
        refused: Changes accepted in an outage that the inner store refused afterwards.
    """

    state: BreakerState
    outages: int
    fallback_reads: int
    copy_failures: int
    pending: int = 0
    replayed: int = 0
    refused: int = 0


class Fallback(Layer):
    """Reads from another store when the inner one raises `StoreUnavailable`.

    After `failures` of them in a row the inner store is left alone for `open_for` seconds,
    then one call tries it again; so an outage does not cost a timeout per call. An error
    that says something of an entry (`CorruptEntry`, say) is never fallen back from.

    What becomes of writes:

    - `"refuse"`: they go to the inner store alone, and raise in an outage.
    - `"both"`: a write that the inner store has carried out is copied to the other, which
      so keeps up. In an outage they raise. The acknowledgement is the inner store's: a copy
      that fails is counted and logged.
    - `"journal"`: as `"both"`, and in an outage puts and deletes are acknowledged by a
      journal on the local disk and seen by reads. When the inner store is back, they are
      sent to it in their order, of several to one key the newest; until all have been
      sent, further writes queue behind them. What depends on the inner store's state
      (conditional writes, `expire`, `destroy`) raises in an outage.

    Args:
        other: The other store.
        writes: See above.
        journal: The journal's file, with `"journal"`; for this stack in this process alone.
        failures: After how many failures in a row the inner store is left alone.
        open_for: For how long, seconds.
        barrier: How long the inner store must have been back before the journal is sent,
            seconds.
        max_pending: The most changes in the journal; beyond, writes raise `StoreFull`.

    Raises:
        ConfigurationError: An argument is out of bounds, or there is a journal without
            `writes="journal"` or the other way round.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"falls_back"})

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
            raise ConfigurationError(f"writes is 'refuse', 'both' or 'journal', not {writes!r}")
        if (journal is None) == (writes == "journal"):
            raise ConfigurationError("writes='journal' and journal='a file' belong together")
        self._source = checked_source(other, "other")
        self._copies = writes != "refuse"
        self._path = None if journal is None else checked_path(journal)
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")
        self._recovery_delay = checked_seconds(recovery_delay, "recovery_delay", zero=True)
        self._max_pending = checked_count(max_pending, "max_pending")
        if self._path is not None:
            self.traits = self.traits | {"journals"}  # type: ignore[misc]  # of this one

    def on_bind(self) -> None:
        self._other = self.second("fallback", self._source)
        self._asking = self._guard("inner store")
        self._order = KeyedLocks()
        # Another store that is down must not cost a timeout per write either.
        self._copying: Mirror | None = None
        if self._copies:
            self._copying = Mirror(self._other, self._guard("fallback"), owner=self.name)
        self._call = self._asking.call
        self._either = Failover(self.inner, self._asking, self._other, owner=self.name)
        self._outage: OutageJournal | None = None
        if self._path is not None:
            self._outage = OutageJournal(
                self._path,
                self._asking,
                self.inner,
                self._other,
                self.clock,
                owner=self.name,
                pause=self._open_for,
                recovery_delay=self._recovery_delay,
                max_pending=self._max_pending,
            )

    def _guard(self, role: str) -> Guard:
        return Guard(
            self.clock,
            failures=self._failures,
            open_for=self._open_for,
            owner=self.name,
            role=role,
        )

    async def setup(self) -> None:
        await super().setup()
        if self._outage is not None:
            try:
                await self._outage.open()
            except BaseException:
                await super().teardown()
                raise

    async def teardown(self) -> None:
        try:
            if self._outage is not None:
                await self._outage.close()
        finally:
            await super().teardown()

    # -- what it says of itself --------------------------------------------------------

    def snapshot(self) -> FallbackSnapshot:
        """Counts, as they are now."""
        copy_failures = 0 if self._copying is None else self._copying.copy_failures
        fallback_reads = self._either.fallback_reads
        found = FallbackSnapshot(
            self._asking.state, self._asking.opened, fallback_reads, copy_failures
        )
        if self._outage is None:
            return found
        sender = self._outage.sender
        return msgspec.structs.replace(
            found,
            pending=len(self._outage.journal.pending),
            replayed=sender.sent,
            refused=sender.refused,
        )

    async def flush(self) -> None:
        """Send now what was accepted in an outage; raises `StoreUnavailable` while it lasts."""
        if self._outage is not None:
            await self.ready()
            await self._outage.sender.flush()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the inner store; what is destroyed in both must be so in both."""
        inside = self.inner.capabilities
        return inside - (_DROPPING - self._other.capabilities) if self._copies else inside

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if self._outage is not None:
            await self.ready()
            if self._outage.journal.pending:
                return await self._outage.over(self._either.read, collection, keys)
        return await self._either.read(collection, keys)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        other = cursor is None and await self._other_knows_more()
        return await self._either.keys(collection, key_range, cursor, of_other=other)

    async def list_collections(self) -> list[Collection]:
        return await self._either.collections(of_other=await self._other_knows_more())

    async def _other_knows_more(self) -> bool:
        """Whether the other store alone has every name now: what is pending cannot be sent."""
        try:
            await self.flush()
        except StoreUnavailable:
            if not self._either.has_other:
                raise
            return True
        return False

    # -- writing -----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            return await self._write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            return await self._remove(collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            return await self._touch(collection, keys, expires)

    def _in_order(
        self, collection: Collection, keys: Sequence[str]
    ) -> AbstractAsyncContextManager[None]:
        """The turn of these keys: the other store gets writes in the order of the inner one."""
        if self._copying is None:
            return nullcontext()
        # Sorted, so that no two batches wait for one another.
        return self._order.hold_all((collection, key) for key in sorted(set(keys)))

    async def _write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if await self._queues(collection, keys, expected):
            return await self._accept(collection, keys, entries)
        try:
            written = await self._call(self.inner.write, collection, keys, entries, expected)
        except StoreUnavailable as error:
            if self._accepts(expected, error):
                return await self._accept(collection, keys, entries)
            await self._copy(collection, keys, entries, succeeded_flags(keys, error))
            raise
        await self._copy(collection, keys, entries, written)
        return written

    async def _remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if await self._queues(collection, keys, expected):
            return await self._accept_removal(collection, keys)
        try:
            removed = await self._call(self.inner.remove, collection, keys, expected)
        except StoreUnavailable as error:
            if self._accepts(expected, error):
                return await self._accept_removal(collection, keys)
            await self._copy(collection, keys, [None] * len(keys), succeeded_flags(keys, error))
            raise
        done = removed if expected is not None else [True] * len(keys)
        await self._copy(collection, keys, [None] * len(keys), done)
        return removed

    async def _touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self._queues(collection, keys, ())
        touched = await self._call(self.inner.touch, collection, keys, expires)
        if self._copying is not None:
            await self._copying.touch(collection, keys, expires, touched)
        return touched

    async def drop(self, collection: Collection) -> bool:
        await self.flush()
        dropped = await self._call(self.inner.drop, collection)
        if self._copying is not None:
            await self._copying.do(self._other.drop, collection)
        return dropped

    async def drop_all(self) -> bool:
        await self.flush()
        dropped = await self._call(self.inner.drop_all)
        if self._copying is not None:
            await self._copying.do(self._other.drop_all)
        return dropped

    async def sweep(self) -> None:
        await self._call(self.inner.sweep)
        if self._copying is not None:
            await self._copying.do(self._other.sweep)

    async def _copy(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        done: Sequence[bool],
    ) -> None:
        """Let the other store have what the inner one has done."""
        if self._copying is not None:
            await self._copying.put(collection, keys, entries, done)

    # -- writing in an outage ----------------------------------------------------------

    async def _queues(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[object] | None
    ) -> bool:
        """Whether a write has to queue behind those accepted in an outage."""
        if self._outage is None:
            return False
        await self.ready()
        return await self._outage.queues(collection, keys, expected)

    def _accepts(self, expected: Sequence[object] | None, error: StoreUnavailable) -> bool:
        return self._outage is not None and self._outage.accepts(expected, error)

    async def _accept(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry | None]
    ) -> list[bool]:
        assert self._outage is not None
        await self._outage.accept(collection, keys, entries)
        done = [True] * len(keys)
        # The other store has it as well, for enumerations; if not, the journal still has.
        await self._copy(collection, keys, entries, done)
        return done

    async def _accept_removal(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        there = [entry is not None for entry in await self.read(collection, keys)]
        await self._accept(collection, keys, [None] * len(keys))
        return first_of_each(keys, there)

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from plaintext_second_stores(self, below)
        if self._path is not None:
            yield from journal_findings(self, self._path, below)
        for layer in above:
            if layer.traits & {"retries", "breaks"}:
                yield Finding(
                    "retry-outside-fallback",
                    f"{layer.name} outside {self.name} sees no failure that the fallback makes "
                    "good, and otherwise repeats or counts what both stores refused.",
                    f"Put {layer.name} after {self.name}.",
                )
        for layer in below:
            if "caches" in layer.traits:
                yield Finding(
                    "cache-inside-fallback",
                    f"Hits of {layer.name} count as answers of the backend, so {self.name} "
                    "takes long to see an outage.",
                    f"Put {layer.name} before {self.name}.",
                )
