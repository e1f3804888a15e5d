"""Brotli (RFC 7932)."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.optional import need
from kvwrap.layers.compression.algorithms.base import Algorithm, broken_frame, too_large


class Brotli(Algorithm):
    """The smallest output for text, with a built-in dictionary of common words; slow to write."""

    name = "brotli"
    step = codec.BROTLI
    levels = range(12)
    default = 5

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        self._brotli = need("brotli", extra="brotli", wanted_by="brotli compression")

    def compress(self, data: bytes) -> bytes:
        frame: bytes = self._brotli.compress(data, quality=self.level)
        return frame

    def decompress(self, data: bytes, limit: int) -> bytes:
        stream = self._brotli.Decompressor()
        try:
            plain: bytes = stream.process(data, output_buffer_limit=limit + 1)
        except self._brotli.error:
            raise broken_frame(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not stream.is_finished():
            raise broken_frame(self.name)
        return plain
