"""Zstandard (RFC 8878), with or without a dictionary."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.layers.compression.algorithms.base import Algorithm, broken, too_large


class Zstd(Algorithm):
    """The default: fast both ways, and small.

    Frames carry the size of their content, so that reading allocates once and knows its
    bound beforehand, and neither checksum nor dictionary id, since the entry has both.
    """

    name = "zstd"
    step = codec.ZSTD
    levels = range(-7, 23)
    default = 3

    def __init__(self, level: int | None = None, dictionary: bytes | None = None) -> None:
        import zstandard

        super().__init__(level)
        trained = None
        if dictionary is not None:
            trained = zstandard.ZstdCompressionDict(
                dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT
            )
            trained.precompute_compress(level=self.level)
        # Contexts are kept: making one costs more than compressing a small value.
        self._compress = zstandard.ZstdCompressor(
            level=self.level, dict_data=trained, write_dict_id=False
        ).compress
        self._decompress = zstandard.ZstdDecompressor(dict_data=trained).decompress
        self._content_size = zstandard.frame_content_size
        self._error = zstandard.ZstdError

    def compress(self, data: bytes) -> bytes:
        return self._compress(data)

    def decompress(self, data: bytes, limit: int) -> bytes:
        try:
            # -1 where the frame does not say: then the library takes the limit for a bound.
            if (size := self._content_size(data)) > limit:
                raise too_large(limit)
            plain: bytes = self._decompress(
                data, max_output_size=limit if size < 0 else 0, allow_extra_data=False
            )
        except self._error:
            raise broken(self.name) from None
        return plain
