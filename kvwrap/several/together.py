"""Several calls at once, of which every outcome counts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def outcomes(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | Exception]:
    """What each call gave or raised, when all have ended; if cancelled, all of them are."""
    if len(calls) == 1:
        try:
            return [await calls[0]]
        except Exception as error:  # it is the outcome
            return [error]
    found: list[T | Exception] = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        found.append(outcome)
    return found


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each call gave; the first error in their order, when all have ended."""
    found: list[T] = []
    for outcome in await outcomes(calls):
        if isinstance(outcome, Exception):
            raise outcome
        found.append(outcome)
    return found
