"""Calls of the user's functions that provide, wrap or unwrap keys, async or not."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from kvwrap.core.deadlines import time_limit
from kvwrap.core.threads import run_in_thread
from kvwrap.errors import KvwrapError, StoreTimeout, StoreUnavailable

TIMEOUT = 30.0
"""Seconds within which a user's function must return."""


async def call(
    function: Callable[..., Any], *arguments: object, role: str, bound: float = TIMEOUT
) -> Any:
    """Call a function of the user's. Returns its result.

    A function that is not async runs in a thread, since it may block. After the bound, an async
    one is cancelled, and the result of a thread is dropped.

    Args:
        function: The user's function.
        arguments: Its arguments.
        role: The function's task, for the error message.
        bound: Seconds within which it must return.

    Raises:
        StoreTimeout: The function did not return in time.
        StoreUnavailable: The function raised an error that is not one of kvwrap's.
    """
    limit = time_limit(bound)
    try:
        with limit:
            if inspect.iscoroutinefunction(function):
                return await function(*arguments)
            result = await run_in_thread(function, *arguments)
            return await result if isinstance(result, Awaitable) else result
    except KvwrapError:
        raise
    except Exception as error:
        if limit.has_expired:
            raise StoreTimeout(
                f"{role} must return within {bound:g} seconds, and did not"
            ) from None
        # Only the cause has the error's text, which may contain secrets.
        raise StoreUnavailable(
            f"{role} failed with {type(error).__name__}: see the error's __cause__"
        ) from error
