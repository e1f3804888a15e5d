"""Connections whose call was given up, and what the server still has of it.

A call is given up when it is cancelled or its time is over. The server may have its commands in a
buffer, and carries them out when a thread of it comes to them. Calls over other connections may be
answered before. So a write that was given up could replace one that was acknowledged after it.
Memcached cannot be told to drop a connection. But it carries out the commands of a connection in
their order, `quit` last. So the next call waits until the server has closed such connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from kvwrap.core.deadlines import time_limit

_DEAD_AFTER: Final = 5_000
"""Milliseconds without a sign of the other machine after which a connection has failed."""

_PATIENCE: Final = 60.0
"""Seconds to wait for a server that receives and does nothing."""

_PART: Final = 2**16


class Connection(NamedTuple):
    """A connection, also one of aiomcache."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class GivenUp:
    """The connections of one event loop that were given up and are not closed yet."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Connection, float]] = deque()
        self._settling = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Connection]:
        return iter([connection for connection, _ in self._waiting])

    def add(self, connection: Connection) -> None:
        """Ask the server to close a connection once it has carried out what it was sent."""
        end = connection.writer.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            with suppress(OSError):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER)
        connection.writer.write(b"quit\r\n")
        until = asyncio.get_running_loop().time() + _PATIENCE
        self._waiting.append((connection, until))

    async def settle(self) -> None:
        """Wait until the server has closed them. It has done then what was sent, or never will."""
        async with self._settling:
            while self._waiting:
                connection, until = self._waiting[0]
                left = until - asyncio.get_running_loop().time()
                with suppress(OSError, TimeoutError), time_limit(left):
                    while await connection.reader.read(_PART):
                        pass
                connection.writer.transport.abort()
                self._waiting.popleft()

    def abort(self) -> None:
        """End them, with what is not sent yet."""
        while self._waiting:
            self._waiting.popleft()[0].writer.transport.abort()
