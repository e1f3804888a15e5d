"""A near copy: a far entry in the near store, with what the layer must know of it.

A copy leaves the near store earlier than the far entry ends, yet what users see of an
entry is the far one's truth: its value, version and end (`ttl`, `increment` and `move`
go by that end). So the entry goes into the near store with a *near* end, and the
layer's own times go in front of its codec, where they cost no copy of the body:

====== ===== =====================================================================
offset bytes meaning
====== ===== =====================================================================
0      5     a codec step: "near copy", or "near miss" for a key known to be absent
5      8     the far entry's version
13     8     from when on a reader has it renewed; a big-endian double, as the next
21     8     until when it answers for the far store
29     8     when the far entry expires; infinity is never
37           the far entry's codec
====== ===== =====================================================================

All moments are seconds since 1970-01-01 UTC by the stack's clock. The near store has a
version of its own for every copy, as for every write: the same far entry may come again.
Whoever reads the near store by itself gets the value, and `None` for a remembered miss.
"""

from __future__ import annotations

import math
import random
import struct
from typing import NamedTuple

from kvwrap.core import codec
from kvwrap.core.entry import Entry

COPY, MISS = codec.NEAR_COPY, codec.NEAR_MISS
_HEAD = struct.Struct(">5sQ3d")
LENGTH = _HEAD.size
unpack_head = _HEAD.unpack_from
"""Mark, version, renewal, freshness and end; `struct.error` where the codec is shorter."""


class Copy(NamedTuple):
    """What the near store holds of one key.

    Attributes:
        entry: The far entry as it was read, `None` for a remembered miss.
        renew: From when on a reader has it renewed.
        fresh: Until when it answers for the far store.
    """

    entry: Entry | None
    renew: float
    fresh: float

    def encode(self, near_end: float | None) -> Entry:
        """This copy as the near store keeps it, up to `near_end` by that store's clock."""
        entry = self.entry
        if entry is None:
            head = _HEAD.pack(MISS, 0, self.renew, self.fresh, self.fresh)
            return Entry(b"", head, self.renew, near_end, random.getrandbits(64))
        end = math.inf if entry.expires_at is None else entry.expires_at
        head = _HEAD.pack(COPY, entry.version, self.renew, self.fresh, end)
        version = random.getrandbits(64)
        return Entry(entry.body, head + entry.codec, entry.created_at, near_end, version)


def decode_entry(kept: Entry, version: int, end: float) -> Entry:
    """The far entry, of what the near store keeps of it and what its head says."""
    return Entry(
        kept.body,
        kept.codec[LENGTH:],
        kept.created_at,
        None if end == math.inf else end,
        version,
    )


def decode(kept: Entry) -> Copy | None:
    """The copy that the near store keeps in this form; `None` for what is none."""
    if len(kept.codec) < LENGTH:
        return None
    mark, version, renew, fresh, end = unpack_head(kept.codec)
    if mark == COPY:
        return Copy(decode_entry(kept, version, end), renew, fresh)
    return Copy(None, renew, fresh) if mark == MISS else None
