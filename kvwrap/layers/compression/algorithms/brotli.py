"""Brotli (RFC 7932)."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.optional import need
from kvwrap.layers.compression.algorithms.base import Algorithm, broken_frame, too_large

_PIECE = 2**20
"""Bytes that are decompressed at a time."""


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
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                # In pieces: the library may return twice as much as it is asked for.
                part: bytes = stream.process(
                    b"" if parts else data, output_buffer_limit=min(limit - size + 1, _PIECE)
                )
            except self._brotli.error:
                raise broken_frame(self.name) from None
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit)
            if stream.is_finished():
                break
            if not part:  # all is consumed and nothing comes: truncated
                raise broken_frame(self.name)
        return parts[0] if len(parts) == 1 else b"".join(parts)
