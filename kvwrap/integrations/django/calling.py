"""The thread on which a call uses the database."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import Error, connections

from kvwrap.integrations.django.errors import translate_error
from kvwrap.views.portal import is_begun_by_view, waiting_caller

T = TypeVar("T")


async def run_blocking(function: Callable[[], T]) -> T:
    """Call a function that uses a database, and return its result.

    It runs on the thread that waits for this in a blocking view, if one does: with its connection,
    and so in its transaction. Otherwise it runs on the thread that Django has for async callers.
    """
    caller = waiting_caller()
    if caller is not None:
        return await caller.call(function)
    if is_begun_by_view():
        # What a request left to the background must not count as that request's.
        task = asyncio.create_task(_run(function), context=contextvars.Context())
        return await task
    return await _run(function)


async def query(
    function: Callable[[], T], aliases: Iterable[str], place: Callable[[], str], *, store: str
) -> T:
    """Do what `run_blocking` does, with the typed error for one of a database.

    Args:
        function: The function.
        aliases: The databases that it uses, whose connections are closed if they are unusable.
        place: Returns where the entries are, for errors.
        store: Name of the store, for errors.
    """

    def call() -> T:
        try:
            return function()
        except Error as error:
            for alias in aliases:
                connections[alias].close_if_unusable_or_obsolete()
            raise translate_error(error, place(), store=store) from error

    return await run_blocking(call)


async def _run(function: Callable[[], T]) -> T:
    result: T = await sync_to_async(function, thread_sensitive=True)()
    return result
