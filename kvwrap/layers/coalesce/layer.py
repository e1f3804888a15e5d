"""Request batching: single-key calls that tasks make at the same time are sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Passage,
    Store,
    checked_count,
    checked_flag,
    is_abandoned,
    unfinished,
)
from kvwrap.layers.coalesce.order import Change, Order, call_after
from kvwrap.layers.coalesce.waiters import Waiter, fail, has_waiters, resolve
from kvwrap.layers.shared.findings import contextual_below

T = TypeVar("T")


class Coalesce(Layer):
    """Combines the single-key reads and writes that tasks make at the same time into batches.

    The calls of one iteration of the event loop are sent when every task that was ready has
    run: one batch of reads, one of puts and one of deletes per collection. Nothing waits for a
    timer; a lone caller waits for one iteration. A key that several tasks read is read once. Of
    several puts to one key, the last is sent, and all are acknowledged with it.

    Changes of one key take effect in the order in which they were requested. A read sees every
    change of its key that was requested before it. A call for a key with a change in flight
    waits until that change has ended. Conditional writes, `expire`, `destroy` and calls with
    several keys are sent unchanged, in the same order.

    If the backend is unavailable, every caller of the batch gets an error of its own that names
    its key. Any other error concerns one key: the keys are then sent one by one, so that no
    caller gets the error of another's key. Deletes are not sent again if some were carried out,
    because these would find nothing: all callers get the error.

    A cancelled caller changes nothing for the others. Its call is not sent if nothing has been
    sent yet and no other caller waits for the key. A change that has been sent is made to its
    end, and later calls for its keys wait for it. A batch runs in the context (`contextvars`)
    of its first caller.

    Args:
        max_batch: The most keys in a batch; more are sent as several concurrent batches.
        reads: True to combine single reads.
        writes: True to combine single puts and deletes.

    >>> import asyncio
    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().coalesce().over(MemoryStore())
    >>> async def main() -> list[int]:
    ...     await asyncio.gather(store.put("a", 1), store.put("b", 2))  # one batch
    ...     return await asyncio.gather(store.get("a"), store.get("b"))  # another
    >>> asyncio.run(main())
    [1, 2]
    """

    passage = Passage(read="joins the others of this moment in one batch")
    traits = frozenset({"coalesces"})
    finding_codes = frozenset({"coalesce-outside-cache", "coalesced-twice", "context-lost"})

    def __init__(self, *, max_batch: int = 1000, reads: bool = True, writes: bool = True) -> None:
        self._max_batch = checked_count(max_batch, "max_batch")
        self._combines_reads = checked_flag(reads, "reads")
        self._combines_writes = checked_flag(writes, "writes")
        if not reads and not writes:
            raise ConfigurationError(
                "`reads` or `writes` must be True; got False for both. Set one of them, or leave "
                "the layer out."
            )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._reset(None)

    @property
    def idle(self) -> bool:
        """True while no call waits to be sent, no batch is in flight and no change is queued."""
        order = self._order
        if is_abandoned(self._loop):
            return True
        return not (self._reads or self._changes or order.last or order.deletions) and all(
            task.done() for task in self._tasks
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from contextual_below(self, below)
        if any("caches" in layer.traits for layer in below):
            yield Finding(
                "coalesce-outside-cache",
                "Coalesce is outside a cache, so a read that the cache could answer at once waits "
                "for an iteration of the event loop.",
                "Put coalesce inside read_through.",
            )
        if any("coalesces" in layer.traits for layer in below):
            yield Finding(
                "coalesced-twice",
                "there are two Coalesce layers, and the inner one can only forward the batches "
                "of the outer one.",
                "Remove one.",
            )

    async def teardown(self) -> None:
        """Send all collected calls and wait for their results."""
        self._is_closing = True
        try:
            while self._is_scheduled or self._tasks:
                self._flush()
                if self._tasks:
                    await asyncio.wait(self._tasks)
        finally:
            self._is_closing = False
        await super().teardown()

    async def _ready_to_send(self) -> None:
        # Calls that were collected before the layer was closed are still sent while it closes.
        if not self._is_closing:
            await self.ready()

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if len(keys) != 1 or not self._combines_reads:
            order = self._current_order()
            changes = order.unfinished([(collection, key) for key in keys])
            await order.wait_until_ended(changes)
            return await self.inner.read(collection, keys)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset(loop)
        key = keys[0]
        waiter: Waiter = loop.create_future()
        order = self._order
        if order.last or order.deletions:
            earlier = order.unfinished([(collection, key)])
            call_after(earlier, partial(self._add_read, collection, key, waiter))
        else:
            self._add_read(collection, key, waiter)
        return await waiter

    def _add_read(self, collection: Collection, key: str, waiter: Waiter) -> None:
        batch = self._reads.get(collection)
        if batch is None:
            batch = self._reads[collection] = {}
            self._schedule()
        waiters = batch.get(key)
        if waiters is None:
            batch[key] = [waiter]
        else:
            waiters.append(waiter)

    async def _send_reads(self, collection: Collection, batch: dict[str, list[Waiter]]) -> None:
        keys = [key for key, waiters in batch.items() if has_waiters(waiters)]
        if not keys:
            return
        try:
            await self._ready_to_send()
            entries = await self.inner.read(collection, keys)
        except Exception as error:
            if len(keys) > 1 and not isinstance(error, StoreUnavailable):
                single_reads = [self._send_reads(collection, {key: batch[key]}) for key in keys]
                await asyncio.gather(*single_reads)
                return
            for key in keys:
                fail(batch[key], error, collection, key)
            return
        for key, entry in zip(keys, entries, strict=True):
            resolve(batch[key], entry)

    # -- changing ----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if len(keys) == 1 and expected is None and self._combines_writes:
            return await self._change(collection, keys[0], entries[0])
        return await self._run_in_order(
            collection, keys, lambda: self.inner.write(collection, keys, entries, expected)
        )

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if len(keys) == 1 and expected is None and self._combines_writes:
            return await self._change(collection, keys[0], None)
        return await self._run_in_order(
            collection, keys, lambda: self.inner.remove(collection, keys, expected)
        )

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._run_in_order(
            collection, keys, lambda: self.inner.touch(collection, keys, expires)
        )

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._current_order().run_deletion(
            (collection,), lambda: self.inner.drop_range(collection, key_range)
        )

    async def drop(self, collection: Collection) -> bool:
        order = self._current_order()
        return await order.run_deletion((collection,), lambda: self.inner.drop(collection))

    async def drop_all(self) -> bool:
        return await self._current_order().run_deletion((), self.inner.drop_all)

    async def _run_in_order(
        self,
        collection: Collection,
        keys: Sequence[str],
        call: Callable[[], Coroutine[Any, Any, list[bool]]],
    ) -> list[bool]:
        return await self._current_order().run([(collection, key) for key in keys], call)

    async def _change(self, collection: Collection, key: str, entry: Entry | None) -> list[bool]:
        order = self._current_order()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        qualified = (collection, key)
        last = order.last.get(qualified)
        is_new = last is None or last.is_sent or last.entry is None or entry is None
        if last is None or is_new or order.is_deleting(collection):
            change = Change((qualified,), entry)
            change.waiters.append(waiter)
            order.enqueue(change, partial(self._add_change, change))
        else:
            # A put that has not been sent writes the newer entry instead.
            last.entry = entry
            last.waiters.append(waiter)
        return await waiter

    def _add_change(self, change: Change) -> None:
        is_delete = change.entry is None
        self._changes.setdefault((change.qualified_keys[0][0], is_delete), []).append(change)
        self._schedule()

    async def _run_changes(self, collection: Collection, changes: Sequence[Change]) -> None:
        try:
            await self._send_changes(
                collection, [change for change in changes if has_waiters(change.waiters)]
            )
        finally:
            for change in changes:
                self._order.end(change)

    async def _send_changes(self, collection: Collection, changes: Sequence[Change]) -> None:
        if not changes:
            return
        keys = [change.qualified_keys[0][1] for change in changes]
        entries = [change.entry for change in changes if change.entry is not None]
        try:
            await self._ready_to_send()
            if entries:
                results = await self.inner.write(collection, keys, entries)
            else:
                results = await self.inner.remove(collection, keys)
        except Exception as error:
            # A put can be repeated. A delete that was carried out would find nothing.
            can_repeat = bool(entries) or not getattr(error, "succeeded", None)
            if len(keys) > 1 and can_repeat and not isinstance(error, StoreUnavailable):
                single_changes = [self._send_changes(collection, [change]) for change in changes]
                await asyncio.gather(*single_changes)
                return
            for key, change in zip(keys, changes, strict=True):
                fail(change.waiters, error, collection, key)
            return
        for change, result in zip(changes, results, strict=True):
            resolve(change.waiters, result)

    def _current_order(self) -> Order:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._reset(loop)
        return self._order

    # -- the batches that are being collected ------------------------------------------

    def _reset(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Whatever an earlier loop left unfinished when it was stopped is no longer waited for.
        self._loop = loop
        self._reads: dict[Collection, dict[str, list[Waiter]]] = {}
        self._changes: dict[tuple[Collection, bool], list[Change]] = {}
        self._order = Order(self._start)
        self._is_scheduled = False
        self._abandoned = unfinished(self._abandoned | self._tasks)
        self._tasks = set()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        reads, self._reads = self._reads, {}
        changes, self._changes = self._changes, {}
        for collection, waiters in reads.items():
            for keys in _chunks(waiters, self._max_batch):
                self._start(self._send_reads(collection, {key: waiters[key] for key in keys}))
        for (collection, _), collected in changes.items():
            for change in collected:
                change.is_sent = True
            for chunk in _chunks(collected, self._max_batch):
                self._start(self._run_changes(collection, chunk))

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
