"""What the compression layer asks of an algorithm, and where it finds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from kvwrap.core import codec
from kvwrap.core.registry import nearest
from kvwrap.errors import ConfigurationError, CorruptEntry


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


def algorithm(name: str, level: int | None = None) -> Algorithm:
    """The algorithm of this name.

    Raises:
        ConfigurationError: There is none, it has no such level, or its package is missing.
    """
    from kvwrap.compression.brotli import Brotli
    from kvwrap.compression.deflate import Gzip
    from kvwrap.compression.lz4 import LZ4
    from kvwrap.compression.zstd import Zstd

    known: dict[str, type[Algorithm]] = {each.name: each for each in (Zstd, Gzip, LZ4, Brotli)}
    if name not in list(known):
        raise ConfigurationError(f"no compression is called {name!r}: {nearest(str(name), known)}")
    levels = known[name].levels
    if level is not None and (type(level) is not int or level not in levels):
        raise ConfigurationError(
            f"a level of {name} is a whole number from {levels[0]} to {levels[-1]}, not {level!r}"
        )
    return known[name](level)


NAMES = {codec.ZSTD: "zstd", codec.GZIP: "gzip", codec.LZ4: "lz4", codec.BROTLI: "brotli"}
"""Names of algorithms by their step in a codec."""


def broken(name: str) -> CorruptEntry:
    """The error for data that is no whole frame of this algorithm."""
    return CorruptEntry(f"the entry's body is not one whole {name} frame: altered or truncated")


def too_large(limit: int) -> CorruptEntry:
    """The error for a frame that holds more than it may."""
    return CorruptEntry(
        f"the entry's body would be over max_size={limit} bytes once decompressed: if it is meant, "
        "give Compression a larger max_size"
    )
