"""Writes to several replicas: the protocol, and both kinds of writes.

The protocol, for N replicas, a write quorum of W and a read quorum of R. The first replica is
the *primary*.

- A replica's copy of a key is only ever replaced by a newer one, by the dates of
  `kvwrap.layers.replication.dates`, and on condition that it is still the copy that was seen
  (`Replica.advance`). Repair is such a write too.
- **Write**: ask all replicas; at least W must answer. Date the entry after the newest copy.
  Advance all that answered; at least W must succeed. A replica that has a newer copy by then
  has taken the write: it was replaced at once.
- **Conditional write**: ask all replicas. The primary and N - W + 1 must answer, so that every
  acknowledged write is seen. The newest copy must be what the caller expects. Write to the
  primary, on condition that it still has the copy that was seen: this decides. Then advance
  the others; W must succeed in all.
- **Read**: ask R replicas, take the newest copy, advance those that are behind.

Why it holds, if 2W > N and R + W > N:

- A write sees every write acknowledged before it and is dated later. A copy never gets older.
  So W replicas keep it, or something newer, and every read sees one of them.
- Two conditional writes that replace the same copy meet at the primary, and one fails there.
- A write without a condition may miss the primary, and the primary may decide against an older
  copy meanwhile. The two overlap in time, and the conditional write is dated right after what
  it replaced, before the other. So they are read as if it had come first.

What a failed call leaves may be on some replicas. It takes effect when an operation finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

from kvwrap.core.batch import add_succeeded, take
from kvwrap.core.concurrency import gather_outcomes
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.primitives import ABSENT, Collection, Expected
from kvwrap.core.turns import in_slices
from kvwrap.errors import CorruptEntry, KvwrapError, StoreUnavailable
from kvwrap.layers.replication.dates import Copy, dated
from kvwrap.layers.replication.quorum import Answers, Quorum
from kvwrap.layers.replication.replica import Replica


class Writer:
    """Writes to several replicas, each write dated after what it replaces.

    Args:
        quorum: The replicas.
        write_quorum: Number of replicas that must take a write.
    """

    def __init__(self, quorum: Quorum, write_quorum: int) -> None:
        self._quorum = quorum
        self._write_quorum = write_quorum

    async def write(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> list[Copy]:
        """Write the entries, dated after all that is seen. Returns what they replaced.

        Raises an error unless a quorum took them. In the error of a batch, `succeeded` lists
        the keys that a quorum has all the same.
        """
        answers, errors = await self._quorum.look(collection, keys, self._write_quorum)
        newest = await self._quorum.newest(answers)
        after = self._quorum.dates.after
        written = await in_slices(lambda entry, copy: dated(entry, after(copy)), entries, newest)
        calls = [
            (replica, replica.advance(collection, keys, written, copies))
            for replica, copies in answers
        ]
        await self._need_quorum(calls, keys, errors)
        return newest

    async def compare_and_write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected],
    ) -> list[bool]:
        """Write the entries whose key has what is expected. Returns which were written.

        A key occurs once. What has the version of the entry to be written was written by an
        earlier attempt, and counts as written, unless that is also the version to be replaced.
        Raises `StoreUnavailable` if the primary does not answer, or too few others; then, per
        key, the write may have happened or not.
        """
        written = [False] * len(keys)
        pending: Sequence[int] = range(len(keys))
        try:
            for attempt in ATTEMPTS:
                await backoff(attempt)
                names = take(keys, pending)
                answers, errors = await self._quorum.look(collection, names, self._to_see_all)
                if answers[0][0] is not self._quorum.replicas[0]:
                    raise self._no_primary(errors)
                newest = await self._quorum.newest(answers)
                again = [
                    place
                    for place, index in enumerate(pending)
                    if isinstance(copy := newest[place], Entry)
                    and copy.version == entries[index].version != expected[index]
                ]
                if again:
                    await self._confirm(collection, names, newest, answers, errors, again)
                    for place in again:
                        written[pending[place]] = True
                holds = await in_slices(self._holds, newest, take(expected, pending))
                if not all(holds):
                    # What refuses the write stays: the caller may have it from this alone.
                    await self._quorum.repair(collection, names, newest, answers)
                due = [
                    place
                    for place, held in enumerate(holds)
                    if held and not written[pending[place]]
                ]
                if not due:
                    return written
                answers = [(replica, take(copies, due)) for replica, copies in answers]
                pending = take(pending, due)
                decided = await self._decide(
                    collection,
                    take(keys, pending),
                    take(entries, pending),
                    take(newest, due),
                    answers,
                    errors,
                )
                for index, done in zip(pending, decided, strict=True):
                    written[index] = done
                pending = [index for index in pending if not written[index]]
                if not pending:
                    return written
            raise conflict(self._quorum.owner, collection, keys[pending[0]])
        except KvwrapError as error:
            if len(keys) > 1:
                add_succeeded(error, keys, [key for key, done in zip(keys, written) if done])
            raise

    async def _confirm(
        self,
        collection: Collection,
        keys: Sequence[str],
        newest: Sequence[Copy],
        answers: Answers,
        errors: Sequence[Exception],
        places: Sequence[int],
    ) -> None:
        """Advance all replicas to entries of an earlier attempt whose answer was lost."""
        names, found = take(keys, places), take(newest, places)
        calls = [
            (replica, replica.catch_up(collection, names, found, take(copies, places)))
            for replica, copies in answers
        ]
        await self._need_quorum(calls, names, errors)

    async def _decide(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        newest: Sequence[Copy],
        answers: Answers,
        errors: Sequence[Exception],
    ) -> list[bool]:
        """Let the primary decide, then advance the others. Returns which were written."""
        (primary, held), *others = answers
        for copy in held:
            if isinstance(copy, CorruptEntry):
                raise copy
        right_after = self._quorum.dates.right_after
        written = await in_slices(
            lambda entry, copy: dated(entry, right_after(copy)), entries, newest
        )
        versions: list[Expected] = [
            copy.version if isinstance(copy, Entry) else ABSENT for copy in held
        ]
        try:
            decided = await primary.call(primary.store.write, collection, keys, written, versions)
        except KvwrapError as error:
            primary.failures += 1
            if self._write_quorum > 1:
                error.succeeded = None  # only the primary has them
            raise
        won = [place for place, flag in enumerate(decided) if flag]
        if won:
            names, entries = take(keys, won), take(written, won)
            calls = [
                (replica, replica.advance(collection, names, entries, take(copies, won)))
                for replica, copies in others
            ]
            await self._need_quorum(calls, names, errors, taken=1)
        return decided

    def _holds(self, copy: Copy, expected: Expected) -> bool:
        if expected is None:
            return True
        entry = self._quorum.dates.visible(copy)
        if expected is ABSENT:
            return entry is None
        return entry is not None and entry.version == expected

    @property
    def _to_see_all(self) -> int:
        """The number of replicas of which one has every acknowledged write."""
        return len(self._quorum.replicas) - self._write_quorum + 1

    def _no_primary(self, errors: Sequence[Exception]) -> KvwrapError:
        primary = self._quorum.replicas[0]
        error = StoreUnavailable(
            f"replica {primary.name!r}, which decides conditional writes, did not answer",
            store=self._quorum.owner,
        )
        error.__cause__ = errors[0]
        return error

    async def _need_quorum(
        self,
        calls: Sequence[tuple[Replica, Coroutine[Any, Any, int]]],
        keys: Sequence[str],
        errors: Sequence[Exception],
        *,
        taken: int = 0,
    ) -> None:
        """Make these calls, which advance replicas; raise an error unless a quorum took them.

        Args:
            calls: The replicas, each with its call.
            keys: The keys that are written.
            errors: The errors of the replicas that did not answer before.
            taken: The number of other replicas that have the entries.
        """
        outcomes = await gather_outcomes([call for _, call in calls])
        failed = []
        for (replica, _), outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Exception):
                replica.failures += 1
                failed.append(outcome)
            else:
                taken += 1
        quorum = self._write_quorum
        if taken >= quorum:
            return
        partial = Counter(
            key for error in failed for key in set(getattr(error, "succeeded", None) or ())
        )
        error = self._quorum.no_quorum(taken, quorum, "took the write", [*failed, *errors])
        if len(keys) > 1:
            error.succeeded = tuple(key for key in keys if taken + partial[key] >= quorum)
        else:
            error.succeeded = None
        raise error


def occurrences(keys: Sequence[str]) -> list[list[int]]:
    """Return the indexes of the keys: first occurrences, then second ones, and so on."""
    counts: Counter[str] = Counter()
    groups: list[list[int]] = []
    for index, key in enumerate(keys):
        if counts[key] == len(groups):
            groups.append([])
        groups[counts[key]].append(index)
        counts[key] += 1
    return groups
