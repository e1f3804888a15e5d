"""The records of tags: read, kept for a short time, and changed.

The collection `RESERVED` has one record for each tag that was used, `tag-` and what identifies it
in hex; `all` for the whole store, which `clear` changes; and `moment`, which every change of a
record changes before. A record is replaced as a whole and says what the tag's version is. An entry
whose snapshot has another version, or whose record is lost, is invalid.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import Final

import msgspec

from kvwrap.core import codec
from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.layers.tags.hearing import Hearing
from kvwrap.layers.tags.snapshots import MARK_BYTES, UNTAGGED, VERSION_BYTES, ids_in

RESERVED: Final = "kvwrap.tags"
"""The collection with the records of tags."""

WHOLE: Final = b"all"
MOMENT: Final = b"moment"
"""What identifies the two records that are of no tag."""

BOUND: Final = 1.0
"""Seconds after which a record that another process has changed is not used any more."""

_MOST_PASSED: Final = 10_000
"""Snapshots that are known to be valid."""

_MOST_KNOWN: Final = 100_000
"""Records that are kept in memory; about 30 MiB."""


class TagRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The record of a tag.

    Attributes:
        version: Bytes that each invalidation replaces.
        mark: Bytes that each `expire` replaces as well.
        expired_at: When the last `expire` was, in Unix seconds.
        is_first: True for the first version, before which nothing was invalidated.
    """

    version: bytes
    mark: bytes
    expired_at: float = 0.0
    is_first: bool = False

    @classmethod
    def new(cls, *, is_first: bool = False) -> TagRecord:
        """Return a record with a version that no other one has."""
        return cls(_random(VERSION_BYTES), _random(MARK_BYTES), is_first=is_first)


class _Known:
    """A record as it was read.

    Attributes:
        record: The record; `None` if it is missing.
        read_at: When the store was asked for it, by `Clock.monotonic`.
        number: Orders reads by their beginnings, and this process's writes by their ends.
        is_told: True if a change of it would have been told since.
        damaged: The version of an entry that is no record; `None` if there is no such entry.
        is_outdated: True if one was told, so that it is read again.
    """

    __slots__ = ("damaged", "is_outdated", "is_told", "number", "read_at", "record")

    def __init__(
        self,
        record: TagRecord | None,
        read_at: float,
        number: int,
        *,
        is_told: bool,
        damaged: int | None = None,
    ) -> None:
        self.record = record
        self.read_at = read_at
        self.number = number
        self.is_told = is_told
        self.damaged = damaged
        self.is_outdated = False


class _Passed:
    """That a snapshot has been found to be valid.

    Attributes:
        state: The state of the known records then.
        until: Until when these need not be read again, by `Clock.monotonic`.
        are_told: True if they need not while changes are told.
        mark: The annotation with the snapshot.
    """

    __slots__ = ("are_told", "mark", "state", "until")

    def __init__(self, state: int, until: float, mark: bytes, *, are_told: bool) -> None:
        self.state = state
        self.until = until
        self.mark = mark
        self.are_told = are_told


