"""LZ4, in its frame format."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.optional import need
from kvwrap.layers.compression.algorithms.base import Algorithm, broken, too_large


class LZ4(Algorithm):
    """The fastest to read; the least small."""

    name = "lz4"
    step = codec.LZ4
    levels = range(-10, 17)
    default = 0

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        self._frame = need("lz4.frame", extra="lz4", wanted_by="lz4 compression")

    def compress(self, data: bytes) -> bytes:
        made: bytes = self._frame.compress(data, compression_level=self.level)
        return made

    def decompress(self, data: bytes, limit: int) -> bytes:
        try:
            # 0 where the frame does not say. The library takes memory for as much as it may
            # give, so it is told as little as will do.
            size: int = self._frame.get_frame_info(data)["content_size"]
            if size > limit:
                raise too_large(limit)
            frame = self._frame.LZ4FrameDecompressor()
            plain: bytes = frame.decompress(data, (size or limit) + 1)
        except (RuntimeError, EOFError):
            raise broken(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not frame.eof or frame.unused_data:
            raise broken(self.name)
        return plain
