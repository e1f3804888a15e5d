"""A driver's client, which belongs to one event loop of one process, and the limits of its use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from kvwrap.core.concurrency import KeyedLocks, gather
from kvwrap.core.deadlines import TimeLimits
from kvwrap.core.missing import NotThereYet, is_missing
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError, StoreTimeout, StoreUnavailable
from kvwrap.stores.shared.chunks import CHUNK_SIZE
from kvwrap.stores.shared.home import Home

C = TypeVar("C")
T = TypeVar("T")


class Driver(Generic[C]):
    """What a store says of its driver: how a client is made and ended, and what its errors mean.

    Attributes:
        server: Name and address of the server, for errors.
        servers: Host and port of each server that is known.
        creates: False if `connect` must find what the store keeps its entries in, such as a
            bucket, and raise `NotThereYet` if that is missing: see `Store.creates`.
    """

    server: str
    servers: Sequence[tuple[str, int | None]] = ()
    creates: bool = True

    def check_creates(self, what: str) -> None:
        """Raise `NotThereYet` for what is missing, such as "bucket 'a'", unless it is created."""
        if not self.creates:
            raise NotThereYet(is_missing(f"the {what} of {self.server}"))

    async def connect(self) -> C:
        """Create a client in the running event loop."""
        raise NotImplementedError

    async def disconnect(self, client: C) -> None:
        """Close a client that `connect` created, in its event loop."""
        raise NotImplementedError

    def abandon(self, client: C, loop: asyncio.AbstractEventLoop) -> None:
        """End a client whose event loop no longer runs, without waiting."""
        raise NotImplementedError

    def is_usable(self, client: C) -> bool:
        """Return False for a client that has ended by itself, so that another one is made."""
        return True

    def translate(self, error: Exception) -> KvwrapError | None:
        """Return the error to raise for an error of the driver, or None to raise it as it is."""
        raise NotImplementedError


class Client(Generic[C]):
    """Calls a driver, with a limit on the calls in progress and on the time of each.

    Args:
        driver: How a client is made.
        is_own: False if the driver uses a client of the user's. That is never closed, and stays in
            the event loop in which it is first used.
        timeout: Seconds for one call, including the wait for its turn and for a connection; None
            for no limit.
        limit: Maximum number of calls in progress; further ones wait.
        store: Name of the store, for errors.
        ensure_open: Awaited if a call comes before `open`; opens the store, or raises.

    Attributes:
        servers: Those of the driver.
    """

    def __init__(
        self,
        driver: Driver[C],
        *,
        is_own: bool,
        timeout: float | None,
        limit: int,
        store: str,
        ensure_open: Callable[[], Awaitable[None]],
    ) -> None:
        self.servers = driver.servers
        self._driver = driver
        self._is_own = is_own
        self._timeout = timeout
        self._limit = limit
        self._store = store
        self._ensure_open = ensure_open
        self._is_open = False
        self._held: _Held[C] | None = None
        self._in_progress = 0

    @property
    def idle(self) -> bool:
        """True while no call is in progress or waits for its turn."""
        return self._in_progress == 0

    def open(self, *, creates: bool = True) -> None:
        """Allow calls. Nothing is connected yet.

        Args:
            creates: As for `Driver`.
        """
        self._driver.creates = creates
        self._is_open = True

    async def close(self) -> None:
        """Close the client, unless it is the user's or another process's."""
        self._is_open = False
        held, self._held = self._held, None
        if held is None or held.client is None or not self._is_own:
            return
        if held.is_inherited:
            held.keep()
        elif held.is_here:
            await self._driver.disconnect(held.client)
        else:
            self._driver.abandon(held.client, held.loop)

    async def run(self, call: Callable[[C], Awaitable[T]], **context: Any) -> T:
        """Call the driver.

        Args:
            call: Gets the client.
            context: Collection and key for errors to name.

        Raises:
            StoreTimeout: It took too long.
            KvwrapError: What the driver's error means.
        """
        if not self._is_open:
            await self._ensure_open()
        held = self._held
        if held is None or not held.is_here:
            held = self._held = self._enter(held)
        self._in_progress += 1
        limit = held.limits.within(self._timeout)
        try:
            with limit:
                await held.turns.acquire()
                try:
                    client = held.client
                    if client is None or not self._driver.is_usable(client):
                        client = await self._connect(held)
                    return await call(client)
                finally:
                    held.turns.release()
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.has_expired:
                raise self._timed_out(held, **context) from error
            self._raise(error, **context)
        finally:
            self._in_progress -= 1

    async def run_each(
        self,
        collection: Collection,
        keys: Sequence[str],
        call: Callable[[C, int], Coroutine[Any, Any, T]],
        *,
        at_once: int = CHUNK_SIZE,
    ) -> list[T]:
        """Call the driver for each key concurrently, for a backend without batches.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys. Calls for one that occurs twice are made one after another.
            call: Gets the client and the index of a key.
            at_once: Maximum number of keys whose calls are in progress, and have one limit of time.

        Returns:
            The results for all keys. The first error among them is raised, and names what
            succeeded, also before the time was over.
        """
        if len(keys) == 1:
            return [
                await self.run(lambda client: call(client, 0), collection=collection, key=keys[0])
            ]
        results: dict[int, T] = {}
        for start in range(0, len(keys), at_once):
            indices = range(start, min(start + at_once, len(keys)))
            failures: dict[int, Exception] = {}
            try:
                await self.run(
                    partial(_for_each, keys, indices, call, results, failures),
                    collection=collection,
                )
            except KvwrapError as error:
                error.succeeded = _named(keys, results)
                raise
            if failures:
                first = min(failures)
                self._raise(
                    failures[first],
                    collection=collection,
                    key=keys[first],
                    succeeded=_named(keys, results),
                )
        return [results[index] for index in range(len(keys))]

    def _raise(self, error: Exception, **context: Any) -> NoReturn:
        """Raise what an error of the driver means, or an error of the store with its context."""
        meant = error if isinstance(error, KvwrapError) else self._driver.translate(error)
        if meant is None:
            raise error
        meant.store = meant.store or self._store
        for name, value in context.items():
            setattr(meant, name, value)
        if meant is error:
            raise meant
        raise meant from error

    def _timed_out(self, held: _Held[C], **context: Any) -> StoreTimeout:
        # One side waits for the other if only one of them uses TLS.
        place = "the network" if held.client else "the network, and whether both sides use TLS"
        return StoreTimeout(
            f"{self._driver.server} did not answer within {self._timeout} seconds: check the "
            f"server's load and {place}, or give the store a longer timeout",
            store=self._store,
            **context,
        )

    async def _connect(self, held: _Held[C]) -> C:
        """Connect once for all calls that wait; each gets the error if that fails."""
        async with held.connecting.hold("connect", shares_errors=True):
            if held.client is None or not self._driver.is_usable(held.client):
                client = await self._driver.connect()
                if self._held is not held:  # closed meanwhile
                    if self._is_own:
                        await self._driver.disconnect(client)
                    raise StoreUnavailable("the store was closed during this call")
                held.client = client
            return held.client

    def _enter(self, previous: _Held[C] | None) -> _Held[C]:
        """Start to use the running event loop, or a process that was forked."""
        if previous is not None:
            is_left = previous.make_way(stays=not self._is_own, store=self._store)
            if is_left and previous.client is not None:
                self._driver.abandon(previous.client, previous.loop)
        return _Held(self._limit)


async def _for_each(
    keys: Sequence[str],
    indices: Sequence[int],
    call: Callable[[C, int], Coroutine[Any, Any, T]],
    results: dict[int, T],
    failures: dict[int, Exception],
    client: C,
) -> None:
    """Await the call for each index concurrently, those for the same key in their order.

    Results and failures are added as they come, and stay if this is cancelled.
    """
    by_key: dict[str, list[int]] = {}
    for index in indices:
        by_key.setdefault(keys[index], []).append(index)

    async def call_in_order(own: Sequence[int]) -> None:
        for index in own:
            try:
                results[index] = await call(client, index)
            except Exception as error:  # of this key alone
                failures[index] = error

    await gather([call_in_order(own) for own in by_key.values()])


def _named(keys: Sequence[str], indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(keys[index] for index in sorted(indices))


class ClientStore(Store):
    """A store whose calls all go through a `Client`, which its constructor assigns."""

    _client: Client[Any]

    @property
    def idle(self) -> bool:
        """True while no call is in progress or waits for its turn."""
        return super().idle and self._client.idle

    @property
    def servers(self) -> Sequence[tuple[str, int | None]]:
        return self._client.servers

    async def setup(self) -> None:
        self._client.open(creates=self.creates)

    async def teardown(self) -> None:
        await self._client.close()


class _Held(Home, Generic[C]):
    """A client in its event loop and process."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.client: C | None = None
        self.turns = asyncio.Semaphore(limit)
        self.limits = TimeLimits()
        self.connecting = KeyedLocks()
