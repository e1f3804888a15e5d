"""Which of several names a key belongs to, such that a new name takes only its share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


class Rendezvous:
    """Highest random weight hashing (Thaler and Ravishankar, 1996).

    Every name draws a number for the key, a BLAKE2b hash of both, and the highest wins.
    Shares differ by chance alone; a name that joins takes from each other its part, and
    one that leaves gives its keys to all others; no key moves between those that stay.

    Args:
        names: What the keys are spread over, in any order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._draws = []
        for name in names:
            encoded = name.encode()
            draw = hashlib.blake2b(b"%d:%b" % (len(encoded), encoded), digest_size=8)
            self._draws.append((name, draw))

    def owner(self, collection: str | None, key: str) -> str:
        """The name that this key of this collection belongs to."""
        name = b"" if collection is None else collection.encode()
        # The length, plus one so that none differs from any, keeps ("ab", "c") from ("a", "bc").
        qualified = b"%d:%b%b" % (0 if collection is None else len(name) + 1, name, key.encode())
        best, owner = b"", ""
        for candidate, draw in self._draws:
            drawn = draw.copy()
            drawn.update(qualified)
            number = drawn.digest()
            if number > best:
                best, owner = number, candidate
        return owner
