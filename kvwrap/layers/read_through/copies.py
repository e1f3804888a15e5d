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
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.randomness import new_version

_HEADER = struct.Struct(">3sQ3d")
HEADER_LENGTH = _HEADER.size
COPY = codec.annotation(codec.NEAR_COPY, bytes(HEADER_LENGTH - 3))[:3]
MISS = codec.annotation(codec.NEAR_MISS, bytes(HEADER_LENGTH - 3))[:3]
unpack_header = _HEADER.unpack_from
"""Mark, version, refresh time, end of freshness and expiry; `struct.error` if cut short."""


class Copy(NamedTuple):
    """What the near store holds for one key.

    Attributes:
        entry: The far entry as it was read; `None` for a remembered miss.
        refresh_at: When a reader starts a refresh, in Unix seconds.
        fresh_until: Until when the copy answers for the far store, in Unix seconds.
    """

    entry: Entry | None
    refresh_at: float
    fresh_until: float

    def encode(self, near_expiry: float | None) -> Entry:
        """Return the copy as the near store keeps it.

        Args:
            near_expiry: When it expires there, in Unix seconds by the near store's clock; `None`
                for never.
        """
        entry = self.entry
        if entry is None:
            header = _HEADER.pack(MISS, 0, self.refresh_at, self.fresh_until, self.fresh_until)
            # JSON's null: a program that reads the near store directly gets None.
            return Entry(b"null", header + codec.JSON, self.refresh_at, near_expiry, new_version())
        expiry = math.inf if entry.expires_at is None else entry.expires_at
        header = _HEADER.pack(COPY, entry.version, self.refresh_at, self.fresh_until, expiry)
        return Entry(entry.body, header + entry.codec, entry.created_at, near_expiry, new_version())


def decode_entry(near_entry: Entry, version: int, expiry: float) -> Entry:
    """Return the far entry of a near one.

    Args:
        near_entry: The copy as the near store keeps it.
        version: The far entry's version, from the header.
        expiry: The far entry's expiry in Unix seconds, from the header; infinity means never.
    """
    return Entry(
        near_entry.body,
        near_entry.codec[HEADER_LENGTH:],
        near_entry.created_at,
        None if expiry == math.inf else expiry,
        version,
    )


def decode(near_entry: Entry) -> Copy | None:
    """Return the copy that the near store keeps as this entry; `None` if it is not a copy."""
    if len(near_entry.codec) < HEADER_LENGTH:
        return None
    mark, version, refresh_at, fresh_until, expiry = unpack_header(near_entry.codec)
    if mark == COPY:
        return Copy(decode_entry(near_entry, version, expiry), refresh_at, fresh_until)
    return Copy(None, refresh_at, fresh_until) if mark == MISS else None
