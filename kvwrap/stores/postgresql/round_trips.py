"""Round trips over connections to PostgreSQL, for one event loop of one process.

A statement may be given up: it is cancelled, its time is over, or its connection fails. It may
then be in a buffer of this machine, of a proxy or of the server, or wait there for a lock. If the
server carried it out later, it would replace what was written meanwhile. Therefore two things
happen:

- The connection is aborted, and not used again.
- Before the next round trip, the server is told to end that connection, and to answer when it has
  (`pg_terminate_backend`). Then the statement has been carried out or never will be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final
from weakref import WeakSet

from kvwrap.core.deadlines import Deadlines, TimeLimits
from kvwrap.stores.postgresql.connections import ClientConnections, Connection, OwnConnections
from kvwrap.stores.postgresql.errors import ELSEWHERE, driver, state_of
from kvwrap.stores.shared.home import Home
from kvwrap.stores.shared.transports import end_transport

_CLOSE_TIMEOUT: Final = 1.0
"""Seconds for a server to answer that a connection ends."""

_END: Final = {
    str: "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity "
    "WHERE application_name = ANY($1::text[]) AND pid <> pg_backend_pid()",
    int: "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity "
    "WHERE pid = ANY($1::int[]) AND usename = current_user AND pid <> pg_backend_pid()",
}
"""Statements that end connections, by the type of their identities."""

_LONGEST_END: Final = 5000
"""Milliseconds for the server to end connections."""


class RoundTrips(Home):
    """Runs statements over connections.

    Args:
        connections: Where the connections come from.
        limit: Maximum number of round trips in progress; further ones wait.
        timeout: Seconds for one round trip, including the wait for its turn; None for no limit.
        given_up: Identities of connections that were given up earlier, in another event loop.

    Attributes:
        given_up: Connections that are to be ended before the next round trip.
        in_progress: Number of round trips in progress or waiting.
        preparing: Held while the table is looked for and created.
    """

    def __init__(
        self,
        connections: OwnConnections | ClientConnections,
        *,
        limit: int,
        timeout: float | None,
        given_up: Sequence[str | int],
    ) -> None:
        super().__init__()
        self.connections = connections
        self._timeout = timeout
        self._turns = asyncio.Semaphore(limit)
        self._ending = asyncio.Lock()
        self._open: WeakSet[Connection] = WeakSet()
        self._busy = Deadlines(connections.drop)
        self._limits = TimeLimits()
        self._server_error = driver().PostgresError
        self.given_up = list(given_up)
        self.in_progress = 0
        self.preparing = asyncio.Lock()

    async def run(
        self,
        statement: str,
        arguments: Sequence[Any] = (),
        *,
        writes: bool = False,
        is_script: bool = False,
    ) -> list[Any]:
        """Run a statement in one round trip, and return its rows.

        If the call is cancelled or fails, a statement that `writes` has been carried out or not
        when the next call begins. A script is several statements without arguments or rows.

        Raises:
            TimeoutError: There was no answer in time; waiting for a turn and for a connection
                counts too.
            asyncpg.PostgresError: The server refused the statement, or the connection failed.
        """
        self.in_progress += 1
        try:
            deadline = inf if self._timeout is None else self.loop.time() + self._timeout
            connection = None
            if not self.given_up and not self._turns.locked():
                connection = self.connections.take_idle()
            if connection is None:
                connection = await self._begin(deadline)
            else:
                await self._turns.acquire()  # without waiting
            try:
                return await self._exchange(
                    connection, deadline, statement, arguments, writes=writes, is_script=is_script
                )
            finally:
                self._turns.release()
        finally:
            self.in_progress -= 1

    async def _begin(self, deadline: float) -> Connection:
        """Wait for a turn and for a connection."""
        with self._limits.until(deadline):
            await self._turns.acquire()
            try:
                if self.given_up:
                    await self._end_given_up(deadline)
                return await self._connection()
            except BaseException:
                self._turns.release()
                raise

    async def _connection(self) -> Connection:
        connection = self.connections.take_idle()
        if connection is None:
            connection = await self.connections.connect()
            self._open.add(connection)
        return connection

    async def _exchange(
        self,
        connection: Connection,
        deadline: float,
        statement: str,
        arguments: Sequence[Any],
        *,
        writes: bool = False,
        is_script: bool = False,
    ) -> list[Any]:
        self._busy.add(connection, deadline)
        try:
            rows: list[Any] = []
            if is_script:
                await connection.driver.execute(statement)
            else:
                rows = await connection.driver.fetch(statement, *arguments)
        except BaseException as error:
            is_late = not self._busy.remove(connection)
            if self._is_answer(error) and not connection.driver.is_closed():
                await self.connections.release(connection)
            else:
                if writes and not self._is_answer(error):
                    self.given_up.append(connection.identity)
                self.connections.drop(connection)
            if state_of(error) in ELSEWHERE:
                self.connections.drop_idle()
            if is_late and not isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error
            raise
        self._busy.remove(connection)
        await self.connections.release(connection)
        return rows

    def _is_answer(self, error: BaseException) -> bool:
        """Return True if the server answered with this error, and so has undone the statement."""
        return isinstance(error, self._server_error) and not state_of(error).startswith("08")

    async def _end_given_up(self, deadline: float) -> None:
        async with self._ending:
            identities = tuple(self.given_up)
            if not identities:
                return
            statement = _END[type(identities[0])]
            wait = _LONGEST_END if self._timeout is None else int(self._timeout * 1000)
            connection = await self._connection()
            try:
                rows = await self._exchange(
                    connection, deadline, statement, (list(identities), wait)
                )
            except self._server_error as error:
                # For want of a permission, which would be the same next time.
                if not self._is_answer(error) or state_of(error) in ELSEWHERE:
                    raise
                rows = []
            if not all(ended for (ended,) in rows):
                raise TimeoutError("a connection that was given up does not end")
            del self.given_up[: len(identities)]

    async def close(self) -> list[str | int]:
        """Close own connections. Returns those that are still to be ended.

        Round trips in progress fail.
        """
        self._busy.stop()
        for connection in self._busy.pending:
            self.connections.drop(connection)
        if isinstance(self.connections, OwnConnections):
            await asyncio.gather(*(_close(each) for each in self._open))
        return self.given_up

    def leave(self) -> list[str | int]:
        """End own connections of an event loop that no longer runs.

        Returns those that are to be ended: their buffers may contain statements.
        """
        if isinstance(self.connections, ClientConnections):
            return self.given_up
        for connection in self._open:
            transport = connection.transport
            with suppress(RuntimeError):  # the loop is closed
                connection.driver.terminate()
            end_transport(transport, self.loop)
        return [*self.given_up, *(connection.identity for connection in self._busy.pending)]


async def _close(connection: Connection) -> None:
    is_closed = False
    try:
        with suppress(Exception):  # a server that hangs or is gone is not waited for
            await connection.driver.close(timeout=_CLOSE_TIMEOUT)
            is_closed = True
    finally:
        if not is_closed:
            connection.driver.terminate()
