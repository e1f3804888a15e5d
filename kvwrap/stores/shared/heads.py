"""What conditions need to know of stored entries, without decoding them."""

from __future__ import annotations

from typing import NamedTuple, Self

from kvwrap.core.entry import version_and_expiry
from kvwrap.core.primitives import ABSENT, Expected


class Head(NamedTuple):
    """What conditions and expiry need of a stored entry.

    Attributes:
        version: The version; None for an entry that is damaged.
        expiry: The expiry time in Unix milliseconds; 0 for never.
    """

    version: int | None = None
    expiry: int = 0

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """Return the head of stored bytes."""
        return cls(*(version_and_expiry(data) or ()))

    def is_live(self, now: float) -> bool:
        """Return True if the entry has not expired at this time, in Unix milliseconds."""
        return not self.expiry or self.expiry > now

    def allows(self, expected: Expected, own: int, now: float) -> bool:
        """Return True if a condition holds for this entry, or if it is the one to be written.

        A call whose answer was lost is repeated: then its entry is stored already, and it
        succeeds.
        """
        if expected is ABSENT:
            return not self.is_live(now) or self.version == own
        # A write that keeps the version must not find itself in an expired entry.
        return (self.version == expected and self.is_live(now)) or self.version == own != expected
