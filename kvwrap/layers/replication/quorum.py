"""All replicas together: calls that need a quorum, and read repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from kvwrap.core.batch import indexes_of, take
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import gather, gather_outcomes
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.replication.replica import Replica, is_tombstone, lww_key
from kvwrap.layers.shared.merging import FetchPage, MergeCursor

_NOT_NEEDED_BY_ALL = {Capability.CULL, Capability.COMPARE_AND_PUT}


class Quorum:
    """Several replicas; the first one, the primary, decides conditional writes.

    Args:
        replicas: The replicas, in the order in which they are asked.
        owner: The name of the layer, for errors.
        read_quorum: Number of replicas that a conditional write reads from.
        write_quorum: Number of replicas that must take a write.

    Attributes:
        replicas: The replicas, in the order in which they are asked.
        repaired: Number of copies replaced by newer ones.
    """

    def __init__(
        self, replicas: Sequence[Replica], *, owner: str, read_quorum: int, write_quorum: int
    ) -> None:
        self.replicas = replicas
        self.repaired = 0
        self._owner = owner
        self._read_quorum = read_quorum
        self._write_quorum = write_quorum

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that every replica has; versions are compared by the primary alone.

        `CULL` needs one replica that has it.
        """
        by_replica = [replica.store.capabilities for replica in self.replicas]
        common = frozenset.intersection(*by_replica) - _NOT_NEEDED_BY_ALL
        return (
            common
            | (by_replica[0] & {Capability.COMPARE_AND_PUT})
            | (frozenset.union(*by_replica) & {Capability.CULL})
        )

    async def read_newest(
        self, collection: Collection, keys: Sequence[str], quorum: int, *, repair: bool
    ) -> list[Entry | None]:
        """Return the newest copies that a quorum of replicas has, tombstones included.

        With `repair`, replicas of the quorum that are behind receive the newest copies.
        """
        results = await self.call_quorum(
            quorum,
            [
                (replica, lambda replica=replica: replica.store.read(collection, keys))
                for replica in self.replicas
            ],
        )
        if len(results) == 1:
            entries: list[Entry | None] = results[0][1]
            return entries
        newest = [max(copies, key=lww_key) for copies in zip(*(copies for _, copies in results))]
        if repair:
            repairs = [
                replica.repair(collection, keys, copies, newest) for replica, copies in results
            ]
            self.repaired += sum(await gather(repairs))
        return newest

    async def call_quorum(
        self, quorum: int, calls: Sequence[tuple[Replica, Any]]
    ) -> list[tuple[Replica, Any]]:
        """Make the first calls, and further ones in order for those that fail, up to a quorum.

        Returns the results of a quorum of replicas, each with its replica.
        """
        results: list[tuple[Replica, Any]] = []
        errors: list[Exception] = []
        remaining = list(calls)
        while len(results) < quorum and remaining:
            batch = remaining[: quorum - len(results)]
            del remaining[: len(batch)]
            outcomes = await gather_outcomes([replica.call(call) for replica, call in batch])
            for (replica, _), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, KvwrapError):
                    # Also if the copy is corrupt: another replica may have an intact one.
                    replica.failures += 1
                    errors.append(outcome)
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    results.append((replica, outcome))
        if len(results) < quorum:
            raise self._no_quorum(len(results), quorum, "answered", errors)
        return results

    def _no_quorum(
        self, count: int, quorum: int, verb: str, errors: Sequence[Exception]
    ) -> KvwrapError:
        """Return the error to raise: the refusal of a replica, or else `StoreUnavailable`."""
        for error in errors:
            if isinstance(error, KvwrapError) and not isinstance(error, StoreUnavailable):
                return error
        error = StoreUnavailable(
            f"{count} of {len(self.replicas)} replicas {verb}, and {quorum} are needed",
            store=self._owner,
        )
        error.__cause__ = errors[0] if errors else None
        return error

    def _check_write(self, outcomes: Sequence[list[bool] | Exception], keys: Sequence[str]) -> None:
        """Raise an error unless a quorum took a write of these keys.

        In the error of a batch, `succeeded` lists the keys that a quorum has all the same.

        Args:
            outcomes: The result or the error of each replica.
            keys: The keys.
        """
        quorum = self._write_quorum
        errors = []
        for replica, outcome in zip(self.replicas, outcomes, strict=True):
            if isinstance(outcome, Exception):
                replica.failures += 1
                errors.append(outcome)
        count = len(outcomes) - len(errors)
        if count >= quorum:
            return
        error = self._no_quorum(count, quorum, "took the write", errors)
        if len(keys) > 1:
            partial = Counter(
                key for failed in errors for key in set(getattr(failed, "succeeded", None) or ())
            )
            error.succeeded = tuple(key for key in keys if count + partial[key] >= quorum)
        raise error

    async def write(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> None:
        """Write these entries to all replicas; raise an error unless a quorum took them."""
        calls = [
            replica.call(replica.store.write, collection, keys, entries, None)
            for replica in self.replicas
        ]
        self._check_write(await gather_outcomes(calls), keys)

    async def compare_and_write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        """Bring the primary up to date, let it decide a conditional write, then copy the result."""
        newest = await self.read_newest(collection, keys, self._read_quorum, repair=True)
        # Where the caller expects no entry, the primary may have a tombstone.
        versions: list[Expected] = [
            entry.version
            if version is ABSENT and entry is not None and is_tombstone(entry)
            else version
            for entry, version in zip(newest, expected, strict=True)
        ]
        primary, *others = self.replicas
        try:
            written = await primary.call(primary.store.write, collection, keys, entries, versions)
        except KvwrapError as error:
            if error.succeeded and self._write_quorum > 1:
                error.succeeded = ()  # only the primary has them
            raise
        indexes = indexes_of(written)
        if indexes:
            names, copies = take(keys, indexes), take(entries, indexes)
            calls = [
                replica.call(replica.store.write, collection, names, copies, None)
                for replica in others
            ]
            self._check_write([written, *await gather_outcomes(calls)], names)
        return written

    async def list_keys(
        self, collection: Collection, key_range: KeyRange, quorum: int
    ) -> MergeCursor:
        """Return a cursor over the keys that a quorum of replicas has, tombstones included."""

        def first_page(replica: Replica) -> tuple[Replica, Any]:
            return replica, lambda: replica.store.list_keys(collection, key_range, None)

        def fetch_after(replica: Replica, first: Page) -> FetchPage:
            def fetch(cursor: object) -> Coroutine[Any, Any, Page]:
                if cursor is None:
                    return _return(first)
                return replica.call(replica.store.list_keys, collection, key_range, cursor)

            return fetch

        pages = await self.call_quorum(quorum, [first_page(replica) for replica in self.replicas])
        return MergeCursor(
            [fetch_after(replica, page) for replica, page in pages],
            ordered=Capability.RANGE in self.capabilities,
        )

    async def list_collections(self, quorum: int) -> list[Collection]:
        """Return the collections of a quorum of replicas, also those with tombstones only."""
        calls = [(replica, replica.store.list_collections) for replica in self.replicas]
        results = await self.call_quorum(quorum, calls)
        collections = {name for _, names in results for name in names}
        return sorted(collections, key=lambda name: name or "")

    async def drop_everywhere(self, calls: Iterable[Coroutine[Any, Any, bool]]) -> list[bool]:
        """Make these calls, one for each replica; raise an error unless all succeed."""
        outcomes = await gather_outcomes(list(calls))
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if errors:
            count = len(self.replicas)
            raise self._no_quorum(count - len(errors), count, "dropped the entries", errors)
        return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


async def _return(page: Page) -> Page:
    return page
