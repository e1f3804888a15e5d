"""Every entry in several stores, so that some may fail."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

import msgspec

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.checked import checked_count, checked_seconds
from kvwrap.core.entry import Entry
from kvwrap.core.exposure import exposed
from kvwrap.core.findings import Finding
from kvwrap.core.guard import Guard
from kvwrap.core.layer import Layer, StoreSource
from kvwrap.core.locks import KeyedLocks
from kvwrap.core.merging import Merge, Pages
from kvwrap.core.primitives import ABSENT, Collection, Expected, Page, Span
from kvwrap.core.replica import Replica, after, is_tombstone, rank, tombstone
from kvwrap.core.store import Store
from kvwrap.core.together import outcomes, together
from kvwrap.errors import ConfigurationError, KvwrapError, StoreUnavailable

_ATTEMPTS = 100
_EITHER = {Capability.CULL, Capability.COMPARE_AND_PUT}


class ReplicationSnapshot(msgspec.Struct, frozen=True):
    """What a `Replication` layer has met since it was made.

    Attributes:
        repaired: Copies replaced by a newer one.
        failures: Calls failed, by the replica's name.
    """

    repaired: int
    failures: dict[str, int]


class Replication(Layer):
    """Writes every entry to several stores, and reads it from one or more of them.

    The store that the stack is over is the first replica, "0", and the one that decides
    conditional writes. A write goes to all replicas at once and is acknowledged when all
    have answered and at least `write_quorum` have taken it; a write that fails may still be
    on some. A read asks `read_quorum` replicas, those in front first, and further ones where
    they fail; of several copies the one made last wins, and replicas that were behind are
    given it. With `read_quorum + write_quorum` above the number of replicas, a read sees
    every acknowledged write.

    A removed entry leaves a tombstone for `tombstone_ttl`, so that a replica which missed
    the removal does not bring the entry back. A replica that was away for longer is to be
    emptied before it comes back. After `failures` in a row a replica is left alone for
    `open_for` seconds.

    Args:
        replicas: The other stores, by name or in a sequence ("1", "2", …).
        write_quorum: How many replicas must take a write; all if left out.
        read_quorum: How many replicas a read asks.
        repair: Whether replicas that are behind are given what a read found elsewhere.
        tombstone_ttl: How long removals are remembered, seconds.
        failures: After how many failures in a row a replica is left alone.
        open_for: For how long, seconds.

    Raises:
        ConfigurationError: There are no other replicas, or a quorum is above their number.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"spreads"})

    def __init__(
        self,
        replicas: Mapping[str, StoreSource] | Sequence[StoreSource],
        *,
        write_quorum: int | None = None,
        read_quorum: int = 1,
        repair: bool = True,
        tombstone_ttl: float = 86_400.0,
        failures: int = 3,
        open_for: float = 10.0,
    ) -> None:
        if not isinstance(replicas, Mapping | list | tuple) or not replicas:
            raise ConfigurationError("replicas are stores, at least one besides the inner")
        if not isinstance(replicas, Mapping):
            replicas = {str(place): source for place, source in enumerate(replicas, 1)}
        if "0" in replicas:
            raise ConfigurationError("the replica '0' is the store that the stack is over")
        count = len(replicas) + 1
        self._write_quorum = count if write_quorum is None else write_quorum
        self._read_quorum = read_quorum
        for name in ("write_quorum", "read_quorum"):
            quorum = checked_count(getattr(self, f"_{name}"), name)
            if quorum > count:
                raise ConfigurationError(f"{name}={quorum} is above the {count} replicas there are")
        self._sources = dict(replicas)
        self._repair = repair
        self._tombstone_ttl = checked_seconds(tombstone_ttl, "tombstone_ttl")
        self._failures = checked_count(failures, "failures")
        self._open_for = checked_seconds(open_for, "open_for")

    def bound(self) -> None:
        stores = {"0": self.inner}
        for name, source in self._sources.items():
            stores[name] = self.second(f"replica {name!r}", source)
        self._replicas = [
            Replica(
                name,
                store,
                Guard(
                    self.clock,
                    failures=self._failures,
                    open_for=self._open_for,
                    owner=self.name,
                    role=f"replica {name!r}",
                ),
            )
            for name, store in stores.items()
        ]
        self._primary = self._replicas[0]
        self._repaired = 0
        # Writes of one key reach every replica in the same order.
        self._order = KeyedLocks()

    def snapshot(self) -> ReplicationSnapshot:
        """Counts, as they are now."""
        return ReplicationSnapshot(
            self._repaired, {replica.name: replica.failures for replica in self._replicas}
        )

    @property
    def capabilities(self) -> Capabilities:
        """What every replica can do; the first one alone compares versions."""
        each = [replica.store.capabilities for replica in self._replicas]
        found = frozenset.intersection(*each) - _EITHER
        if Capability.COMPARE_AND_PUT in self.inner.capabilities:
            found |= {Capability.COMPARE_AND_PUT}
        return found | (frozenset.union(*each) & {Capability.CULL})

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return [
            None if entry is None or is_tombstone(entry) else entry
            for entry in await self._newest(collection, keys)
        ]

    async def _newest(
        self, collection: Collection, keys: Sequence[str], *, quorum: int | None = None
    ) -> list[Entry | None]:
        """The newest copies that so many replicas have, tombstones among them."""
        answers = await self._answers(
            quorum or self._read_quorum,
            [
                (replica, lambda replica=replica: replica.store.read(collection, keys))
                for replica in self._replicas
            ],
        )
        if len(answers) == 1:
            found: list[Entry | None] = answers[0][1]
            return found
        newest = [max(copies, key=rank) for copies in zip(*(each for _, each in answers))]
        if self._repair or quorum:
            mended = [
                replica.mend(collection, keys, entries, newest) for replica, entries in answers
            ]
            self._repaired += sum(await together(mended))
        return newest

    async def _answers(
        self, quorum: int, calls: Sequence[tuple[Replica, Any]]
    ) -> list[tuple[Replica, Any]]:
        """What so many replicas answer, those in front first."""
        answers: list[tuple[Replica, Any]] = []
        errors: list[Exception] = []
        rest = list(calls)
        while len(answers) < quorum and rest:
            asked = rest[: quorum - len(answers)]
            del rest[: len(asked)]
            found = await outcomes([replica.ask(call) for replica, call in asked])
            for (replica, _), outcome in zip(asked, found, strict=True):
                if isinstance(outcome, KvwrapError):
                    # A copy that cannot be read is as good as none: another may be whole.
                    replica.failures += 1
                    errors.append(outcome)
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    answers.append((replica, outcome))
        if len(answers) < quorum:
            raise self._short(len(answers), quorum, "answered", errors)
        return answers

    def _short(self, count: int, quorum: int, did: str, errors: Sequence[Exception]) -> KvwrapError:
        for error in errors:
            if isinstance(error, KvwrapError) and not isinstance(error, StoreUnavailable):
                return error
        error = StoreUnavailable(
            f"{count} of {len(self._replicas)} replicas {did}, and {quorum} are needed",
            store=self.name,
        )
        error.__cause__ = errors[0] if errors else None
        return error

    # -- writing -----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            if expected is not None:
                return await self._compare(collection, keys, entries, expected)
            await self._write_all(collection, keys, entries)
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        async with self._in_order(collection, keys):
            found = await self._newest(collection, keys)
            now = self.clock.time()
            stones = [tombstone(entry, now, self._tombstone_ttl) for entry in found]
            if expected is not None:
                return await self._compare(collection, keys, stones, expected)
            await self._write_all(collection, keys, stones)
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        return [
            entry is not None and not is_tombstone(entry) and first[key] == place
            for place, (key, entry) in enumerate(zip(keys, found, strict=True))
        ]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        ends = dict(zip(keys, expires, strict=True))
        touched = dict.fromkeys(keys, False)
        left = list(ends)
        compares = Capability.COMPARE_AND_PUT in self.inner.capabilities
        for _ in range(_ATTEMPTS):
            found = zip(left, await self.read(collection, left), strict=True)
            live = {key: entry for key, entry in found if entry is not None}
            if not live:
                return [touched[key] for key in keys]
            now = self.clock.time()
            entries = [
                Entry(
                    entry.body,
                    entry.codec,
                    after(entry, now),
                    ends[key],
                    random.getrandbits(64),
                )
                for key, entry in live.items()
            ]
            versions = [entry.version for entry in live.values()] if compares else None
            written = await self.write(collection, list(live), entries, versions)
            touched.update(zip(live, written, strict=True))
            left = [key for key in live if not touched[key]]
            if not left:
                return [touched[key] for key in keys]
        raise StoreUnavailable(
            f"entries changed under {_ATTEMPTS} attempts to change them",
            store=self.name,
            collection=collection,
        )

    @asynccontextmanager
    async def _in_order(self, collection: Collection, keys: Sequence[str]) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            # Sorted, so that no two batches wait for one another.
            for key in sorted(set(keys)):
                await held.enter_async_context(self._order.hold((collection, key)))
            yield

    async def _write_all(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> None:
        calls = [
            replica.ask(replica.store.write, collection, keys, entries, None)
            for replica in self._replicas
        ]
        self._judge(await outcomes(calls), self._replicas)

    async def _compare(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        """Let the first replica decide, once it has what a read would see, then copy."""
        newest = await self._newest(collection, keys)
        wanted: list[Expected] = [
            entry.version
            if version is ABSENT and entry is not None and is_tombstone(entry)
            else version
            for entry, version in zip(newest, expected, strict=True)
        ]
        primary = self._primary
        written = await primary.ask(primary.store.write, collection, keys, entries, wanted)
        places = [place for place, done in enumerate(written) if done]
        if places:
            names = [keys[place] for place in places]
            copies = [entries[place] for place in places]
            calls = [
                replica.ask(replica.store.write, collection, names, copies, None)
                for replica in self._replicas[1:]
            ]
            self._judge([written, *await outcomes(calls)], self._replicas)
        return written

    def _judge(self, found: Sequence[list[bool] | Exception], replicas: Sequence[Replica]) -> None:
        errors = []
        for replica, outcome in zip(replicas, found, strict=True):
            if isinstance(outcome, Exception):
                replica.failures += 1
                errors.append(outcome)
        taken = len(found) - len(errors)
        if taken < self._write_quorum:
            raise self._short(taken, self._write_quorum, "took the write", errors)

    # -- enumerating, and whole collections --------------------------------------------

    async def list_keys(self, collection: Collection, span: Span, cursor: object) -> Page:
        if cursor is None:
            cursor = await self._listing(collection, span, self._read_quorum)
        assert isinstance(cursor, Merge)
        page = await cursor.page()
        entries = await self.read(collection, page.keys) if page.keys else []
        live = [key for key, entry in zip(page.keys, entries, strict=True) if entry is not None]
        return Page(live, page.cursor)

    async def _listing(self, collection: Collection, span: Span, quorum: int) -> Merge:
        def begun(replica: Replica) -> tuple[Replica, Any]:
            return replica, lambda: replica.store.list_keys(collection, span, None)

        def going_on(replica: Replica, first: Page) -> Pages:
            def pages(cursor: object) -> Coroutine[Any, Any, Page]:
                if cursor is None:
                    return _given(first)
                return replica.ask(replica.store.list_keys, collection, span, cursor)

            return pages

        answers = await self._answers(quorum, [begun(replica) for replica in self._replicas])
        return Merge(
            [going_on(replica, page) for replica, page in answers],
            ordered=Capability.RANGE in self.capabilities,
        )

    async def list_collections(self) -> list[Collection]:
        return [
            name for name in await self._collections(self._read_quorum) if await self._holds(name)
        ]

    async def _collections(self, quorum: int) -> list[Collection]:
        calls = [(replica, replica.store.list_collections) for replica in self._replicas]
        answers = await self._answers(quorum, calls)
        found = {name for _, names in answers for name in names}
        return sorted(found, key=lambda name: name or "")

    async def _holds(self, collection: Collection) -> bool:
        """Whether there is more than tombstones in it."""
        cursor: object = None
        while True:
            page = await self.list_keys(collection, Span(), cursor)
            cursor = page.cursor
            if page.keys or cursor is None:
                return bool(page.keys)

    async def drop(self, collection: Collection) -> bool:
        held = await self._holds(collection) if Capability.KEYS in self.capabilities else None
        calls = (replica.store.drop(collection) for replica in self._replicas)
        dropped = await self._everywhere(calls)
        return any(dropped) if held is None else held

    async def drop_all(self) -> bool:
        listed = Capability.COLLECTIONS in self.capabilities
        held = await self.list_collections() if listed else None
        dropped = await self._everywhere(replica.store.drop_all() for replica in self._replicas)
        return any(dropped) if held is None else bool(held)

    async def _everywhere(self, calls: Iterable[Coroutine[Any, Any, bool]]) -> list[bool]:
        # No tombstones are left behind here, so every replica has to take it.
        found = await outcomes(list(calls))
        errors = [outcome for outcome in found if isinstance(outcome, Exception)]
        if errors:
            count = len(self._replicas)
            raise self._short(count - len(errors), count, "dropped what was asked for", errors)
        return [outcome for outcome in found if not isinstance(outcome, Exception)]

    async def sweep(self) -> None:
        await together(
            [
                replica.store.sweep()
                for replica in self._replicas
                if Capability.CULL in replica.store.capabilities
            ]
        )

    async def ping(self) -> None:
        calls = [(replica, replica.store.ping) for replica in self._replicas]
        await self._answers(max(self._read_quorum, self._write_quorum), calls)

    async def repair_all(self) -> int:
        """Bring every replica up to date with all others; how many copies were replaced.

        It may be stopped at any moment and begun again, while the store is in use.

        Raises:
            StoreUnavailable: A replica does not answer.
            UnsupportedOperation: A replica cannot enumerate its keys or collections.
        """
        before = self._repaired
        everyone = len(self._replicas)
        for collection in await self._collections(everyone):
            listing = await self._listing(collection, Span(), everyone)
            more = True
            while more:
                page = await listing.page()
                if page.keys:
                    await self._newest(collection, page.keys, quorum=everyone)
                more = page.cursor is not None
        return self._repaired - before

    # -- its place ---------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from exposed(self, below)
        count = len(self._replicas)
        if self._read_quorum + self._write_quorum <= count:
            yield Finding(
                "quorums-do-not-overlap",
                f"With write_quorum={self._write_quorum} and read_quorum={self._read_quorum} of "
                f"{count} replicas, a read may miss an acknowledged write.",
                f"Let the two add up to {count + 1} or more.",
            )


async def _given(page: Page) -> Page:
    return page
