"""The order in which changes of one key are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.layers.coalesce.waiters import Waiter

T = TypeVar("T")
Callback = Callable[[], object]
Scope = tuple[Collection, ...]
"""What a deletion concerns: a collection, or all if it is empty."""


class Change:
    """A change of one or more keys, from when it is requested until it has ended.

    Attributes:
        qualified_keys: The keys that it changes.
        entry: The entry that a put writes; `None` for other changes.
        waiters: The callers that wait for a put or delete that is sent in a batch.
        callbacks: Called when the change has ended.
        is_sent: True once it is on its way to the backend.
        has_ended: True once it has ended, with a result or an error.
    """

    __slots__ = ("callbacks", "entry", "has_ended", "is_sent", "qualified_keys", "waiters")

    def __init__(self, qualified_keys: Sequence[QualifiedKey], entry: Entry | None = None) -> None:
        self.qualified_keys = qualified_keys
        self.entry = entry
        self.waiters: list[Waiter] = []
        self.callbacks: list[Callback] = []
        self.is_sent = False
        self.has_ended = False


class Order:
    """The changes that have not ended, in a queue for each key.

    A change starts when the changes before it have ended, in the queues of all its keys.
    Whatever is requested after it starts when it has ended. A change joins all its queues in
    one step, so no two changes wait for each other. The deletion of a whole collection, or of
    all, is in the queues of all its keys.

    Args:
        start: Starts a task that the layer waits for when it is closed.

    Attributes:
        last: The last change in the queue of each key. A key without a queue is missing.
        deletions: The deletions of collections that have not ended.
    """

    def __init__(self, start: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]) -> None:
        self.last: dict[QualifiedKey, Change] = {}
        self.deletions: dict[Change, Scope] = {}
        self._start = start

    def enqueue(self, change: Change, start: Callback) -> None:
        """Queue a change. Calls `start` when it is its turn, which may be now."""
        earlier = self.unfinished(change.qualified_keys)
        self.last.update(dict.fromkeys(change.qualified_keys, change))
        call_after(earlier, start)

    def unfinished(self, qualified_keys: Iterable[QualifiedKey]) -> set[Change]:
        """Return the changes that whatever is requested now for these keys must wait for."""
        last = self.last
        if not last and not self.deletions:
            return set()
        changes = set()
        for qualified_key in qualified_keys:
            if (change := last.get(qualified_key)) is not None:
                changes.add(change)
            for deletion, scope in self.deletions.items():
                if not scope or qualified_key[0] in scope:
                    changes.add(deletion)
        return changes

    def is_deleting(self, collection: Collection) -> bool:
        """Return True if the collection is being deleted."""
        return any(not scope or collection in scope for scope in self.deletions.values())

    async def wait_until_ended(self, changes: set[Change]) -> None:
        """Wait until all of these changes have ended."""
        if changes:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            call_after(changes, partial(_resolve, future))
            await future

    async def run(
        self, qualified_keys: Sequence[QualifiedKey], call: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Queue a change and make it when it is its turn. Returns the result of `call`.

        If the caller is cancelled before its turn, the change is not made. Later, it is made
        to its end: calls for its keys wait for it, so that none shows the state before it and
        a later one the state after it.
        """
        earlier = self.unfinished(qualified_keys)
        change = Change(qualified_keys)
        change.is_sent = True
        self.last.update(dict.fromkeys(qualified_keys, change))
        return await self._run_after(earlier, change, call)

    async def run_deletion(self, scope: Scope, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Queue the deletion of a collection, or of all, and make it as `run` makes a change."""
        earlier = {
            change
            for qualified_key, change in self.last.items()
            if not scope or qualified_key[0] in scope
        }
        earlier.update(self.deletions)
        change = Change(())
        self.deletions[change] = scope
        return await self._run_after(earlier, change, call)

    async def _run_after(
        self, earlier: set[Change], change: Change, call: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        try:
            await self.wait_until_ended(earlier)
        except BaseException:
            # Those before it may not have ended yet.
            running = {other for other in earlier if not other.has_ended}
            call_after(running, partial(self.end, change))
            raise
        task: asyncio.Task[T] = self._start(call())

        def finish(ended: asyncio.Task[T]) -> None:
            if not ended.cancelled():
                # Retrieved here as well, since the caller may have been cancelled meanwhile.
                ended.exception()
            self.end(change)

        task.add_done_callback(finish)
        return await asyncio.shield(task)

    def end(self, change: Change) -> None:
        """Remove a change that has ended from its queues, and start whatever waits for it."""
        change.has_ended = True
        self.deletions.pop(change, None)
        for qualified in change.qualified_keys:
            if self.last.get(qualified) is change:
                del self.last[qualified]
        for callback in change.callbacks:
            callback()


def call_after(changes: set[Change], callback: Callback) -> None:
    """Call `callback` when all of these changes have ended; now if there are none."""
    remaining = len(changes)
    if not remaining:
        callback()
        return

    def count_down() -> None:
        nonlocal remaining
        remaining -= 1
        if not remaining:
            callback()

    for change in changes:
        change.callbacks.append(count_down)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
