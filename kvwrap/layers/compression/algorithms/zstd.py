"""Zstandard (RFC 8878), with or without a dictionary."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Self

from kvwrap.core import codec
from kvwrap.errors import CorruptEntry
from kvwrap.layers.compression.algorithms.base import Algorithm, broken_frame, too_large


class Zstd(Algorithm):
    """The default: fast to write and to read, and small.

    Frames state the size of their content, so that reading allocates once and checks the limit
    beforehand. They contain neither a checksum nor a dictionary id, since the entry has both.

    Args:
        level: A member of `levels`; None for `default`.
        dictionary: A trained dictionary, as bytes; None to compress without one.

    Raises:
        CorruptEntry: The dictionary is not one of zstd.
    """

    name = "zstd"
    step = codec.ZSTD
    levels = range(-7, 23)
    default = 3

    def __init__(self, level: int | None = None, dictionary: bytes | None = None) -> None:
        import zstandard

        super().__init__(level)
        self._error = zstandard.ZstdError
        self._dictionary = None
        if dictionary is not None:
            try:
                self._dictionary = zstandard.ZstdCompressionDict(
                    dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT
                )
                # The contexts are kept: creating one costs more than a small value.
                self._decompress = zstandard.ZstdDecompressor(dict_data=self._dictionary).decompress
            except self._error:
                raise CorruptEntry(
                    "the bytes must be a dictionary of zstd; they were altered"
                ) from None
        else:
            self._decompress = zstandard.ZstdDecompressor().decompress
        self._content_size = zstandard.frame_content_size

    @cached_property
    def _compress(self) -> Callable[[bytes], bytes]:
        # Not before it is needed: a dictionary that is only read takes half the memory.
        import zstandard

        if self._dictionary is not None:
            self._dictionary.precompute_compress(level=self.level)
        return zstandard.ZstdCompressor(
            level=self.level, dict_data=self._dictionary, write_dict_id=False
        ).compress

    def compress(self, data: bytes) -> bytes:
        return self._compress(data)

    def decompress(self, data: bytes, limit: int) -> bytes:
        try:
            # The size is -1 if the frame does not state it; the library then enforces the limit.
            if (size := self._content_size(data)) > limit:
                raise too_large(limit)
            # By position: max_output_size, read_across_frames, allow_extra_data.
            plain: bytes = self._decompress(data, limit if size < 0 else 0, False, False)
        except self._error:
            raise broken_frame(self.name) from None
        return plain

    def decompressed_size(self, data: bytes) -> int:
        try:
            size = self._content_size(data)
        except self._error:
            return len(data)
        return len(data) if size < 0 else size

    def separate(self) -> Self:
        """Return an instance with contexts of its own.

        Two of them must not compress with one dictionary at the same time.
        """
        import zstandard

        other = copy.copy(self)
        vars(other).pop("_compress", None)
        other._decompress = zstandard.ZstdDecompressor(dict_data=self._dictionary).decompress
        return other
