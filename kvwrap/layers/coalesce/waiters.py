"""What callers of a batch get, each for its own key."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable
from typing import Any

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError

Answer = asyncio.Future[list[Any]]
"""What one caller waits for: the primitive's answer about its one key."""


def awaited(answers: Iterable[Answer]) -> bool:
    """Whether anybody still waits."""
    return any(not answer.done() for answer in answers)


def give(answers: Iterable[Answer], result: object) -> None:
    """Answer everyone who still waits."""
    for answer in answers:
        if not answer.done():
            answer.set_result([result])


def fail(answers: Iterable[Answer], error: Exception, collection: Collection, key: str) -> None:
    """Give everyone who still waits the error, as it concerns this key."""
    for answer in answers:
        if not answer.done():
            answer.set_exception(_own(error, collection, key))


def _own(error: Exception, collection: Collection, key: str) -> Exception:
    if not isinstance(error, KvwrapError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.collection, own.key = collection, key
    if error.done is not None:
        own.done = (key,) if key in error.done else ()
    return own
