"""Large batches in parts: one round trip for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

CHUNK_SIZE: Final = 1000
"""Maximum number of keys in a round trip, so that a large batch does not block others."""

CHUNK_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of the values in a round trip, far below what servers take at once."""


def parts(
    count: int,
    sizes: Sequence[int] | None = None,
    *,
    most: int | None = None,
    most_bytes: int | None = None,
) -> Iterator[slice]:
    """Divide a batch into parts for one round trip each. A value over the limit is alone.

    Args:
        count: Number of keys in the batch.
        sizes: The sizes in bytes of the values that are sent for the keys; None for none.
        most: Maximum number of keys in a part; `CHUNK_SIZE` if left out.
        most_bytes: Maximum size of the values of a part; `CHUNK_BYTES` if left out.
    """
    most = CHUNK_SIZE if most is None else most
    most_bytes = CHUNK_BYTES if most_bytes is None else most_bytes
    if sizes is None or sum(sizes) <= most_bytes:
        for start in range(0, count, most):
            yield slice(start, min(start + most, count))
        return
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == most or total + size > most_bytes):
            yield slice(start, index)
            start, total = index, 0
        total += size
    yield slice(start, count)
