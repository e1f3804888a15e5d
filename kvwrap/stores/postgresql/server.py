"""Statements to a PostgreSQL server: a limited number at a time, each with a timeout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

from kvwrap.core.missing import NotThereYet, is_missing
from kvwrap.core.optimistic import backoff
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.stores.postgresql.connections import (
    ClientConnections,
    OwnConnections,
    addresses,
    checked_client,
)
from kvwrap.stores.postgresql.errors import (
    CONFLICTS,
    ELSEWHERE,
    NO_TABLE,
    driver,
    other_shape,
    state_of,
    translate_error,
)
from kvwrap.stores.postgresql.options import PostgreSQLOptions
from kvwrap.stores.postgresql.round_trips import RoundTrips
from kvwrap.stores.postgresql.statements import COLUMNS, RIGHTS, statements

_ATTEMPTS: Final = range(1, 10)
"""The numbers of the further attempts at a statement that loses against others."""


class Server:
    """Runs statements on the table of a store, which is created before the first one.

    Args:
        options: The server, the table, the timeout of a round trip (including the wait for its
            turn), and the maximum number of round trips in progress. A client given here is never
            closed.
        store: Name of the store, for errors.
        ensure_open: Awaited if a statement comes before `open`; opens the store, or raises.
        learn: Called with the rights that the user has on the table, when they are known.

    Raises:
        ConfigurationError: The store cannot use the client.
    """

    def __init__(
        self,
        options: PostgreSQLOptions,
        *,
        store: str,
        ensure_open: Callable[[], Awaitable[None]],
        learn: Callable[[frozenset[str]], None],
    ) -> None:
        known = driver()
        if options.client is not None:
            checked_client(options.client)
        # Others are mistakes of the program, and not the server's.
        self._errors = (known.PostgresError, known.InterfaceError, OSError, EOFError)
        self._options = options
        self._store = store
        self._ensure_open = ensure_open
        self._learn = learn
        self._statements = statements(options.table, notify=options.notify)
        self._name = f"PostgreSQL at {addresses(options)}"
        self._is_open = False
        self._creates = True
        self._has_table = False
        self._round_trips: RoundTrips | None = None
        self._given_up: Sequence[str | int] = ()
        self._is_prepared = options.prepared

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return self._round_trips is None or self._round_trips.in_progress == 0

    def open(self, *, creates: bool) -> None:
        """Allow round trips. Nothing is connected yet.

        Args:
            creates: False to fail if the table is missing.
        """
        self._creates = creates
        self._is_open = True

    async def close(self) -> None:
        """Close the connections, unless they are the user's or another process's."""
        self._is_open = False
        round_trips, self._round_trips = self._round_trips, None
        if round_trips is None:
            return
        if round_trips.is_inherited:
            round_trips.keep()
        elif round_trips.is_here:
            self._given_up = await round_trips.close()
        else:
            self._given_up = round_trips.leave()

    async def run(self, name: str, *arguments: Any, writes: bool = False) -> list[Any]:
        """Run a statement of `statements`, by its name, in one round trip. Returns its rows.

        A statement that loses against others (a deadlock, a lock, serialization) is repeated.
        """
        if not self._is_open:
            await self._ensure_open()
        round_trips = self._round_trips
        if round_trips is None or not round_trips.is_here:
            round_trips = self._round_trips = self._enter(round_trips)
        try:
            if not self._has_table:
                await self._find_table(round_trips)
            statement = self._statements[name]
            try:
                return await round_trips.run(statement, arguments, writes=writes)
            except self._errors as error:
                if state_of(error) == NO_TABLE:  # somebody has dropped it
                    self._has_table = False
                    await self._find_table(round_trips)
                elif state_of(error) not in CONFLICTS:
                    raise
            return await self._repeat(round_trips, statement, arguments, writes=writes)
        except self._errors as error:
            raise self._translate(error) from error

    async def prepare(self) -> None:
        """Create the table if it is missing."""
        self._has_table = False
        await self.run("ping")

    async def _repeat(
        self, round_trips: RoundTrips, statement: str, arguments: Sequence[Any], *, writes: bool
    ) -> list[Any]:
        """Run a statement again that the server has undone, until it no longer does."""
        for attempt in _ATTEMPTS:
            await backoff(attempt)
            try:
                return await round_trips.run(statement, arguments, writes=writes)
            except self._errors as error:
                if state_of(error) not in CONFLICTS or attempt == _ATTEMPTS[-1]:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _find_table(self, round_trips: RoundTrips) -> None:
        """Create the table if it is missing, and learn the rights on it.

        Raises:
            NotThereYet: The table is missing, may not be created here, and could be.
            ConfigurationError: The table has other columns, or is missing and cannot be created.
        """
        async with round_trips.preparing:
            if self._has_table:
                return
            if self._options.client is not None:
                await self._check_codecs(round_trips)
            columns = self._statements["columns"]
            rows = await round_trips.run(columns)
            if not rows:
                await (self._create if self._creates else self._refuse)(round_trips)
                rows = await round_trips.run(columns)
            found = {row[0]: row[1] for row in rows}
            if not found.items() >= COLUMNS.items():
                raise other_shape(self._name, self._options.table, store=self._store)
            self._has_table = True
            self._learn(frozenset(right for right, has in zip(RIGHTS, rows[0][2:]) if has))

    async def _check_codecs(self, round_trips: RoundTrips) -> None:
        """Raise `ConfigurationError` if a pool converts the types that the store uses."""
        usual = (b"\x00\xff", 1, "a", True)
        try:
            rows = await round_trips.run(self._statements["types"], usual[:2])
            is_usual = len(rows) == 1 and tuple(rows[0]) == usual
        except (TypeError, ValueError, driver().DataError):  # of an encoder that takes other values
            is_usual = False
        if not is_usual:
            raise ConfigurationError(
                "the connections of `client` must return bytea, bigint, text and boolean as the "
                "driver does by itself; they convert one of them: leave out set_type_codec for "
                "these types, in a pool for the store alone",
                store=self._store,
            )

    async def _refuse(self, round_trips: RoundTrips) -> NoReturn:
        """Raise the error for a table that is missing and not to be created."""
        rights = await round_trips.run(self._statements["may_create"])
        may_come = any(row[0] for row in rights)  # none for a schema that is missing
        raise (NotThereYet if may_come else ConfigurationError)(
            is_missing(f"the table {self._options.table!r} of {self._name}"), store=self._store
        )

    async def _create(self, round_trips: RoundTrips) -> None:
        try:
            await round_trips.run(self._statements["create"], is_script=True)
        except self._errors as error:
            if not state_of(error) or state_of(error) in ELSEWHERE:
                raise
            raise ConfigurationError(
                f"the table {self._options.table!r} must exist, or this user must be allowed to "
                f"create it; {self._name} refuses ({type(error).__name__}): grant CREATE on the "
                "schema, create it once with another user, or give another table=",
                store=self._store,
            ) from error

    def _enter(self, previous: RoundTrips | None) -> RoundTrips:
        """Start to use the running event loop, or a process that was forked.

        Connections belong to the event loop and the process that opened them.
        """
        options = self._options
        if previous is not None:
            is_left = previous.make_way(stays=options.client is not None, store=self._store)
            self._given_up = previous.leave() if is_left else ()
            self._is_prepared = previous.connections.is_prepared
        connections: OwnConnections | ClientConnections
        if options.client is None:
            connections = OwnConnections(options, is_prepared=self._is_prepared)
        else:
            connections = ClientConnections(options.client)
        return RoundTrips(
            connections,
            limit=options.max_connections,
            timeout=options.timeout,
            given_up=self._given_up,
        )

    def _translate(self, error: Exception) -> KvwrapError:
        return translate_error(error, self._name, self._options.table, store=self._store)
