"""LZ4, in its frame format."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.optional import need
from kvwrap.layers.compression.algorithms.base import Algorithm, broken_frame, too_large

_STATES_SIZE = 0x08
"""The flag in a frame's fifth byte; then eight bytes from the seventh are the size."""


class LZ4(Algorithm):
    """The fastest to read; the largest output of the four."""

    name = "lz4"
    step = codec.LZ4
    levels = range(-10, 17)
    default = 0

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        self._frame = need("lz4.frame", extra="lz4", wanted_by="lz4 compression")

    def compress(self, data: bytes) -> bytes:
        frame: bytes = self._frame.compress(data, compression_level=self.level)
        return frame

    def decompress(self, data: bytes, limit: int) -> bytes:
        try:
            # The size is 0 if the frame does not state it. The library allocates memory for the
            # maximum that it is given, so the maximum is as low as possible.
            size: int = self._frame.get_frame_info(data)["content_size"]
            if size > limit:
                raise too_large(limit)
            stream = self._frame.LZ4FrameDecompressor()
            plain: bytes = stream.decompress(data, (size or limit) + 1)
        except (RuntimeError, EOFError):
            raise broken_frame(self.name) from None
        if len(plain) > limit:
            raise too_large(limit)
        if not stream.eof or stream.unused_data:
            raise broken_frame(self.name)
        return plain

    def decompressed_size(self, data: bytes) -> int:
        if len(data) < 14 or not data[4] & _STATES_SIZE:
            return len(data)
        return int.from_bytes(data[6:14], "little")
