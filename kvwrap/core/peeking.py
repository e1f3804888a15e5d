"""Reads that look whether an entry exists, or is over, and are not a use of it."""

from __future__ import annotations

from contextvars import ContextVar, Token

_is_peeking: ContextVar[bool] = ContextVar("kvwrap_is_peeking", default=False)

begin_peeking, end_peeking = _is_peeking.set, _is_peeking.reset
"""What `peeking` does at its two ends, for a read that must cost little."""


class peeking:  # noqa: N801 (used like a function)
    """Make the reads of this block (`with`) ones that use no entry, in all layers inside."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[bool] = _is_peeking.set(True)

    def __exit__(self, *error: object) -> None:
        _is_peeking.reset(self._token)


def is_peeking() -> bool:
    """Return True if the current read uses no entry: for `exists`, a listing or `get_or_put`."""
    return _is_peeking.get()
