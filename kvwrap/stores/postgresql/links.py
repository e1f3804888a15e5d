"""A link over which PostgreSQL tells what changes (`LISTEN`)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec

from kvwrap.core.changes import ChangeKind
from kvwrap.core.clock import Clock
from kvwrap.core.deadlines import time_limit
from kvwrap.errors import StoreUnavailable, UnsupportedOperation
from kvwrap.stores.postgresql.connections import (
    ClientConnections,
    Connection,
    OwnConnections,
    addresses,
    database,
)
from kvwrap.stores.postgresql.errors import driver, state_of, translate_error
from kvwrap.stores.postgresql.options import PostgreSQLOptions
from kvwrap.stores.postgresql.statements import channel
from kvwrap.stores.shared.feed import Feed, Line

_TIMEOUT: Final = 5.0
"""Seconds for an answer, for a store that has no limit."""

_REFUSED: Final = frozenset({"25006", "42501", "0A000"})
"""Errors of a server that is a standby, or does not let this user listen."""


class _Payload(msgspec.Struct):
    collection: str | msgspec.UnsetType | None = msgspec.UNSET
    keys: list[str] | None = None


class ListeningLink:
    """A connection that listens to the channel of a table.

    Args:
        options: The server, the login and the table.
        store: Name of the store, for errors.
        line: The line of the feed, which is told.
    """

    resumes = False

    def __init__(self, options: PostgreSQLOptions, store: str, line: Line) -> None:
        self.server = f"PostgreSQL at {addresses(options)}"
        self._options = options
        self._store = store
        self._line = line
        self._channel = channel(options.table)
        self._decoder = msgspec.json.Decoder(_Payload)
        self._connections: OwnConnections | ClientConnections | None = None
        self._connection: Connection | None = None

    async def connect(self) -> bool:
        """Connect; return False when every later change will be told: others may be missed."""
        self._connections = (
            OwnConnections(self._options, is_prepared=False)
            if self._options.client is None
            else ClientConnections(self._options.client)
        )
        try:
            connection = self._connection = await self._connections.connect()
            told: Any = connection.driver
            # A pooler has its own number, and gives what listens to others.
            if await self._number(told) != told.get_server_pid():
                raise self._unsupported("a pooler such as pgbouncer is between")
            told.add_termination_listener(self._end)
            await told.add_listener(self._channel, self._hear)
        except self._errors as error:
            if state_of(error) in _REFUSED:
                raise self._unsupported("a standby cannot listen") from error
            raise self._translate(error) from error
        return False

    async def ping(self) -> None:
        """Return when everything has been told that was acknowledged before the call."""
        connection = self._connection
        if connection is None:
            raise StoreUnavailable("there is no connection that listens", store=self._store)
        try:
            # The server sends what it has to tell before it is ready for the next statement.
            await self._number(connection.driver)
        except self._errors as error:
            raise self._translate(error) from error

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        connections, self._connections = self._connections, None
        if connection is None or connections is None:
            return
        with suppress(driver().InterfaceError):  # it has ended already
            connection.driver.remove_termination_listener(self._end)
        if self._options.client is None or connection.driver.is_closed():
            connections.drop(connection)
            return
        try:
            with time_limit(self._options.timeout or _TIMEOUT):
                await connection.driver.remove_listener(self._channel, self._hear)
        except self._errors:  # or no answer in time
            connections.drop(connection)
        await connections.release(connection)

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        known = driver()
        return (known.PostgresError, known.InterfaceError, OSError, EOFError)

    async def _number(self, connection: Any) -> Any:
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        return await statement.fetchval()

    def _end(self, connection: Any) -> None:
        self._line.cut()

    def _hear(self, connection: Any, number: int, channel: str, text: str) -> None:
        try:
            payload = self._decoder.decode(text)
        except msgspec.DecodeError:  # another program has sent it
            self._line.lose()
            return
        if payload.collection is msgspec.UNSET:
            self._line.lose()
        elif payload.keys is None:
            self._line.lose(payload.collection)
        else:
            for key in payload.keys:
                self._line.tell(ChangeKind.CHANGED, payload.collection, key)

    def _unsupported(self, reason: str) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"{self.server} tells no changes to this store, since {reason}: near copies live as "
            "long as their ttl says. Give the store a URL that leads to the primary itself",
            store=self._store,
        )

    def _translate(self, error: Exception) -> Exception:
        return translate_error(error, self.server, self._options.table, store=self._store)


def make_feed(options: PostgreSQLOptions, clock: Clock, *, store: str) -> Feed:
    """Create the feed of a store with these options."""
    place = (addresses(options), database(options), channel(options.table))
    how = (options.target, options.tls, options.ca, options.cert, options.key)
    return Feed(
        ("PostgreSQL", place, how, options.url, id(options.client)),
        lambda line: ListeningLink(options, store, line),
        clock,
        timeout=options.timeout or _TIMEOUT,
        owner=store,
    )
