"""Commands to a Redis server: a limited number at a time, each with a timeout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.stores.redis.connections import checked_client, make_pool, server_address
from kvwrap.stores.redis.errors import driver, translate_error
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.round_trips import Identity, RoundTrips
from kvwrap.stores.redis.scripts import Script

CHUNK_SIZE: Final = 1000
"""Maximum number of commands in a round trip, so that a large batch does not block others."""


CHUNK_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of the values in a round trip, far below the limit of a server's query buffer."""

SMALLEST_LIMIT: Final = 1024 * 1024
"""The lowest limit of a value's size that a server can have (proto-max-bulk-len), in bytes."""

_USUAL_LIMIT: Final = 512 * 1024 * 1024
"""The limit of a server that has no other."""

_INHERITED: Final[list[RoundTrips]] = []
"""Connections of a parent process, kept so that they are never closed in this one."""


class Server:
    """Sends commands to a Redis server, over connections of its own or a client of the user's.

    Args:
        options: The server, the timeout of a round trip (including the wait for its turn), and
            the maximum number of round trips in progress. A client given here is never closed.
        store: Name of the store, for errors.
        ensure_open: Awaited if a command comes before `open`; opens the store, or raises.

    Raises:
        ConfigurationError: The store cannot use the client or the URL.
    """

    def __init__(
        self,
        options: RedisOptions,
        *,
        store: str,
        ensure_open: Callable[[], Awaitable[None]],
    ) -> None:
        self._options = options
        self._store = store
        self._ensure_open = ensure_open
        if options.client is not None:
            pool = checked_client(options.client).connection_pool
        else:
            pool = make_pool(options)
        self._address = server_address(pool)
        self._is_open = False
        self._pool: Any = None
        self._round_trips: RoundTrips | None = None
        self._given_up: Sequence[Identity] = ()
        self._limit = 0

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return self._round_trips is None or self._round_trips.in_progress == 0

    def open(self) -> None:
        """Allow round trips. Nothing is connected yet."""
        known = driver("redis.exceptions")
        self._no_script_error = known.NoScriptError
        self._is_open = True

    async def close(self) -> None:
        """Close the connections, unless they are the user's or another process's."""
        self._is_open = False
        round_trips, self._round_trips = self._round_trips, None
        if round_trips is None:
            return
        if round_trips.is_inherited:
            _INHERITED.append(round_trips)
        elif self._options.client is not None:
            self._given_up = round_trips.given_up
        elif round_trips.is_here:
            self._given_up = await round_trips.close()
        else:
            self._given_up = round_trips.leave()

    async def run_command(self, *command: Any) -> Any:
        """Run one command and return its answer."""
        (answer,) = await self.run_commands([command])
        return self.checked_answer(answer)

    async def run_commands(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run several commands in one round trip and return their answers.

        An error of Redis for a single command is returned in place of its answer.
        """
        if not self._is_open:
            await self._ensure_open()
        round_trips = self._round_trips
        if round_trips is None or not round_trips.is_here:
            round_trips = self._round_trips = self._enter(round_trips)
        try:
            return await round_trips.run(commands)
        except Exception as error:
            raise self._translate(error) from error

    def _enter(self, previous: RoundTrips | None) -> RoundTrips:
        """Start to use the running event loop, or a process that was forked.

        Connections belong to the event loop and the process that opened them.
        """
        options = self._options
        if previous is not None:
            if previous.is_inherited:
                if options.client is not None:
                    raise self._not_usable("process")
                # Its connections are the parent's, and to close one would close it there too.
                _INHERITED.append(previous)
                self._given_up = ()
            elif previous.is_in_use:
                raise self._not_usable("event loop")
            elif options.client is not None:
                if previous.has_open_connections:
                    raise self._not_usable("event loop")
                self._given_up = previous.given_up
            else:
                self._given_up = previous.leave()
        pool = make_pool(options) if options.client is None else options.client.connection_pool
        return RoundTrips(
            pool,
            limit=options.max_connections,
            timeout=options.timeout,
            given_up=self._given_up,
        )

    def _not_usable(self, place: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"a RedisStore must be used in one {place} at a time, and a `client` in the {place} "
            f"that opened its connections; they are open in another {place}: create another "
            "client or store here, or close that one first",
            store=self._store,
        )

    async def run_transaction(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands in one round trip, without commands of others in between.

        Raises the error of Redis if one of them fails.
        """
        answers = await self.run_commands([("MULTI",), *commands, ("EXEC",)])
        for answer in answers:
            self.checked_answer(answer)
        if not isinstance(answers[-1], list) or len(answers[-1]) != len(commands):
            raise self.wrong_answer()
        return [self.checked_answer(answer) for answer in answers[-1]]

    async def limit(self, size: int) -> int:
        """Return the maximum size of a value in bytes, asking the server if `size` is over it.

        An account that may not ask gets the limit that is usual.
        """
        if size > self._limit:
            (answer,) = await self.run_commands([("CONFIG GET", "proto-max-bulk-len")])
            found = next(iter(answer.items())) if isinstance(answer, dict) else answer
            known = (
                isinstance(found, list | tuple) and len(found) == 2 and isinstance(found[1], bytes)
            )
            self._limit = int(found[1]) if known and found[1].isdigit() else _USUAL_LIMIT
        return self._limit

    async def run_script(self, script: Script, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script several times in one round trip and return the answers.

        Args:
            script: The script.
            calls: The calls, each with its number of keys, its keys and its arguments.
        """
        answers = await self.run_commands([("EVALSHA", script.sha, *call) for call in calls])
        missing = [
            index
            for index, answer in enumerate(answers)
            if isinstance(answer, self._no_script_error)
        ]
        if missing:
            # The server is new, or was restarted. None of these calls was carried out.
            repeated = await self.run_commands(
                [("EVAL", script.text, *calls[index]) for index in missing]
            )
            for index, answer in zip(missing, repeated, strict=True):
                answers[index] = answer
        return answers

    async def run_in_chunks(
        self,
        collection: Collection,
        keys: Sequence[str],
        send: Callable[[slice], Awaitable[list[Any]]],
        sizes: Sequence[int] | None = None,
    ) -> list[Any]:
        """Run the commands for many keys in round trips of `CHUNK_SIZE` keys and `CHUNK_BYTES`.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys.
            send: Runs the commands for a slice of the keys, and returns an answer for each.
            sizes: The sizes in bytes of the values that are sent for the keys.

        Returns:
            The answers for all keys. The first error of Redis among them is raised.
        """
        answers: list[Any] = []
        for part in _parts(len(keys), sizes):
            start = part.start
            try:
                chunk = await send(part)
            except KvwrapError as error:
                error.collection = collection
                error.succeeded = tuple(keys[:start]) if start else None
                raise
            answers += chunk
            for index, answer in enumerate(chunk, start):
                if isinstance(answer, Exception):
                    succeeded = [
                        key for key, a in zip(keys, answers) if not isinstance(a, Exception)
                    ]
                    raise self._translate(
                        answer, collection=collection, key=keys[index], succeeded=succeeded
                    ) from answer
        return answers

    def checked_answer(self, answer: Any) -> Any:
        """Return the answer. Raises it, translated, if it is an error of Redis."""
        if isinstance(answer, Exception):
            raise self._translate(answer) from answer
        return answer

    def checked_values(self, answer: Any, count: int) -> list[bytes | None]:
        """Return the values of an MGET of `count` keys.

        Raises:
            StoreUnavailable: The answer is not that of an MGET.
        """
        if (
            not isinstance(answer, list)
            or len(answer) != count
            or not all(value is None or isinstance(value, bytes) for value in answer)
        ):
            raise self.wrong_answer()
        return answer

    def wrong_answer(self) -> StoreUnavailable:
        """Return the error for an answer that no server of Redis gives."""
        return StoreUnavailable(
            f"Redis at {self._address} must answer as its protocol says, and did not: check that "
            "this is a server of Redis, and what is between",
            store=self._store,
        )

    def endless_scan(self) -> StoreUnavailable:
        """Return the error for a scan that goes round in circles."""
        return StoreUnavailable(
            f"Redis at {self._address} must end a SCAN, and its cursors come again and again: "
            "check that this is a server of Redis, and what is between",
            store=self._store,
        )

    def _translate(self, error: Exception, **context: Any) -> KvwrapError:
        return translate_error(error, self._address, store=self._store, **context)


def _parts(count: int, sizes: Sequence[int] | None) -> Iterator[slice]:
    """Divide a batch into parts for one round trip each. A value over the limit is alone."""
    if sizes is None or sum(sizes) <= CHUNK_BYTES:
        for start in range(0, count, CHUNK_SIZE):
            yield slice(start, start + CHUNK_SIZE)
        return
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == CHUNK_SIZE or total + size > CHUNK_BYTES):
            yield slice(start, index)
            start, total = index, 0
        total += size
    yield slice(start, count)
