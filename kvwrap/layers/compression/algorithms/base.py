"""The interface that the compression layer expects of an algorithm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from kvwrap.errors import CorruptEntry


class Algorithm(ABC):
    """A compression algorithm at one level.

    An instance is used by one thread at a time, so it may keep what is expensive to create;
    then it overrides `separate`.

    Args:
        level: A member of `levels`; None for `default`.

    Attributes:
        name: Name of the algorithm, as the layer's argument `algorithm` takes it.
        levels: The algorithm's own scale of levels.
        default: The level that suits most values.
        step: The step that stands for the algorithm in a codec (see `kvwrap.core.codec`).
    """

    name: ClassVar[str]
    levels: ClassVar[range]
    default: ClassVar[int]
    step: bytes

    def __init__(self, level: int | None = None) -> None:
        self.level = self.default if level is None else level

    @abstractmethod
    def compress(self, data: bytes) -> bytes:
        """Compress the data into one whole frame, which may be longer than the data."""

    @abstractmethod
    def decompress(self, data: bytes, limit: int) -> bytes:
        """Decompress a frame that `compress` returned.

        Raises:
            CorruptEntry: The data is not one whole frame, or it decompresses to more than
                `limit` bytes.
        """

    def decompressed_size(self, data: bytes) -> int:
        """Return the size that a frame states, which may be wrong; its own if it states none."""
        return len(data)

    def separate(self) -> Self:
        """Return an instance for another thread to use at the same time as this one."""
        return self


def broken_frame(name: str) -> CorruptEntry:
    """Return the error for data that is not one whole frame of this algorithm."""
    return CorruptEntry(
        f"the entry's body must be one whole {name} frame; it was altered or truncated"
    )


def too_large(limit: int) -> CorruptEntry:
    """Return the error for a frame that decompresses to more than `limit` bytes."""
    return CorruptEntry(
        f"the entry's body would decompress to more than max_size={limit} bytes; if a value of "
        "that size is expected, give Compression a larger max_size"
    )


def too_dense() -> CorruptEntry:
    """Return the error for a frame that expands further than the layer would have stored it."""
    return CorruptEntry(
        "the entry's body expands to more bytes or objects than kvwrap stores in so few bytes: "
        "kvwrap did not write it"
    )
