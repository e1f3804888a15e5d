"""Connections to PostgreSQL: own ones, and those of a pool that the user has created."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import Any, Final

from kvwrap.errors import ConfigurationError
from kvwrap.stores.postgresql.errors import driver
from kvwrap.stores.postgresql.options import PostgreSQLOptions
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.transports import read_in_parts

_NAMED: Final = "kvwrap-"
"""Beginning of the names under which the server shows the connections (`application_name`)."""


class Connection:
    """A connection and how the server knows it.

    Attributes:
        driver: The driver's connection, or its proxy for one of a pool.
        identity: The `application_name` of an own connection, else the process id of its server.
    """

    __slots__ = ("__weakref__", "_poll", "driver", "identity")

    def __init__(self, driver: Any, identity: str | int) -> None:
        self.driver = driver
        self.identity = identity
        self._poll: select.poll | None = None

    @property
    def transport(self) -> Any:
        """The transport of an own connection."""
        return self.driver._transport  # the driver has no public name for it

    @property
    def is_usable(self) -> bool:
        """Return False if an own connection is closed, or was closed by the server."""
        if self.driver.is_closed():
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        # An idle connection has nothing to read but its end, which the event loop may not have
        # seen yet.
        return not self._poll.poll(0)


class OwnConnections:
    """Opens the store's own connections, and closes them.

    Args:
        options: The server and the login.
        is_prepared: As the attribute.

    Attributes:
        is_prepared: Whether statements are prepared once for each connection; None before that is
            known.
    """

    def __init__(self, options: PostgreSQLOptions, *, is_prepared: bool | None) -> None:
        self.is_prepared = is_prepared
        self._idle: list[Connection] = []
        tls = options.secured
        server = options.server
        several = len(server.addresses) > 1
        self._arguments = {
            "host": [address.host for address in server.addresses],
            "port": [address.port for address in server.addresses],
            "user": server.username,
            "password": server.password,
            "database": server.path or None,
            "ssl": False if tls is None else tls.context(),
            "target_session_attrs": options.target or ("primary" if several else "any"),
            # The time of a round trip is limited as a whole.
            "timeout": options.timeout or _NO_LIMIT,
            "max_cached_statement_lifetime": 0,
        }

    def take_idle(self) -> Connection | None:
        """Return a connection that nobody uses; None otherwise."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.driver.terminate()
        return None

    async def connect(self) -> Connection:
        """Return a new connection."""
        if self.is_prepared is None:
            self.is_prepared = not await self._is_pooled()
        return await self._connect(prepared=self.is_prepared)

    async def _connect(self, *, prepared: bool) -> Connection:
        name = _NAMED + os.urandom(8).hex()
        connected = await driver().connect(
            **self._arguments,
            statement_cache_size=100 if prepared else 0,
            server_settings={"application_name": name},
        )
        connection = Connection(connected, name)
        read_in_parts(connection.transport)
        return connection

    async def _is_pooled(self) -> bool:
        """Return True if a pooler is between, such as pgbouncer.

        It gives its own process id to clients. It may give a connection of the server to another
        client after each transaction, and what the first one has prepared there.
        """
        connection = (await self._connect(prepared=False)).driver
        try:
            statement = await connection.prepare("SELECT pg_backend_pid()", name="")
            return bool(await statement.fetchval() != connection.get_server_pid())
        finally:
            connection.terminate()

    async def release(self, connection: Connection) -> None:
        """Take back a connection, to use it again."""
        self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """End a connection that cannot be used again."""
        connection.driver.terminate()

    def drop_idle(self) -> None:
        """End the connections that nobody uses."""
        while self._idle:
            self._idle.pop().driver.terminate()


class ClientConnections:
    """Borrows connections of a pool of the user's."""

    is_prepared = None

    def __init__(self, client: Any) -> None:
        self._client = client

    def take_idle(self) -> None:
        """Return None: the pool knows which of its connections are idle."""

    async def connect(self) -> Connection:
        """Return a connection of the pool."""
        borrowed = await self._client.acquire()
        return Connection(borrowed, borrowed.get_server_pid())

    async def release(self, connection: Connection) -> None:
        """Return a connection to the pool."""
        await self._client.release(connection.driver)

    def drop(self, connection: Connection) -> None:
        """End a connection that cannot be used again, which returns its place to the pool."""
        with suppress(driver().InterfaceError):  # it has ended already
            connection.driver.terminate()

    def drop_idle(self) -> None:
        """Do nothing: idle connections are the user's."""


_NO_LIMIT: Final = 1e6
"""Seconds that are no limit; the driver has a limit where none is given."""


def checked_client(client: Any) -> Any:
    """Check that the store can use a client, and return it.

    Raises:
        ConfigurationError: It is not a pool of asyncpg.
    """
    if not isinstance(client, driver().Pool):
        cls = type(client)
        raise ConfigurationError(
            "`client` must be a pool of asyncpg, as `await asyncpg.create_pool(…)` returns it; got "
            f"{cls.__module__}.{cls.__qualname__}"
        )
    return client


def addresses(options: PostgreSQLOptions) -> str:
    """Return the hosts and ports of the servers, for errors."""
    return ",".join(map(str, known_servers(options)))


def database(options: PostgreSQLOptions) -> str:
    """Return the name of the database; empty if it is the driver's default."""
    if options.client is None:
        return options.server.path
    return str(_settings(options.client).get("database") or "")


def location(options: PostgreSQLOptions) -> str:
    """Return where the entries of a store with these options are."""
    return (
        f"table {options.table!r} in database {database(options)!r} of PostgreSQL at "
        f"{addresses(options)}"
    )


def known_servers(options: PostgreSQLOptions) -> list[urls.Address]:
    """Return the servers that the URL or the pool names."""
    if options.client is None:
        return list(options.server.addresses)
    settings = _settings(options.client)
    hosts, ports = settings.get("host") or "localhost", settings.get("port") or 5432
    hosts = [hosts] if isinstance(hosts, str) else list(hosts)
    ports = [ports] * len(hosts) if isinstance(ports, int | str) else list(ports)
    return [urls.Address(str(host), int(port)) for host, port in zip(hosts, ports)]


def _settings(client: Any) -> dict[str, Any]:
    """Return host, port and database of a pool, which has no public names for them."""
    settings = dict(getattr(client, "_connect_kwargs", {}))
    (dsn, *_) = getattr(client, "_connect_args", ()) or (None,)
    if dsn:
        parts = urls.split_server_url(dsn.partition("?")[0], "postgresql", "postgres", port=5432)
        settings.setdefault("host", [address.host for address in parts.addresses])
        settings.setdefault("port", [address.port for address in parts.addresses])
        settings.setdefault("database", parts.path)
    return settings
