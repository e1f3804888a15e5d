"""Functions of the user's that give keys, be they async or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from kvwrap.errors import KvwrapError, StoreUnavailable


async def called(function: Callable[..., Any], *arguments: object, what: str) -> Any:
    """What the function gives; one that is not async runs in a thread, since it may block.

    Args:
        function: The user's function.
        arguments: What it is given.
        what: What it is to us, for the error.

    Raises:
        StoreUnavailable: It raised something that is not an error of kvwrap's.
    """
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        made = await asyncio.to_thread(function, *arguments)
        return await made if isinstance(made, Awaitable) else made
    except KvwrapError:
        raise
    except Exception as error:
        # Its text is left to the cause: it is not known what it shows.
        raise StoreUnavailable(f"{what} failed ({type(error).__name__})") from error
