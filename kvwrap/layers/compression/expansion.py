"""How far an entry may expand: to bytes by decompression, and to the objects of its value.

A forged entry of 500 bytes could decompress to hundreds of megabytes, and these decode to more:
an empty list takes one byte in MessagePack and 73 in memory. So both are bounded by the size at
rest. What `Compression` writes stays within the bounds, as it stores other values uncompressed.
"""

from __future__ import annotations

from kvwrap.core import codec

FREE_BYTES = 2**20
"""Bytes to which any entry may decompress. As the densest MessagePack they take 90 MiB."""

BYTES = 256
"""Further bytes, for each byte at rest."""

FREE_OBJECTS = 2**18
"""Objects of which the value of any larger body may consist."""

OBJECTS = 16
"""Further objects, for each byte at rest."""

_JSON_MARKS = (b"[", b"{", b",")
_ASCII = bytes(range(0x80))


def expands_too_far(body: bytes, steps: bytes, stored: int) -> bool:
    """Return True if a body must not be stored in so few bytes, nor be read from them.

    Args:
        body: The decompressed bytes.
        steps: Their codec.
        stored: The size at rest, in bytes.
    """
    size = len(body)
    if size <= FREE_BYTES or size <= OBJECTS * stored:
        return False
    if size > FREE_BYTES + BYTES * stored:
        return True
    return _objects(body, codec.skip_annotations(steps)) > FREE_OBJECTS + OBJECTS * stored


def _objects(body: bytes, serializer: bytes) -> int:
    """Return at least how many objects a body decodes to; 0 for serializers of other kinds.

    The counts are native and need no parser. Text with many commas, or MessagePack with text
    that is not ASCII, counts as more than it is.
    """
    marks = sum(body.count(mark) for mark in _JSON_MARKS)
    if serializer == codec.JSON:
        return marks
    # All but small numbers and ASCII text begins with such a byte.
    high = len(body.translate(None, _ASCII))
    if serializer == codec.MSGPACK:
        return high
    # A body without a step is read with the stack's serializer, which may be either.
    return 0 if serializer else max(marks, high)
