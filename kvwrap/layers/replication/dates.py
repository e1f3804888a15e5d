"""The dates of writes, by which replicas tell newer copies from older ones.

A date stands in an annotation in front of the codec of every entry that `Replication` wrote,
and is taken off again before the entry goes outward. The entry's own creation time, version and
expiry stay as the user's layers made them. The data of the annotation:

====== ===== =====================================================================
offset bytes meaning
====== ===== =====================================================================
0      8     hybrid logical clock: Unix milliseconds times 65,536, plus a counter
8      4     random, so that two writes at one tick of two clocks differ
12     6     number of conditional writes since the write that drew the bytes before
18     8     expiry in Unix seconds, a big-endian double; infinity means never
====== ===== =====================================================================

Dates compare as bytes. There are two ways to draw one, given the newest date that the replicas
show for the key:

- A write without a condition takes the process's clock or the next tick after the newest date,
  whichever is later. So it is dated after all that it replaces, whatever the clocks.
- A conditional write keeps the first 12 bytes of what it replaces and adds one to the number.
  So it comes right after that, and before every write without a condition that saw it.

An entry without a date is older than all others: it was there before replication. A date
further ahead than `BELIEVED_AHEAD` is from a wrong clock or from damaged bytes. It is older
than every date that is believed, and no date is drawn after it.

The expiry that the replica's store knows is `GRACE` seconds later than the one in the
annotation. Until then an expired entry is missing for users, but keeps its date, so that a
process whose clock is behind cannot take it for newer than what replaced it.
"""

from __future__ import annotations

import logging
import math
import struct

from kvwrap.core import codec
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.randomness import new_version
from kvwrap.core.ttl import LATEST
from kvwrap.errors import CorruptEntry

BELIEVED_AHEAD = 3600.0
"""Seconds by which a date may be ahead of this process's clock and still be believed."""

GRACE = 60.0
"""Seconds for which replicas keep an entry after its expiry."""

Copy = Entry | CorruptEntry | None
"""What a replica has for a key: an entry with its date, unreadable bytes, or nothing."""

Rank = tuple[int, bytes, int, int]
"""The position of a copy in the order by age; higher is newer."""

_log = logging.getLogger("kvwrap.replication")

_DATE = struct.Struct(">QIHI")
_EXPIRY = struct.Struct(">d")
_LENGTH = _DATE.size + _EXPIRY.size
_MARK = codec.annotation(codec.WRITE_DATE, bytes(_LENGTH))[:-_LENGTH]
_NEVER = _EXPIRY.pack(math.inf)
_LAST_MS = 2**48 - 1
_LAST_TICK = 2**64 - 1
_LAST_STEP = 2**48 - 1
_TICKS = 1 << 16
"""Ticks of the hybrid logical clock in a millisecond."""
_AHEAD = int(BELIEVED_AHEAD * 1000) * _TICKS

_TOMBSTONE = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.tombstone"))

_NOTHING: Rank = (0, b"", 0, 0)


