"""Connections that are used again: of the store's own, and of a client of the user's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from kvwrap.stores.redis.errors import driver, recognized
from kvwrap.stores.redis.protocol import pack, read_answers
from kvwrap.stores.shared.transports import read_in_parts
from kvwrap.stores.shared.urls import Address


class Pool(Protocol):
    """Connections of the driver to one server, or to the master among several."""

    @property
    def place(self) -> object:
        """Return what differs between two servers that the connections have led to."""

    async def get_connection(self) -> Any:
        """Return a connection for one round trip, which need not be connected."""

    async def release(self, connection: Any) -> None:
        """Take back a connection."""

    async def connect(self, connection: Any) -> None:
        """Connect a connection that `get_connection` returned."""

    async def exchange(
        self, connection: Any, commands: Sequence[Sequence[Any]], answers: list[Any]
    ) -> None:
        """Send commands and add their answers to `answers`.

        An error of Redis for a single command is added in place of its answer.
        """

    def is_usable(self, connection: Any) -> bool:
        """Return True if a connection is open, and nothing is left to read from it."""

    async def disconnect(self) -> None:
        """Close all connections."""

    async def connect_apart(self) -> Any:
        """Return a new connection, connected, that is not one of the pool."""

    async def leads_elsewhere(self, connection: Any) -> bool:
        """Return True if the next connection would lead to another server than this one."""


class OwnPool:
    """Connections of a store, created when there is no free one.

    The driver's own pool takes longer for a connection than a server for its answer.

    Args:
        make: Creates a connection, which is not connected.
    """

    place: object = None

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._all: list[Any] = []
        self._free: list[Any] = []
        self._has_parser = False
        known = driver("redis.exceptions")
        self._closed = known.ConnectionError

    async def get_connection(self) -> Any:
        if self._free:
            return self._free.pop()
        connection = self._make()
        self._all.append(connection)
        return connection

    async def release(self, connection: Any) -> None:
        self._free.append(connection)

    async def connect(self, connection: Any) -> None:
        await connection.connect()
        read_in_parts(connection._writer.transport)

    async def exchange(
        self, connection: Any, commands: Sequence[Sequence[Any]], answers: list[Any]
    ) -> None:
        # The driver has no public names for writer, reader and the classes of errors.
        writer = connection._writer
        writer.writelines(pack(commands))
        await writer.drain()
        await read_answers(
            connection._reader,
            len(commands),
            answers,
            error_of=lambda text: recognized(connection._parser.parse_error(text)),
            broken=self._closed,
        )

    def is_usable(self, connection: Any) -> bool:
        reader = connection._reader
        return not (
            reader is None
            or connection._writer.transport.is_closing()
            or reader.at_eof()
            or reader._buffer  # what nobody has asked for would be taken for an answer
        )

    async def disconnect(self) -> None:
        await asyncio.gather(
            *(connection.disconnect() for connection in self._all), return_exceptions=True
        )

    async def connect_apart(self) -> Any:
        return await _connected(self._make(), self.connect)

    async def leads_elsewhere(self, connection: Any) -> bool:
        return False


class ClientPool:
    """The connections of a client of the user's, which may have another protocol."""

    place: object = None

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._response_error = driver("redis.exceptions").ResponseError

    async def get_connection(self) -> Any:
        return await self._pool.get_connection()

    async def release(self, connection: Any) -> None:
        await self._pool.release(connection)

    async def connect(self, connection: Any) -> None:
        await connection.connect()

    async def exchange(
        self, connection: Any, commands: Sequence[Sequence[Any]], answers: list[Any]
    ) -> None:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except self._response_error as error:
                answers.append(recognized(error))

    def is_usable(self, connection: Any) -> bool:
        return not (
            not connection.is_connected
            or connection._writer.transport.is_closing()
            or connection._reader.at_eof()
        )

    async def disconnect(self) -> None:
        """Close nothing: the connections are the user's."""

    async def connect_apart(self) -> Any:
        connection = self._pool.make_connection()
        if inspect.isawaitable(connection):
            connection = await connection
        return await _connected(connection, self.connect)

    async def leads_elsewhere(self, connection: Any) -> bool:
        if not hasattr(self._pool, "get_master_address"):  # not Sentinel's
            return False
        address = await self._pool.get_master_address()
        return bool(address != (connection.host, connection.port))


class ClusterNodePool:
    """The connections to one node of a cluster client of the user's, in the form of a pool."""

    def __init__(self, client: Any, address: Address) -> None:
        self._client = client
        self._address = address
        self._nodes: dict[Any, Any] = {}  # by connection
        self._gone = driver("redis.exceptions").ConnectionError

    async def get_connection(self) -> Any:
        node = await self._node()
        connection = node.acquire_connection()
        self._nodes[connection] = node
        return connection

    async def make_connection(self) -> Any:
        """Return a new connection, not connected, that the client does not know."""
        node = await self._node()
        return node.connection_class(**node.connection_kwargs)

    async def _node(self) -> Any:
        await self._client.initialize()
        node = self._client.get_node(*self._address)
        if node is None:
            # The client has not heard of it yet.
            await self._client.nodes_manager.initialize()
            node = self._client.get_node(*self._address)
        if node is None:
            raise self._gone("the client does not know the node")
        return node

    async def release(self, connection: Any) -> None:
        self._nodes.pop(connection).release(connection)


async def _connected(connection: Any, connect: Callable[[Any], Awaitable[None]]) -> Any:
    """Connect a connection that belongs to no pool, and return it."""
    try:
        await connect(connection)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection
