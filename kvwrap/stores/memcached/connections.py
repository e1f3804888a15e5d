"""The connections to one server: the store's own, or those of a client."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.given_up import Connection, GivenUp
from kvwrap.stores.shared.tls import Tls
from kvwrap.stores.shared.transports import end_transport
from kvwrap.stores.shared.urls import Address

if TYPE_CHECKING:
    from aiomcache import FlagClient

T = TypeVar("T")


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

    async def lend(self, call: Callable[[Connection], Awaitable[T]]) -> T:
        """Await a call with a connection, which is not used again if the call fails."""
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

    async def lend(self, call: Callable[[Connection], Awaitable[T]]) -> T:
        if self._given_up:
            await self._given_up.settle()
        connection = self._take() or await self._connect()
        try:
            result = await call(connection)
        except asyncio.CancelledError:
            if self._is_closed:
                connection.writer.transport.abort()
            else:
                self._given_up.add(connection)
            raise
        except BaseException:
            connection.writer.transport.abort()
            raise
        if self._is_closed:
            connection.writer.transport.abort()
        else:
            self._idle.append(connection)
        return result

    def _take(self) -> Connection | None:
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

        async def use(_: Any, connection: Any, call: Callable[[Connection], Awaitable[T]]) -> T:
            try:
                if connection.reader not in self._known:
                    await self._ask_for_limit(connection)
                    self._known.add(connection.reader)
                return await call(connection)
            except BaseException:
                # By this the client knows, also after a cancellation, that it must not be used.
                connection.reader.set_exception(ConnectionAbortedError())
                connection.writer.transport.abort()
                raise

        self._client = client
        self._use: Any = importlib.import_module("aiomcache.client").acquire(use)

    async def lend(self, call: Callable[[Connection], Awaitable[T]]) -> T:
        result: T = await self._use(self._client, call)
        return result


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
