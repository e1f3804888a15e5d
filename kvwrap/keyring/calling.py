"""Calls of the user's functions that provide, wrap or unwrap keys, async or not."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from kvwrap.core.threads import run_in_thread
from kvwrap.errors import KvwrapError, StoreUnavailable


async def call(function: Callable[..., Any], *arguments: object, role: str) -> Any:
    """Call a function of the user's. Returns its result.

    A function that is not async runs in a thread, since it may block.

    Args:
        function: The user's function.
        arguments: Its arguments.
        role: The function's task, for the error message.

    Raises:
        StoreUnavailable: The function raised an error that is not one of kvwrap's.
    """
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        result = await run_in_thread(function, *arguments)
        return await result if isinstance(result, Awaitable) else result
    except KvwrapError:
        raise
    except Exception as error:
        # Only the cause has the error's text, which may contain secrets.
        raise StoreUnavailable(
            f"{role} failed with {type(error).__name__}: see the error's __cause__"
        ) from error
