"""Concurrent single calls, sent together."""

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
    Layer,
    Store,
    checked_count,
    checked_flag,
)
from kvwrap.layers.coalesce.order import Change, Order
from kvwrap.layers.coalesce.waiters import Waiter, fail, has_waiters, resolve

T = TypeVar("T")


class Coalesce(Layer):
    """Sends single reads and writes that tasks make in one turn of the event loop as batches.

    One batch of reads, one of puts and one of deletes per collection, closed when every
    task that was ready has run: nothing waits for a timer, and a caller that is alone waits
    for one turn. A key that several tasks read is read once; of several puts under one key
    the last is sent, and all are acknowledged with it.

    Changes of one key take effect in the order in which they were asked for, and a read
    sees every change of its key that was asked for before it: what concerns a key with a
    change on its way waits for that to end. Conditional writes, `expire` and calls with
    several keys go out as they are, in the same order.

    A batch whose backend is unavailable fails every caller, each with an error of its own
    key. Any other error concerns one key: the others are then sent one by one, so nobody
    gets an error for somebody else's. A cancelled caller changes nothing for the others;
    what it asked for is not sent if nobody else asks for it and it has not left yet. A batch
    runs in the context (`contextvars`) of the first caller in it.

    Args:
        max_batch: The most keys sent as one batch; more go out as several at once.
        reads: Whether single reads are sent together.
        writes: Whether single puts and deletes are.

    >>> import asyncio
    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().coalesce().over(MemoryStore())
    >>> async def main() -> list[int]:
    ...     await asyncio.gather(store.put("a", 1), store.put("b", 2))  # one batch
    ...     return await asyncio.gather(store.get("a"), store.get("b"))  # another
    >>> asyncio.run(main())
    [1, 2]
    """

    traits = frozenset({"coalesces"})
    finding_codes = frozenset({"coalesce-outside-cache", "coalesced-twice"})

    def __init__(self, *, max_batch: int = 1000, reads: bool = True, writes: bool = True) -> None:
        self._most = checked_count(max_batch, "max_batch")
        self._gathers_reads = checked_flag(reads, "reads")
        self._gathers_writes = checked_flag(writes, "writes")
        if not reads and not writes:
            raise ConfigurationError("with neither reads nor writes there is nothing to coalesce")
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._begin(None)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("caches" in layer.traits for layer in below):
            yield Finding(
                "coalesce-outside-cache",
                "Coalesce is outside a cache, so that what the cache could answer at once waits "
                "for a turn of the event loop.",
                "Put coalesce inside read_through.",
            )
        if any("coalesces" in layer.traits for layer in below):
            yield Finding(
                "coalesced-twice",
                "there are two Coalesce layers, and what the outer has sent together the inner "
                "can but pass on.",
                "Leave one.",
            )

    async def setup(self) -> None:
        await super().setup()
        self._is_closing = False

    async def teardown(self) -> None:
        """Send what has been asked for, and wait for the answers."""
        self._is_closing = True
        while self._is_scheduled or self._tasks:
            self._flush()
            if self._tasks:
                await asyncio.wait(self._tasks)
        self._is_closing = False
        await super().teardown()

    async def _ready_to_send(self) -> None:
        # What was asked for before the end is still sent while it closes.
        if not self._is_closing:
            await self.ready()

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if len(keys) != 1 or not self._gathers_reads:
            order = self._order_now()
            if order.last:
                await order.ended(order.before([(collection, key) for key in keys]))
            return await self.inner.read(collection, keys)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        key = keys[0]
        answer: Waiter = loop.create_future()
        last = self._order.last
        if last and (change := last.get((collection, key))) is not None:
            change.then.append(partial(self._ask, collection, key, answer))
        else:
            self._ask(collection, key, answer)
        return await answer

    def _ask(self, collection: Collection, key: str, answer: Waiter) -> None:
        window = self._reads.get(collection)
        if window is None:
            window = self._reads[collection] = {}
            self._schedule()
        answers = window.get(key)
        if answers is None:
            window[key] = [answer]
        else:
            answers.append(answer)

    async def _read(self, collection: Collection, asked: dict[str, list[Waiter]]) -> None:
        keys = [key for key, answers in asked.items() if has_waiters(answers)]
        if not keys:
            return
        try:
            await self._ready_to_send()
            entries = await self.inner.read(collection, keys)
        except Exception as error:
            if len(keys) > 1 and not isinstance(error, StoreUnavailable):
                alone = [self._read(collection, {key: asked[key]}) for key in keys]
                await asyncio.gather(*alone)
                return
            for key in keys:
                fail(asked[key], error, collection, key)
            return
        for key, entry in zip(keys, entries, strict=True):
            resolve(asked[key], entry)

    # -- changing ----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if len(keys) == 1 and expected is None and self._gathers_writes:
            return await self._change(collection, keys[0], entries[0])
        return await self._in_order(
            collection, keys, lambda: self.inner.write(collection, keys, entries, expected)
        )

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if len(keys) == 1 and expected is None and self._gathers_writes:
            return await self._change(collection, keys[0], None)
        return await self._in_order(
            collection, keys, lambda: self.inner.remove(collection, keys, expected)
        )

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._in_order(
            collection, keys, lambda: self.inner.touch(collection, keys, expires)
        )

    async def drop(self, collection: Collection) -> bool:
        order = self._order_now()
        await order.ended(
            order.before([qualified for qualified in order.last if qualified[0] == collection])
        )
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        order = self._order_now()
        await order.ended(order.before(order.last))
        return await self.inner.drop_all()

    async def _in_order(
        self,
        collection: Collection,
        keys: Sequence[str],
        call: Callable[[], Coroutine[Any, Any, list[bool]]],
    ) -> list[bool]:
        return await self._order_now().within([(collection, key) for key in keys], call)

    async def _change(self, collection: Collection, key: str, entry: Entry | None) -> list[bool]:
        order = self._order_now()
        answer: Waiter = asyncio.get_running_loop().create_future()
        qualified = (collection, key)
        last = order.last.get(qualified)
        if last is None or last.has_left or last.entry is None or entry is None:
            change = Change((qualified,), entry)
            change.waiters.append(answer)
            order.append(change, partial(self._send, change))
        else:
            # A put that is still here takes the other's place.
            last.entry = entry
            last.waiters.append(answer)
        return await answer

    def _send(self, change: Change) -> None:
        window = (change.qualified_keys[0][0], change.entry is None)
        self._changes.setdefault(window, []).append(change)
        self._schedule()

    async def _carry_out(self, collection: Collection, changes: Sequence[Change]) -> None:
        try:
            await self._sent(
                collection, [change for change in changes if has_waiters(change.waiters)]
            )
        finally:
            for change in changes:
                self._order.over(change)

    async def _sent(self, collection: Collection, changes: Sequence[Change]) -> None:
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
            # What has been put can be put again; what has been removed would not be found.
            again = bool(entries) or not getattr(error, "succeeded", None)
            if len(keys) > 1 and again and not isinstance(error, StoreUnavailable):
                await asyncio.gather(*(self._sent(collection, [change]) for change in changes))
                return
            for key, change in zip(keys, changes, strict=True):
                fail(change.waiters, error, collection, key)
            return
        for change, result in zip(changes, results, strict=True):
            resolve(change.waiters, result)

    def _order_now(self) -> Order:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        return self._order

    # -- the window --------------------------------------------------------------------

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # What another loop left behind when it was stopped is not waited for any more.
        self._loop = loop
        self._reads: dict[Collection, dict[str, list[Waiter]]] = {}
        self._changes: dict[tuple[Collection, bool], list[Change]] = {}
        self._order = Order()
        self._is_scheduled = False
        self._tasks.clear()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        reads, self._reads = self._reads, {}
        changes, self._changes = self._changes, {}
        for collection, asked in reads.items():
            for keys in _parts(asked, self._most):
                self._spawn(self._read(collection, {key: asked[key] for key in keys}))
        for (collection, _), sent in changes.items():
            for change in sent:
                change.has_left = True
            for part in _parts(sent, self._most):
                self._spawn(self._carry_out(collection, part))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _parts(items: Iterable[T], most: int) -> Iterable[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, most)):
        yield part
