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

A near store that keeps the objects which it was given, as memory does, returns a `NearEntry`,
from which nothing has to be unpacked.
"""

from __future__ import annotations

import math
import struct

import msgspec

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.randomness import new_version

_HEADER = struct.Struct(">3sQ3d")
_COPY = codec.annotation(codec.NEAR_COPY, bytes(_HEADER.size - 3))[:3]
_MISS = codec.annotation(codec.NEAR_MISS, bytes(_HEADER.size - 3))[:3]


class Copy(msgspec.Struct, frozen=True, gc=False):
    """What the near store holds for one key.

    Attributes:
        entry: The far entry as it was read; `None` for a remembered miss.
        refresh_at: When a reader starts a refresh, in Unix seconds.
        fresh_until: Until when the copy answers for the far store, in Unix seconds.
    """

    entry: Entry | None
    refresh_at: float
    fresh_until: float

    def encode(self, near_expiry: float | None) -> NearEntry:
        """Return the copy as the near store keeps it.

        Args:
            near_expiry: When it expires there, in Unix seconds by the near store's clock; `None`
                for never.
        """
        entry = self.entry
        if entry is None:
            header = _HEADER.pack(_MISS, 0, self.refresh_at, self.fresh_until, self.fresh_until)
            # JSON's null: a program that reads the near store directly gets None.
            return NearEntry(
                b"null", header + codec.JSON, self.refresh_at, near_expiry, new_version(), self
            )
        expiry = math.inf if entry.expires_at is None else entry.expires_at
        header = _HEADER.pack(_COPY, entry.version, self.refresh_at, self.fresh_until, expiry)
        return NearEntry(
            entry.body, header + entry.codec, entry.created_at, near_expiry, new_version(), self
        )


class NearEntry(Entry, frozen=True, gc=False):
    """The entry that the near store gets, with the copy that it encodes."""

    copy: Copy


def decode(near_entry: Entry) -> Copy | None:
    """Return the copy that the near store keeps as this entry; `None` if it is not a copy."""
    if type(near_entry) is NearEntry:
        return near_entry.copy
    if len(near_entry.codec) < _HEADER.size:
        return None
    mark, version, refresh_at, fresh_until, expiry = _HEADER.unpack_from(near_entry.codec)
    if mark == _MISS:
        return Copy(None, refresh_at, fresh_until)
    if mark != _COPY:
        return _decode_behind_others(near_entry)
    entry = Entry(
        near_entry.body,
        near_entry.codec[_HEADER.size :],
        near_entry.created_at,
        None if expiry == math.inf else expiry,
        version,
    )
    return Copy(entry, refresh_at, fresh_until)


def _decode_behind_others(near_entry: Entry) -> Copy | None:
    """Decode a copy that has annotations in front, of layers that are not in the near store now."""
    for mark in (_COPY, _MISS):
        data, rest = codec.take_annotation(near_entry.codec, mark[2])
        if data is not None and len(data) == _HEADER.size - len(mark):
            return decode(near_entry.with_body(near_entry.body, mark + data + rest))
    return None
