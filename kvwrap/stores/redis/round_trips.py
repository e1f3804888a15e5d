"""Round trips over the connections of a pool, for one event loop of one process.

A round trip may be given up: it is cancelled, its time is over, or its connection fails. Its
commands may then be in a buffer of the driver, of the kernel, of a proxy or of the server. If the
server carried them out later, they would replace what was written meanwhile. Therefore two things
happen:

- The connection is aborted, so that bytes in the buffers of this process are dropped.
- Before the next round trip, the server is told to kill that connection (`CLIENT KILL`). After its
  answer, the commands that were given up have been carried out or never will be.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from kvwrap.core.deadlines import TimeLimits
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.pools import Pool
from kvwrap.stores.shared.home import Home
from kvwrap.stores.shared.transports import end_transport

_READING: Final = frozenset(
    {"MGET", "PTTL", "TYPE", "PING", "MULTI", "EXEC", "CONFIG GET", "CLIENT KILL"}
)
"""Commands that change no data, so that it does not matter when they are carried out."""

_NOT_HERE: Final = re.compile(r"(?:^|-)(?:READONLY|LOADING|MASTERDOWN|CLUSTERDOWN)\b", re.MULTILINE)
"""Beginnings of answers of a server that cannot serve now, also within a script."""

_ELSEWHERE: Final = re.compile(rf"{_NOT_HERE.pattern}|(?:^|-)(?:MOVED|ASK)\b", re.MULTILINE)
"""These and the beginnings of answers of a cluster's node that does not have the key."""

_IDENTITY: Final = re.compile(rb"id=(\d+) addr=(.+?) laddr=")
"""Beginning of the answer to CLIENT INFO."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing a socket drops the bytes that were not sent yet."""


class Identity(NamedTuple):
    """A connection as the server knows it.

    Another server, such as the new master after a failover, may have a connection with this
    number. It has none with this number from this address.
    """

    number: bytes
    address: bytes


