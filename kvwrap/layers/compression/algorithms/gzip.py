"""Gzip (RFC 1952), of the standard library."""

from __future__ import annotations

import zlib

from kvwrap.core import codec
from kvwrap.layers.compression.algorithms.base import Algorithm, broken, too_large

_WINDOW = 16 + zlib.MAX_WBITS


class Gzip(Algorithm):
    """What every language and tool can read; slower and larger than zstd."""

    name = "gzip"
    step = codec.GZIP
    levels = range(10)
    default = 6

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data, self.level, wbits=_WINDOW)

    def decompress(self, data: bytes, limit: int) -> bytes:
        frame = zlib.decompressobj(_WINDOW)
        try:
            plain = frame.decompress(data, limit + 1)
        except zlib.error:
            raise broken(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not frame.eof or frame.unused_data:
            raise broken(self.name)
        return plain
