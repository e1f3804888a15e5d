"""Rendezvous hashing: the owner of a key among several names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


class Rendezvous:
    """Highest random weight (HRW) hashing (Thaler and Ravishankar, 1996).

    Every name gets a score for the key, a BLAKE2b hash of both, and the name with the highest
    score owns the key. Shares differ only by chance. A name that is added takes a part of the
    keys of every other name, and the keys of a removed name are distributed over all others.
    No key moves between the names that stay.

    Args:
        names: The names that the keys are distributed over, in any order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._hashes = []
        for name in names:
            encoded = name.encode()
            name_hash = hashlib.blake2b(b"%d:%b" % (len(encoded), encoded), digest_size=8)
            self._hashes.append((name, name_hash))

    def owner(self, collection: str | None, key: str) -> str:
        """Return the name that owns this key of this collection."""
        name = b"" if collection is None else collection.encode()
        # The length keeps ("ab", "c") apart from ("a", "bc"); plus one, so that the default
        # collection (`None`) differs from every name.
        qualified_key = b"%d:%b%b" % (
            0 if collection is None else len(name) + 1,
            name,
            key.encode(),
        )
        highest, owner = b"", ""
        for candidate, name_hash in self._hashes:
            key_hash = name_hash.copy()
            key_hash.update(qualified_key)
            score = key_hash.digest()
            if score > highest:
                highest, owner = score, candidate
        return owner
