"""What the compression layer asks of an algorithm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from kvwrap.errors import CorruptEntry


class Algorithm(ABC):
    """One way to compress, at one level.

    An instance is used by one event loop at a time, so it may keep what is costly to make.

    Args:
        level: One of `levels`; `default` is the one that suits most values.
    """

    name: ClassVar[str]
    levels: ClassVar[range]
    default: ClassVar[int]
    step: bytes

    def __init__(self, level: int | None = None) -> None:
        self.level = self.default if level is None else level

    @abstractmethod
    def compress(self, data: bytes) -> bytes:
        """The data as one whole frame, which may be longer than the data."""

    @abstractmethod
    def decompress(self, data: bytes, limit: int) -> bytes:
        """What `compress` was given; raises `CorruptEntry` for anything else, and over `limit`."""


def broken(name: str) -> CorruptEntry:
    """The error for data that is no whole frame of this algorithm."""
    return CorruptEntry(f"the entry's body is not one whole {name} frame: altered or truncated")


def too_large(limit: int) -> CorruptEntry:
    """The error for a frame that holds more than it may."""
    return CorruptEntry(
        f"the entry's body would be over max_size={limit} bytes once decompressed: if it is meant, "
        "give Compression a larger max_size"
    )
