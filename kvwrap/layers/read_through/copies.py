"""A near copy: a far entry in the near store, with what the layer must know about it.

A copy may expire in the near store before the far entry does. Users see the far entry's own
value, version and expiry all the same; `ttl`, `increment` and `move` use that expiry. So the
near store gets the entry with an expiry of its own, the *near* expiry. The layer's own times
are put in front of the entry's codec, where they cost no copy of the body:

====== ===== =====================================================================
offset bytes meaning
====== ===== =====================================================================
0      3     a codec annotation: "near copy", or "near miss" for a key known to be absent
3      8     version of the far entry
11     8     from when on a reader starts a refresh; a big-endian double, as the next two
19     8     until when the copy answers for the far store
27     8     when the far entry expires; infinity means never
35           codec of the far entry
====== ===== =====================================================================

All times are Unix seconds (since 1970-01-01 UTC) by the stack's clock. The near store gets a
new version for every copy, as for every write, because the same far entry may be filled again.
A program that reads the near store directly gets the value, and `None` for a remembered miss.

A near store that keeps the objects which it was given, as memory does, gets and returns a `Copy`
with the far entry's own codec: nothing has to be packed or unpacked.
"""

from __future__ import annotations

import math
import struct

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.randomness import new_version

_HEADER = struct.Struct(">3sQ3d")
_COPY = codec.annotation(codec.NEAR_COPY, bytes(_HEADER.size - 3))[:3]
_MISS = codec.annotation(codec.NEAR_MISS, bytes(_HEADER.size - 3))[:3]


class Copy(Entry, frozen=True, gc=False):
    """The entry that the near store has for a key, with what it says about the far entry.

    Attributes:
        entry: The far entry as it was read; `None` for a remembered miss.
        refresh_at: When a reader starts a refresh, in Unix seconds.
        fresh_until: Until when the copy answers for the far store, in Unix seconds.
        direct_until: Until when a hit is nothing but a hit: `refresh_at`, or -infinity while the
            `Advisor` has to see the next one. It alone changes.
    """

    entry: Entry | None
    refresh_at: float
    fresh_until: float
    direct_until: float


def make(
    entry: Entry | None, refresh_at: float, fresh_until: float, near_expiry: float | None
) -> Copy:
    """Return a copy as a near store gets it that keeps objects.

    Args:
        entry: As for `Copy`, like the next two.
        refresh_at: See there.
        fresh_until: See there.
        near_expiry: When it expires there, in Unix seconds by the near store's clock; `None`
            for never.
    """
    if entry is None:
        # JSON's null: a program that reads the near store directly gets None.
        body, steps, created_at = b"null", codec.JSON, refresh_at
    else:
        body, steps, created_at = entry.body, entry.codec, entry.created_at
    return Copy(
        body,
        steps,
        created_at,
        near_expiry,
        new_version(),
        entry,
        refresh_at,
        fresh_until,
        refresh_at,
    )


def encode(copy: Copy) -> Copy:
    """Return a copy as a near store gets it that keeps bytes: with its times in the codec."""
    entry = copy.entry
    if entry is None:
        header = _HEADER.pack(_MISS, 0, copy.refresh_at, copy.fresh_until, copy.fresh_until)
    else:
        expiry = math.inf if entry.expires_at is None else entry.expires_at
        header = _HEADER.pack(_COPY, entry.version, copy.refresh_at, copy.fresh_until, expiry)
    return Copy(
        copy.body,
        header + copy.codec,
        copy.created_at,
        copy.expires_at,
        copy.version,
        entry,
        copy.refresh_at,
        copy.fresh_until,
        copy.direct_until,
    )


def decode(near_entry: Entry) -> Copy | None:
    """Return an entry of the near store as a copy; `None` if it is not one."""
    if type(near_entry) is Copy:
        return near_entry
    if len(near_entry.codec) < _HEADER.size:
        return None
    mark, version, refresh_at, fresh_until, expiry = _HEADER.unpack_from(near_entry.codec)
    if mark not in (_COPY, _MISS):
        return _decode_behind_others(near_entry)
    entry = None
    if mark == _COPY:
        entry = Entry(
            near_entry.body,
            near_entry.codec[_HEADER.size :],
            near_entry.created_at,
            None if expiry == math.inf else expiry,
            version,
        )
    return Copy(
        near_entry.body,
        near_entry.codec,
        near_entry.created_at,
        near_entry.expires_at,
        near_entry.version,
        entry,
        refresh_at,
        fresh_until,
        -math.inf,
    )


def _decode_behind_others(near_entry: Entry) -> Copy | None:
    """Decode a copy that has annotations in front, of layers that are not in the near store now."""
    for mark in (_COPY, _MISS):
        data, rest = codec.take_annotation(near_entry.codec, mark[2])
        if data is not None and len(data) == _HEADER.size - len(mark):
            return decode(near_entry.with_body(near_entry.body, mark + data + rest))
    return None
