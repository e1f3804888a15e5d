"""What callers of a batch get, each for its own key."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable
from typing import Any

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError

Waiter = asyncio.Future[list[Any]]
"""What one caller waits for: the primitive's answer about its one key."""


def has_waiters(waiters: Iterable[Waiter]) -> bool:
    """Whether anybody still waits."""
    return any(not waiter.done() for waiter in waiters)


def resolve(waiters: Iterable[Waiter], result: object) -> None:
    """Answer everyone who still waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result([result])


def fail(waiters: Iterable[Waiter], error: Exception, collection: Collection, key: str) -> None:
    """Give everyone who still waits the error, as it concerns this key."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(_own(error, collection, key))


def _own(error: Exception, collection: Collection, key: str) -> Exception:
    if not isinstance(error, KvwrapError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.collection, own.key = collection, key
    if error.succeeded is not None:
        own.succeeded = (key,) if key in error.succeeded else ()
    return own
