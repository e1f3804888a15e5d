"""Stores that open and close with an application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError


def lifespan(
    *others: Callable[[Any], AbstractAsyncContextManager[Any]], **stores: Store
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that opens stores when the application starts, and closes them at its end.

    Args:
        others: Further lifespans, which begin after the stores are open and end before they close.
        stores: The stores; each is in `request.state` under its name.

    A store that cannot be opened fails the start, which the server reports. The stores that were
    opened before are closed. A store is used in the process that opened it: make it in the module
    of the application, which each worker imports.

    Raises:
        ConfigurationError: An argument is not a store.
    """
    for name, store in stores.items():
        if not isinstance(store, Store):
            raise ConfigurationError(f"`{name}` must be a store; got {type(store).__name__}")

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as entered:
            state: dict[str, Any] = dict(stores)
            for store in stores.values():
                await entered.enter_async_context(store)
            for other in others:
                state |= await entered.enter_async_context(other(app)) or {}
            yield state

    return opened
