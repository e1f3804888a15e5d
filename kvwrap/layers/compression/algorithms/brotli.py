"""Brotli (RFC 7932)."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.optional import need
from kvwrap.layers.compression.algorithms.base import Algorithm, broken, too_large


class Brotli(Algorithm):
    """The smallest for text, with a dictionary of common words built in; slow to write."""

    name = "brotli"
    step = codec.BROTLI
    levels = range(12)
    default = 5

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        self._brotli = need("brotli", extra="brotli", wanted_by="brotli compression")

    def compress(self, data: bytes) -> bytes:
        made: bytes = self._brotli.compress(data, quality=self.level)
        return made

    def decompress(self, data: bytes, limit: int) -> bytes:
        stream = self._brotli.Decompressor()
        try:
            plain: bytes = stream.process(data, output_buffer_limit=limit + 1)
        except self._brotli.error:
            raise broken(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not stream.is_finished():
            raise broken(self.name)
        return plain
