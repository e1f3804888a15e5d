"""All replicas together: calls that need a quorum, and read repair."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.concurrency import gather_outcomes
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, KeyRange, Page
from kvwrap.core.turns import in_slices
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.replication.dates import Copy, Dates
from kvwrap.layers.replication.replica import Replica
from kvwrap.layers.shared.merging import FetchPage, MergeCursor

Answers = Sequence[tuple[Replica, Sequence[Copy]]]
"""The replicas that answered, each with its copies of the keys."""


class Quorum:
    """Several replicas, of which some may fail.

    Args:
        replicas: The replicas, in the order in which they are asked.
        dates: The order of copies by age.
        owner: The name of the layer, for errors.

    Attributes:
        replicas: The replicas, in the order in which they are asked.
        dates: The order of copies by age.
        owner: The name of the layer, for errors.
        repaired: Number of copies that were behind and were replaced by newer ones.
    """

    def __init__(self, replicas: Sequence[Replica], dates: Dates, *, owner: str) -> None:
        self.replicas = replicas
        self.dates = dates
        self.owner = owner
        self.repaired = 0

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that every replica has, and `CULL` if one replica has it."""
        by_replica = [replica.store.capabilities for replica in self.replicas]
        return frozenset.intersection(*by_replica) | (
            frozenset.union(*by_replica) & {Capability.CULL}
        )

    # -- reading -----------------------------------------------------------------------

    async def read_newest(
        self, collection: Collection, keys: Sequence[str], quorum: int, *, repair: bool
    ) -> tuple[list[Copy], int]:
        """Return the newest copies that a quorum has, and how many copies were repaired.

        With `repair`, replicas of the quorum that are behind receive the newest copies.
        """
        answers: Answers = await self.call_quorum(
            quorum,
            [
                (replica, lambda replica=replica: replica.store.read(collection, keys))
                for replica in self.replicas
            ],
        )
        newest = await self.newest(answers)
        repaired = await self.repair(collection, keys, newest, answers) if repair else 0
        return newest, repaired

    async def newest(self, answers: Answers) -> list[Copy]:
        """Return the newest copy of each key."""
        if len(answers) == 1:
            return list(answers[0][1])
        rank = self.dates.rank

        def choose(*copies: Copy) -> Copy:
            return copies[0] if _agree(copies) else max(copies, key=rank)

        return await in_slices(choose, *(copies for _, copies in answers))

    async def repair(
        self, collection: Collection, keys: Sequence[str], newest: Sequence[Copy], answers: Answers
    ) -> int:
        """Advance the replicas that are behind. Returns the number of copies replaced.

        A failure is counted and not raised.
        """
        if len(answers) == 1:
            return 0
        late = [
            (replica, copies) for replica, copies in answers if await replica.behind(copies, newest)
        ]
        outcomes = await gather_outcomes(
            [replica.catch_up(collection, keys, newest, copies) for replica, copies in late]
        )
        repaired = 0
        for (replica, _), outcome in zip(late, outcomes, strict=True):
            if isinstance(outcome, KvwrapError):
                replica.failures += 1
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                repaired += outcome
        self.repaired += repaired
        return repaired

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
            raise self.no_quorum(len(results), quorum, "answered", errors)
        return results

    def no_quorum(
        self, count: int, quorum: int, verb: str, errors: Sequence[Exception]
    ) -> KvwrapError:
        """Return the error to raise: the refusal of a replica, or else `StoreUnavailable`."""
        for error in errors:
            if isinstance(error, KvwrapError) and not isinstance(error, StoreUnavailable):
                return error
        error = StoreUnavailable(
            f"{count} of {len(self.replicas)} replicas {verb}, and {quorum} are needed",
            store=self.owner,
        )
        error.__cause__ = errors[0] if errors else None
        return error

    async def look(
        self, collection: Collection, keys: Sequence[str], quorum: int
    ) -> tuple[Answers, list[Exception]]:
        """Return what all replicas have that answer, and the errors of the others."""
        answers: list[tuple[Replica, Sequence[Copy]]] = []
        errors: list[Exception] = []
        outcomes = await gather_outcomes(
            [replica.look(collection, keys) for replica in self.replicas]
        )
        for replica, outcome in zip(self.replicas, outcomes, strict=True):
            if isinstance(outcome, Exception):
                replica.failures += 1
                errors.append(outcome)
            else:
                answers.append((replica, outcome))
        if len(answers) < quorum:
            error = self.no_quorum(len(answers), quorum, "answered", errors)
            if len(keys) > 1:
                error.succeeded = ()
            raise error
        return answers, errors

    # -- enumerating, and whole collections --------------------------------------------

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
            raise self.no_quorum(count - len(errors), count, "dropped the entries", errors)
        return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


async def _return(page: Page) -> Page:
    return page


def _agree(copies: Sequence[Copy]) -> bool:
    """Return True if all replicas have the entry of the same write."""
    first = copies[0]
    return isinstance(first, Entry) and all(
        isinstance(copy, Entry) and copy.version == first.version and copy.codec == first.codec
        for copy in copies
    )