class Records:
    """The records of tags in a store.

    **Why nothing that another process invalidated is served for longer than the bound:** a record
    that is kept is used until `BOUND` seconds after it was asked for. It is used for longer only
    if its changes are told since before then, and were told until less than `BOUND` seconds ago.

    Args:
        part: The part inside the layer.
        is_cached: True if a part inside may answer reads from copies.
        most_known: The number of records that are kept.

    Attributes:
        is_cached: True if copies are to be dropped before a read that must be new.
        ready: Opens the layer, before its first use of records.
        tag_changes: Number of changes of tags that were made here, or told, or would not be.
        invalidations: Number of records that `replace` and `expire` have changed.
        record_reads: Number of records that were read from the store.
    """

    ready: Callable[[], Awaitable[None]]

    def __init__(self, part: Primitives, *, is_cached: bool, most_known: int = _MOST_KNOWN) -> None:
        self.hearing = Hearing(part, RESERVED, BOUND, self._hear)
        self.tag_changes = 0
        self.invalidations = 0
        self.record_reads = 0
        self._part = part
        self._most_known = most_known
        self._monotonic = part.clock.monotonic
        self._known: dict[bytes, _Known] = {}
        self._changes = 0
        self._state = 0
        self._passed: dict[bytes, _Passed] = {}
        self._numbers = count()
        self._compares = Capability.COMPARE_AND_PUT in part.capabilities
        self.is_cached = is_cached and self._compares

    # -- snapshots that are known to be valid --------------------------------------------

    def mark_of(self, snapshot: bytes) -> bytes | None:
        """Return the annotation with a snapshot if it is known to be valid, otherwise `None`."""
        passed = self._passed.get(snapshot)
        if passed is None or passed.state != self._state:
            return None
        now = self._monotonic()
        if now < passed.until or (passed.are_told and self.hearing.is_heard(now)):
            return passed.mark
        return None

    def pass_snapshot(self, snapshot: bytes) -> None:
        """Note that a snapshot is valid, by the records that are known now."""
        known = [self._known[each] for each in (WHOLE, *ids_in(snapshot)) if each in self._known]
        if any(each.is_outdated for each in known):
            return
        if len(self._passed) >= _MOST_PASSED:
            self._passed.clear()
        self._passed[snapshot] = _Passed(
            self._state,
            min((each.read_at for each in known), default=self._monotonic()) + BOUND,
            codec.annotation(codec.TAGS, snapshot),
            are_told=all(each.is_told for each in known),
        )

    # -- reading -----------------------------------------------------------------------

    def peek(self, identity: bytes) -> TagRecord | None:
        """Return a record that was loaded; `None` if it is missing."""
        known = self._known.get(identity)
        return None if known is None else known.record

    def is_loaded(self, identities: Iterable[bytes]) -> bool:
        """Return True if these records are known, and young enough."""
        known = self._known
        now = self._monotonic()
        is_heard: bool | None = None
        for identity in identities:
            found = known.get(identity)
            if found is None or found.is_outdated:
                return False
            if now >= found.read_at + BOUND:
                if is_heard is None:
                    is_heard = self.hearing.is_heard(now)
                if not (found.is_told and is_heard):
                    return False
        return True

    async def load(self, identities: Iterable[bytes], *, fresh: bool = False) -> None:
        """Read those of these records that are not known; with `fresh`, all of them."""
        self._forget_oldest()
        needed = dict.fromkeys(identities)
        wanted = [each for each in needed if fresh or not self.is_loaded((each,))]
        while wanted:
            await self._read(wanted)
            # Another call may have forgotten others of these meanwhile.
            wanted = [each for each in needed if each not in self._known]

    async def latest(self, identity: bytes) -> TagRecord | None:
        """Return a record as the store has it now; `None` if it is missing.

        `load` may keep an earlier one, which this process has written: where its answer comes
        later than the change of another process.
        """
        ((record, _),) = await self._read([identity])
        return record

    async def _read(self, identities: Sequence[bytes]) -> list[tuple[TagRecord | None, int | None]]:
        """Read records, and keep them. Returns them with the versions of their entries."""
        await self.ready()
        number = next(self._numbers)
        are_told = await self.hearing.begin({each: _key(each) for each in identities})
        keys = [_key(each) for each in identities]
        read_at, changes = self._monotonic(), self._changes
        if self.is_cached:
            await self.drop_copies(RESERVED, keys)
        with peeking():
            entries = await self._part.read(RESERVED, keys)
        self.record_reads += len(keys)
        are_told = are_told and changes == self._changes
        found: list[tuple[TagRecord | None, int | None]] = [
            (None, None) if entry is None else (_decoded(entry), entry.version) for entry in entries
        ]
        for identity, (record, version) in zip(identities, found, strict=True):
            damaged = version if record is None else None
            known = _Known(record, read_at, number, is_told=are_told, damaged=damaged)
            self._keep(identity, known)
        return found

    async def drop_copies(self, collection: Collection, keys: Sequence[str]) -> None:
        """Make caches inside forget what they have of these keys."""
        # A conditional change makes them drop their copy, also if it is refused.
        await self._part.remove(collection, keys, [new_version() for _ in keys])

    def _keep(self, identity: bytes, known: _Known) -> None:
        self._state += 1
        former = self._known.pop(identity, None)
        if former is not None and former.number > known.number:
            # What this process has written, or a later read. Where it is outdated, it is read
            # again.
            known = former
        self._known[identity] = known

    def _forget_oldest(self) -> None:
        """Forget the records that were read the longest time ago, if there are too many."""
        if len(self._known) > self._most_known:
            oldest = set(list(self._known)[: len(self._known) - self._most_known * 9 // 10])
            for each in oldest:
                del self._known[each]
            self.hearing.forget(oldest)
            self.tag_changes += 1  # which is not told any more

    def _hear(self, identity: bytes | None) -> None:
        self.tag_changes += 1
        self._outdate(identity)

    def _outdate(self, identity: bytes | None) -> None:
        self._changes += 1
        self._state += 1
        if identity is None:
            for each in self._known.values():
                each.is_outdated = True
        elif identity in self._known:
            self._known[identity].is_outdated = True

    # -- changing ----------------------------------------------------------------------

    async def ensure(self, identities: Sequence[bytes]) -> list[TagRecord]:
        """Return these records. Those that are missing or damaged are made."""
        for attempt in ATTEMPTS:
            await backoff(attempt)
            if not self.is_loaded(identities):
                await self.load(identities)
            records = [record for each in identities if (record := self.peek(each)) is not None]
            if len(records) == len(identities):
                return records
            missing = [each for each in identities if self.peek(each) is None]
            damaged = [getattr(self._known.get(each), "damaged", None) for each in missing]
            # What another process makes meanwhile stays, and is read in the next attempt.
            expected = [ABSENT if each is None else each for each in damaged]
            made = [TagRecord.new(is_first=each is None) for each in damaged]
            await self._write(missing, made, expected if self._compares else None)
        raise conflict(self._part.name, RESERVED, _key(identities[0]))

    async def cleared(self) -> bytes:
        """Return the version of the whole store if it was cleared, which an entry must have then.

        It is that of no tags otherwise. No record is made.
        """
        await self.load([WHOLE])
        record = self.peek(WHOLE)
        return UNTAGGED if record is None or record.is_first else record.version

    async def replace(self, identities: Sequence[bytes]) -> None:
        """Give records new versions, so that what has the former ones is invalid."""
        self.tag_changes += 1
        await self._pass_moment()
        await self._write(identities, [TagRecord.new() for _ in identities], None)
        self.invalidations += len(identities)
        if not self._compares:
            # A store that ignores writes has accepted them as well.
            for identity in identities:
                self._outdate(identity)

    async def expire(self, identities: Sequence[bytes]) -> None:
        """Give records new marks, so that what has the former ones is stale."""
        self.tag_changes += 1
        await self._pass_moment()
        now = self._part.clock.time()
        for attempt in ATTEMPTS:
            await backoff(attempt)
            records: list[TagRecord] = []
            expected: list[Expected] = []
            for found, version in await self._read(identities):
                base = TagRecord.new() if found is None else found
                records.append(TagRecord(base.version, _random(MARK_BYTES), now))
                expected.append(ABSENT if version is None else version)
            written = await self._write(identities, records, expected)
            self.invalidations += sum(written)
            identities = [each for each, flag in zip(identities, written, strict=True) if not flag]
            if not identities:
                return
        raise conflict(self._part.name, RESERVED, _key(identities[0]))

    async def _pass_moment(self) -> None:
        """Tell those who make values now that a tag is about to change."""
        # First, and by itself: who finds the former moment also finds the former version.
        await self._write([MOMENT], [TagRecord.new()], None)

    async def _write(
        self,
        identities: Sequence[bytes],
        records: Sequence[TagRecord],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        await self.ready()
        for identity in identities:
            self._outdate(identity)
        now = self._part.clock.time()
        entries = [
            Entry(msgspec.msgpack.encode(record), codec.MSGPACK, now, None, new_version())
            for record in records
        ]
        begun = self._monotonic()
        try:
            written = await self._part.write(
                RESERVED, [_key(each) for each in identities], entries, expected
            )
        finally:
            for identity in identities:
                self._outdate(identity)
        for identity, record, flag in zip(identities, records, written, strict=True):
            if flag:
                self._keep(identity, _Known(record, begun, next(self._numbers), is_told=False))
        return written


def _key(identity: bytes) -> str:
    if identity in (WHOLE, MOMENT):
        return identity.decode()
    return f"tag-{identity.hex()}"


def _random(length: int) -> bytes:
    """Return random bytes that are not all zero."""
    while not any(found := os.urandom(length)):
        pass
    return found


def _decoded(entry: Entry) -> TagRecord | None:
    """Return the record in an entry; `None` for what is no record, which counts as lost."""
    if codec.skip_annotations(entry.codec) != codec.MSGPACK:
        return None
    try:
        record = msgspec.msgpack.decode(entry.body, type=TagRecord)
    except msgspec.MsgspecError:
        return None
    has_form = len(record.version) == VERSION_BYTES and len(record.mark) == MARK_BYTES
    return record if has_form else None
