"""The callers that wait for a batch, each for the result of its own key."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable
from typing import Any

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError

Waiter = asyncio.Future[list[Any]]
"""What one caller awaits: the primitive's result, a list with the item of its one key."""


def has_waiters(waiters: Iterable[Waiter]) -> bool:
    """Return True if at least one caller still waits."""
    return any(not waiter.done() for waiter in waiters)


def resolve(waiters: Iterable[Waiter], result: object) -> None:
    """Return the result to all callers that still wait."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result([result])


def fail(waiters: Iterable[Waiter], error: Exception, collection: Collection, key: str) -> None:
    """Raise the error in all callers that still wait.

    A `KvwrapError` is copied for each of them, and names this key.
    """
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(_for_key(error, collection, key))


def _for_key(error: Exception, collection: Collection, key: str) -> Exception:
    if not isinstance(error, KvwrapError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.collection, own.key = collection, key
    if error.succeeded is not None:
        own.succeeded = (key,) if key in error.succeeded else ()
    return own
