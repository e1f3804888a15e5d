"""Reads that look whether an entry exists, or is over, and are not a use of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_peeking: ContextVar[bool] = ContextVar("kvwrap_is_peeking", default=False)


@contextmanager
def peeking() -> Iterator[None]:
    """Make the reads of this block ones that use no entry, in all layers inside."""
    token = _is_peeking.set(True)
    try:
        yield
    finally:
        _is_peeking.reset(token)


def is_peeking() -> bool:
    """Return True if the current read uses no entry: for `exists`, or for a listing."""
    return _is_peeking.get()
