"""The connections to one server: the store's own, or those of a client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.given_up import Connection, GivenUp
from kvwrap.stores.shared.tls import Tls
from kvwrap.stores.shared.transports import end_transport, read_in_parts
from kvwrap.stores.shared.urls import Address

if TYPE_CHECKING:
    from aiomcache import FlagClient


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The servers and the login; the arguments of `MemcachedStore`, which documents them."""

    addresses: Sequence[Address]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None


class Connections:
    """Lends connections to one server.

    Args:
        address: Where the server listens.

    Attributes:
        longest: Bytes of the longest command that the server takes.
        tls: True if they use TLS, None if that is not known.
    """

    longest = sys.maxsize
    tls: bool | None = None

    def __init__(self, address: Address) -> None:
        self.address = address

    async def take(self) -> Connection:
        """Return a connection for one call, after which it is given back, or up."""
        raise NotImplementedError

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that has been used, to use it again."""
        raise NotImplementedError

    def give_up(self, connection: Connection, error: BaseException) -> None:
        """Not use a connection again whose call ended with an error."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections, if they are the store's."""

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the connections of an event loop that no longer runs, if they are the store's."""

    async def _ask_for_limit(self, connection: Connection) -> None:
        # Of each connection: a server that was started again may have another limit.
        connection.writer.write(protocol.SETTINGS)
        limit = await protocol.read_item_limit(connection.reader)
        if limit is not None:
            self.longest = protocol.largest_command(limit)


class OwnConnections(Connections):
    """Makes connections when they are needed, and keeps them.

    Args:
        servers: The login.
        address: Where the server listens.
    """

    def __init__(self, servers: Servers, address: Address) -> None:
        super().__init__(address)
        self.tls = servers.tls is not None
        self._servers = servers
        self._idle: list[Connection] = []
        self._given_up = GivenUp()
        self._is_closed = False

    async def take(self) -> Connection:
        if self._given_up:
            await self._given_up.settle()
        return self._take_idle() or await self._connect()

    def give_back(self, connection: Connection) -> None:
        if self._is_closed:
            connection.writer.transport.abort()
        else:
            self._idle.append(connection)

    def give_up(self, connection: Connection, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and not self._is_closed:
            self._given_up.add(connection)
        else:
            connection.writer.transport.abort()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.transport.abort()
        return None

    async def _connect(self) -> Connection:
        tls = self._servers.tls
        connection = Connection(
            *await asyncio.open_connection(
                self.address.host,
                self.address.port,
                ssl=None if tls is None else tls.context(),
            )
        )
        read_in_parts(connection.writer.transport)
        try:
            if self._servers.username is not None:
                await self._log_in(*connection)
            await self._ask_for_limit(connection)
        except BaseException:
            connection.writer.transport.abort()
            raise
        return connection

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A server that asks for no login would store it like a value, which anybody could read.
        writer.write(b"mn\r\n")
        if (await reader.readuntil(b"\r\n"))[:-2] == b"MN":
            raise StoreUnavailable(
                "asks for no login, and the one in the URL was not sent to it: start it with -Y, "
                "or leave out the login"
            )
        login = f"{self._servers.username} {self._servers.password or ''}".encode()
        writer.write(b"set login 0 0 %d\r\n%b\r\n" % (len(login), login))
        answer = (await reader.readuntil(b"\r\n"))[:-2]
        if answer != b"STORED":
            raise protocol.error_of(answer)

    async def close(self) -> None:
        self._is_closed = True
        self._given_up.abort()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
        for connection in idle:
            with suppress(OSError):
                await connection.writer.wait_closed()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_closed = True
        ended, self._idle = [*self._idle, *self._given_up], []
        for connection in ended:
            end_transport(connection.writer.transport, loop)


class ClientConnections(Connections):
    """Borrows the connections of a client of aiomcache, as the client's own methods do.

    Args:
        client: The client.
    """

    def __init__(self, client: FlagClient[Any]) -> None:
        super().__init__(address_of(client))
        self._known: WeakSet[asyncio.StreamReader] = WeakSet()
        # The client has no public name for it. Its own methods take connections there.
        self._pool: Any = client._pool

    async def take(self) -> Connection:
        reader, writer = await self._pool.acquire()
        connection = Connection(reader, writer)
        if connection.reader not in self._known:
            try:
                await self._ask_for_limit(connection)
            except BaseException as error:
                self.give_up(connection, error)
                raise
            self._known.add(connection.reader)
        return connection

    def give_back(self, connection: Connection) -> None:
        self._pool.release(connection)

    def give_up(self, connection: Connection, error: BaseException) -> None:
        # By this the client knows, also after a cancellation, that it must not be used.
        connection.reader.set_exception(ConnectionAbortedError())
        connection.writer.transport.abort()
        self._pool.release(connection)


def checked_clients(clients: object) -> list[FlagClient[Any]]:
    """Return a client, or several, as a list.

    Raises:
        ConfigurationError: They are not clients of aiomcache.
    """
    several: list[Any] = list(clients) if isinstance(clients, list | tuple) else [clients]
    # Who has such a client has imported its module.
    aiomcache = sys.modules.get("aiomcache")
    for client in several or [None]:
        if aiomcache is None or not isinstance(client, aiomcache.FlagClient):
            raise ConfigurationError(
                "`client` must be an aiomcache.Client, or a list of them for several servers; got "
                f"{type(client).__name__ if several else 'an empty list'}"
            )
    return several


def address_of(client: FlagClient[Any]) -> Address:
    """Return where the server of a client listens."""
    # The client has no public name for it, and errors and the choice of a server need it.
    return Address(client._pool._host, client._pool._port)
