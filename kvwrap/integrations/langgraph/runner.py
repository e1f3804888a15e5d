"""One store for blocking and async callers, of any thread and event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from kvwrap.builder import stack
from kvwrap.config.reader import store_from_url
from kvwrap.core.capability import Capability
from kvwrap.core.store import Store
from kvwrap.core.threads import run_in_thread
from kvwrap.core.validation import checked_flag, checked_prefix
from kvwrap.errors import ConfigurationError, StoreUnavailable, UnsupportedOperation
from kvwrap.keyring.source import KeySource
from kvwrap.views.portal import Portal

T = TypeVar("T")

_NEEDED = (Capability.KEYS, Capability.COMPARE_AND_PUT)


class Runner:
    """Runs coroutines over a store on an event loop in a thread of its own.

    LangGraph calls one saver from threads and from event loops, one after another in a notebook.
    The store belongs to one loop, so all of them are led there.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._portal = Portal(blocks_loops=True)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result.

        Raises:
            UnsupportedOperation: This thread runs an event loop, which the call would block.
        """
        if asyncio._get_running_loop() is not None:
            coroutine.close()
            raise UnsupportedOperation(
                "a blocking method must not be called on a thread that runs an event loop, which "
                "it would block; this thread runs one: await the method of the same name that "
                "begins with `a`, as `graph.ainvoke` does"
            )
        return self._portal.run(coroutine)

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result, without blocking this event loop."""
        try:
            loop = self._portal.run(_this_loop())
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise StoreUnavailable(
                "the store must stay open during a call; it was closed meanwhile"
            ) from None

    def close(self) -> None:
        """Close the store and end the thread. Calls in progress raise `StoreUnavailable`."""
        try:
            self._portal.run(self.store.close())
        finally:
            self._portal.close()


async def _this_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


class Opened:
    """What can be opened by `with` and `async with`, and closed."""

    _runner: Runner

    def close(self) -> None:
        """Close the store, also one that was passed. The next call does not open it again."""
        self._runner.close()

    def __enter__(self) -> Self:
        self._runner.run(self._runner.store.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._runner.arun(self._runner.store.open())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run_in_thread(self.close)


def storage(
    backend: str | Store,
    keyring: KeySource,
    *,
    purpose: Literal["threads", "memories"],
    name: str = "langgraph",
    compress: bool = True,
) -> Store:
    """Return the encrypted store under a saver or a memory, for `kvwrap.rewrite` and `explain`.

    Args:
        backend: As for `KvwrapSaver` and `KvwrapStore`.
        keyring: Likewise.
        purpose: What is in it: the `threads` of savers, or the `memories` of stores.
        name: As for `KvwrapSaver` and `KvwrapStore`.
        compress: Likewise.

    Raises:
        ConfigurationError: No store has such a URL, an argument cannot work, or the store cannot
            enumerate keys or compare versions.
    """
    if "/" in checked_prefix(name, "name"):
        raise ConfigurationError(
            f"`name` must have no '/', which separates it from threads and namespaces; got {name!r}"
        )
    if purpose not in ("threads", "memories"):
        raise ConfigurationError(f"`purpose` must be 'threads' or 'memories'; got {purpose!r}")
    layers = stack().serialize("msgpack")
    if checked_flag(compress, "compress"):
        layers = layers.compress()
    store = (
        layers.encrypt(keyring, context=f"langgraph/{name}/{purpose}".encode())
        .prefix_collection(f"{name}/{purpose}/")
        .retry()
        .over(store_from_url(backend) if isinstance(backend, str) else backend)
    )
    missing = [each.value for each in _NEEDED if each not in store.capabilities]
    if missing:
        raise ConfigurationError(
            f"LangGraph needs a store that can do {', '.join(missing)}; this one cannot",
            store=store.name,
        )
    return store
