"""Commands to a Redis server: a limited number at a time, each with a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError
from kvwrap.stores.redis.connections import checked_client, make_pool, server_address
from kvwrap.stores.redis.errors import driver, translate_error
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.scripts import Script

CHUNK_SIZE: Final = 1000
"""Maximum number of commands in a round trip, so that a large batch does not block others."""


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
        self._client: Any = None
        self._pool: Any = None
        self._in_progress = 0

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return self._in_progress == 0

    def open(self) -> None:
        """Create the client. Nothing is connected yet."""
        self._turns = asyncio.Semaphore(self._options.max_connections)
        known = driver("redis.exceptions")
        self._response_error, self._no_script_error = known.ResponseError, known.NoScriptError
        if self._options.client is not None:
            self._client = self._options.client
        else:
            self._pool = make_pool(self._options)
            self._client = driver("redis.asyncio").Redis(connection_pool=self._pool)

    async def close(self) -> None:
        """Close the connections, unless they are the user's."""
        self._client = None
        if self._options.client is None:
            await self._pool.disconnect()

    async def run_command(self, *command: Any) -> Any:
        """Run one command and return its answer."""
        (answer,) = await self.run_commands([command])
        return self.checked_answer(answer)

    async def run_commands(
        self, commands: Sequence[Sequence[Any]], *, transaction: bool = False
    ) -> list[Any]:
        """Run several commands in one round trip and return their answers.

        An error of Redis for a single command is returned in place of its answer.

        Args:
            commands: The commands, each with its arguments.
            transaction: True to run the commands without commands of other clients in between.
                An error of Redis is then raised.
        """
        if self._client is None:
            await self._ensure_open()
        self._in_progress += 1
        try:
            async with asyncio.timeout(self._options.timeout), self._turns:
                if len(commands) == 1:
                    return [await self._run_alone(*commands[0])]
                pipeline = self._client.pipeline(transaction=transaction)
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute(raise_on_error=transaction))
        except Exception as error:
            raise self._translate(error) from error
        finally:
            self._in_progress -= 1

    async def _run_alone(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except self._response_error as error:
            return error

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
    ) -> list[Any]:
        """Run the commands for many keys in round trips of up to `CHUNK_SIZE` keys.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys.
            send: Runs the commands for a slice of the keys, and returns an answer for each.

        Returns:
            The answers for all keys. The first error of Redis among them is raised.
        """
        answers: list[Any] = []
        for start in range(0, len(keys), CHUNK_SIZE):
            try:
                chunk = await send(slice(start, start + CHUNK_SIZE))
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

    def _translate(self, error: Exception, **context: Any) -> KvwrapError:
        return translate_error(error, self._address, store=self._store, **context)
