"""All copies of a store together: asking as many as are needed, and mending those behind."""

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

_EITHER = {Capability.CULL, Capability.COMPARE_AND_PUT}


class Quorum:
    """Several replicas, the first of which decides what only one can decide.

    Attributes:
        all: The replicas, in the order in which they are asked.
        repaired: How many copies have been replaced by newer ones.

    Args:
        replicas: What `all` is.
        owner: Who speaks in errors.
        read_quorum: How many a conditional write asks for what is there.
        write_quorum: How many must take a write.
    """

    def __init__(
        self, replicas: Sequence[Replica], *, owner: str, read_quorum: int, write_quorum: int
    ) -> None:
        self.all = replicas
        self.repaired = 0
        self._owner = owner
        self._read_quorum = read_quorum
        self._write_quorum = write_quorum

    @property
    def capabilities(self) -> Capabilities:
        """What every replica can do; the first one alone compares versions."""
        each = [replica.store.capabilities for replica in self.all]
        found = frozenset.intersection(*each) - _EITHER
        return (
            found
            | (each[0] & {Capability.COMPARE_AND_PUT})
            | (frozenset.union(*each) & {Capability.CULL})
        )

    async def newest(
        self, collection: Collection, keys: Sequence[str], quorum: int, *, repair: bool
    ) -> list[Entry | None]:
        """The newest copies that so many replicas have, tombstones among them."""
        answers = await self.answers(
            quorum,
            [
                (replica, lambda replica=replica: replica.store.read(collection, keys))
                for replica in self.all
            ],
        )
        if len(answers) == 1:
            found: list[Entry | None] = answers[0][1]
            return found
        newest = [max(copies, key=lww_key) for copies in zip(*(each for _, each in answers))]
        if repair:
            mended = [
                replica.repair(collection, keys, entries, newest) for replica, entries in answers
            ]
            self.repaired += sum(await gather(mended))
        return newest

    async def answers(
        self, quorum: int, calls: Sequence[tuple[Replica, Any]]
    ) -> list[tuple[Replica, Any]]:
        """What so many replicas answer, those in front first."""
        answers: list[tuple[Replica, Any]] = []
        errors: list[Exception] = []
        rest = list(calls)
        while len(answers) < quorum and rest:
            asked = rest[: quorum - len(answers)]
            del rest[: len(asked)]
            found = await gather_outcomes([replica.call(call) for replica, call in asked])
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
        """The error for so many where a quorum was needed."""
        for error in errors:
            if isinstance(error, KvwrapError) and not isinstance(error, StoreUnavailable):
                return error
        error = StoreUnavailable(
            f"{count} of {len(self.all)} replicas {did}, and {quorum} are needed",
            store=self._owner,
        )
        error.__cause__ = errors[0] if errors else None
        return error

    def _judge(self, found: Sequence[list[bool] | Exception], keys: Sequence[str]) -> None:
        """Raise unless a quorum took a write of these keys, given what each replica said to it.

        Of a batch, the error names as done what a quorum has all the same.
        """
        quorum = self._write_quorum
        errors = []
        for replica, outcome in zip(self.all, found, strict=True):
            if isinstance(outcome, Exception):
                replica.failures += 1
                errors.append(outcome)
        taken = len(found) - len(errors)
        if taken >= quorum:
            return
        error = self._short(taken, quorum, "took the write", errors)
        if len(keys) > 1:
            copies = Counter(
                key for each in errors for key in set(getattr(each, "succeeded", None) or ())
            )
            error.succeeded = tuple(key for key in keys if taken + copies[key] >= quorum)
        raise error

    async def write(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> None:
        """Let all replicas have these entries; raises unless a quorum has taken them."""
        calls = [
            replica.call(replica.store.write, collection, keys, entries, None)
            for replica in self.all
        ]
        self._judge(await gather_outcomes(calls), keys)

    async def compare(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        """Let the first replica decide, once it has what a read would see, then copy."""
        newest = await self.newest(collection, keys, self._read_quorum, repair=True)
        wanted: list[Expected] = [
            entry.version
            if version is ABSENT and entry is not None and is_tombstone(entry)
            else version
            for entry, version in zip(newest, expected, strict=True)
        ]
        primary, *others = self.all
        try:
            written = await primary.call(primary.store.write, collection, keys, entries, wanted)
        except KvwrapError as error:
            if error.succeeded and self._write_quorum > 1:
                error.succeeded = ()  # on the first replica alone
            raise
        places = indexes_of(written)
        if places:
            names, copies = take(keys, places), take(entries, places)
            calls = [
                replica.call(replica.store.write, collection, names, copies, None)
                for replica in others
            ]
            found = [written, *await gather_outcomes(calls)]
            self._judge(found, names)
        return written

    async def listing(
        self, collection: Collection, key_range: KeyRange, quorum: int
    ) -> MergeCursor:
        """The keys that so many replicas have, those of tombstones among them."""

        def begun(replica: Replica) -> tuple[Replica, Any]:
            return replica, lambda: replica.store.list_keys(collection, key_range, None)

        def going_on(replica: Replica, first: Page) -> FetchPage:
            def pages(cursor: object) -> Coroutine[Any, Any, Page]:
                if cursor is None:
                    return _given(first)
                return replica.call(replica.store.list_keys, collection, key_range, cursor)

            return pages

        answers = await self.answers(quorum, [begun(replica) for replica in self.all])
        return MergeCursor(
            [going_on(replica, page) for replica, page in answers],
            ordered=Capability.RANGE in self.capabilities,
        )

    async def collections(self, quorum: int) -> list[Collection]:
        """The collections that so many replicas have, those of tombstones only among them."""
        calls = [(replica, replica.store.list_collections) for replica in self.all]
        answers = await self.answers(quorum, calls)
        found = {name for _, names in answers for name in names}
        return sorted(found, key=lambda name: name or "")

    async def everywhere(self, calls: Iterable[Coroutine[Any, Any, bool]]) -> list[bool]:
        """What each replica gave; raises unless all gave anything."""
        found = await gather_outcomes(list(calls))
        errors = [outcome for outcome in found if isinstance(outcome, Exception)]
        if errors:
            count = len(self.all)
            raise self._short(count - len(errors), count, "dropped what was asked for", errors)
        return [outcome for outcome in found if not isinstance(outcome, Exception)]


async def _given(page: Page) -> Page:
    return page