class RoundTrips(Home):
    """Sends commands over the connections of a pool.

    Args:
        pool: The connections.
        limit: Maximum number of round trips in progress; further ones wait.
        timeout: Seconds for one round trip, including the wait for its turn; None for no limit.
        given_up: Connections that were given up earlier, in another event loop.
        is_node: True for a node of a cluster, which is right to name another one for a key.

    Attributes:
        given_up: Connections that are to be killed before the next round trip.
        in_progress: Number of round trips in progress or waiting.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        limit: int,
        timeout: float | None,
        given_up: Sequence[Identity],
        is_node: bool = False,
    ) -> None:
        super().__init__()
        self._pool = pool
        self._timeout = timeout
        self._limits = TimeLimits()
        self._turns = asyncio.Semaphore(limit)
        self._killing = asyncio.Lock()
        self.given_up = list(given_up)
        self._connections: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # by transport
        self._identities: WeakKeyDictionary[Any, Identity | None] = WeakKeyDictionary()
        self._busy: set[Any] = set()
        known = driver("redis.exceptions")
        self._response_error = known.ResponseError
        self._loading_error = known.BusyLoadingError
        self._answers = _NOT_HERE if is_node else _ELSEWHERE
        self._not_here: tuple[type[Exception], ...] = (
            *(known.ReadOnlyError, known.ClusterDownError),
            *(() if is_node else (known.AskError,)),  # also the class of MOVED
        )
        self.in_progress = 0

    @property
    def has_open_connections(self) -> bool:
        """True if a connection that was used here has not been closed."""
        return any(not transport.is_closing() for transport in self._connections)

    async def run(
        self,
        commands: Sequence[Sequence[Any]],
        answers: list[Any],
        deadline: float | None = None,
    ) -> None:
        """Run commands in one round trip, and add their answers to `answers`.

        An error of Redis for a single command is added in place of its answer. If the call is
        cancelled or fails, the commands have been carried out or not when the next call begins.

        Args:
            commands: The commands.
            answers: The list to add the answers to. If this raises, those are in it that came
                before.
            deadline: Time of the event loop at which the round trip is over, if that is before
                its timeout.

        Raises:
            TimeoutError: There was no answer in time; waiting for a turn and for a connection
                counts too.
            redis.exceptions.RedisError: The connection failed.
        """
        self.in_progress += 1
        try:
            limits = self._limits
            limit = limits.within(self._timeout) if deadline is None else limits.until(deadline)
            with limit:
                async with self._turns:
                    if self.given_up:
                        await self._kill_given_up()
                    await self._run(commands, answers)
        finally:
            self.in_progress -= 1

    async def _kill_given_up(self) -> None:
        async with self._killing:
            identities = tuple(self.given_up)
            if identities:
                answers: list[Any] = []
                await self._run(
                    [
                        ("CLIENT KILL", "ID", identity.number, "ADDR", identity.address)
                        for identity in identities
                    ],
                    answers,
                )
                for answer in answers:
                    # Other errors, for want of a permission, would be the same next time.
                    if isinstance(answer, self._response_error) and "BUSY" in str(answer):
                        raise answer
                del self.given_up[: len(identities)]

    async def _run(self, commands: Sequence[Sequence[Any]], answers: list[Any]) -> None:
        connection = await self._pool.get_connection()
        transport = identity = None
        try:
            transport = await self._transport_of(connection)
            self._busy.add(transport)
            self._connections[transport] = connection
            if any(command[0] not in _READING for command in commands):
                identity = await self._identify(connection, transport)
            await self._pool.exchange(connection, commands, answers)
            errors = [answer for answer in answers if isinstance(answer, self._response_error)]
            if any(map(self._is_from_elsewhere, errors)):
                self._abort_idle()
                await _abort(connection, transport)
            elif any("Protocol error" in str(error) for error in errors):
                await _abort(connection, transport)  # the server closes it too
        except BaseException as error:
            if isinstance(error, self._loading_error):  # for the driver a failed connection
                self._abort_idle()
            if transport is not None:
                await _abort(connection, transport)
            if identity is not None:
                self.given_up.append(identity)
            await asyncio.shield(self._pool.release(connection))
            raise
        finally:
            self._busy.discard(transport)
        await self._pool.release(connection)

    async def _transport_of(self, connection: Any) -> Any:
        """Return the transport of a connection, which is connected again if it was closed."""
        if connection.health_check_interval:
            await connection.check_health()
        if not self._pool.is_usable(connection):
            await connection.disconnect(nowait=True)
            await self._pool.connect(connection)
        return connection._writer.transport  # the driver has no public name for it

    async def _identify(self, connection: Any, transport: Any) -> Identity | None:
        """Return the identity of a connection, which its first write asks the server for.

        Returns None if the account may not ask. Then it may not kill the connection either.
        """
        if transport not in self._identities:
            answers: list[Any] = []
            await self._pool.exchange(connection, [("CLIENT INFO",)], answers)
            found = _IDENTITY.match(answers[0]) if isinstance(answers[0], bytes) else None
            self._identities[transport] = None if found is None else Identity(*found.groups())
        return self._identities[transport]

    def _is_from_elsewhere(self, error: Exception) -> bool:
        """Return True if an answer says that another server is responsible.

        After a failover behind one name, a connection may lead to the old master for good.
        """
        return isinstance(error, self._not_here) or self._answers.search(str(error)) is not None

    def _abort_idle(self) -> None:
        for transport in self._connections:
            if transport not in self._busy:
                transport.abort()

    async def close(self) -> list[Identity]:
        """Close the connections of the pool. Returns those that are still to be killed.

        Round trips in progress fail.
        """
        for transport in self._busy:
            transport.abort()
        await self._pool.disconnect()
        return self.given_up

    def leave(self) -> list[Identity]:
        """End the connections of an event loop that no longer runs.

        Returns those that are to be killed: their buffers may contain commands.
        """
        for transport, connection in self._connections.items():
            end_transport(transport, self.loop)
            connection._close()
        known = [identity for identity in self._identities.values() if identity is not None]
        return list(dict.fromkeys((*self.given_up, *known)))


async def _abort(connection: Any, transport: Any) -> None:
    """Close a connection and drop the bytes that were not sent yet."""
    end = transport.get_extra_info("socket")
    if end is not None:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    await connection.disconnect(nowait=True)
