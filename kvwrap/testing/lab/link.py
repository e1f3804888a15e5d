"""The connection over which a simulated process is told what changes in the far store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from kvwrap.core.changes import Change, Scope, Subscription
from kvwrap.core.store import Store
from kvwrap.errors import StoreUnavailable
from kvwrap.stores.shared.feed import Line
from kvwrap.testing.lab.network import Network
from kvwrap.testing.lab.process import Path, Process


class LabLink:
    """A link of a `Feed` over the simulated network.

    Messages arrive in the order in which they were sent, as over a socket. Once one did not
    arrive, since the path was silent, nothing arrives over this connection any more.

    Args:
        line: What to tell.
        process: The process.
        server: What changes.
        network: How long messages take.
    """

    server = "the far store"
    resumes = False

    def __init__(self, line: Line, process: Process, server: Store, network: Network) -> None:
        self._line = line
        self._process = process
        self._server = server
        self._network = network
        self._subscription: Subscription | None = None
        self._connection = 0
        self._arrives_at = 0.0
        self._is_dead = False
        process.on_cut.append(line.cut)

    async def connect(self) -> bool:
        """Connect."""
        self._connection += 1
        self._is_dead = False
        await self._send()
        self._subscription = await self._server.subscribe(Scope(reserved=True), self._tell)
        await self._receive()
        return False

    async def ping(self) -> None:
        """Return when what was told before has arrived."""
        await self._send()
        await self._receive()

    async def close(self) -> None:
        """Disconnect."""
        self._connection += 1
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    async def _send(self) -> None:
        await asyncio.sleep(self._network.delay())
        if self._process.link is Path.CUT:
            raise StoreUnavailable("the connection was cut", store="far")

    async def _receive(self) -> None:
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._deliver(answer)
        await arrived

    def _tell(self, change: Change) -> None:
        for _ in range(self._network.copies()):
            self._deliver(lambda: self._arrive(change))

    def _arrive(self, change: Change) -> None:
        if change.key is None:
            self._line.lose()
        else:
            self._line.tell(change.kind, change.collection, change.key)

    def _deliver(self, arrive: Callable[[], object]) -> None:
        """Let a message arrive in the process, after those that were sent before."""
        loop = asyncio.get_running_loop()
        self._arrives_at = max(self._arrives_at, loop.time() + self._network.delay())
        context: Context = self._process.context.copy()
        connection = self._connection

        def receive() -> None:
            if connection == self._connection and not self._is_dead:
                arrive()

        def travel() -> None:
            if self._process.link is not Path.UP:
                self._is_dead = True
            elif not self._is_dead:
                loop.call_soon(receive, context=context)

        loop.call_at(self._arrives_at, travel, context=Context())
