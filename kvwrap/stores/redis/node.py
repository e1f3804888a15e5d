"""One server, or the master of a Sentinel's service, in one event loop of one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvwrap.errors import KvwrapError
from kvwrap.stores.redis.errors import translate_error
from kvwrap.stores.redis.pools import Pool
from kvwrap.stores.redis.round_trips import Identity, RoundTrips


class Node:
    """Sends commands to one server, over connections of its own or those of a user's client.

    Args:
        make_pool: Creates the connections, for each event loop.
        address: Where the server is, for errors.
        limit: Maximum number of round trips in progress; further ones wait.
        timeout: Seconds for one round trip, including the wait for its turn; None for no limit.
        is_shared: True if the connections are a client's, and are never closed here.
        is_node: True for a node of a cluster.
        store: Name of the store, for errors.
        product: Name of the server's program, for errors.
        uses_tls: True if TLS was asked for.
    """

    def __init__(
        self,
        make_pool: Callable[[], Pool],
        *,
        address: str,
        limit: int,
        timeout: float | None,
        is_shared: bool,
        is_node: bool,
        store: str,
        product: str,
        uses_tls: bool = False,
    ) -> None:
        self._make_pool = make_pool
        self._address = address
        self._limit = limit
        self._timeout = timeout
        self._is_shared = is_shared
        self._is_node = is_node
        self._store = store
        self._product = product
        self._uses_tls = uses_tls
        self._pool: Pool | None = None
        self._round_trips: RoundTrips | None = None
        self._given_up: Sequence[Identity] = ()

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return self._round_trips is None or self._round_trips.in_progress == 0

    @property
    def is_clean(self) -> bool:
        """True if no connection has to be killed before the next round trip."""
        given_up = self._given_up if self._round_trips is None else self._round_trips.given_up
        return not given_up

    @property
    def place(self) -> object:
        """What differs between two servers that this one has been, such as after a failover."""
        return None if self._pool is None else self._pool.place

    @property
    def server(self) -> str:
        """The server as errors name it."""
        place = f" ({self.place})" if self.place is not None else ""
        return f"{self._product} at {self._address}{place}"

    async def close(self) -> None:
        """Close the connections, unless they are the user's or another process's."""
        round_trips, self._round_trips = self._round_trips, None
        if round_trips is None:
            return
        # At once: others may begin with a new one while this waits.
        self._given_up = round_trips.given_up
        if round_trips.is_inherited:
            round_trips.keep()
        elif not self._is_shared:
            if round_trips.is_here:
                await round_trips.close()
            else:
                self._given_up = round_trips.leave()

    async def run(
        self, commands: Sequence[Sequence[Any]], deadline: float | None = None
    ) -> list[Any]:
        """Run commands in one round trip and return their answers.

        An error of Redis for a single command is returned in place of its answer, and so is the
        error of a connection that fails when some of the answers have come.

        Args:
            commands: The commands.
            deadline: Time of the event loop at which the round trip is over, instead of its
                timeout.
        """
        round_trips = self._round_trips
        if round_trips is None or not round_trips.is_here:
            round_trips = self._round_trips = self._enter(round_trips)
        answers: list[Any] = []
        try:
            await round_trips.run(commands, answers, deadline)
        except Exception as error:
            translated = self.translate(error)
            if not answers:
                raise translated from error
            answers += [translated] * (len(commands) - len(answers))
        return answers

    def _enter(self, previous: RoundTrips | None) -> RoundTrips:
        """Start to use the running event loop, or a process that was forked.

        Connections belong to the event loop and the process that opened them.
        """
        if previous is not None:
            has_connections = previous.is_inherited or previous.has_open_connections
            stays = self._is_shared and has_connections
            if not previous.make_way(stays=stays, store=self._store):
                self._given_up = ()
            else:
                self._given_up = previous.given_up if self._is_shared else previous.leave()
        self._pool = self._make_pool()
        return RoundTrips(
            self._pool,
            limit=self._limit,
            timeout=self._timeout,
            given_up=self._given_up,
            is_node=self._is_node,
        )

    def translate(self, error: Exception, **context: Any) -> KvwrapError:
        """Return the error to raise for one of the driver, which is its cause.

        Args:
            error: The driver's error. One of kvwrap is returned with the context.
            context: Collection and keys for the error to name.
        """
        if isinstance(error, KvwrapError):
            error.store = self._store
            for name, value in context.items():
                setattr(error, name, value)
            return error
        translated = translate_error(
            error, self.server, uses_tls=self._uses_tls, store=self._store, **context
        )
        translated.__cause__ = error
        return translated
