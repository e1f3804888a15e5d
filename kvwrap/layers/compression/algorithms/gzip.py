"""Gzip (RFC 1952), from the standard library."""

from __future__ import annotations

import zlib

from kvwrap.core import codec
from kvwrap.layers.compression.algorithms.base import Algorithm, broken_frame, too_large

_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class Gzip(Algorithm):
    """Readable by every language and tool; slower and larger than zstd."""

    name = "gzip"
    step = codec.GZIP
    levels = range(10)
    default = 6

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data, self.level, wbits=_GZIP_FORMAT)

    def decompress(self, data: bytes, limit: int) -> bytes:
        stream = zlib.decompressobj(_GZIP_FORMAT)
        try:
            plain = stream.decompress(data, limit + 1)
        except zlib.error:
            raise broken_frame(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not stream.eof or stream.unused_data:
            raise broken_frame(self.name)
        return plain

    def decompressed_size(self, data: bytes) -> int:
        return int.from_bytes(data[-4:], "little")
