"""The far store of a simulation: one server, and a store that each process reaches it with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.store import Store
from kvwrap.errors import StoreTimeout, StoreUnavailable
from kvwrap.stores.memory import MemoryStore
from kvwrap.stores.shared.feed import Feed
from kvwrap.testing.lab.link import LabLink
from kvwrap.testing.lab.network import Network
from kvwrap.testing.lab.process import Path, Process

Spawn = Callable[[Coroutine[Any, Any, Any]], None]

TIMEOUT = 5.0
"""Seconds after which a call of the far store fails that got no answer."""


LINK_TIMEOUT = 1.0
"""Seconds after which a connection that tells changes is given up that does not answer."""


class FarStore(Store):
    """The far store as a process sees it: every call is a message there, and one back.

    Messages take as long as the lab's `Network` says, so calls that are made at the same time
    arrive in any order. A call whose caller was cancelled, timed out or killed is still carried
    out if it was sent.

    Args:
        process: The process that uses it.
        server: What is stored.
        network: How long messages take.
        spawn: Runs what happens outside of the process.
    """

    capabilities: Capabilities = MemoryStore.capabilities | {
        Capability.SHARED,
        Capability.PERSISTENT,
        Capability.WATCH,
    }

    def __init__(self, process: Process, server: Store, network: Network, spawn: Spawn) -> None:
        super().__init__(clock=process.clock)
        self._process = process
        self._server = server
        self._network = network
        self._spawn = spawn
        self._feed = Feed(
            process,
            lambda line: LabLink(line, process, server, network),
            process.clock,
            timeout=LINK_TIMEOUT,
            owner=self.name,
        )

    async def teardown(self) -> None:
        await self._feed.close()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return await self._feed.subscribe(scope, listener)

    @property
    def location(self) -> str:
        """The same for all processes."""
        return "far"

    async def _call(self, primitive: str, *arguments: Any) -> Any:
        path = self._process.calls
        if path is Path.CUT:
            raise StoreUnavailable("the connection was cut", store=self.name)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if path is Path.UP:
            self._spawn(self._carry_out(answer, primitive, arguments))
        try:
            async with asyncio.timeout(TIMEOUT):
                return await answer
        except TimeoutError:
            raise StoreTimeout(f"no answer within {TIMEOUT:g} s", store=self.name) from None

    async def _carry_out(
        self, answer: asyncio.Future[Any], primitive: str, arguments: tuple[Any, ...]
    ) -> None:
        await asyncio.sleep(self._network.delay())
        result: Any = None
        error: Exception | None = None
        try:
            result = await getattr(self._server, primitive)(*arguments)
        except Exception as failure:  # the caller's
            error = failure
        await asyncio.sleep(self._network.delay())
        if answer.done() or self._process.calls is Path.SILENT:
            return
        if self._process.calls is Path.CUT:
            error = StoreUnavailable("the connection was cut", store=self.name)
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    # The primitives.

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found: list[Entry | None] = await self._call("read", collection, keys)
        return found

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        written: list[bool] = await self._call("write", collection, keys, entries, expected)
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        removed: list[bool] = await self._call("remove", collection, keys, expected)
        return removed

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        touched: list[bool] = await self._call("touch", collection, keys, expires)
        return touched

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        page: Page = await self._call("list_keys", collection, key_range, cursor)
        return page

    async def list_collections(self) -> list[Collection]:
        collections: list[Collection] = await self._call("list_collections")
        return collections

    async def drop(self, collection: Collection) -> bool:
        dropped: bool = await self._call("drop", collection)
        return dropped

    async def drop_all(self) -> bool:
        dropped: bool = await self._call("drop_all")
        return dropped

    async def sweep(self) -> None:
        await self._call("sweep")

    async def ping(self) -> None:
        await self._call("ping")