class Dates:
    """Draws dates, and orders copies by them.

    Args:
        clock: Source of the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._own = 0
        self._has_warned = False

    def _now(self) -> int:
        """Return the first tick of this millisecond."""
        return int(max(0.0, min(self._clock.time() * 1000, _LAST_MS))) * _TICKS

    def rank(self, copy: Copy) -> Rank:
        """Return the position of a copy in the order by age.

        From the oldest: nothing, or bytes that cannot be read; entries without a date, by
        creation time; dates that are not believed; all others by date. Two copies of one
        date differ by version, so that every reader chooses the same one.
        """
        if copy is None or isinstance(copy, CorruptEntry):
            return _NOTHING
        date = _date(copy)
        if not date:
            return 1, b"", int(copy.created_at * 1000), copy.version
        return (3 if self._is_believed(date) else 2), date, 0, copy.version

    def after(self, newest: Copy) -> bytes:
        """Return the date of a write without a condition, after the newest copy of its key."""
        now = self._now()
        # Each tick once, also when the clock is set back; but not after a leap of the clock.
        self._own = own = max(now, self._own + 1 if self._own <= now + _AHEAD else 0)
        tick = max(own, int.from_bytes(self._believed(newest)[:8], "big") + 1)
        return _DATE.pack(min(tick, _LAST_TICK), new_version() & 0xFFFFFFFF, 0, 0)

    def right_after(self, replaced: Copy) -> bytes:
        """Return the date of a conditional write that replaces this copy.

        Where nothing has a date, it lies so far back that a write of another process in
        progress has a later one.
        """
        date = self._believed(replaced)
        if not date:
            tick = max(0, self._now() - 2 * _AHEAD)
            return _DATE.pack(tick, new_version() & 0xFFFFFFFF, 0, 1)
        tick, tie, high, low = _DATE.unpack(date)
        step = (high << 32 | low) + 1
        if step > _LAST_STEP:  # only damaged bytes say so
            return _DATE.pack(min(tick + 1, _LAST_TICK), tie, 0, 1)
        return _DATE.pack(tick, tie, step >> 32, step & 0xFFFFFFFF)

    def tombstone(self, ttl: float) -> Entry:
        """Return an entry without a date that marks its key as removed for `ttl` seconds."""
        now = max(0.0, min(self._clock.time(), LATEST))
        return Entry(b"", _TOMBSTONE, now, min(now + ttl, LATEST), new_version())

    def visible(self, copy: Copy) -> Entry | None:
        """Return the entry as the user wrote it; `None` for a tombstone or an expired one."""
        if copy is None or isinstance(copy, CorruptEntry):
            return None
        data, rest = _split(copy)
        if codec.skip_annotations(rest) == _TOMBSTONE:
            return None
        if len(rest) == len(copy.codec):
            return copy
        expires_at = copy.expires_at if data is None else _expiry(data, copy)
        if expires_at is not None and expires_at <= self._clock.time():
            return None
        return Entry(copy.body, rest, copy.created_at, expires_at, copy.version)

    def _believed(self, copy: Copy) -> bytes:
        if copy is None or isinstance(copy, CorruptEntry):
            return b""
        date = _date(copy)
        return date if date and self._is_believed(date) else b""

    def _is_believed(self, date: bytes) -> bool:
        if int.from_bytes(date[:8], "big") <= self._now() + _AHEAD:
            return True
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "a replica has an entry whose write date is more than %d s ahead of this "
                "process's clock; it counts as older than entries with other dates. Check the "
                "clocks of all processes (this is logged once)",
                BELIEVED_AHEAD,
            )
        return False


def dated(entry: Entry, date: bytes) -> Entry:
    """Return the entry as replicas keep it: with its date, and with an expiry after its own."""
    if entry.expires_at is None:
        expiry, kept_until = _NEVER, None
    elif codec.skip_annotations(entry.codec) == _TOMBSTONE:
        expiry, kept_until = _NEVER, entry.expires_at
    else:
        expiry, kept_until = _EXPIRY.pack(entry.expires_at), min(entry.expires_at + GRACE, LATEST)
    annotated = b"".join((_MARK, date, expiry, entry.codec))
    return Entry(entry.body, annotated, entry.created_at, kept_until, entry.version)


def _split(entry: Entry) -> tuple[bytes | None, bytes]:
    """Return the data of the date's annotation, if it is whole, and the codec without it."""
    data, rest = codec.take_annotation(entry.codec, codec.WRITE_DATE)
    return (data if data is not None and len(data) == _LENGTH else None), rest


def _date(entry: Entry) -> bytes:
    data, _ = _split(entry)
    return b"" if data is None else data[: _DATE.size]


def _expiry(data: bytes, entry: Entry) -> float | None:
    """Return the user's expiry; never later than the one that the replica's store knows."""
    expiry: float = _EXPIRY.unpack_from(data, _DATE.size)[0]
    known = math.inf if entry.expires_at is None else entry.expires_at
    earlier = min(known, expiry)  # in this order, since damaged bytes may be no number
    return None if earlier == math.inf else earlier
