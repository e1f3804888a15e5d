"""The part of the store interface that tells what changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from kvwrap.core.basic import BasicMethods
from kvwrap.core.changes import ALL, LOST, All, Change, ChangeKind, Scope, Subscription
from kvwrap.core.validation import checked_bound, is_reserved
from kvwrap.errors import InvalidKey, StoreUnavailable

MOST_BUFFERED: Final = 1_000
"""Changes that a watch keeps for its reader. One more, and `LOST` takes the place of them all."""


class _Buffer:
    """The changes that were told and not read yet.

    It does not know its `Watch`, so that a watch that nobody has any more is collected.
    """

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.error: StoreUnavailable | None = None
        self.is_closed = False
        self.subscription: Subscription | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()

    def tell(self, change: Change) -> None:
        if self.is_closed:
            return  # the reader gets the end next, not what is told of a store that closes
        if change.kind is ChangeKind.LOST or len(self.changes) >= MOST_BUFFERED:
            self.changes.clear()
            change = LOST
        self.changes.append(change)
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until there is a change, or the end."""
        self._arrived.clear()
        await self._arrived.wait()

    async def close(self, error: StoreUnavailable | None = None) -> None:
        """End the subscription. Its reader gets the error, or the end."""
        if self.is_closed:
            return
        self.is_closed, self.error = True, error
        self._arrived.set()
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            await subscription.close()


class Watches(set[_Buffer]):
    """The watches of a store that are open."""

    async def close(self, error: StoreUnavailable) -> None:
        """End all of them with this error."""
        for buffer in list(self):
            self.discard(buffer)
            await buffer.close(error)


class Watch(AsyncIterator[Change]):
    """An asynchronous iterator over changes, which `Store.watch` returns.

    What changes after `async with` has begun, or else after the first change was asked for, is
    told. It ends with `async with`, with `aclose`, or when nothing refers to it any more. A call
    that waits for a change may be cancelled and made again.
    """

    def __init__(self, store: WatchMethods, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._buffer = _Buffer()
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Begin to collect changes, unless that has begun.

        Raises:
            UnsupportedOperation: A part of the stack cannot tell changes.
            StoreUnavailable: The backend does not answer, or the store is closed.
        """
        buffer = self._buffer
        async with self._opening:
            if buffer.subscription is not None or buffer.is_closed:
                return
            buffer.loop = asyncio.get_running_loop()
            watches = self._store._watches
            watches.add(buffer)  # at once, since the store may be closed meanwhile
            try:
                subscription = await self._store.subscribe(self._scope, buffer.tell)
            except BaseException:
                watches.discard(buffer)
                raise
            if buffer.is_closed:
                await subscription.close()
            else:
                buffer.subscription = subscription

    async def next_changes(self) -> list[Change]:
        """Return all changes that were told, at least one; none after the end.

        Raises:
            StoreUnavailable: The store was closed.
        """
        buffer = self._buffer
        if buffer.subscription is None:
            await self.open()
        while not buffer.changes:
            if buffer.error is not None:
                raise buffer.error.with_traceback(None)
            if buffer.is_closed:
                return []
            await buffer.wait()
        changes = list(buffer.changes)
        buffer.changes.clear()
        return changes

    async def __anext__(self) -> Change:
        changes = await self.next_changes()
        if not changes:
            raise StopAsyncIteration
        self._buffer.changes.extendleft(reversed(changes[1:]))
        return changes[0]

    async def aclose(self) -> None:
        """End the watch. A second call does nothing."""
        self._store._watches.discard(self._buffer)
        self._buffer.changes.clear()
        await self._buffer.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        buffer = self._buffer
        self._store._watches.discard(buffer)
        if buffer.subscription is not None and buffer.loop is not None:
            with suppress(RuntimeError):  # of a closed loop
                buffer.loop.call_soon_threadsafe(_close_later, buffer.loop, buffer)


def _close_later(loop: asyncio.AbstractEventLoop, buffer: _Buffer) -> None:
    task = loop.create_task(buffer.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
"""Closings in progress, which the event loop refers to weakly."""


class WatchMethods(BasicMethods):
    """The method that needs the primitive `subscribe`."""

    _watches: Watches

    def watch(self, *, collection: str | All | None = ALL, prefix: str = "") -> Watch:
        """Return an asynchronous iterator over what changes, in this process and in others.

        A change has a kind, a collection and a key, and no value. It may be told more than once,
        and those of the caller are told too. After the kind `lost`, anything that is watched may
        have changed: read again what you have kept. That comes when the link to the backend is
        cut, and again when it is back; when a whole collection or store was dropped; and to a
        reader who falls more than 1,000 changes behind.

        What changes after `async with store.watch(...) as changes` has begun is told; without
        `async with`, after the first change was asked for.

        Args:
            collection: The collection; `None` is the default one, `kvwrap.ALL` all of them.
            prefix: What the keys begin with.

        Raises:
            UnsupportedOperation: On beginning: a part of the stack cannot tell changes.
            StoreUnavailable: On beginning: the backend does not answer. Then: the store was closed.
        """
        if is_reserved(checked_bound(prefix, "prefix")):
            raise InvalidKey(
                f"`prefix` must not be that of the records of layers; got {prefix!r}: choose "
                "another one"
            )
        place = ALL if collection is ALL else self._collection_of(collection)
        return Watch(self, Scope(place, prefix))
